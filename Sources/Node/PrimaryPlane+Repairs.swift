import CLinux
import Capture
import Glibc
import Platform
import Primitives
import Replication

/// Inline fills and name fills: what the stream says wrongly is read and shipped again (rule R3).
extension PrimaryPlane {
    func repair(_ object: ObjectID, _ settlement: Settlement) {
        guard isStreaming else { return }
        lookUpAgain(settlement.repairNames)
        guard !settlement.repairRanges.isEmpty || settlement.repairsSize || settlement.repairAttributes,
            names.contains(object)
        else { return }
        counters.repairs += 1
        if !read(object, settlement) { pendingRepairs.append((object, settlement, Clock.monotonic)) }
    }

    /// What the peer has there is not known: the names are looked up when the ring is drained, and told.
    func lookUpAgain(_ keys: [NameTable.Name]) {
        guard isStreaming else { return }
        for key in keys { pendingNames.append(key, after: memory.reserved) }
    }

    func retryRepairs() {
        guard !pendingRepairs.isEmpty else { return }
        let pending = pendingRepairs
        pendingRepairs = []
        for entry in pending where names.contains(entry.object) {
            if read(entry.object, entry.settlement) { continue }
            if Clock.monotonic - entry.since > 1_000_000_000 {
                // Its name in the table and the file system disagree for good: somebody else moved it.
                log.info("object \(entry.object.inode) is not where its name was; names are compared")
                namesInDoubt = true
                pendingRepairs.append((entry.object, entry.settlement, Clock.monotonic))
                continue
            }
            pendingRepairs.append(entry)
        }
    }

    /// Reads the ranges now and ships them. The batch is not cut before everything that was published while they were
    /// read is in it too: a batch takes effect whole, so no state shows a later write without an earlier one.
    func read(_ object: ObjectID, _ settlement: Settlement) -> Bool {
        guard batch.bytes < Limits.batchBytesMax else { return false }
        guard let path = names.path(of: object), let found = tree.look(root: path.root.root, path: path.bytes), found.object == object
        else {
            decideRenames(of: object)
            return false
        }
        guard announce(object) else { return true }
        timesPending.insert(object)
        if settlement.repairAttributes {
            tracker.attributesShipped(object)
            guard let attributes = attributes(of: object, path.bytes) else { return false }
            // In this order: each may change what the next one sets. One without a name takes all attributes away.
            var record = Record(.chown)
            record.object = object
            record.owner = found.status.owner
            record.group = found.status.group
            ship(record, about: [object], isRepair: true)
            record = Record(.removeAttribute)
            record.object = object
            ship(record, about: [object], isRepair: true)
            shipAttributes(object, attributes)
            if names.kind(of: object) != .symbolicLink {
                record = Record(.chmod)
                record.object = object
                record.mode = found.status.mode
                ship(record, about: [object], isRepair: true)
            }
            batch.mustReach = max(batch.mustReach, memory.reserved)
        }
        guard names.kind(of: object) == .file, settlement.repairsSize || !settlement.repairRanges.isEmpty else { return true }
        guard let descriptor = tree.open(object, path: path.bytes) else {
            guard tree.openRefused == EACCES || tree.openRefused == EPERM else { return false }
            refusal = "\(tree.display(object.root, path.bytes)): the daemon may not read it (\(describe(errno: tree.openRefused))), so it can't be copied"
            return true
        }
        defer { close(descriptor) }
        guard let status = try? FileStatus.of(descriptor) else { return false }
        if settlement.repairsSize {
            var record = Record(.truncate)
            record.object = object
            record.length = status.size
            ship(record, about: [object], isRepair: true)
            tracker.fillShipped(object, ByteRange(status.size, .max))
            fills.fillShipped(object, ByteRange(status.size, .max))
        }
        let bytes = settlement.repairRanges.reduce(0) { $0 + min($1.upperBound, max(status.size, $1.lowerBound)) - $1.lowerBound }
        if bytes > UInt64(Limits.repairBytes) {
            // Too much for one batch: piece by piece.
            fills.append(object, .inDoubt, settlement.repairRanges)
            return true
        }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Limits.repairBytes, alignment: 4096)
        defer { buffer.deallocate() }
        for range in settlement.repairRanges {
            tracker.fillShipped(object, range)
            fills.fillShipped(object, range)
            var offset = range.lowerBound
            let end = min(range.upperBound, status.size)
            while offset < end {
                let wanted = min(UInt64(buffer.count), end - offset)
                let count = pread(descriptor, buffer.baseAddress, Int(wanted), off_t(offset))
                if count < 0 && errno == EINTR { continue }
                if count < 0 {
                    readFailed(object, errno)
                    return true
                }
                if count == 0 { break }
                var record = Record(.fill)
                record.object = object
                record.offset = offset
                record.length = status.size
                record.argument = tracker.floor?.value ?? memory.drained
                ship(record, payload: UnsafeRawBufferPointer(rebasing: buffer[..<count]), about: [object], isRepair: true)
                counters.fills += 1
                offset += UInt64(count)
            }
        }
        batch.mustReach = max(batch.mustReach, memory.reserved)
        return true
    }

    /// This node's bytes can't be read: it is no source any more, and the stream ends without a promise.
    func readFailed(_ object: ObjectID, _ code: Int32) {
        dataIsSuspect = true
        refusal = "reading object \(object.inode): \(describe(errno: code)); this node's data is suspect"
    }

    /// A rename that has visibly taken place, and whose process has not returned: nobody waits for it.
    func decideRenames(of object: ObjectID) {
        for sequence in tracker.unsettled where !decided.contains(sequence) {
            guard let operation = tracker.operations[sequence], operation.kind == .rename, operation.object == object,
                operation.names.count == 2, meaning(of: operation.names[1]).object == object
            else { continue }
            let result = Intent.Result(value: 0, object: object)
            decided.insert(sequence)
            if operation.position != .none { shipOutcome(operation, succeeded: true, result) } else { lookUpAgain(operation.names) }
            applyName(operation, result)
        }
    }

    func decideRenames(above directory: ObjectID) {
        var next: ObjectID? = directory
        while let object = next, !names.isRoot(object) {
            decideRenames(of: object)
            next = names.names(of: object).first?.parent
        }
    }

    /// What a name means in the trees now.
    func meaning(of key: NameTable.Name) -> Tree.Meaning {
        guard let path = names.path(of: key.parent) else { return .elsewhere }
        return tree.look(in: key.parent, path: path.bytes, name: key.name)
    }

    /// The whole of an object that the stream knows by name only.
    func shipWhole(_ object: ObjectID) {
        guard isStreaming, names.kind(of: object) == .file, announce(object) else { return }
        fills.append(object, .inDoubt)
    }

    /// Looks names up whose operations ran at the same time: when everything that was published before the look is admitted,
    /// and nothing was published during it. Under a load that never lets that happen, new operations are held.
    func fillNames() {
        guard !pendingNames.isEmpty, isStreaming else {
            pendingNames = PendingNames()
            return
        }
        guard memory.isRingEmpty else {
            if pendingNames.entries.contains(where: { memory.drained > $0.after + 4096 }) { namesInDoubt = true }
            return
        }
        let asked = pendingNames.take()
        let start = Clock.monotonic
        for entry in asked {
            // A large directory takes long to tell; acknowledgements and heartbeats do not wait for many of them.
            guard Clock.monotonic - start < Limits.namesNanoseconds else {
                pendingNames.append(entry.name, after: entry.after)
                continue
            }
            guard names.path(of: entry.name.parent) != nil else {
                // Of a directory that has gone nothing is to be told. One that the table has lost is told when it is found, but not
                // what has left it.
                if names.contains(entry.name.parent) {
                    namesInDoubt = true
                    pendingNames.append(entry.name, after: entry.after)
                }
                continue
            }
            let meaning = meaning(of: entry.name)
            if case .elsewhere = meaning {
                // A rename that moved it, or what it lies in, has taken place, and is in its call still.
                decideRenames(above: entry.name.parent)
                if Clock.monotonic - entry.since > 1_000_000_000 { namesInDoubt = true }
            } else if memory.isRingEmpty {
                fillName(entry.name, meaning)
                continue
            }
            pendingNames.append(entry.name, after: entry.after)
        }
        if !pendingNames.isEmpty { pendingNames.keepTimes(of: asked) }
    }

    /// What a name means is shipped whatever the table says: after operations that ran at the same time, the table has the order
    /// of their ends, the secondary that of their records.
    func fillName(_ key: NameTable.Name, _ meaning: Tree.Meaning) {
        counters.repairs += 1
        guard case .found(let found) = meaning else {
            noteNameless(names.remove(key.parent, key.name))
            shipAbsent(key)
            return
        }
        // What can't be there yet (a directory in what still lies in it) is told by the comparison of all names, from the top.
        if place(found, at: key) { tell(found, at: key, .inDoubt) }
    }

    /// The table follows what was found.
    @discardableResult
    func place(_ found: Tree.Found, at key: NameTable.Name) -> Bool {
        let isPlaced = change { try names.insert(found.object, NameTable.Kind(mode: found.status.mode), key.parent, key.name) }
        nameless.remove(found.object)
        timesPending.insert(found.object)
        if names.kind(of: found.object) == .symbolicLink { noteLink(found.object, at: key) }
        return isPlaced
    }

    /// Tells the peer that `key` means `found`, with its bytes.
    func tell(_ found: Tree.Found, at key: NameTable.Name, _ reason: FillQueue.Reason) {
        guard isStreaming else { return }
        // It is somewhere else by now, or its directory can't be told yet: until it is, the peer may have another one there.
        guard announce(found.object), announce(key.parent), shipPresent(found.object, found, at: key) else {
            lookUpAgain([key])
            return
        }
        timesPending.insert(key.parent)
        switch names.kind(of: found.object) {
        case .file: fills.append(found.object, reason)
        case .directory where reason == .inDoubt:
            // The peer may have removed it, with all that was in it.
            tracker.nameFillShipped { names.isAncestor(found.object, of: $0) }
            var below: [(NameTable.Name, ObjectID, NameTable.Kind)] = []
            names.forEachName(below: found.object) { below.append(($0, $1, $2)) }
            for (name, object, kind) in below {
                guard announce(object), shipPresent(object, nil, at: name) else {
                    lookUpAgain([name])
                    continue
                }
                timesPending.insert(object)
                timesPending.insert(name.parent)
                if kind == .file { fills.append(object, .inDoubt) }
            }
        default: break
        }
    }

    /// A name that the pass of names found, and the table did not have: whoever made it did so outside the capture, or while
    /// names were in doubt, so the peer may have anything there. A directory that the peer knows moves with what is in it.
    func present(_ found: Tree.Found, at key: NameTable.Name, movedFrom old: NameTable.Name?) {
        let isNew = !names.contains(found.object)
        place(found, at: key)
        tell(found, at: key, isNew ? .new : .inDoubt)
        if let old { lookUpAgain([old]) }
    }

    func shipAbsent(_ key: NameTable.Name) {
        guard isStreaming else { return }
        var record = Record(.absent)
        record.parent = key.parent
        record.name = key.name
        tracker.nameFillShipped(key)
        // A directory that it does not know yet is told with what is in it then.
        guard announce(key.parent) else { return }
        timesPending.insert(key.parent)
        ship(record, about: [key.parent], isRepair: true)
    }

    /// The name fill of one object as it is now; false when it can't be found where its name says.
    @discardableResult
    func shipPresent(_ object: ObjectID, _ found: Tree.Found?, at name: NameTable.Name? = nil) -> Bool {
        guard let key = name ?? names.names(of: object).first, let path = names.path(of: object) else { return false }
        tracker.nameFillShipped(key)
        tracker.attributesShipped(object)
        guard let found = found ?? tree.look(root: path.root.root, path: path.bytes), found.object == object else { return false }
        var record = Record(.present)
        record.object = object
        record.parent = key.parent
        record.name = key.name
        record.mode = found.status.mode
        record.owner = found.status.owner
        record.group = found.status.group
        record.length = found.status.size
        record.modificationTime = found.status.modified_nanoseconds
        var target: [UInt8] = []
        if names.kind(of: object) == .symbolicLink {
            guard let link = tree.target(root: path.root.root, path: path.bytes) else { return false }
            (record.argument, target) = linkOnWire(link, in: key.parent)
        }
        guard let attributes = attributes(of: object, path.bytes) else { return false }
        target.withUnsafeBytes { _ = ship(record, payload: $0, about: [object, key.parent]) }
        shipAttributes(object, attributes)
        return true
    }

    /// Read before anything is told of the object. Nil: it is not there any more, or they can't be read, and the stream ends.
    func attributes(of object: ObjectID, _ path: [UInt8]) -> [ExtendedAttributes.Attribute]? {
        do { return try tree.attributes(of: object, path: path) } catch {
            refusal = "\(tree.display(object.root, path)): \(error), so it can't be copied"
            return nil
        }
    }

    /// Those that it has; the records before have taken all others away.
    func shipAttributes(_ object: ObjectID, _ attributes: [ExtendedAttributes.Attribute]) {
        for attribute in attributes {
            var record = Record(.setAttribute)
            record.object = object
            record.name = attribute.name
            attribute.value.withUnsafeBytes { _ = ship(record, payload: $0, about: [object]) }
        }
    }

    /// A root has neither parent nor name.
    func shipRoot(_ root: Tree.Root) {
        guard let found = tree.look(root: root.object.root, path: []) else { return }
        var record = Record(.present)
        record.object = root.object
        record.mode = found.status.mode
        record.owner = found.status.owner
        record.group = found.status.group
        record.modificationTime = found.status.modified_nanoseconds
        ship(record, about: [root.object])
        shipAttributes(root.object, attributes(of: root.object, []) ?? [])
    }
}
