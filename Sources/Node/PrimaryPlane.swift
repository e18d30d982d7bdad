import CCaptureABI
import Capture
import CLinux
import Frame
import Glibc
import Platform
import Primitives
import Replication
import Watch

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
    var pendingRepairs: [(object: ObjectID, settlement: Settlement, since: UInt64)] = []
    /// Settled operations whose intents go back once their batch is in the journal.
    var returning: [(sequence: UInt64, arena: UInt32, index: UInt32, blocks: UInt64)] = []
    /// Answered barriers whose waiter has not looked yet.
    var answered: [(sequence: UInt64, arena: UInt32, index: UInt32)] = []
    /// Operations that a dead daemon had drained and that were still in their calls: looked at again when they end.
    var inherited: [(arena: UInt32, index: UInt32)] = []
    /// Everything below is in the local journal, acknowledged, or needs neither.
    var journaledBelow: UInt64
    var batchesUnjournaled = 0
    var timesPending: Set<ObjectID> = []
    /// Those of them that are being carried now, in steps.
    var timesDue: [ObjectID] = []
    var nameless: Set<ObjectID> = []
    var namesInDoubt = false
    var holdingSince: UInt64?
    /// The table is that of the trees. After a restart it is empty until the ring of the daemon before is drained: what is in the
    /// ring took place before the trees could be read, or after, and nobody could tell which.
    var namesAreKnown: Bool
    let startedAt = Clock.monotonic
    /// Name operations below were in their calls while the trees were read: when they end, names are compared.
    var namesReadAt: UInt64 = 0
    var unannouncedSince: UInt64?
    var waitersSeen: UInt64 = 0
    var advancedTo: UInt64 = 0
    /// Names to be looked up once the ring is drained up to there.
    var pendingNames = PendingNames()
    /// Creations that are in the table although their makers have not returned.
    var decided: Set<SequenceNumber> = []
    /// Symbolic links that lead to what is not replicated, each as "path -> target".
    var linksOut: [ObjectID: String] = [:]
    /// Of `memory.mappings`, and when all were looked at last.
    var mappingsSeen: UInt64 = 0
    var mappingsLookedAt: UInt64 = 0
    /// The ring must be drained up to here before a durability point is answered: mappings that went told there what was written.
    var mappingsReach: UInt64 = 0
    var mappersAwaitedUntil: UInt64?
    /// Found by a look; read when the ring is drained up to `after`.
    var pendingMapped: [(object: ObjectID, ranges: [ByteRange], after: UInt64)] = []
    /// What was changed outside the capture, and is being shipped again.
    var outside = OutsideRepairs()
    let covered: CoveredProcesses
    /// Processes that ended, oldest first: no longer covered in a moment.
    var retired: [(pid: Int32, since: UInt64)] = []
    var recent = RecentOperations()
    /// Their times were set by covered programs: such a call has no record of its own.
    var timesSet: Set<ObjectID> = []
    /// When the turn began that drains the ring.
    var drainedAt: UInt64 = 0
    /// An arena that was announced: its process is to be watched.
    var onArena: (Arena) -> Void = { _ in }

    struct Counters {
        var operations: UInt64 = 0
        var barriers: UInt64 = 0
        var batches: UInt64 = 0
        var fills: UInt64 = 0
        var repairs: UInt64 = 0
        /// Looks at mappings that found something; mappings that could not be asked.
        var mapped: UInt64 = 0
        var mappingsUnknown: UInt64 = 0
    }

    init(_ configuration: Configuration, log: Log, tree: Tree, memory: CaptureMemory, server: CaptureServer, epoch: Epoch,
        after position: StreamPosition, covered: CoveredProcesses = CoveredProcesses()) throws
    {
        self.covered = covered
        self.configuration = configuration
        self.log = log
        self.tree = tree
        self.memory = memory
        self.server = server
        self.epoch = epoch
        journaledBelow = memory.drained
        release.restart(after: position)
        names = NameTable(roots: tree.roots.map(\.object))
        namesAreKnown = !memory.isAdopted
        if memory.isAdopted, memory.mappings != 0 { mappersAwaitedUntil = Clock.monotonic + Limits.announcementNanoseconds }
        if namesAreKnown { try readNames() } else { namesInDoubt = true }
    }

    var releasesLocally: Bool { holdsAlonePermit && !needsPeer }

    // MARK: The ring

    /// Takes what is in the ring. Returns false when it stopped for lack of room.
    func drain() throws {
        let start = Clock.monotonic
        drainedAt = start
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
    func isAnnounced(_ arena: UInt32, sequence: UInt64, now: UInt64) throws -> Bool {
        if memory.arenas[arena] == nil { for keeper in server.keepers.keys { try receive(from: keeper) } }
        if memory.arenas[arena] != nil {
            unannouncedSince = nil
            return true
        }
        if memory.wasRetired(arena) {
            log.info("operation \(sequence) is of a process whose memory was another's, which is dead; all files are copied to the peer again")
            if isStreaming { restartCopy() }
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

    func admit(_ sequence: SequenceNumber, _ number: UInt32, _ index: UInt32) throws {
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
        if !batch.makesRoom, arena.isShort { batch.makesRoom = true }
        // It was being filled in when its arena was announced again, and not in its call.
        if let known = inherited.firstIndex(where: { $0.arena == number && $0.index == index }) {
            inherited.remove(at: known)
            arena.tracked -= 1
        }
        switch intent.kind {
        case .barrier: try barrier(sequence, arena, index, intent)
        case .create where intent.isNameless: admitNameless(sequence, arena, index, intent, isDone)
        case .create, .mkdir, .symlink, .unlink, .rmdir, .rename, .link, .mknod:
            admitName(sequence, arena, index, intent, isDone)
        default: admitData(sequence, arena, index, intent, isDone)
        }
    }

    // MARK: Durability points

    func barrier(_ sequence: SequenceNumber, _ arena: Arena, _ index: UInt32, _ intent: Intent) throws {
        counters.barriers += 1
        sweep(checkingDeath: true)
        try shipMapped(intent.object)
        if releasesLocally {
            answer(Waiter(sequence: sequence, arena: arena.number, index: index, position: .none), ok: true)
        } else if !isStreaming || (copy != nil && !needsPeer) || mustHold(intent.object) {
            release.hold(sequence: sequence, arena: arena.number, index: index)
        } else if !release.barrier(intent.object, sequence: sequence, arena: arena.number, index: index) {
            answer(Waiter(sequence: sequence, arena: arena.number, index: index, position: .none), ok: true)
        }
    }

    /// Waiters whose bound is over, or that are gone, hold up neither the ring nor their arena.
    func forgetWaitersThatGaveUp() {
        let now = Clock.monotonic
        guard release.waiting > 0, now - waitersSeen > 100_000_000 else { return }
        waitersSeen = now
        for waiter in release.remove(where: { waiter in
            memory.arenas[waiter.arena].map { $0.isDone(waiter.index) || !$0.checkAlive() } ?? true
        }) {
            answered.append((waiter.sequence.value, waiter.arena, waiter.index))
        }
    }

    func answer(_ waiter: Waiter, ok: Bool) {
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
    func isKnownToPeer(_ object: ObjectID) -> Bool {
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

    /// The open batch is wanted: somebody waits for it or soon for its space, or it is big. Space comes back with each
    /// journal write, so that one at a time is enough.
    var wantsCut: Bool {
        mayCut && (release.isNeeded || batch.bytes >= Limits.batchBytes || batch.mustReach > 0 || !batch.cuts.isEmpty || (batch.makesRoom && batchesUnjournaled == 0))
    }

    /// Everything that was published while its repairs were read is in it too, unless that is more than a frame holds.
    /// Names in conflict are told in the batch that shows the conflict, if that is possible soon.
    var mayCut: Bool {
        if batch.isEmpty { return false }
        if batch.bytes >= Limits.batchBytesMax { return true }
        let waitsForNames = pendingNames.since.map { Clock.monotonic - $0 < Limits.namesNanoseconds } ?? false
        return memory.drained >= batch.mustReach && !waitsForNames
    }

    /// Bytes that the stream says wrongly are still to be read: durability points are held.
    var owesRepairs: Bool {
        namesInDoubt || !pendingRepairs.isEmpty || !pendingMapped.isEmpty || !pendingNames.isEmpty || fills.isAnyInDoubt
            || memory.drained < mappingsReach || awaitsMappers
    }

    /// A durability point on `object` must wait for what is still to be read.
    func mustHold(_ object: ObjectID) -> Bool {
        owesRepairs || (object.isNone ? !fills.isEmpty : fills.contains(object))
    }

    /// Takes the open batch; `drained` of the moment is the last ring sequence that it stands for.
    func takeBatch() -> OpenBatch {
        counters.batches += 1
        batchesUnjournaled += 1
        if let part = batch.takePart() { return part }
        var taken = OpenBatch()
        swap(&taken, &batch)
        taken.sequenceBelow = memory.drained
        return taken
    }

    /// The memory of a batch that was encoded is used again.
    func recycle(_ taken: consuming OpenBatch) {
        guard batch.isEmpty, taken.bytes <= Limits.batchBytesMax else { return }
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
    func endTurn() throws {
        if batch.isEmpty && batchesUnjournaled == 0 { journaledBelow = memory.drained }
        shipPendingMapped()
        retryRepairs()
        fillNames()
        forgetWaitersThatGaveUp()
        if release.isHolding, isStreaming, copy == nil || needsPeer, !owesRepairs, fills.isEmpty {
            for waiter in release.endHold(at: release.appended) { answer(waiter, ok: true) }
        }
        if namesInDoubt { try compareNames() }
        tracker.forget(drained: memory.drained)
        advanceConsumed()
        giveBack()
    }

    func advanceConsumed() {
        let below = min(journaledBelow, memory.drained, release.oldestWaiting?.value ?? .max)
        // Every producer reads these words: they are written when they change.
        guard below != advancedTo else { return }
        advancedTo = below
        memory.consume(below: below)
        memory.setReleased(below: below)
    }

    func giveBack() {
        returning.removeAll { entry in
            guard entry.sequence < journaledBelow else { return false }
            if let arena = memory.arenas[entry.arena] {
                memory.giveBack(sequence: entry.sequence, arena: entry.arena, index: entry.index, blocks: entry.blocks)
                arena.tracked -= 1
            }
            return true
        }
    }

    // MARK: Streams

    /// The peer is there and its trees are void: everything is told anew.
    func beginStream(after position: StreamPosition) {
        release.restart(after: position)
        isStreaming = true
        batch = OpenBatch()
        timesDue = []
        timesSet = []
        pendingRepairs = []
        pendingMapped = []
        outside.asked = []
        restartCopy()
        if outside.namesAreStale {
            outside.namesAreStale = false
            namesInDoubt = true
        }
    }

    func restartCopy() {
        needsPeer = false
        tracker.restart()
        fills.removeAll()
        pendingRepairs = []
        pendingMapped = []
        pendingNames = PendingNames()
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
        timesDue = []
        pendingRepairs = []
        pendingMapped = []
        pendingNames = PendingNames()
        if releasesLocally { permitAlone() }
    }
}

/// Records that will be one frame.
struct OpenBatch {
    var records: [UInt8] = []
    var count: UInt32 = 0
    var first = StreamPosition.none
    var last = StreamPosition.none
    /// The ring must be drained up to here before this batch may be cut.
    var mustReach: UInt64 = 0
    /// Operations in it fill their process's arena.
    var makesRoom = false
    /// Everything below this ring sequence is in this batch or an earlier one.
    var sequenceBelow: UInt64 = 0
    /// Where it must be divided: a pass of names over a large tree tells more than a frame holds.
    var cuts: [(bytes: Int, count: UInt32, last: StreamPosition)] = []
    var bytes: Int { records.count }
    var isEmpty: Bool { count == 0 }

    mutating func append(_ record: Record, payload: UnsafeRawBufferPointer) {
        if records.count - (cuts.last?.bytes ?? 0) + Record.bytesMax + payload.count > BatchHeader.rawBytesMax {
            cuts.append((records.count, count, last))
        }
        record.encode(into: &records)
        records.append(contentsOf: payload)
        if count == 0 { first = record.position }
        last = record.position
        count += 1
    }

    /// The first part of one that must be divided; it stands for no sequence of the ring, the last part for all.
    mutating func takePart() -> OpenBatch? {
        guard let cut = cuts.first else { return nil }
        var part = OpenBatch()
        part.records = Array(records[..<cut.bytes])
        part.count = cut.count
        part.first = first
        part.last = cut.last
        records.removeFirst(cut.bytes)
        count -= cut.count
        first = cut.last.next
        cuts = cuts.dropFirst().map { ($0.bytes - cut.bytes, $0.count - cut.count, $0.last) }
        return part
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
