import Glibc
import Platform
import Primitives
import Replication

/// Symbolic links of the roots: what they are called in the stream, and which of them lead to what is not replicated.
extension Tree {
    /// The names of all roots as they are now.
    func names() throws -> NameTable {
        var names = NameTable(roots: roots.map(\.object))
        try walk(found: { _ = try? names.insert($0.object, NameTable.Kind(mode: $0.mode), $0.parent, $0.name) }, skipped: { _ in })
        return names
    }

    /// The links that lead out of every root and to nothing that is listed, each as "path -> target".
    func linksLeadingOut(_ names: NameTable) -> [ObjectID: String] {
        var leading: [ObjectID: String] = [:]
        names.forEachName { name, object, kind in
            guard kind == .symbolicLink, let directory = names.path(of: name.parent) else { return }
            let root = directory.root.root
            let path = directory.bytes.isEmpty ? name.name : directory.bytes + [0x2f] + name.name
            guard let target = target(root: root, path: path),
                let line = leadsOut(root: root, directory: directory.bytes, name: name.name, target: target)
            else { return }
            leading[object] = line
        }
        return leading
    }

    func leadsOut(root: UInt32, directory: [UInt8], name: [UInt8], target: [UInt8]) -> String? {
        let real = realPath(root, directory)
        guard paths.meaning(of: target, in: real, root: Int(root)) == .out else { return nil }
        return String(decoding: real + [0x2f] + name, as: UTF8.self) + " -> " + String(decoding: target, as: UTF8.self)
    }

    /// A target as it travels: argument 0 and its text; or the number of a root plus 1 and what follows that root's path.
    func onWire(root: UInt32, directory: [UInt8], target: [UInt8]) -> (argument: UInt64, text: [UInt8]) {
        switch paths.meaning(of: target, in: realPath(root, directory), root: Int(root)) {
        case .root(let number, let rest): (UInt64(number) + 1, rest)
        case .here, .out: (0, target)
        }
    }

    private func realPath(_ root: UInt32, _ path: [UInt8]) -> [UInt8] {
        paths.path(root: Int(root), rest: path.isEmpty ? [] : [0x2f] + path)
    }
}
