import CLinux
import Capture
import Glibc
import Platform
import Primitives
import Replication

/// Taking operations in, in the order of the ring: bytes, attributes, names.
extension PrimaryPlane {
    // MARK: Bytes and attributes

    func admitData(_ sequence: SequenceNumber, _ arena: Arena, _ index: UInt32, _ intent: Intent, _ isDone: Bool) {
        // What is told when it is settled is told before what comes after it.
        if tracker.awaitsSettlement { sweep(checkingDeath: false) }
        if !names.contains(intent.object) && !nameless.contains(intent.object) { resolveUnknown(intent.object) }
        var record = Record(recordKind(intent))
        record.sequence = sequence
        record.object = intent.object
        record.offset = intent.offset
        record.length = intent.length
        record.argument = intent.argument
        record.mode = intent.mode
        record.owner = intent.owner
        record.group = intent.group
        let range: ByteRange
        switch intent.kind {
        case .write, .submit:
            range = ByteRange(offset: intent.offset, count: UInt64(intent.payload.count))
            record.length = UInt64(intent.payload.count)
        case .truncate: range = ByteRange(intent.length, .max)
        case .allocate where intent.shiftsBytes: range = ByteRange(intent.offset, .max)
        case .allocate, .changed: range = ByteRange(offset: intent.offset, count: intent.length)
        default: range = ByteRange(0, 0)
        }
        timesPending.insert(intent.object)
        recent.note(intent.object, at: drainedAt)
        if intent.kind == .times, isStreaming { timesSet.insert(intent.object) }
        if !intent.keepsBytes { fills.operationAdmitted(on: intent.object, range) }
        var operation = TrackedOperation(sequence: sequence, kind: record.kind, arena: arena.number, index: index,
            blocks: intent.blocks, object: intent.object, range: range, keepsBytes: intent.keepsBytes,
            predictedOffset: intent.flags.contains(.predicted))
        if operation.isExtendedAttribute {
            operation.attribute = intent.name
            operation.payload = Array(intent.payload)
        }
        tracker.admit(operation)
        let shipped: Bool
        switch intent.kind {
        // Its times are read when they are carried; bytes that were not seen are read when it is settled.
        case .times, .changed: shipped = false
        case .allocate where intent.shiftsBytes: shipped = false
        // One that fails here need not fail there: shipped when it succeeded.
        case .setAttribute, .removeAttribute: shipped = false
        default: shipped = isKnownToPeer(intent.object)
        }
        if shipped {
            record.payloadBytes = UInt32(intent.payload.count)
            tracker.shipped(sequence, at: ship(record, payload: intent.payload, about: [intent.object]))
        }
        if isDone { settle(sequence, arena, intent.result) }
    }

    /// It is of no concern to the peer before it has a name, and is told whole then.
    func admitNameless(_ sequence: SequenceNumber, _ arena: Arena, _ index: UInt32, _ intent: Intent, _ isDone: Bool) {
        tracker.admit(TrackedOperation(sequence: sequence, kind: .create, arena: arena.number, index: index, blocks: intent.blocks))
        if isDone { settle(sequence, arena, intent.result) }
    }

    func recordKind(_ intent: Intent) -> Record.Kind {
        switch intent.kind {
        case .changed: .fill
        case .allocate where intent.shiftsBytes: .fill
        case .submit: .write
        default: Record.Kind(rawValue: intent.kind.rawValue)!
        }
    }

    // MARK: Names

    func admitName(_ sequence: SequenceNumber, _ arena: Arena, _ index: UInt32, _ intent: Intent, _ isDone: Bool) {
        // An earlier name operation that is done must be in the table before this one.
        if !tracker.unsettled.isEmpty { sweep(checkingDeath: false) }
        var keys = [NameTable.Name(parent: intent.parent, name: intent.name)]
        if intent.kind == .rename { keys.append(NameTable.Name(parent: intent.targetParent, name: intent.targetName)) }
        if intent.kind == .link { keys = [NameTable.Name(parent: intent.targetParent, name: intent.targetName)] }
        for key in keys { recent.note(key, at: drainedAt) }
        for parent in Set(keys.map(\.parent)) where !names.contains(parent) { resolveUnknown(parent) }
        for parent in Set(keys.map(\.parent)) {
            timesPending.insert(parent)
            announce(parent)
        }
        var record = Record(Record.Kind(rawValue: intent.kind.rawValue)!)
        record.sequence = sequence
        record.parent = intent.parent
        record.targetParent = intent.targetParent
        record.name = intent.name
        record.targetName = intent.targetName
        record.object = intent.kind == .link ? intent.object : .none
        record.mode = intent.mode
        record.argument = intent.argument
        var target: [UInt8] = []
        if intent.kind == .symlink { (record.argument, target) = linkOnWire(Array(intent.payload), in: intent.parent) }
        let moved = names.lookup(intent.parent, intent.name)
        if intent.kind == .rename, let moved { announce(moved) }
        let enters = intent.kind == .link && intent.flags.contains(.crosses)
        if intent.kind == .link, !enters { announce(intent.object) }
        let exchanged = intent.isExchange ? names.lookup(intent.targetParent, intent.targetName) : nil
        if let exchanged { announce(exchanged) }
        let replaced = intent.kind == .rename && !intent.isExchange ? names.lookup(intent.targetParent, intent.targetName) : nil
        let linked = intent.kind == .link ? names.names(of: intent.object) : []
        tracker.admit(TrackedOperation(sequence: sequence, kind: record.kind, arena: arena.number, index: index,
            blocks: intent.blocks, object: intent.kind == .link ? intent.object : moved ?? .none, names: keys, argument: intent.kind == .link ? UInt64(intent.mode) : intent.argument,
            payload: Array(intent.payload),
            movesDirectory: intent.kind == .rename && [moved, exchanged].contains { $0.flatMap { names.kind(of: $0) } == .directory },
            directories: Array(Set((keys + linked).map(\.parent))), removes: intent.kind == .rmdir ? intent.object : replaced ?? .none, enters: enters))
        // The peer may have something else there until its name fill comes, and would move, remove or link that.
        if (keys + linked).contains(where: pendingNames.contains) || (keys + linked).contains(where: { isMoving($0.parent) }) {
            for key in keys { tracker.nameFillShipped(key) }
        }
        if isDone {
            // Made, and gone before its maker could look at it: what the name means now is looked up.
            if intent.result.value >= 0, creates(record.kind), let operation = tracker.operations[sequence],
                !isPlausible(intent.result, of: operation)
            {
                settle(sequence, arena, intent.result)
                return
            }
            // A refused operation leaves nothing behind and is not shipped at all.
            if intent.result.value >= 0 {
                record.object = objectOfRecord(intent.kind, result: intent.result, moved: moved, link: intent.object)
                record.mode = intent.result.mode != 0 ? intent.result.mode : intent.mode
                record.owner = intent.result.owner
                record.group = intent.result.group
                if isStreaming, !enters, canShip(record, keys, moved, exchanged) {
                    shipName(record, target: target)
                } else {
                    // In a directory that can't be told yet, or on an object that can't; the peer may know what it replaced.
                    lookUpAgain(keys)
                }
            }
            // A file that had no name, or that the peer does not know yet, is looked up under its new one, and told whole.
            settle(sequence, arena, intent.result, wasShipped: intent.kind != .link || (!enters && canShip(record, keys, moved, exchanged)))
            return
        }
        guard isStreaming, !enters, canShip(record, keys, moved, exchanged) else { return }
        record.flags = .tentative
        record.object = intent.kind == .link ? intent.object : moved ?? .none
        tracker.shipped(sequence, at: shipName(record, target: target))
    }

    /// A directory, or one above it, is being moved, or a name on the way to it is in doubt: the peer may take it for what another
    /// operation on that name removes, with all that is in it. What is told of it then brings back what is still there.
    func isMoving(_ directory: ObjectID) -> Bool {
        if tracker.movesDirectory(where: { names.isAncestor($0, of: directory) }) { return true }
        guard !pendingNames.isEmpty else { return false }
        var next = directory
        while let key = names.names(of: next).first {
            if pendingNames.contains(key) { return true }
            next = key.parent
        }
        return false
    }

    /// During a copy: what takes a name away from an object that the peer does not know is none of its business yet.
    /// Nor does it know what lies in a directory that can't be announced yet.
    func canShip(_ record: Record, _ keys: [NameTable.Name], _ object: ObjectID?, _ exchanged: ObjectID?) -> Bool {
        if record.kind == .link, !names.contains(record.object) { return false }
        guard let copy else { return true }
        if !keys.allSatisfy({ copy.isAnnounced($0.parent) }) { return false }
        if let exchanged, !copy.isAnnounced(exchanged) { return false }
        switch record.kind {
        case .unlink, .rmdir, .rename: return object.map { copy.isAnnounced($0) } ?? false
        case .link: return copy.isAnnounced(record.object) && copy.isAnnounced(record.targetParent)
        default: return copy.isAnnounced(record.parent)
        }
    }

    func objectOfRecord(_ kind: Intent.Kind, result: Intent.Result, moved: ObjectID?, link: ObjectID) -> ObjectID {
        switch kind {
        case .create, .mkdir, .symlink, .mknod: result.object
        case .link: link
        default: moved ?? .none
        }
    }

    func isAnnounced(_ object: ObjectID) -> Bool { copy?.isAnnounced(object) ?? true }

    @discardableResult
    func shipName(_ record: Record, target: [UInt8]) -> StreamPosition {
        if !record.object.isNone, record.flags.isEmpty, creates(record.kind) { copy?.noteAnnounced(record.object) }
        return target.withUnsafeBytes { ship(record, payload: $0, about: [record.object, record.parent, record.targetParent]) }
    }

    /// What a creation says that it made: something new, of its type, in its root. Else somebody removed or replaced it before
    /// its maker looked, and the name is looked up again.
    func isPlausible(_ result: Intent.Result, of operation: TrackedOperation) -> Bool {
        !result.object.isNone && result.object.root == operation.names.first?.parent.root
            && makes(operation.kind, result.mode) && !names.contains(result.object)
    }

    /// Whether a creation of this kind makes what has this type.
    func makes(_ kind: Record.Kind, _ mode: UInt32) -> Bool {
        mode & S_IFMT == (kind == .mkdir ? S_IFDIR : kind == .symlink ? S_IFLNK : S_IFREG)
    }

    func creates(_ kind: Record.Kind) -> Bool {
        kind == .create || kind == .mkdir || kind == .symlink || kind == .mknod
    }

    /// The table follows a name operation that took place. When it can't, operations that ran at the same time ended in another
    /// order, and the peer may not have been able to either: what the names mean is looked up and told.
    func applyName(_ operation: TrackedOperation, _ result: Intent.Result) {
        guard namesAreKnown else { return }
        do { try follow(operation, result) } catch {
            lookUpAgain(operation.names)
            if !isStreaming { namesInDoubt = true }
        }
    }

    private func follow(_ operation: TrackedOperation, _ result: Intent.Result) throws {
        switch operation.kind {
        case .create, .mkdir, .symlink, .mknod:
            guard let key = operation.names.first, !result.object.isNone else { return }
            let kind: NameTable.Kind = operation.kind == .mkdir ? .directory : operation.kind == .symlink ? .symbolicLink : .file
            noteNameless(try names.insert(result.object, kind, key.parent, key.name))
            nameless.remove(result.object)
            timesPending.insert(result.object)
            if operation.kind == .symlink { noteLink(result.object, at: key, target: operation.payload) }
        case .unlink, .rmdir:
            guard let key = operation.names.first else { return }
            let removed = names.remove(key.parent, key.name)
            noteNameless(removed)
            // A directory that left the tree takes all that is in it along.
            if let removed, names.hasChildren(removed) { namesInDoubt = true }
        case .rename:
            guard operation.names.count == 2 else { return }
            let from = operation.names[0], to = operation.names[1]
            if operation.argument & 2 != 0 {
                try names.exchange(from.parent, from.name, with: to.parent, to.name)
            } else {
                noteNameless(try names.move(from.parent, from.name, to: to.parent, to.name))
            }
            for key in [from, to] {
                if let object = names.lookup(key.parent, key.name), names.kind(of: object) == .symbolicLink { noteLink(object, at: key) }
            }
        case .link:
            guard let key = operation.names.first else { return }
            let kind = names.kind(of: operation.object) ?? NameTable.Kind(mode: UInt32(truncatingIfNeeded: operation.argument))
            nameless.remove(operation.object)
            noteNameless(try names.insert(operation.object, kind, key.parent, key.name))
        default: break
        }
    }

    /// A change of the table; one that is impossible means that the table and the trees differ: they are compared.
    @discardableResult
    func change(_ body: () throws -> ObjectID?) -> Bool {
        do { noteNameless(try body()) } catch {
            log.info("names are in doubt: \(error)")
            namesInDoubt = true
            return false
        }
        return true
    }

    func noteNameless(_ object: ObjectID?) {
        // A directory that still has children was not removed, whatever it looks like now.
        guard let object, !names.isNamed(object), !names.hasChildren(object) else { return }
        names.forget(object)
        nameless.insert(object)
        linksOut[object] = nil
        timesPending.remove(object)
        // Bounded: numbers of long-dead files are found again by `resolveUnknown`.
        if nameless.count > 65536 { nameless.removeAll(keepingCapacity: true) }
    }

    /// An object that nobody announced: made by a call that is not settled yet, or outside the capture. Nameless is only
    /// what no name leads to: a file that was unlinked while it was open.
    func resolveUnknown(_ object: ObjectID) {
        guard namesAreKnown else { return }
        sweep(checkingDeath: true)
        if names.contains(object) { return }
        for sequence in tracker.unsettled {
            guard let operation = tracker.operations[sequence], creates(operation.kind), !decided.contains(sequence),
                let key = operation.names.first, let path = names.path(of: key.parent),
                let found = tree.look(root: path.root.root, path: join(path.bytes, key.name)), found.object == object,
                makes(operation.kind, found.status.mode)
            else { continue }
            // Its maker is still in its call, and others use it already.
            let result = Intent.Result(value: 0, object: object, mode: found.status.mode, owner: found.status.owner,
                group: found.status.group)
            decided.insert(sequence)
            if operation.position != .none { shipOutcome(operation, succeeded: true, result) }
            applyName(operation, result)
            if operation.position == .none { tell(found, at: key, .new) }
            return
        }
        do { try adopt(object) } catch { log.info("looking for object \(object.inode): \(error)") }
        if !names.contains(object) { nameless.insert(object) }
    }

    /// Looks for one object that was made outside the capture, and tells of it and of what it lies in, as far as nobody knows
    /// that; whatever else is new comes through the ring, or is found by a pass of names.
    func adopt(_ object: ObjectID) throws {
        var unknown: [ObjectID: Tree.Entry] = [:]
        try tree.walk(found: { entry in if !names.contains(entry.object) { unknown[entry.object] = entry } }, skipped: { _ in })
        var chain: [Tree.Entry] = []
        var next = object
        while !names.contains(next), let entry = unknown.removeValue(forKey: next) {
            chain.append(entry)
            next = entry.parent
        }
        for entry in chain.reversed() {
            guard let path = names.path(of: entry.parent),
                let found = tree.look(root: path.root.root, path: join(path.bytes, entry.name)), found.object == entry.object
            else { return }
            let key = NameTable.Name(parent: entry.parent, name: entry.name)
            place(found, at: key)
            tell(found, at: key, .new)
        }
    }
}
