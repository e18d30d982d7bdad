import CLinux
import Glibc
import Platform
import Primitives
import Replication

// From an object to an open descriptor or a place, with the check that it still is the file that the table knows.
extension Replayer {
    /// Runs calls of the operating system; what it refuses stops replay.
    func calling<R: ~Copyable>(_ body: () throws(SystemError) -> R) throws(ReplayError) -> R {
        do throws(SystemError) { return try body() } catch { throw ReplayError.refused(error, at: position) }
    }

    /// A known directory, open. The descriptor belongs to the cache, and holds until two more were asked for.
    func directory(_ object: ObjectID) throws(ReplayError) -> Int32 {
        if let descriptor = cache[object] { return descriptor }
        guard table.kind(of: object) == .directory, let path = table.path(of: object) else {
            throw .inconsistent("unknown directory: \(shown(object))", at: position)
        }
        let root = trees[Int(path.root.root)]
        if path.bytes.isEmpty { return root.descriptor }
        let flags = O_RDONLY | O_DIRECTORY
        let descriptor: Int32
        if path.bytes.count < 4000 {
            descriptor = try calling { () throws(SystemError) in try Place.open(root.descriptor, path: path.bytes, flags) }
        } else {
            // Longer than a path may be for the kernel: from directory to directory.
            let name = table.names(of: object)[0]
            let parent = try directory(name.parent)
            descriptor = try calling { () throws(SystemError) in try Place(parent, name.name).open(flags) }
        }
        try verify(object, descriptor)
        return descriptor
    }

    func place(_ parent: ObjectID, _ name: [UInt8]) throws(ReplayError) -> Place { Place(try directory(parent), name) }

    /// Where a known object lies: by one of its names, or in limbo.
    func place(of object: ObjectID) throws(ReplayError) -> Place {
        if let number = own[object]?.limbo { return limboPlace(object, Int(number)) }
        guard let name = table.names(of: object).first else {
            throw .inconsistent("no name leads to \(shown(object))", at: position)
        }
        return try place(name.parent, name.name)
    }

    func limboPlace(_ object: ObjectID, _ root: Int) -> Place {
        Place(trees[root].limbo, Array((Hex.string(object.inode) + Hex.string(object.generation)).utf8))
    }

    /// A known file or directory, open: files for reading and writing.
    func descriptor(_ object: ObjectID) throws(ReplayError) -> Int32 {
        if let descriptor = cache[object] { return descriptor }
        if table.kind(of: object) == .directory { return try directory(object) }
        let place = try place(of: object)
        let descriptor = try calling { () throws(SystemError) in try place.open(O_RDWR) }
        try verify(object, descriptor)
        return descriptor
    }

    /// Puts the descriptor into the cache if it is the file that the table knows; else somebody changed the tree.
    private func verify(_ object: ObjectID, _ descriptor: Int32) throws(ReplayError) {
        do throws(ReplayError) {
            let (inode, generation) = try calling { () throws(SystemError) in
                (try FileStatus.of(descriptor).inode, try FileStatus.generation(of: descriptor))
            }
            guard let known = own[object], known.inode == inode, known.generation == generation else {
                throw ReplayError.inconsistent("somebody else replaced \(shown(object))", at: position)
            }
        } catch {
            close(descriptor)
            throw error
        }
        cache.insert(descriptor, for: object)
    }

    /// The own file that a place holds now.
    func ownFile(at place: Place, root: Int) throws(SystemError) -> OwnFile {
        let status = try place.status()
        return OwnFile(inode: status.inode, generation: try place.generation(), mode: UInt16(status.mode & 0o7777),
            device: deviceNumber(of: root), limbo: nil)
    }

    func deviceNumber(of root: Int) -> UInt8 {
        UInt8(trees.firstIndex { $0.device == trees[root].device } ?? root)
    }

    /// The root in whose tree a directory lies.
    func rootNumber(of directory: ObjectID) throws(ReplayError) -> Int {
        guard let path = table.path(of: directory) else {
            throw .inconsistent("unknown parent: \(shown(directory))", at: position)
        }
        return Int(path.root.root)
    }

    // MARK: without privilege

    /// Without privilege a directory or file may forbid to its owner what replay must do (as it did on the primary,
    /// where the caller was privileged or had it open). For one record, the owner then gets all rights on what it
    /// touches and on the way there.
    func widened(for record: Record, _ body: () throws(ReplayError) -> Void) throws(ReplayError) {
        var chain: [ObjectID] = []
        func add(_ object: ObjectID?) {
            guard var next = object, table.contains(next) else { return }
            var way: [ObjectID] = []
            while true {
                way.append(next)
                guard let name = table.names(of: next).first else { break }
                next = name.parent
            }
            for object in way.reversed() where !chain.contains(object) { chain.append(object) }
        }
        add(record.parent)
        add(record.targetParent)
        add(record.object)
        add(table.lookup(record.parent, record.name))
        add(table.lookup(record.targetParent, record.targetName))
        var changed: [ObjectID] = []
        for object in chain where table.kind(of: object) != .symbolicLink {
            guard let mode = own[object]?.mode, mode & 0o700 != 0o700 else { continue }
            try setMode(of: object, UInt32(mode) | 0o700)
            changed.append(object)
        }
        defer {
            // What the record gave them, or what they had; a way that is gone needs nothing.
            for object in changed.reversed() {
                if let mode = own[object]?.mode { try? setMode(of: object, UInt32(mode)) }
            }
        }
        try body()
    }

    private func setMode(of object: ObjectID, _ mode: UInt32) throws(ReplayError) {
        if table.isRoot(object) {
            let root = trees[Int(object.root)]
            if fchmod(root.descriptor, mode) < 0 { throw .refused(SystemError.current("change the mode of", root.path), at: position) }
            return
        }
        let place = try place(of: object)
        try calling { () throws(SystemError) in try place.setMode(mode) }
    }
}
