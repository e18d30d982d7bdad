import Platform
import Primitives
import Replication

/// Symbolic links: their targets in the stream, and those that lead to what is not replicated (G3).
extension PrimaryPlane {
    /// What a link in `parent` is called in the stream: a path into a root is another one on the other node.
    func linkOnWire(_ target: [UInt8], in parent: ObjectID) -> (argument: UInt64, text: [UInt8]) {
        #if LOCKSTEP_FAULTS
        // Planted fault: links lead to the primary's roots on the secondary too.
        if Faults.mapsNoLinks { return (0, target) }
        #endif
        guard let directory = names.path(of: parent) else { return (0, target) }
        return tree.onWire(root: directory.root.root, directory: directory.bytes, target: target)
    }

    /// A link was made, found or moved; `target`: its text if that is known.
    func noteLink(_ object: ObjectID, at key: NameTable.Name, target: [UInt8]? = nil) {
        guard let directory = names.path(of: key.parent) else { return }
        let root = directory.root.root
        guard let target = target ?? tree.target(root: root, path: join(directory.bytes, key.name)) else { return }
        let line = tree.leadsOut(root: root, directory: directory.bytes, name: key.name, target: target)
        if let line, linksOut[object] != line { say(line) }
        linksOut[object] = line
    }

    /// All of them: directories may have been moved, and what lies on the way of a target too.
    func lookAtLinks() {
        let before = linksOut
        linksOut = tree.linksLeadingOut(names)
        for (object, line) in linksOut.sorted(by: { $0.value < $1.value }) where before[object] != line { say(line) }
    }

    private func say(_ line: String) {
        log.info("a symbolic link leads out of the replicated roots: \(line); what it points to is not replicated")
    }
}
