// Changes of names. What a name or object means here, when the record comes, decides; ReplayTests has a test per label.
//
//   record          what is found here                           label  what is done
//   create, mkdir,  parent unknown                               @C1    error: its ancestors should have come before
//   symlink         name means nothing                           @C2    made, with mode and owner as recorded
//                   name means this object                       @C3    kept with its bytes, mode and owner as recorded
//                   name means another object                    @C4    that is removed (repair), then @C2
//                   object is known elsewhere                    @C5    its names are removed (repair), then @C2
//   present         parent unknown                               @P1    error
//                   no parent, no name                           @P2    announces a root
//                   name means nothing, object unknown           @P3    made: an empty file of the recorded size
//                   name means this object                       @P4    mode, owner, size, link target as recorded
//                   name means another object                    @P5    that is removed, then as without
//                   file or link known by another name           @P6    gets one more name
//                   directory known by another name              @P7    moves
//                   file in limbo                                @P8    comes back with its bytes
//                   file removed for good                        @P9    made empty: its bytes follow
//                   object known as another type                 @P10   that is removed, then @P3
//   unlink, rmdir   parent unknown                               @U1    error
//                   name means nothing                           @U2    nothing (repair)
//                   name means a file with other names           @U3    loses this one
//                   name means a file, its last name             @U4    goes to limbo
//                   name means an empty directory, a link        @U5    removed
//                   name means a directory that is not empty     @U6    removed with all that is in it (repair)
//   absent          parent unknown, name means nothing           @B1    nothing
//                   name means something                         @B2    as @U3 to @U6
//   rename          a parent unknown                             @R1    error
//                   source means nothing, target the object      @R2    nothing: done already (repair)
//                   source means nothing                         @R3    nothing; the target is owed (below)
//                   target means nothing                         @R5    moved
//                   target means another                         @R6    that is removed as by @U3 to @U6, then @R5
//                   it would come to lie in itself               @R10   nothing; both names are owed
//                   both mean the same file                      @R7    nothing, as rename(2)
//                   NOREPLACE, target means something            @R8    as @R6 (repair)
//                   EXCHANGE, both mean something                @R9    exchanged
//                   EXCHANGE, one means nothing                  @R4    nothing; both names are owed
//   link            target parent unknown                        @L1    error
//                   object unknown or without a name             @L2    nothing; the target is owed
//                   target means nothing                         @L3    gets the name
//                   target means this object                     @L4    nothing
//                   target means another                         @L5    that is removed (repair), then @L3
//                   object in limbo                              @L6    comes back under that name
//   any             the directory disagrees with the table       @X     error: somebody else changed the tree
//
// Owed: two operations that ran at the same time on the primary may stand in the stream in the other order, so that the
// second one's source is not there yet; and while a copy runs, the source may not have been copied yet. The name fill
// that follows, or the copy, says what the name means in the end. Until then it is on a list: a copy is
// not over while the list is not empty (Replayer+Copy.swift). What is owed in a directory goes with it.

import CLinux
import Glibc
import Platform
import Primitives
import Replication

extension Replayer {
    static let renameNoReplace: UInt64 = 1
    static let renameExchange: UInt64 = 2

    // MARK: create and present

    func create(_ record: Record, _ payload: UnsafeRawBufferPointer) throws(ReplayError) {
        guard !record.object.isNone else { throw .inconsistent("\(record.kind) without an object", at: position) }
        let kind: NameTable.Kind =
            switch record.kind {
            case .mkdir: .directory
            case .symlink: .symbolicLink
            default: .file
            }
        try requireDirectory(record.parent)
        let found = table.lookup(record.parent, record.name)
        if found == record.object, table.kind(of: record.object) == kind {
            try setOwnerAndMode(record.object, record)
            return
        }
        if found != nil {
            counts.repairs += 1
            try displace(record.parent, record.name)
        }
        if table.contains(record.object) {
            counts.repairs += 1
            try requireOutside(record.object, record.parent)
            try removeEverywhere(record.object)
        }
        try make(kind, record, payload)
        owed.remove(NameTable.Name(parent: record.parent, name: record.name))
    }

    func present(_ record: Record, _ payload: UnsafeRawBufferPointer) throws(ReplayError) {
        guard !record.object.isNone else { throw .inconsistent("present without an object", at: position) }
        if record.parent.isNone && record.name.isEmpty {
            try announceRoot(record)
            return
        }
        let kind: NameTable.Kind
        switch record.mode & S_IFMT {
        case S_IFREG: kind = .file
        case S_IFDIR: kind = .directory
        case S_IFLNK: kind = .symbolicLink
        default:
            throw .unsupported("a FIFO, socket or device (\(shown(record.parent, record.name)))", at: position)
        }
        try requireDirectory(record.parent)
        if let found = table.lookup(record.parent, record.name), found != record.object {
            try displace(record.parent, record.name)
        }
        if let known = table.kind(of: record.object) {
            try requireOutside(record.object, record.parent)
            if known != kind {
                try removeEverywhere(record.object)
                removed.remove(record.object)  // what it had as another type is not missed
            }
        }
        if table.lookup(record.parent, record.name) == record.object {
            // As it should be.
        } else if own[record.object]?.limbo != nil {
            try bringBack(record.object, record.parent, record.name)
        } else if table.isNamed(record.object), kind == .directory {
            let from = table.names(of: record.object)[0]
            try move(from.parent, from.name, record.parent, record.name, flags: Replayer.renameNoReplace)
        } else if table.isNamed(record.object) {
            try addName(record.object, record.parent, record.name)
        } else {
            // Its bytes, if it had any, follow as fills.
            removed.remove(record.object)
            try make(kind, record, payload)
        }
        owed.remove(NameTable.Name(parent: record.parent, name: record.name))
        try removeAttributes(record.object)  // those that it has follow
        try setOwnerAndMode(record.object, record)
        if kind == .file {
            let file = try descriptor(record.object)
            try calling { () throws(SystemError) in
                if try FileStatus.of(file).size != record.length { try truncate(file, to: record.length) }
            }
        } else if kind == .symbolicLink {
            let place = try place(of: record.object)
            if try calling({ () throws(SystemError) in try place.target() }) != linkTarget(record, payload) {
                try removeEverywhere(record.object)
                try make(kind, record, payload)
            }
        }
    }

    /// The object that a root is on the primary. Mode and owner are taken over like those of any directory.
    private func announceRoot(_ record: Record) throws(ReplayError) {
        guard Int(record.object.root) < trees.count else {
            throw .inconsistent("there is no root number \(record.object.root) here", at: position)
        }
        let tree = trees[Int(record.object.root)]
        if let known = table.roots.first(where: { $0.root == record.object.root }) {
            guard known == record.object else {
                throw .inconsistent("root \(tree.path) is another directory on the primary now", at: position)
            }
        } else {
            guard !table.contains(record.object) else {
                throw .inconsistent("root \(tree.path) is known as something else", at: position)
            }
            table.addRoot(record.object)
            own[record.object] = OwnFile(inode: tree.inode, generation: tree.generation, mode: 0,
                device: deviceNumber(of: tree.number), limbo: nil)
        }
        try removeAttributes(record.object)
        try setOwnerAndMode(record.object, record)
    }

    /// A new object under a free name.
    private func make(_ kind: NameTable.Kind, _ record: Record, _ payload: UnsafeRawBufferPointer) throws(ReplayError) {
        let root = try rootNumber(of: record.parent)
        let place = try place(record.parent, record.name)
        let target = kind == .symbolicLink ? try linkTarget(record, payload) : []
        try calling { () throws(SystemError) in
            switch kind {
            case .file: cache.insert(try place.createFile(), for: record.object)
            case .directory: try place.makeDirectory()
            case .symbolicLink: try place.makeSymbolicLink(target)
            }
        }
        let file = try calling { () throws(SystemError) in try ownFile(at: place, root: root) }
        try changing { () throws(NameTableError) in
            try table.insert(record.object, kind, record.parent, record.name)
        }
        own[record.object] = file
        removed.remove(record.object)
        try setOwnerAndMode(record.object, record)
    }

    /// What a link is to point to here: as it is on the primary, or what is the same place in a root of this node.
    private func linkTarget(_ record: Record, _ payload: UnsafeRawBufferPointer) throws(ReplayError) -> [UInt8] {
        let text = Array(payload)
        if record.argument == 0 { return text }
        guard record.argument <= UInt64(trees.count), text.isEmpty || text.first == 0x2f else {
            throw .inconsistent("a link into root number \(record.argument &- 1), at '\(String(decoding: text, as: UTF8.self))'", at: position)
        }
        return paths.path(root: Int(record.argument - 1), rest: text)
    }

    // MARK: removal

    func removeName(_ record: Record) throws(ReplayError) {
        try requireDirectory(record.parent)
        let wasOwed = owed.remove(NameTable.Name(parent: record.parent, name: record.name)) != nil
        guard let found = table.lookup(record.parent, record.name) else {
            if !copying && !wasOwed { counts.repairs += 1 }
            return
        }
        if table.hasChildren(found) { counts.repairs += 1 }
        try displace(record.parent, record.name)
    }

    func absent(_ record: Record) throws(ReplayError) {
        owed.remove(NameTable.Name(parent: record.parent, name: record.name))
        if table.lookup(record.parent, record.name) != nil { try displace(record.parent, record.name) }
    }

    /// Takes a name away from what it means: @U3 to @U6.
    func displace(_ parent: ObjectID, _ name: [UInt8]) throws(ReplayError) {
        guard let object = table.lookup(parent, name), let kind = table.kind(of: object) else { return }
        switch kind {
        case .directory:
            for child in table.children(of: object) { try displace(object, child.name) }
            let place = try place(parent, name)
            try calling { () throws(SystemError) in try place.removeDirectory() }
            table.remove(parent, name)
            forget(object)
        case .symbolicLink, .file:
            let place = try place(parent, name)
            // One whose bytes are in doubt is not to come back.
            if kind == .file && table.names(of: object).count == 1 && own[object]?.isLost == false && !refusals.contains(object) {
                try moveToLimbo(object, place, root: try rootNumber(of: parent))
                table.remove(parent, name)
            } else {
                try calling { () throws(SystemError) in try place.unlink() }
                table.remove(parent, name)
                if !table.isNamed(object) { forget(object) }
            }
        }
    }

    private func removeEverywhere(_ object: ObjectID) throws(ReplayError) {
        for name in table.names(of: object) { try displace(name.parent, name.name) }
        if own[object]?.limbo != nil { try purge(object) }
    }

    private func moveToLimbo(_ object: ObjectID, _ place: Place, root: Int) throws(ReplayError) {
        let limboPlace = limboPlace(object, root)
        try calling { () throws(SystemError) in
            try place.rename(to: limboPlace)
            limbo.insert(object, bytes: try limboPlace.status().blocks * 512)
        }
        own[object]?.limbo = UInt8(root)
        while let oldest = limbo.nextBeyondBounds() { try purge(oldest) }
    }

    private func bringBack(_ object: ObjectID, _ parent: ObjectID, _ name: [UInt8]) throws(ReplayError) {
        let from = try place(of: object), to = try place(parent, name)
        try calling { () throws(SystemError) in try from.rename(to: to, flags: UInt32(Replayer.renameNoReplace)) }
        limbo.remove(object)
        own[object]?.limbo = nil
        try changing { () throws(NameTableError) in try table.insert(object, .file, parent, name) }
    }

    /// Drops the bytes of a file in limbo; only its id stays known.
    func purge(_ object: ObjectID) throws(ReplayError) {
        let place = try place(of: object)
        try calling { () throws(SystemError) in try place.unlink() }
        limbo.remove(object)
        counts.purged += 1
        forget(object)
    }

    private func forget(_ object: ObjectID) {
        cache.remove(object)
        own[object] = nil
        table.forget(object)
        removed.insert(object)
        refusals.remove(object)
        // What is owed in a directory is gone with it; one that comes back is told with all that is in it.
        if !owed.isEmpty { owed = owed.filter { $0.parent != object } }
    }

    // MARK: rename and link

    func rename(_ record: Record) throws(ReplayError) {
        guard record.argument == 0 || record.argument == Replayer.renameNoReplace
            || record.argument == Replayer.renameExchange
        else { throw .unsupported("rename with flags \(record.argument)", at: position) }
        try requireDirectory(record.parent)
        try requireDirectory(record.targetParent)
        let source = table.lookup(record.parent, record.name)
        let target = table.lookup(record.targetParent, record.targetName)
        let sourceName = NameTable.Name(parent: record.parent, name: record.name)
        let targetName = NameTable.Name(parent: record.targetParent, name: record.targetName)
        let isExchange = record.argument == Replayer.renameExchange
        if let source, source == target { return }
        guard let source, target != nil || !isExchange else {
            if let target, target == record.object, !isExchange {
                counts.repairs += 1
                return
            }
            owed.insert(targetName)
            if isExchange { owed.insert(sourceName) }
            return
        }
        func isCycle(_ object: ObjectID, _ parent: ObjectID) -> Bool {
            table.kind(of: object) == .directory && table.isAncestor(object, of: parent)
        }
        if isCycle(source, record.targetParent) || target.map({ isCycle($0, record.parent) }) ?? false {
            // It ran beside another rename of directories, in the other order: a name fill says what both mean.
            owed.insert(targetName)
            owed.insert(sourceName)
            return
        }
        if isExchange {
            try move(record.parent, record.name, record.targetParent, record.targetName, flags: Replayer.renameExchange)
            return
        }
        if let target {
            if record.argument == Replayer.renameNoReplace || table.hasChildren(target) { counts.repairs += 1 }
            try displace(record.targetParent, record.targetName)
        }
        try move(record.parent, record.name, record.targetParent, record.targetName, flags: Replayer.renameNoReplace)
        owed.remove(sourceName)
        owed.remove(targetName)
    }

    /// In the file system and in the table. The target is free, or both are exchanged.
    private func move(_ parent: ObjectID, _ name: [UInt8], _ targetParent: ObjectID, _ targetName: [UInt8], flags: UInt64)
        throws(ReplayError)
    {
        let from = try place(parent, name), to = try place(targetParent, targetName)
        try calling { () throws(SystemError) in try from.rename(to: to, flags: UInt32(flags)) }
        try changing { () throws(NameTableError) in
            if flags == Replayer.renameExchange {
                try table.exchange(parent, name, with: targetParent, targetName)
            } else {
                try table.move(parent, name, to: targetParent, targetName)
            }
        }
    }

    func link(_ record: Record) throws(ReplayError) {
        try requireDirectory(record.targetParent)
        let targetName = NameTable.Name(parent: record.targetParent, name: record.targetName)
        let target = table.lookup(record.targetParent, record.targetName)
        if target == record.object { return }
        let isInLimbo = own[record.object]?.limbo != nil
        guard table.isNamed(record.object) || isInLimbo, table.kind(of: record.object) != .directory else {
            owed.insert(targetName)
            return
        }
        if target != nil {
            counts.repairs += 1
            try displace(record.targetParent, record.targetName)
        }
        if isInLimbo {
            try bringBack(record.object, record.targetParent, record.targetName)
        } else {
            try addName(record.object, record.targetParent, record.targetName)
        }
        owed.remove(targetName)
    }

    private func addName(_ object: ObjectID, _ parent: ObjectID, _ name: [UInt8]) throws(ReplayError) {
        let from = try place(of: object), to = try place(parent, name)
        try calling { () throws(SystemError) in try from.link(to: to) }
        try changing { () throws(NameTableError) in
            try table.insert(object, table.kind(of: object) ?? .file, parent, name)
        }
    }

    // MARK: conditions

    /// A name in a directory that an operation at the same time removed: in the end it is gone with it, or the name fills that
    /// follow bring both back. What would have been made there counts as removed too.
    func concernsRemovedDirectory(_ record: Record) throws(ReplayError) -> Bool {
        func isGone(_ directory: ObjectID) -> Bool { !table.contains(directory) && removed.contains(directory) }
        switch record.kind {
        case .create, .mkdir, .symlink, .mknod, .present, .unlink, .rmdir, .absent:
            guard isGone(record.parent) else { return false }
            if !record.object.isNone, !table.contains(record.object) { removed.insert(record.object) }
            return true
        case .rename:
            if isGone(record.parent) {
                if !isGone(record.targetParent) {
                    owed.insert(NameTable.Name(parent: record.targetParent, name: record.targetName))
                }
                return true
            }
            guard isGone(record.targetParent) else { return false }
            try displace(record.parent, record.name)
            return true
        case .link: return isGone(record.targetParent)
        default: return false
        }
    }

    private func requireDirectory(_ object: ObjectID) throws(ReplayError) {
        guard table.kind(of: object) == .directory, own[object] != nil else {
            throw .inconsistent("unknown parent: \(shown(object))", at: position)
        }
    }

    /// No directory can come to lie in itself, and none that a record needs is removed for it.
    private func requireOutside(_ object: ObjectID, _ parent: ObjectID) throws(ReplayError) {
        if table.kind(of: object) == .directory, table.isAncestor(object, of: parent) {
            throw .inconsistent("\(shown(object)) would come to lie in itself", at: position)
        }
    }

    /// The table refuses only what the conditions above exclude.
    func changing<R>(_ body: () throws(NameTableError) -> R) throws(ReplayError) {
        do throws(NameTableError) { _ = try body() } catch {
            throw ReplayError.inconsistent("impossible names: \(error)", at: position)
        }
    }
}
