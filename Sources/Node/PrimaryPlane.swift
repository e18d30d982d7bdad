import CCaptureABI
import Capture
import CLinux
import Frame
import Glibc
import Platform
import Primitives
import Replication

/// The primary's side of the data plane: drains the ring, ships records, answers durability points.
///
///     ring --next()--> admit --ship--> batch --cut--> journal + link
///                        |                                |
///                     tracker  <--sweep-- arenas       acks --release--> answer words
///
/// One thread owns it. Nothing in it waits; what can't be done now is looked at again in the next turn.
final class PrimaryPlane {
    let configuration: Configuration
    let log: Log
    let tree: Tree
    let memory: CaptureMemory
    let server: CaptureServer
    var names: NameTable
    var tracker = OperationTracker()
    var release = ReleaseQueue()
    var counters = Counters()
    /// The first copy that runs, or nil.
    var copy: FirstCopy?
    /// Files whose bytes are being shipped whole.
    let fills = FillQueue()
    /// Records are being shipped: a stream to the peer has begun.
    var isStreaming = false
    /// The alone permit is durable (I1, I4); `needsPeer`: waiters need the peer although it is (I5).
    var holdsAlonePermit = false
    var needsPeer = false
    /// A read or flush of this node's files failed: it is no source of bytes any more.
    var dataIsSuspect = false
    /// Why the stream can't go on; the data plane ends it.
    var refusal: String?
    let epoch: Epoch

    /// The open batch: raw records, and what its header needs.
    var batch = OpenBatch()
    /// Repairs that could not be read yet, because a name operation that has run is not drained yet.
    private var pendingRepairs: [(object: ObjectID, settlement: Settlement, since: UInt64)] = []
    /// Settled operations whose intents go back once their batch is in the journal.
    private var returning: [(sequence: UInt64, arena: UInt32, index: UInt32, blocks: UInt64)] = []
    /// Answered barriers whose waiter has not looked yet.
    private var answered: [(sequence: UInt64, arena: UInt32, index: UInt32)] = []
    /// Operations that a dead daemon had drained and that were still in their calls: looked at again when they end.
    private var inherited: [(arena: UInt32, index: UInt32)] = []
    /// Everything below is in the local journal, acknowledged, or needs neither.
    private var journaledBelow: UInt64
    private var batchesUnjournaled = 0
    private var timesPending: Set<ObjectID> = []
    private var nameless: Set<ObjectID> = []
    var namesInDoubt = false
    private var holdingSince: UInt64?
    private var unannouncedSince: UInt64?
    private var waitersSeen: UInt64 = 0
    private var advancedTo: UInt64 = 0
    /// Names to be looked up once the ring is drained up to there.
    private var pendingNames: [(name: NameTable.Name, after: UInt64)] = []
    /// Creations that are in the table although their makers have not returned.
    private var decided: Set<SequenceNumber> = []
    /// An arena that was announced: its process is to be watched.
    var onArena: (Arena) -> Void = { _ in }

    struct Counters {
        var operations: UInt64 = 0
        var barriers: UInt64 = 0
        var batches: UInt64 = 0
        var fills: UInt64 = 0
        var repairs: UInt64 = 0
    }

    init(_ configuration: Configuration, log: Log, tree: Tree, memory: CaptureMemory, server: CaptureServer, epoch: Epoch,
        after position: StreamPosition) throws
    {
        self.configuration = configuration
        self.log = log
        self.tree = tree
        self.memory = memory
        self.server = server
        self.epoch = epoch
        journaledBelow = memory.drained
        release.restart(after: position)
        names = NameTable(roots: tree.roots.map(\.object))
        try tree.walk(
            found: { _ = try? names.insert($0.object, NameTable.Kind(mode: $0.mode), $0.parent, $0.name) },
            skipped: { log.info("\($0) is neither file, directory nor symbolic link: not replicated") })
    }

    var releasesLocally: Bool { holdsAlonePermit && !needsPeer }

    // MARK: The ring

    /// Takes what is in the ring. Returns false when it stopped for lack of room.
    func drain() throws {
        let start = Clock.monotonic
        while batch.bytes < Limits.batchBytes || (memory.drained < batch.mustReach && batch.bytes < Limits.batchBytesMax) {
            switch try memory.next(now: start, revokeAfterNanoseconds: Limits.revokeAfterNanoseconds) {
            case .nothing, .reserved: return
            case .revoked: continue
            case .intent(let sequence, let arena, let index):
                guard try isAnnounced(arena, sequence: sequence, now: start) else { return }
                try admit(SequenceNumber(sequence), arena, index)
            }
        }
    }

    /// Keepers announce an arena before its process gets it, unless the daemon or their connection was away: then they announce
    /// again what they have, and it is waited for. What nobody announces in time is lost with its keeper, and compared.
    private func isAnnounced(_ arena: UInt32, sequence: UInt64, now: UInt64) throws -> Bool {
        if memory.arenas[arena] == nil { for keeper in server.keepers.keys { try receive(from: keeper) } }
        if memory.arenas[arena] != nil {
            unannouncedSince = nil
            return true
        }
        if !memory.isAdopted, unannouncedSince.map({ now - $0 >= Limits.announcementNanoseconds }) ?? false {
            throw CaptureError("order ring is scribbled over: sequence \(sequence) names arena \(arena), which nobody announced")
        }
        let since = unannouncedSince ?? now
        unannouncedSince = since
        if now - since < Limits.announcementNanoseconds {
            memory.putBack(sequence: sequence)
            return false
        }
        log.info("operation \(sequence) of arena \(arena) is lost with its keeper; all files are copied to the peer again")
        if isStreaming { restartCopy() }
        return true
    }

    private func admit(_ sequence: SequenceNumber, _ number: UInt32, _ index: UInt32) throws {
        guard let arena = memory.arenas[number] else { return }
        // Whether it is done is read before the copy: a result that is there is whole.
        let isDone = arena.isDone(index)
        let intent: Intent
        do { intent = try arena.intent(index) } catch {
            // What that process did is not known: everything is compared, by copying it again.
            log.info("\(error); all files are copied to the peer again")
            copy = nil
            if isStreaming { restartCopy() }
            return
        }
        counters.operations += 1
        arena.tracked += 1
        // It was being filled in when its arena was announced again, and not in its call.
        if let known = inherited.firstIndex(where: { $0.arena == number && $0.index == index }) {
            inherited.remove(at: known)
            arena.tracked -= 1
        }
        switch intent.kind {
        case .barrier: barrier(sequence, arena, index, intent)
        case .create, .mkdir, .symlink, .unlink, .rmdir, .rename, .link, .mknod:
            admitName(sequence, arena, index, intent, isDone)
        default: admitData(sequence, arena, index, intent, isDone)
        }
    }

    // MARK: Bytes and attributes

    private func admitData(_ sequence: SequenceNumber, _ arena: Arena, _ index: UInt32, _ intent: Intent, _ isDone: Bool) {
        if !names.contains(intent.object) && !nameless.contains(intent.object) { resolveUnknown(intent.object) }
        var record = Record(recordKind(intent.kind))
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
        case .write:
            range = ByteRange(offset: intent.offset, count: UInt64(intent.payload.count))
            record.length = UInt64(intent.payload.count)
        case .truncate: range = ByteRange(intent.length, .max)
        case .allocate, .changed: range = ByteRange(offset: intent.offset, count: intent.length)
        default: range = ByteRange(0, 0)
        }
        timesPending.insert(intent.object)
        fills.operationAdmitted(on: intent.object, range)
        tracker.admit(TrackedOperation(sequence: sequence, kind: record.kind, arena: arena.number, index: index,
            blocks: intent.blocks, object: intent.object, range: range, predictedOffset: intent.flags.contains(.predicted)))
        let shipped: Bool
        switch intent.kind {
        // Its times are read when they are carried; bytes that were not seen are read when it is settled.
        case .times, .changed: shipped = false
        case .setAttribute, .removeAttribute: shipped = isKnownToPeer(intent.object)
            record.name = intent.name
        default: shipped = isKnownToPeer(intent.object)
        }
        if shipped {
            record.payloadBytes = UInt32(intent.payload.count)
            tracker.shipped(sequence, at: ship(record, payload: intent.payload, about: [intent.object]))
        }
        if isDone { settle(sequence, arena, intent.result) }
    }

    private func recordKind(_ kind: Intent.Kind) -> Record.Kind {
        switch kind {
        case .changed: .fill
        case .submit: .write
        default: Record.Kind(rawValue: kind.rawValue)!
        }
    }

    // MARK: Names

    private func admitName(_ sequence: SequenceNumber, _ arena: Arena, _ index: UInt32, _ intent: Intent, _ isDone: Bool) {
        // An earlier name operation that is done must be in the table before this one.
        if !tracker.unsettled.isEmpty { sweep(checkingDeath: false) }
        var keys = [NameTable.Name(parent: intent.parent, name: intent.name)]
        if intent.kind == .rename { keys.append(NameTable.Name(parent: intent.targetParent, name: intent.targetName)) }
        if intent.kind == .link { keys = [NameTable.Name(parent: intent.targetParent, name: intent.targetName)] }
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
        let moved = names.lookup(intent.parent, intent.name)
        if intent.kind == .rename, let moved { announce(moved) }
        tracker.admit(TrackedOperation(sequence: sequence, kind: record.kind, arena: arena.number, index: index,
            blocks: intent.blocks, object: moved ?? .none, names: keys, argument: intent.argument,
            payload: Array(intent.payload)))
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
                if isStreaming, canShip(record, moved) { shipName(record, payload: intent.payload) }
            }
            settle(sequence, arena, intent.result, wasShipped: true)
            return
        }
        guard isStreaming, canShip(record, moved) else { return }
        record.flags = .tentative
        record.object = intent.kind == .link ? intent.object : moved ?? .none
        tracker.shipped(sequence, at: shipName(record, payload: intent.payload))
    }

    /// During a copy: what takes a name away from an object that the peer does not know is none of its business yet.
    private func canShip(_ record: Record, _ object: ObjectID?) -> Bool {
        guard let copy else { return true }
        switch record.kind {
        case .unlink, .rmdir, .rename: return object.map { copy.isAnnounced($0) } ?? false
        case .link: return copy.isAnnounced(record.object)
        default: return copy.isAnnounced(record.parent)
        }
    }

    private func objectOfRecord(_ kind: Intent.Kind, result: Intent.Result, moved: ObjectID?, link: ObjectID) -> ObjectID {
        switch kind {
        case .create, .mkdir, .symlink, .mknod: result.object
        case .link: link
        default: moved ?? .none
        }
    }

    @discardableResult
    private func shipName(_ record: Record, payload: UnsafeRawBufferPointer) -> StreamPosition {
        var record = record
        record.payloadBytes = UInt32(payload.count)
        if !record.object.isNone, record.flags.isEmpty, creates(record.kind) { copy?.noteAnnounced(record.object) }
        return ship(record, payload: payload, about: [record.object, record.parent, record.targetParent])
    }

    /// What a creation says that it made: something new, of its type, in its root. Else somebody removed or replaced it before
    /// its maker looked, and the name is looked up again.
    private func isPlausible(_ result: Intent.Result, of operation: TrackedOperation) -> Bool {
        let type: UInt32 = operation.kind == .mkdir ? S_IFDIR : operation.kind == .symlink ? S_IFLNK : S_IFREG
        return !result.object.isNone && result.object.root == operation.names.first?.parent.root
            && result.mode & S_IFMT == type && !names.contains(result.object)
    }

    private func creates(_ kind: Record.Kind) -> Bool {
        kind == .create || kind == .mkdir || kind == .symlink || kind == .mknod
    }

    /// The table follows a name operation that took place.
    private func applyName(_ operation: TrackedOperation, _ result: Intent.Result) {
        switch operation.kind {
        case .create, .mkdir, .symlink, .mknod:
            guard let key = operation.names.first, !result.object.isNone else { return }
            let kind: NameTable.Kind = operation.kind == .mkdir ? .directory : operation.kind == .symlink ? .symbolicLink : .file
            change { try names.insert(result.object, kind, key.parent, key.name) }
            nameless.remove(result.object)
            timesPending.insert(result.object)
        case .unlink, .rmdir:
            guard let key = operation.names.first else { return }
            noteNameless(names.remove(key.parent, key.name))
        case .rename:
            guard operation.names.count == 2 else { return }
            let from = operation.names[0], to = operation.names[1]
            if operation.argument & 2 != 0 {
                change {
                    try names.exchange(from.parent, from.name, with: to.parent, to.name)
                    return nil
                }
            } else {
                change { try names.move(from.parent, from.name, to: to.parent, to.name) }
            }
        case .link:
            guard let key = operation.names.first else { return }
            change { try names.insert(operation.object, .file, key.parent, key.name) }
        default: break
        }
    }

    /// A change of the table; one that is impossible means that the table and the trees differ: they are compared.
    private func change(_ body: () throws -> ObjectID?) {
        do { noteNameless(try body()) } catch {
            log.info("names are in doubt: \(error)")
            namesInDoubt = true
        }
    }

    private func noteNameless(_ object: ObjectID?) {
        // A directory that still has children was not removed, whatever it looks like now.
        guard let object, !names.isNamed(object), !names.hasChildren(object) else { return }
        names.forget(object)
        nameless.insert(object)
        timesPending.remove(object)
        // Bounded: numbers of long-dead files are found again by `resolveUnknown`.
        if nameless.count > 65536 { nameless.removeAll(keepingCapacity: true) }
    }

    /// An object that nobody announced: made by a call that is not settled yet, or outside the capture. Nameless is only
    /// what no name leads to: a file that was unlinked while it was open.
    private func resolveUnknown(_ object: ObjectID) {
        sweep(checkingDeath: true)
        if names.contains(object) { return }
        for sequence in tracker.unsettled {
            guard let operation = tracker.operations[sequence], creates(operation.kind), !decided.contains(sequence),
                let key = operation.names.first, let path = names.path(of: key.parent),
                let found = tree.look(root: path.root.root, path: join(path.bytes, key.name)), found.object == object
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
    private func adopt(_ object: ObjectID) throws {
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

    // MARK: Settling

    /// An arena that a keeper of before announced: what is busy in it and not in the ring was drained by the daemon of
    /// before. What becomes of it is not known yet.
    private func inherit(_ arena: Arena) {
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

    private func sweepInherited() {
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
            guard let intent = try? arena.intent(entry.index), isStreaming else { return true }
            var settlement = Settlement()
            if !intent.parent.isNone { settlement.repairNames.append(NameTable.Name(parent: intent.parent, name: intent.name)) }
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
    private func settle(_ sequence: SequenceNumber, _ arena: Arena, _ result: Intent.Result, wasShipped: Bool = false) {
        guard let operation = tracker.operations[sequence], !operation.isSettled else { return }
        // A result that the process made up can't reach beyond what it could have written, or be done before or after all.
        let settlement = tracker.settle(sequence, value: result.value, actualOffset: min(result.actualOffset, 1 << 62),
            doneReserved: min(max(result.doneReserved, sequence.value + 1), memory.reserved), contended: result.contended)
        if !operation.names.isEmpty {
            if decided.remove(sequence) != nil {
                finish(operation, arena, settlement)
                return
            }
            let isUnknown = creates(operation.kind) && !isPlausible(result, of: operation)
            let succeeded = result.value >= 0 && !isUnknown
            if operation.position != .none { shipOutcome(operation, succeeded: succeeded, result) }
            if result.value >= 0, isUnknown || (isStreaming && operation.position == .none && !wasShipped) {
                // It began before this stream did, on an object that the peer is not told of yet, or its maker lost it.
                for key in operation.names { pendingNames.append((key, memory.reserved)) }
            } else if result.value >= 0 {
                applyName(operation, result)
            }
        } else if operation.kind == .fill {
            repair(operation.object, changed(settlement, operation.range))
        }
        finish(operation, arena, settlement)
    }

    private func changed(_ settlement: Settlement, _ range: ByteRange) -> Settlement {
        var settlement = settlement
        settlement.repairRanges.append(range)
        return settlement
    }

    private func settleDead(_ operation: TrackedOperation, _ arena: Arena) {
        #if LOCKSTEP_FAULTS
        // Planted fault: a barrier passes the intent of a dead process.
        if Faults.passesDeadIntents { return }
        #endif
        let settlement = tracker.settleDead(operation.sequence, doneReserved: memory.reserved)
        if !operation.names.isEmpty, decided.remove(operation.sequence) == nil { decideByLooking(operation) }
        finish(operation, arena, settlement)
    }

    private func finish(_ operation: TrackedOperation, _ arena: Arena, _ settlement: Settlement) {
        if !settlement.isEmpty { repair(operation.object, settlement) }
        returning.append((operation.sequence.value, operation.arena, operation.index, operation.blocks))
    }

    private func shipOutcome(_ operation: TrackedOperation, succeeded: Bool, _ result: Intent.Result) {
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
    private func decideByLooking(_ operation: TrackedOperation) {
        func found(_ key: NameTable.Name) -> Tree.Found? {
            names.path(of: key.parent).flatMap { tree.look(root: $0.root.root, path: join($0.bytes, key.name)) }
        }
        guard let first = operation.names.first else { return }
        var result = Intent.Result(value: -1)
        switch operation.kind {
        case .create, .mkdir, .symlink, .mknod:
            if let made = found(first), !names.contains(made.object) {
                result = Intent.Result(value: 0, object: made.object, mode: made.status.mode, owner: made.status.owner,
                    group: made.status.group)
            }
        case .unlink, .rmdir:
            if found(first)?.object != operation.object { result.value = 0 }
        case .rename:
            if let there = found(operation.names[1]), there.object == operation.object { result.value = 0 }
        default:
            if let there = found(first), there.object == operation.object { result.value = 0 }
        }
        if operation.position != .none { shipOutcome(operation, succeeded: result.value >= 0, result) }
        if result.value >= 0 { applyName(operation, result) }
        if result.value >= 0, creates(operation.kind) { shipWhole(result.object) }
    }

    // MARK: Durability points

    private func barrier(_ sequence: SequenceNumber, _ arena: Arena, _ index: UInt32, _ intent: Intent) {
        counters.barriers += 1
        sweep(checkingDeath: true)
        if releasesLocally {
            answer(Waiter(sequence: sequence, arena: arena.number, index: index, position: .none), ok: true)
        } else if !isStreaming || (copy != nil && !needsPeer) || mustHold(intent.object) {
            release.hold(sequence: sequence, arena: arena.number, index: index)
        } else if !release.barrier(intent.object, sequence: sequence, arena: arena.number, index: index) {
            answer(Waiter(sequence: sequence, arena: arena.number, index: index, position: .none), ok: true)
        }
    }

    /// Waiters whose bound is over, or that are gone, hold up neither the ring nor their arena.
    private func forgetWaitersThatGaveUp() {
        let now = Clock.monotonic
        guard release.waiting > 0, now - waitersSeen > 100_000_000 else { return }
        waitersSeen = now
        for waiter in release.remove(where: { waiter in
            memory.arenas[waiter.arena].map { $0.isDone(waiter.index) || !$0.checkAlive() } ?? true
        }) {
            answered.append((waiter.sequence.value, waiter.arena, waiter.index))
        }
    }

    private func answer(_ waiter: Waiter, ok: Bool) {
        memory.answer(sequence: waiter.sequence.value, arena: waiter.arena, index: waiter.index, ok: ok)
        answered.append((waiter.sequence.value, waiter.arena, waiter.index))
    }

    func acknowledged(through position: StreamPosition) {
        for waiter in release.acknowledged(through: position) { answer(waiter, ok: true) }
        advanceConsumed()
    }

    /// The alone permit is durable: nobody waits for the peer any more.
    func permitAlone() {
        holdsAlonePermit = true
        guard releasesLocally else { return }
        for waiter in release.releaseAll() { answer(waiter, ok: true) }
        advanceConsumed()
    }

    // MARK: Shipping

    /// The peer knows the object, or is told of it now.
    private func isKnownToPeer(_ object: ObjectID) -> Bool {
        isStreaming && names.contains(object) && announce(object)
    }

    /// During a first copy an object that the peer does not know yet is announced before the first record on it. False:
    /// it can't be yet; what is told of it later is told whole.
    @discardableResult
    func announce(_ object: ObjectID) -> Bool {
        guard isStreaming, let copy else { return isStreaming }
        return copy.announce(object, plane: self)
    }

    @discardableResult
    func ship(_ record: Record, payload: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0),
        about objects: [ObjectID], isRepair: Bool = false) -> StreamPosition
    {
        precondition(isStreaming)
        var record = record
        record.position = release.append(objects, isRepair: isRepair)
        record.payloadBytes = UInt32(payload.count)
        batch.append(record, payload: payload)
        return record.position
    }

    /// The open batch is wanted: somebody waits, it is big, or the linger is over.
    var wantsCut: Bool {
        mayCut && (release.isNeeded || batch.bytes >= Limits.batchBytes || batch.mustReach > 0)
    }

    /// Everything that was published while its repairs were read is in it too, unless that is more than a frame holds.
    var mayCut: Bool { !batch.isEmpty && (memory.drained >= batch.mustReach || batch.bytes >= Limits.batchBytesMax) }

    /// Bytes that the stream says wrongly are still to be read: durability points are held.
    var owesRepairs: Bool { !pendingRepairs.isEmpty || !pendingNames.isEmpty || fills.isAnyInDoubt }

    /// A durability point on `object` must wait for what is still to be read.
    private func mustHold(_ object: ObjectID) -> Bool {
        owesRepairs || (object.isNone ? !fills.isEmpty : fills.contains(object))
    }

    /// Takes the open batch; `drained` of the moment is the last ring sequence that it stands for.
    func takeBatch() -> OpenBatch {
        counters.batches += 1
        batchesUnjournaled += 1
        var taken = OpenBatch()
        swap(&taken, &batch)
        taken.sequenceBelow = memory.drained
        return taken
    }

    /// The memory of a batch that was encoded is used again.
    func recycle(_ taken: consuming OpenBatch) {
        guard batch.isEmpty else { return }
        batch.records = taken.records
        batch.records.removeAll(keepingCapacity: true)
    }

    func journaled(below sequence: UInt64) {
        batchesUnjournaled -= 1
        journaledBelow = max(journaledBelow, sequence)
        advanceConsumed()
        giveBack()
    }

    /// At the end of a turn: what went into no batch needs no journal.
    func endTurn() {
        if batch.isEmpty && batchesUnjournaled == 0 { journaledBelow = memory.drained }
        retryRepairs()
        fillNames()
        forgetWaitersThatGaveUp()
        if release.isHolding, isStreaming, copy == nil || needsPeer, !owesRepairs, fills.isEmpty {
            for waiter in release.endHold(at: release.appended) { answer(waiter, ok: true) }
        }
        if namesInDoubt { compareNames() }
        tracker.forget(drained: memory.drained)
        advanceConsumed()
        giveBack()
    }

    private func advanceConsumed() {
        let below = min(journaledBelow, memory.drained, release.oldestWaiting?.value ?? .max)
        // Every producer reads these words: they are written when they change.
        guard below != advancedTo else { return }
        advancedTo = below
        memory.consume(below: below)
        memory.setReleased(below: below)
    }

    private func giveBack() {
        returning.removeAll { entry in
            guard entry.sequence < journaledBelow else { return false }
            if let arena = memory.arenas[entry.arena] {
                memory.giveBack(sequence: entry.sequence, arena: entry.arena, index: entry.index, blocks: entry.blocks)
                arena.tracked -= 1
            }
            return true
        }
    }

    // MARK: Repairs (inline fills, R3)

    func repair(_ object: ObjectID, _ settlement: Settlement) {
        guard isStreaming else { return }
        for key in settlement.repairNames { pendingNames.append((key, memory.reserved)) }
        guard !settlement.repairRanges.isEmpty || settlement.repairsSize || settlement.repairAttributes,
            names.contains(object)
        else { return }
        counters.repairs += 1
        if !read(object, settlement) { pendingRepairs.append((object, settlement, Clock.monotonic)) }
    }

    private func retryRepairs() {
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
    private func read(_ object: ObjectID, _ settlement: Settlement) -> Bool {
        guard batch.bytes < Limits.batchBytesMax else { return false }
        guard let path = names.path(of: object), let descriptor = tree.open(object, path: path.bytes) else {
            decideRenames(of: object)
            return false
        }
        defer { close(descriptor) }
        guard let status = try? FileStatus.of(descriptor) else { return false }
        guard announce(object) else { return true }
        timesPending.insert(object)
        if settlement.repairAttributes {
            tracker.attributesShipped(object)
            var record = Record(.chmod)
            record.object = object
            record.mode = status.mode
            ship(record, about: [object], isRepair: true)
            record = Record(.chown)
            record.object = object
            record.owner = status.owner
            record.group = status.group
            ship(record, about: [object], isRepair: true)
        }
        guard status.isRegular else { return true }
        if settlement.repairsSize {
            var record = Record(.truncate)
            record.object = object
            record.length = status.size
            ship(record, about: [object], isRepair: true)
            tracker.fillShipped(object, ByteRange(status.size, .max))
        }
        let bytes = settlement.repairRanges.reduce(0) { $0 + min($1.upperBound, max(status.size, $1.lowerBound)) - $1.lowerBound }
        if bytes > UInt64(Limits.repairBytes) {
            // Too much for one batch: the whole file, piece by piece.
            fills.append(object, .inDoubt)
            return true
        }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Limits.repairBytes, alignment: 4096)
        defer { buffer.deallocate() }
        for range in settlement.repairRanges {
            tracker.fillShipped(object, range)
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
                operation.names.count == 2, let path = names.path(of: operation.names[1].parent),
                let found = tree.look(root: path.root.root, path: join(path.bytes, operation.names[1].name)), found.object == object
            else { continue }
            let result = Intent.Result(value: 0, object: object)
            decided.insert(sequence)
            if operation.position != .none { shipOutcome(operation, succeeded: true, result) }
            applyName(operation, result)
        }
    }

    /// The whole of an object that the stream knows by name only.
    func shipWhole(_ object: ObjectID) {
        guard isStreaming, names.kind(of: object) == .file, announce(object) else { return }
        fills.append(object, .inDoubt)
    }

    /// Looks names up whose operations ran at the same time: when everything that was published before the look is admitted,
    /// and nothing was published during it. Under a load that never lets that happen, new operations are held.
    private func fillNames() {
        guard !pendingNames.isEmpty, isStreaming else {
            pendingNames = []
            return
        }
        guard memory.isRingEmpty else {
            if pendingNames.contains(where: { memory.drained > $0.after + 4096 }) { namesInDoubt = true }
            return
        }
        var again: [(name: NameTable.Name, after: UInt64)] = []
        for (name, after) in pendingNames {
            guard let path = names.path(of: name.parent) else { continue }
            let found = tree.look(root: path.root.root, path: join(path.bytes, name.name))
            if memory.isRingEmpty { fillName(name, found) } else { again.append((name, after)) }
        }
        pendingNames = again
    }

    /// What a name means is shipped whatever the table says: after operations that ran at the same time, the table has the order
    /// of their ends, the secondary that of their records.
    private func fillName(_ key: NameTable.Name, _ found: Tree.Found?) {
        counters.repairs += 1
        guard let found else {
            noteNameless(names.remove(key.parent, key.name))
            shipAbsent(key)
            return
        }
        place(found, at: key)
        tell(found, at: key, .inDoubt)
    }

    /// The table follows what was found.
    private func place(_ found: Tree.Found, at key: NameTable.Name) {
        change { try names.insert(found.object, NameTable.Kind(mode: found.status.mode), key.parent, key.name) }
        nameless.remove(found.object)
        timesPending.insert(found.object)
    }

    /// Tells the peer that `key` means `found`, with its bytes.
    private func tell(_ found: Tree.Found, at key: NameTable.Name, _ reason: FillQueue.Reason) {
        guard isStreaming, announce(key.parent), announce(found.object) else { return }
        timesPending.insert(key.parent)
        shipPresent(found.object, found, at: key)
        switch names.kind(of: found.object) {
        case .file: fills.append(found.object, reason)
        case .directory where reason == .inDoubt:
            // The peer may have removed it, with all that was in it.
            var below: [(NameTable.Name, ObjectID, NameTable.Kind)] = []
            names.forEachName(below: found.object) { below.append(($0, $1, $2)) }
            for (name, object, kind) in below where announce(object) && shipPresent(object, nil, at: name) {
                timesPending.insert(object)
                timesPending.insert(name.parent)
                if kind == .file { fills.append(object, .inDoubt) }
            }
        default: break
        }
    }

    /// A name that the pass of names found, and the table did not have.
    private func present(_ found: Tree.Found, at key: NameTable.Name, movedFrom old: NameTable.Name?) {
        guard let old else {
            let isNew = !names.contains(found.object)
            place(found, at: key)
            tell(found, at: key, isNew ? .new : .inDoubt)
            return
        }
        // As a rename, so that a directory keeps what is in it.
        var record = Record(.rename)
        record.parent = old.parent
        record.name = old.name
        record.targetParent = key.parent
        record.targetName = key.name
        record.object = found.object
        let isKnown = isStreaming && announce(found.object) && announce(key.parent)
        change { try names.move(old.parent, old.name, to: key.parent, key.name) }
        if isKnown { ship(record, about: [found.object, key.parent, old.parent], isRepair: true) }
    }

    private func shipAbsent(_ key: NameTable.Name) {
        guard isStreaming else { return }
        var record = Record(.absent)
        record.parent = key.parent
        record.name = key.name
        tracker.nameFillShipped(key)
        announce(key.parent)
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
            target = link
        }
        target.withUnsafeBytes { _ = ship(record, payload: $0, about: [object, key.parent]) }
        return true
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
    }

    // MARK: Pass of names, times

    /// Compares all names of the roots with what the stream says, and repairs what differs: what was made, moved or
    /// removed outside the capture. Returns how many names were repaired.
    func passOfNames() throws -> Int {
        var repaired = 0
        var seen: Set<NameTable.Name> = []
        var entries: [Tree.Entry] = []
        let inFlight = Set(tracker.operations.values.flatMap(\.names))
        try tree.walk(
            found: { entry in
                seen.insert(NameTable.Name(parent: entry.parent, name: entry.name))
                if names.lookup(entry.parent, entry.name) != entry.object { entries.append(entry) }
            }, skipped: { _ in })
        // Names that operations in the ring or in their calls are about are theirs to settle; only what nobody knows is told
        // at once, since an operation on it waits.
        let undrained = memory.drained < memory.reserved
        for entry in entries {
            let key = NameTable.Name(parent: entry.parent, name: entry.name)
            if inFlight.contains(key) || (undrained && names.contains(entry.object)) { continue }
            guard let path = names.path(of: entry.parent),
                let found = tree.look(root: path.root.root, path: join(path.bytes, entry.name)), found.object == entry.object
            else { continue }
            present(found, at: key, movedFrom: names.names(of: entry.object).first { !seen.contains($0) })
            repaired += 1
        }
        var gone: [NameTable.Name] = []
        if !undrained { names.forEachName { name, _, _ in if !seen.contains(name) { gone.append(name) } } }
        for key in gone where !inFlight.contains(key) {
            guard names.lookup(key.parent, key.name) != nil, let path = names.path(of: key.parent),
                tree.look(root: path.root.root, path: join(path.bytes, key.name)) == nil
            else { continue }
            noteNameless(names.remove(key.parent, key.name))
            shipAbsent(key)
            repaired += 1
        }
        if repaired > 0 { log.info("pass of names: \(repaired) names repaired") }
        return repaired
    }

    /// The table and the trees differ and no operation in the ring explains it: new operations are held for as long as those
    /// in their calls need to return, bounded, and all names are compared.
    func compareNames() {
        let now = Clock.monotonic
        guard let since = holdingSince else {
            holdingSince = now
            memory.setHold(true)
            return
        }
        guard memory.isRingEmpty, tracker.unsettled.isEmpty || now - since > Limits.holdNanoseconds else { return }
        namesInDoubt = false
        holdingSince = nil
        do { _ = try passOfNames() } catch { log.info("pass of names: \(error)") }
        memory.setHold(false)
    }

    /// Carries modification times of what was touched since the last time; G2 promises them at settle and every 5 s.
    func shipTimes() {
        guard isStreaming else { return }
        let objects = timesPending
        timesPending.removeAll(keepingCapacity: true)
        for object in objects { shipTimes(of: object) }
    }

    func shipTimes(of object: ObjectID) {
        guard names.contains(object), copy?.isAnnounced(object) ?? true, let path = names.path(of: object) else { return }
        guard let found = tree.look(root: path.root.root, path: path.bytes), found.object == object else {
            // It has been moved, and the table does not know yet: the next time.
            timesPending.insert(object)
            return
        }
        var record = Record(.times)
        record.object = object
        record.modificationTime = found.status.modified_nanoseconds
        ship(record, about: [])
    }

    /// What was shipped after its time was carried has another one on the peer.
    func noteTimes(_ object: ObjectID) { timesPending.insert(object) }

    var hasTimesPending: Bool { isStreaming && !timesPending.isEmpty }

    // MARK: Streams

    /// The peer is there and its trees are void: everything is told anew.
    func beginStream(after position: StreamPosition) {
        release.restart(after: position)
        tracker.restart()
        isStreaming = true
        batch = OpenBatch()
        pendingRepairs = []
        restartCopy()
    }

    private func restartCopy() {
        needsPeer = false
        fills.removeAll()
        pendingRepairs = []
        pendingNames = []
        copy = FirstCopy(plane: self)
    }

    /// From here on waiters need the peer again, permit or not (I5).
    func copyEnded(at position: StreamPosition) {
        needsPeer = true
        for waiter in release.endHold(at: position) { answer(waiter, ok: true) }
        batch.mustReach = max(batch.mustReach, memory.reserved)
    }

    /// The link is gone: what was not acknowledged is told again with the next stream.
    func endStream() {
        isStreaming = false
        needsPeer = false
        copy = nil
        fills.removeAll()
        batch = OpenBatch()
        pendingRepairs = []
        pendingNames = []
        if releasesLocally { permitAlone() }
    }

    // MARK: Keepers and processes

    func receive(from keeper: Int32) throws {
        for event in server.receive(from: keeper) {
            switch event {
            case .hello(let keeper, let range): server.welcome(keeper, memory: memory, range: range)
            case .handedBack(let keeper, let range, let control, let ring):
                let mine = CaptureMemory.incarnation(controlDescriptor: control)
                close(control)
                close(ring)
                if let mine, mine == memory.incarnation {
                    server.welcome(keeper, memory: memory, range: range)
                } else {
                    server.refuse(keeper, LOCKSTEP_EXIT_PROTOCOL,
                        "the shared memory is of another incarnation: its programs must be started again")
                    server.drop(keeper)
                }
            case .arena(let number, let pid, let descriptor, let process):
                do {
                    // The same process with a new arena became another program: what it had in flight will never end.
                    for old in memory.arenas.values where old.pid == pid && old.number != number { old.markGone() }
                    let arena = try memory.attach(arena: number, descriptor: descriptor, processDescriptor: process, pid: pid)
                    if memory.isAdopted { inherit(arena) }
                    onArena(arena)
                } catch {
                    log.info("\(error)")
                }
            case .gone(let keeper): server.drop(keeper) { number in memory.arenas[number] != nil }
            }
        }
    }

    private func retireArenas() {
        for arena in memory.arenas.values where !arena.isAlive && arena.tracked <= 0 {
            // What it published before its end may not be drained yet: the ring still names it.
            let after = arena.retireAfter ?? memory.reserved
            arena.retireAfter = after
            guard memory.drained >= after else { continue }
            let number = arena.number
            memory.retire(arena: number)
            server.retired(arena: number) { memory.arenas[$0] != nil }
        }
    }

    /// Paths are bytes; the empty path is the root.
    func join(_ path: [UInt8], _ name: [UInt8]) -> [UInt8] { path.isEmpty ? name : path + [0x2f] + name }
}

/// Records that will be one frame.
struct OpenBatch {
    var records: [UInt8] = []
    var count: UInt32 = 0
    var first = StreamPosition.none
    var last = StreamPosition.none
    /// The ring must be drained up to here before this batch may be cut.
    var mustReach: UInt64 = 0
    /// Everything below this ring sequence is in this batch or an earlier one.
    var sequenceBelow: UInt64 = 0
    var bytes: Int { records.count }
    var isEmpty: Bool { count == 0 }

    mutating func append(_ record: Record, payload: UnsafeRawBufferPointer) {
        record.encode(into: &records)
        records.append(contentsOf: payload)
        if count == 0 { first = record.position }
        last = record.position
        count += 1
    }
}

extension NameTable.Kind {
    /// By the file type of a mode.
    init(mode: UInt32) {
        switch mode & S_IFMT {
        case S_IFDIR: self = .directory
        case S_IFLNK: self = .symbolicLink
        default: self = .file
        }
    }
}
