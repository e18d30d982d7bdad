// Brings the names of the trees back to what a table says (rule R6; see Replayer.swift for why only the names).
//
//      trees on disk                          table at P
//      P + any number of operations    -->    P
//
//   1  every directory is read, what lies in it before itself. A file that the table does not know (by own inode and
//      generation) was made after P and is removed, a directory too when it is empty. A known one at another place goes
//      to limbo, with what belongs in it. After that everything left in the trees is at its place, and all else is in limbo.
//   2  directories first, parents before children, then files: what is missing comes from limbo, a further name by a link, and
//      what is nowhere is made as an empty placeholder, marked lost.
//
// Swapped names, directories moved into each other, and links need no case of their own: everything goes out first. Each
// step leaves a state from which both can start again.

import CLinux
import Glibc
import Platform
import Primitives
import Replication

extension Replayer {
    /// Starts from the last checkpoint: apply the journal behind `mark.position` to its end, then call `replayEnded`.
    ///
    /// Without a table, with a damaged one or with roots that are not those of the table, nothing is touched and the
    /// data is inconsistent: a full copy is needed.
    public static func recover(roots: [String], stateDirectory: String, module: String) throws(ReplayError) -> Replayer {
        do throws(SystemError) {
            let replayer = try Replayer(roots: roots, stateDirectory: stateDirectory, module: module)
            guard let bytes = try DurableFile.read(path: replayer.tablePath, bytesMax: ReplayTable.bytesMax) else {
                return replayer
            }
            let table: ReplayTable
            do throws(RecordError) { table = try ReplayTable(parsing: bytes) } catch {
                replayer.inconsistency = "the table of names is damaged: \(error)"
                return replayer
            }
            let found = replayer.trees.map { ($0.inode, $0.generation) }
            guard found.count == table.roots.count, zip(found, table.roots).allSatisfy({ $0 == ($1.inode, $1.generation) })
            else {
                replayer.inconsistency = "the roots are other directories than at the last checkpoint"
                return replayer
            }
            do throws(ReplayError) { try replayer.take(table) } catch { return try rethrow(error) }
            return replayer
        } catch {
            throw ReplayError.refused(error, at: .none)
        }
    }

    private static func rethrow(_ error: ReplayError) throws(SystemError) -> Replayer {
        if case .refused(let reason, _) = error { throw reason }
        throw SystemError("recover: \(error)", "", code: EIO)
    }

    private func take(_ saved: ReplayTable) throws(ReplayError) {
        table = saved.names
        own = saved.own
        for object in saved.removed { removed.insert(object) }
        owed = Set(saved.owed)
        syntheticNext = saved.syntheticNext
        mark = saved.mark
        position = saved.mark.position
        copying = saved.isCopying
        inconsistency =
            saved.isConsistent ? nil : saved.isCopying ? "a copy is under way" : "inconsistent at the last checkpoint"
        if saved.isMovingAside {
            try moveAside()
            return
        }
        try restoreNames()
        for var entry in saved.pending {
            entry.touched = touched(by: entry.record)
            held.hold(pending: entry)
        }
        for entry in saved.queued { held.hold(queued: entry) }
    }

    // MARK: names

    /// Returns what was nowhere and was made anew.
    @discardableResult
    func restoreNames() throws(ReplayError) -> [ObjectID] {
        let objectOf = objectsByOwnFile()
        var places = RecoveredPlaces()
        try calling { () throws(SystemError) in
            // Limbo first: what lies there now was known, or goes.
            for tree in trees { try sortLimbo(tree, objectOf, &places) }
            for tree in trees {
                let root = table.roots.first { Int($0.root) == tree.number }
                try takeOut(of: tree.descriptor, object: root, tree, objectOf, &places)
            }
        }
        let made = try putBack(places)
        // What was in limbo at P and is gone is only forgotten: its bytes can't be needed any more.
        for (object, file) in own where file.limbo != nil {
            if let root = places.limbo[object] {
                own[object]?.limbo = UInt8(root)
                let place = limboPlace(object, root)
                limbo.insert(object, bytes: try calling { () throws(SystemError) in try place.status().blocks * 512 })
            } else {
                own[object] = nil
                table.forget(object)
                removed.insert(object)
            }
        }
        return made
    }

    private func sortLimbo(_ tree: OwnTree, _ objectOf: [OwnKey: ObjectID], _ places: inout RecoveredPlaces)
        throws(SystemError)
    {
        for name in try Scan.names(in: tree.limbo) {
            let place = Place(tree.limbo, name)
            let file = try ownFile(at: place, root: tree.number)
            let key = OwnKey(device: file.device, inode: file.inode, generation: file.generation)
            guard let object = objectOf[key], places.limbo[object] == nil else {
                try OwnTree.removeAll(place)
                continue
            }
            let expected = limboPlace(object, tree.number)
            if expected.name != place.name { try place.rename(to: expected) }
            places.limbo[object] = tree.number
        }
    }

    /// Step 1, for one directory. `object`: what it is in the table; nil: it is to be removed itself.
    private func takeOut(
        of directory: Int32, object: ObjectID?, _ tree: OwnTree, _ objectOf: [OwnKey: ObjectID],
        _ places: inout RecoveredPlaces
    ) throws(SystemError) {
        for name in try Scan.names(in: directory) where !(directory == tree.descriptor && name == tree.reservedName) {
            let place = Place(directory, name)
            let status = try place.status()
            let key = OwnKey(device: deviceNumber(of: tree.number), inode: status.inode, generation: try place.generation())
            let found = objectOf[key]
            if status.mode & S_IFMT == S_IFDIR {
                // A directory that its owner may not read: the table has the mode, and step 2 sets it again.
                if !mayChown, status.mode & 0o700 != 0o700 { try place.setMode(status.mode & 0o7777 | 0o700) }
                let child = FileDescriptor(owning: try place.open(O_RDONLY | O_DIRECTORY), path: place.shown)
                try takeOut(of: child.raw, object: found, tree, objectOf, &places)
            }
            guard let found else {
                if status.mode & S_IFMT == S_IFDIR { try place.removeDirectory() } else { try place.unlink() }
                continue
            }
            if let object, table.lookup(object, name) == found {
                places.named.insert(NameTable.Name(parent: object, name: name))
            } else if places.limbo[found] != nil {
                try place.unlink()  // a further name of a file that is in limbo already
            } else {
                try place.rename(to: limboPlace(found, tree.number))
                places.limbo[found] = tree.number
            }
        }
    }

    /// Step 2.
    private func putBack(_ places: RecoveredPlaces) throws(ReplayError) -> [ObjectID] {
        var made: [ObjectID] = []
        var places = places
        // Of a file with several names, those that are there.
        var placeOf: [ObjectID: NameTable.Name] = [:]
        for name in places.named {
            if let object = table.lookup(name.parent, name.name), table.names(of: object).count > 1 { placeOf[object] = name }
        }
        var missing: [(name: NameTable.Name, object: ObjectID, kind: NameTable.Kind)] = []
        table.forEachName { name, object, kind in
            if !places.named.contains(name) { missing.append((name, object, kind)) }
        }
        // Directories first: a file that has its place may lie in one that is still in limbo, and be needed for a link.
        for (name, object, kind) in missing.filter({ $0.kind == .directory }) + missing.filter({ $0.kind != .directory }) {
            let place = try place(name.parent, name.name)
            let root = try rootNumber(of: name.parent)
            try calling { () throws(SystemError) in
                if let limbo = places.limbo.removeValue(forKey: object) {
                    try limboPlace(object, limbo).rename(to: place)
                } else if let other = placeOf[object], kind != .directory {
                    try link(other, to: place)
                } else {
                    switch kind {
                    case .file: close(try place.createFile())
                    case .directory: try place.makeDirectory()
                    case .symbolicLink: try place.makeSymbolicLink(Array("lost".utf8))
                    }
                    made.append(object)
                    let mode = own[object]?.mode ?? 0
                    var file = try ownFile(at: place, root: root)
                    file.isLost = kind != .directory
                    file.mode = mode
                    own[object] = file
                    if kind != .symbolicLink { try place.setMode(UInt32(mode)) }
                }
            }
            placeOf[object] = name
        }
        // A file that has all its names again may have one more in limbo.
        for (object, root) in places.limbo where own[object]?.limbo == nil {
            let place = limboPlace(object, root)
            try calling { () throws(SystemError) in try OwnTree.removeAll(place) }
        }
        if !mayChown { try restoreModes() }
        return made
    }

    private func link(_ name: NameTable.Name, to place: Place) throws(SystemError) {
        let from: Place
        do throws(ReplayError) { from = try self.place(name.parent, name.name) } catch {
            throw SystemError("find", String(decoding: name.name, as: UTF8.self), code: ENOENT)
        }
        try from.link(to: place)
    }

    /// Directories that were opened up, here or for a record during which the node went down. Children first.
    private func restoreModes() throws(ReplayError) {
        var directories: [(name: NameTable.Name, object: ObjectID)] = []
        table.forEachName { name, object, kind in
            if kind == .directory { directories.append((name, object)) }
        }
        for (name, object) in directories.reversed() {
            guard let mode = own[object]?.mode, mode & 0o700 != 0o700 else { continue }
            let place = try place(name.parent, name.name)
            try calling { () throws(SystemError) in try place.setMode(UInt32(mode)) }
        }
    }
}

/// What recovery found where.
private struct RecoveredPlaces {
    /// Names that are as the table has them.
    var named: Set<NameTable.Name> = []
    /// Objects in limbo, and the root whose limbo it is.
    var limbo: [ObjectID: Int] = [:]
}
