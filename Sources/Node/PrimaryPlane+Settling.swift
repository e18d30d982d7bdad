import CLinux
import Capture
import Glibc
import Platform
import Primitives
import Replication

/// What becomes of operations when their calls have returned, or never will (rule R2).
extension PrimaryPlane {
    /// An arena that a keeper of before announced: what is busy in it and not in the ring was drained by the daemon of
    /// before. What becomes of it is not known yet.
    func inherit(_ arena: Arena) {
        let inRing = memory.intentsInRing()
        var busy = arena.busyIntents
        while busy != 0 {
            let index = UInt32(busy.trailingZeroBitCount)
            busy &= busy - 1
            if inRing.contains(UInt64(arena.number) << 8 | UInt64(index)) { continue }
            arena.tracked += 1
            inherited.append((arena.number, index))
        }
    }

    func sweepInherited() {
        inherited.removeAll { entry in
            guard let arena = memory.arenas[entry.arena] else { return true }
            guard arena.isDone(entry.index) || !arena.checkAlive() else { return false }
            // It was waiting to be published when its arena came: it is admitted from the ring.
            if memory.intentsInRing().contains(UInt64(entry.arena) << 8 | UInt64(entry.index)) {
                arena.tracked -= 1
                return true
            }
            defer {
                memory.giveBack(sequence: 0, arena: entry.arena, index: entry.index, blocks: (try? arena.intent(entry.index))?.blocks ?? 0)
                arena.tracked -= 1
            }
            guard let intent = try? arena.intent(entry.index) else { return true }
            if !intent.parent.isNone || !intent.targetParent.isNone { namesInDoubt = true }
            guard isStreaming else { return true }
            var settlement = Settlement()
            if !intent.parent.isNone, !intent.name.isEmpty { settlement.repairNames.append(NameTable.Name(parent: intent.parent, name: intent.name)) }
            if !intent.targetParent.isNone {
                settlement.repairNames.append(NameTable.Name(parent: intent.targetParent, name: intent.targetName))
            }
            if !intent.object.isNone, intent.kind != .barrier {
                settlement.repairRanges = [.all]
                settlement.repairsSize = true
                settlement.repairAttributes = true
            }
            repair(intent.object, settlement)
            return true
        }
    }

    /// Looks which calls have returned meanwhile (R2); with `checkingDeath` also which never will.
    func sweep(checkingDeath: Bool) {
        var alive: [UInt32: Bool] = [:]
        func isAlive(_ arena: Arena) -> Bool {
            if let known = alive[arena.number] { return known }
            let known = arena.checkAlive()
            alive[arena.number] = known
            return known
        }
        for sequence in tracker.unsettled {
            guard let operation = tracker.operations[sequence], let arena = memory.arenas[operation.arena] else { continue }
            if arena.isDone(operation.index) || (checkingDeath && !isAlive(arena) && arena.isDone(operation.index)) {
                guard let intent = try? arena.intent(operation.index) else {
                    settleDead(operation, arena)
                    continue
                }
                settle(sequence, arena, intent.result)
                // Its time may have been carried before its call changed it.
                if operation.names.isEmpty, names.contains(operation.object) { timesPending.insert(operation.object) }
            } else if checkingDeath, !isAlive(arena) {
                settleDead(operation, arena)
            }
        }
        answered.removeAll { waiter in
            guard let arena = memory.arenas[waiter.arena] else { return true }
            guard arena.isDone(waiter.index) || !arena.isAlive else { return false }
            memory.giveBack(sequence: waiter.sequence, arena: waiter.arena, index: waiter.index, blocks: 0)
            arena.tracked -= 1
            return true
        }
        if !inherited.isEmpty { sweepInherited() }
        retireArenas()
    }

    /// `wasShipped`: its record, with its result, is in the stream already.
    func settle(_ sequence: SequenceNumber, _ arena: Arena, _ result: Intent.Result, wasShipped: Bool = false) {
        guard let operation = tracker.operations[sequence], !operation.isSettled else { return }
        // A result that the process made up can't reach beyond what it could have written, or be done before or after all.
        let settlement = tracker.settle(sequence, value: result.value, actualOffset: min(result.actualOffset, 1 << 62),
            doneReserved: min(max(result.doneReserved, sequence.value + 1), memory.reserved), contended: result.contended)
        if !operation.names.isEmpty {
            if sequence.value < namesReadAt { namesInDoubt = true }
            if decided.remove(sequence) != nil {
                finish(operation, arena, settlement)
                return
            }
            let isUnknown = creates(operation.kind) && !isPlausible(result, of: operation)
            let succeeded = result.value >= 0 && !isUnknown
            if operation.position != .none { shipOutcome(operation, succeeded: succeeded, result) }
            let isUnnamed = operation.kind == .link && (operation.enters || !names.contains(operation.object))
            if result.value >= 0, isUnknown || (isStreaming && isUnnamed) || (isStreaming && operation.position == .none && !wasShipped) {
                // It began before this stream did, on an object that the peer is not told of yet, or its maker lost it.
                lookUpAgain(operation.names)
            } else if result.value >= 0 {
                applyName(operation, result)
            }
        } else if operation.isExtendedAttribute {
            if result.value >= 0, isKnownToPeer(operation.object) { shipAttribute(operation) }
        } else if operation.kind == .create, result.value >= 0, !result.object.isNone, !names.contains(result.object) {
            nameless.insert(result.object)
        }
        finish(operation, arena, settlement)
    }

    func settleDead(_ operation: TrackedOperation, _ arena: Arena) {
        #if LOCKSTEP_FAULTS
        // Planted fault: a barrier passes the intent of a dead process.
        if Faults.passesDeadIntents { return }
        #endif
        let settlement = tracker.settleDead(operation.sequence, doneReserved: memory.reserved)
        if !operation.names.isEmpty, operation.sequence.value < namesReadAt { namesInDoubt = true }
        if !operation.names.isEmpty, decided.remove(operation.sequence) == nil { decideByLooking(operation) }
        finish(operation, arena, settlement)
    }

    func finish(_ operation: TrackedOperation, _ arena: Arena, _ settlement: Settlement) {
        if !settlement.isEmpty { repair(operation.object, settlement) }
        returning.append((operation.sequence.value, operation.arena, operation.index, operation.blocks))
    }

    func shipAttribute(_ operation: TrackedOperation) {
        var record = Record(operation.kind)
        record.sequence = operation.sequence
        record.object = operation.object
        record.name = operation.attribute
        operation.payload.withUnsafeBytes { _ = ship(record, payload: $0, about: [operation.object]) }
    }

    func shipOutcome(_ operation: TrackedOperation, succeeded: Bool, _ result: Intent.Result) {
        guard isStreaming else { return }
        var record = Record(.outcome)
        record.argument = operation.position.value
        record.flags = succeeded ? .succeeded : []
        record.object = creates(operation.kind) ? result.object : operation.object
        record.mode = result.mode
        record.owner = result.owner
        record.group = result.group
        if succeeded, creates(operation.kind) { copy?.noteAnnounced(result.object) }
        ship(record, about: [record.object] + operation.names.map(\.parent), isRepair: !succeeded)
    }

    /// The owner of a name operation died inside its call: the file system says whether it took place.
    func decideByLooking(_ operation: TrackedOperation) {
        guard let first = operation.names.first else { return }
        var result = Intent.Result(value: -1)
        switch operation.kind {
        case .create, .mkdir, .symlink, .mknod:
            if case .found(let made) = meaning(of: first), makes(operation.kind, made.status.mode), !names.contains(made.object) {
                result = Intent.Result(value: 0, object: made.object, mode: made.status.mode, owner: made.status.owner,
                    group: made.status.group)
            }
        case .unlink, .rmdir:
            if meaning(of: first).object != operation.object { result.value = 0 }
        case .rename:
            if meaning(of: operation.names[1]).object == operation.object { result.value = 0 }
        default:
            if meaning(of: first).object == operation.object { result.value = 0 }
        }
        if operation.position != .none { shipOutcome(operation, succeeded: result.value >= 0, result) }
        // The peer was not told, or wrongly.
        let isElsewhere = operation.names.contains { if case .elsewhere = meaning(of: $0) { true } else { false } }
        if isElsewhere || (result.value >= 0 && operation.position == .none) { lookUpAgain(operation.names) }
        if result.value >= 0, isStreaming, operation.kind == .link, operation.enters || !names.contains(operation.object) { return }
        if result.value >= 0 { applyName(operation, result) }
        if result.value >= 0, creates(operation.kind) { shipWhole(result.object) }
    }
}
