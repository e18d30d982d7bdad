import CCaptureABI
import CLinux
import Capture
import Control
import Frame
import Glibc
import Journal
import Link
import Platform
import Primitives
import Replay
import Replication
import Uring
import Watch

/// The one thread on which a write's way from the ring to the peer's journal and back lies, around one io_uring.
///
///     primary                                              secondary
///     ring -> PrimaryPlane -> frame -> journal             link -> verify -> journal (flushed) -> ack
///                                  \-> link ------------->                              \-> Applier (own thread)
///     answer words <- ReleaseQueue <- acks <-------------- link
///
/// A turn: do what there is to do, then wait in io_uring for a doorbell, a message, a completion or a time. Decisions
/// that need a disk of their own (the alone permit, a new epoch) belong to the `Supervisor`; the two talk through mailboxes.
final class DataPlane {
    enum Order: Sendable {
        case status(@Sendable (Snapshot) -> Void)
        /// Answers when the peer has applied all that was captured, with the number of names repaired; or why not.
        case settle(@Sendable (Result<Int, NodeError>) -> Void)
        /// Secondary: stop listening and bring the files to the journal's end. Answers with the position.
        /// `force`: also with data that is suspect.
        case promote(force: Bool, @Sendable (Result<StreamPosition, NodeError>) -> Void)
        /// The new epoch is durable: open the capture and be primary. Answers when applications may start.
        case startPrimary(Epoch, holdsAlonePermit: Bool, @Sendable (Result<Void, NodeError>) -> Void)
        /// The alone permit that was asked for under this number is durable.
        case alonePermit(request: UInt64)
        case applier(Applier.Report)
        case outside(Watcher.Report)
        /// What differs from the list of the roots after events were lost; nil: there is none.
        case listed([WatchList.Difference]?)
        /// Where the stream stands.
        case mark(@Sendable (WatchList.Mark) -> Void)
        case stop(@Sendable () -> Void)
    }

    /// What a status is made of, on any thread.
    struct Snapshot: Sendable {
        var isConnected = false
        var appended: UInt64 = 0, flushed: UInt64 = 0, acked: UInt64 = 0, applied: UInt64 = 0
        var drained: UInt64 = 0, released: UInt64 = 0
        var dataState: DataState = .inconsistent
        var peerState: DataState?
        var isCopying = false, objects: UInt64 = 0, objectsDone: UInt64 = 0, bytesDone: UInt64 = 0
        var isPaired = false
        var keepers = 0, processes = 0
        var guardState = "no application", guardedCalls: [Status.GuardedCall] = []
        var operations: UInt64 = 0, barriers: UInt64 = 0, batches: UInt64 = 0, fills: UInt64 = 0, repairs: UInt64 = 0
        var revoked: UInt64 = 0, refused: UInt64 = 0
        var linksOut: [String] = []
        var watch = "not watched"
        var outside: [Status.OutsideWriter] = []
        var outsideChanges: UInt64 = 0, outsideRepaired: UInt64 = 0, outsideUnattributed: UInt64 = 0, watchLost: UInt64 = 0, denied: UInt64 = 0
        var unrepaired = false
        var lastError: String?
    }

    let orders: Mailbox<Order>
    let configuration: Configuration
    let log: Log
    let events: @Sendable (Supervisor.Event) -> Void
    let state: NodeState
    var uring: Uring
    var journal: Journal
    /// Journals of earlier streams whose last writes the kernel still has.
    var oldJournals: [Journal] = []
    let segments: Mailbox<SegmentPool>
    let current: CurrentPool
    let encoder = FrameEncoder()
    var primary: PrimaryPlane?
    var secondary: SecondaryPlane?
    var epoch: Epoch

    // The link: one connection at a time; those that are closing wait for the kernel. On the secondary whoever calls is a
    // candidate until its hello is accepted: a stranger takes no primary's place.
    var connection: Connection?
    var candidates: [Connection] = []
    var closing: [Connection] = []
    var connections: UInt32 = 0
    var listener: Int32 = -1
    var isWelcome = false
    var peerHeard: UInt64 = 0
    /// What had come by then has been taken from the kernel: silence counts up to here, not through a long turn of our own.
    var lookedAt: UInt64 = 0
    var heartbeatSent: UInt64 = 0
    var heartbeats: UInt64 = 0
    var connectAfter: UInt64 = 0
    var peerAck: Ack?
    var saidPaired = false
    /// The number of the request for the alone permit that is open: an answer to an older one counts for nothing.
    var permitAsked: UInt64?
    var permitRequests: UInt64 = 0
    /// The peer says that this node must not go on: no permit is asked for.
    var isRefusedByPeer = false
    /// When a welcomed connection was last heard of.
    var pairHeard: UInt64 = 0

    // The stream that goes out.
    var chain: UInt64 = 0
    /// Of the last batch that was cut: `chain` is its.
    var cutPosition = StreamPosition.none
    var cutBelow: UInt64 = 1
    var encoded: [UInt8] = []
    /// Batches whose journal write has not completed, oldest first, with the ring sequence below which they hold all.
    var journaling: [(position: StreamPosition, sequenceBelow: UInt64)] = []
    var timesCarried: UInt64 = 0
    var batchOpened: UInt64?

    var doorbellArmed = false
    var bridge: DoorbellBridge?
    var lookAgain: Int64 = 1_000_000
    var settles: [Settle] = []
    var promotion: (@Sendable (Result<StreamPosition, NodeError>) -> Void)?
    var promotionFinishing = false
    /// From the order until this node is primary: no primary is welcomed, no second takeover begins.
    var isPromoting = false
    var promotionDeadline: UInt64 = 0
    var lastError: String?
    var isStopped = false
    /// Nil: `watchState` says why.
    var watcher: Watcher?
    var watchState = "not watched"
    var isWatching = false
    var lister: Lister?
    /// Of a primary that was started, until its ring is drained.
    var startPass: StartPass?
    let covered: CoveredProcesses
    let outsideLog: OutsideLog

    /// A settle that runs: drained up to `reserved`, then mappings, then names, then times, then applied up to `position`.
    struct Settle {
        var reserved: UInt64
        var hasMappings = false
        var hasNames = false
        var position: StreamPosition?
        var repaired = 0
        var answer: @Sendable (Result<Int, NodeError>) -> Void
    }

    /// Tokens: what a completion is about, in the top byte.
    enum Token: UInt64 {
        case orders = 1, doorbell, bridge, keepers, keeper, process, listener, receive, send, journal, fill, cancel
        func with(_ value: UInt64) -> UInt64 { rawValue << 56 | value & 0xff_ffff_ffff_ffff }
    }

    /// `futexWait: false` forces the way of kernels before 6.7.
    init(_ configuration: Configuration, log: Log, state: NodeState, orders: Mailbox<Order>, journal: Journal,
        segments: Mailbox<SegmentPool>, current: CurrentPool, covered: CoveredProcesses = CoveredProcesses(), futexWait: Bool = true, events: @escaping @Sendable (Supervisor.Event) -> Void) throws
    {
        self.configuration = configuration
        self.log = log
        self.orders = orders
        self.journal = journal
        self.segments = segments
        self.current = current
        current.set(journal.pool)
        self.state = state
        self.covered = covered
        outsideLog = OutsideLog(log: log)
        self.epoch = state.record.epoch
        self.events = events
        uring = try Uring(entries: 256, futexWait: futexWait)
        try uring.poll(orders.descriptor, events: Int32(POLLIN), token: Token.orders.with(0))
    }

    // MARK: Roles

    /// Opens the capture: the shared memory of an earlier daemon if a keeper still holds it, else new.
    func startPrimary(epoch: Epoch, holdsAlonePermit: Bool) throws {
        // The role is durable; before anything can write, the table of the time as secondary goes.
        try Replayer.removeTable(stateDirectory: configuration.directory)
        let tree = try Tree(configuration)
        let server = try CaptureServer(directory: configuration.directory, log: log)
        let memory = try CaptureMemory.takenBack(from: server, configuration: configuration, log: log)
            ?? CaptureMemory.create(incarnation: (Random.uint64(), Random.uint64()))
        for (index, root) in tree.roots.enumerated() {
            memory.set(root: UInt32(index), device: root.device, object: root.object, name: root.name, path: root.path)
        }
        memory.set(exclusions: configuration.exclusions)
        memory.set(waitBoundMilliseconds: configuration.waitBoundMilliseconds,
            lockBoundMilliseconds: Limits.lockBoundMilliseconds, epoch: epoch, ioUring: configuration.ioUring)
        let after = secondary?.received.position ?? journal.appended?.position ?? .none
        let plane = try PrimaryPlane(configuration, log: log, tree: tree, memory: memory, server: server, epoch: epoch,
            after: after, covered: covered)
        plane.holdsAlonePermit = holdsAlonePermit
        primary = plane
        secondary = nil
        self.epoch = epoch
        if listener >= 0 { close(listener) }
        listener = -1
        cutBelow = memory.drained
        peerHeard = Clock.monotonic
        pairHeard = peerHeard
        try uring.poll(server.descriptor, events: Int32(POLLIN), token: Token.keepers.with(0))
        server.welcomeAll(memory: memory)
        plane.coverKeepers()
        for keeper in server.keepers.keys {
            try uring.poll(keeper, events: Int32(POLLIN), token: Token.keeper.with(UInt64(keeper)))
        }
        plane.onArena = { [unowned self] arena in watch(arena) }
        if !uring.hasFutexWait {
            let bridge = DoorbellBridge(memory)
            try uring.poll(bridge.descriptor, events: Int32(POLLIN), token: Token.bridge.with(0))
            self.bridge = bridge
        }
    }

    func become(secondary plane: SecondaryPlane, listener: Int32) throws {
        secondary = plane
        self.listener = listener
        try uring.accept(listener, token: Token.listener.with(0))
    }

    func watch(_ arena: Arena) {
        guard arena.isAlive else { return }
        try? uring.poll(arena.processDescriptor, events: Int32(POLLIN), token: Token.process.with(UInt64(arena.number)))
    }

    // MARK: The loop

    func run() throws {
        do {
            while !isStopped {
                let isBusy = try turn()
                try wait(isBusy: isBusy)
                while let completion = uring.nextCompletion() { try handle(completion) }
                lookedAt = Clock.monotonic
            }
        } catch let error as CaptureError {
            // Nothing that this memory says can be believed any more: its processes fail instead of waiting.
            primary?.memory.close()
            throw NodeError(LOCKSTEP_EXIT_PROTOCOL, error.description)
        }
    }

    /// Returns whether there is more to do at once.
    func turn() throws -> Bool {
        var isBusy = false
        if let primary {
            try connectIfDue(primary)
            if (connection?.unsentBytes ?? 0) < Limits.sendBytesMax { try primary.drain() }
            primary.sweep(checkingDeath: false)
            try turnCopy(primary)
            try endIfRefused(primary)
            carryTimes(primary)
            try primary.lookAtMappings()
            turnSettles(primary)
            primary.turnOutside(outsideLog)
            try primary.endTurn()
            try cutIfDue(primary)
            isBusy = primary.isStreaming && !primary.fills.isReading && (!primary.fills.isEmpty || (primary.copy.map { $0.ended == nil } ?? false))
                || primary.hasTimesDue
        }
        if let secondary { try turnSecondary(secondary) }
        try startWatchIfDue()
        try turnLink()
        return isBusy
    }

    func turnCopy(_ primary: PrimaryPlane) throws {
        guard primary.isStreaming, primary.batch.bytes < Limits.batchBytes, (connection?.unsentBytes ?? 0) < Limits.sendBytesMax / 2
        else { return }
        if let request = primary.fills.turn(plane: primary) {
            try uring.read(request.descriptor, into: primary.fills.buffer.baseAddress!, count: request.count,
                offset: request.offset, token: Token.fill.with(0))
        }
        primary.copy?.turn(plane: primary)
    }

    /// What can't be read can't be promised: the stream ends, loudly, and is tried again later unless this node's data is suspect.
    func endIfRefused(_ primary: PrimaryPlane) throws {
        guard let refusal = primary.refusal else { return }
        primary.refusal = nil
        if primary.dataIsSuspect { try state.update { $0.data = .suspect } }
        if let connection { drop(connection, refusal) }
        connectAfter = primary.dataIsSuspect ? .max : Clock.monotonic + 10_000_000_000
    }

    func carryTimes(_ primary: PrimaryPlane) {
        let now = Clock.monotonic
        guard primary.copy == nil, primary.hasTimesDue || (primary.hasTimesPending && now - timesCarried > Limits.timesNanoseconds)
        else { return }
        if !primary.hasTimesDue { timesCarried = now }
        primary.shipTimesInSteps()
    }

    func wait(isBusy: Bool) throws {
        var timeout: Int64 = isBusy ? 0 : 200_000_000
        if let primary {
            if isBusy {
                // Reads of the copy complete through the ring; producers need not ring.
            } else {
                let dozes = !primary.batch.isEmpty || !primary.tracker.unsettled.isEmpty || !primary.memory.isRingEmpty
                if dozes {
                    timeout = min(timeout, primary.batch.isEmpty ? lookAgain : Limits.lingerNanoseconds)
                    lookAgain = min(lookAgain * 2, 100_000_000)
                } else {
                    lookAgain = 1_000_000
                }
                // A place that is reserved and not published holds up everybody: look soon, to revoke it.
                let before = primary.memory.reserved
                if !primary.memory.isRingEmpty || primary.holdingSince != nil { timeout = min(timeout, 500_000) }
                try armDoorbell(primary)
                primary.memory.setDataPlane(primary.batch.isEmpty ? LOCKSTEP_DATA_PLANE_SLEEPING : LOCKSTEP_DATA_PLANE_DOZING)
                // Whatever was published before the word said so did not ring.
                if primary.memory.reserved != before { timeout = 0 }
            }
        }
        try uring.submitAndWait(minimum: timeout == 0 ? 0 : 1, timeoutNanoseconds: timeout == 0 ? nil : timeout)
        primary?.memory.setDataPlane(LOCKSTEP_DATA_PLANE_AWAKE)
    }

    func armDoorbell(_ primary: PrimaryPlane) throws {
        guard uring.hasFutexWait, !doorbellArmed else { return }
        try uring.futexWait(primary.memory.doorbellAddress, expected: primary.memory.doorbell, token: Token.doorbell.with(0))
        doorbellArmed = true
    }

    func handle(_ completion: Uring.Completion) throws {
        let value = completion.token & 0xff_ffff_ffff_ffff
        switch Token(rawValue: completion.token >> 56) {
        case .orders:
            try uring.poll(orders.descriptor, events: Int32(POLLIN), token: Token.orders.with(0))
            for order in orders.take() { try obey(order) }
        case .doorbell:
            doorbellArmed = false
            lookAgain = 1_000_000
        case .bridge:
            bridge?.clear()
            if let bridge { try uring.poll(bridge.descriptor, events: Int32(POLLIN), token: Token.bridge.with(0)) }
            lookAgain = 1_000_000
        case .keepers:
            guard let primary else { return }
            for keeper in primary.server.accept() {
                try uring.poll(keeper, events: Int32(POLLIN), token: Token.keeper.with(UInt64(keeper)))
            }
            try uring.poll(primary.server.descriptor, events: Int32(POLLIN), token: Token.keepers.with(0))
        case .keeper:
            guard let primary else { return }
            let keeper = Int32(value)
            try primary.receive(from: keeper)
            if primary.server.keepers[keeper] != nil {
                try uring.poll(keeper, events: Int32(POLLIN), token: completion.token)
            }
        case .process:
            guard let primary, let arena = primary.memory.arenas[UInt32(value)] else { return }
            _ = arena.checkAlive()
            primary.sweep(checkingDeath: true)
        case .listener: try accepted(completion.result)
        case .receive: try received(completion.result, number: UInt32(value))
        case .send: sent(completion.result, number: UInt32(value))
        case .journal: try journaled(completion.result, token: value)
        case .fill:
            if let primary { primary.fills.readEnded(Int(completion.result), plane: primary) }
        case .cancel, nil: break
        }
    }

    // MARK: Secondary

    #if LOCKSTEP_FAULTS
    /// Planted fault: acknowledged, and written only when the next batch comes, or after a while.
    var heldBack: (batch: [UInt8], since: UInt64)?

    func holdBack(_ batch: [UInt8]?) throws {
        if let heldBack { try heldBack.batch.withUnsafeBytes { try submit(journal.append($0)) } }
        heldBack = batch.map { ($0, Clock.monotonic) }
    }
    #endif

    func turnSecondary(_ secondary: SecondaryPlane) throws {
        #if LOCKSTEP_FAULTS
        if let heldBack, Clock.monotonic - heldBack.since > 50_000_000, journal.hasRoom { try holdBack(nil) }
        #endif
        try turnSuspects(secondary)
        if let connection, isWelcome, let ack = secondary.ack() { connection.queue(.ack(ack)) }
        guard let promotion, !promotionFinishing, !secondary.isWriting else { return }
        if connection != nil && isWelcome {
            if Clock.monotonic > promotionDeadline {
                self.promotion = nil
                isPromoting = false
                promotion(.failure(NodeError(77, "the primary is connected: stop it first")))
            }
            return
        }
        promotionFinishing = true
        secondary.applier.finish()
    }

    func obey(_ report: Applier.Report) throws {
        guard let secondary else { return }
        switch report {
        case .applied: break  // `ack` looks itself
        case .copyEnded(let position):
            secondary.isRepairable = true
            let isSuspect = !secondary.suspects.isEmpty
            try state.update { $0.data = isSuspect ? .suspect : .upToDate }
            secondary.dataState = isSuspect ? .suspect : .upToDate
            lister?.pass(.regular)
            log.info("copy complete at position \(position.value): \(isSuspect ? "others changed the replica meanwhile" : "up to date")")
        case .checkpointed(let position): journal.recycle(below: position)
        case .finished(let inconsistent):
            let answer = promotion
            promotion = nil
            promotionFinishing = false
            if let inconsistent {
                isPromoting = false
                answer?(.failure(NodeError(77, "this node's data is inconsistent: \(inconsistent)")))
            } else {
                answer?(.success(secondary.received.position))
            }
        case .outside(let token, let objects, let elsewhere, let nanoseconds):
            try outside(token: token, objects, elsewhere: elsewhere, nanoseconds: nanoseconds)
        case .repaired(let token): try repaired(token: token)
        case .failed(let text):
            secondary.suspects = Suspects()
            // What the files hold is not known any more.
            log.info("applying failed: \(text)")
            try state.update { $0.data = .inconsistent }
            secondary.dataState = .inconsistent
            lastError = "applying failed, this node's data is inconsistent until it is copied again: \(text)"
            if let promotion {
                self.promotion = nil
                promotionFinishing = false
                isPromoting = false
                promotion(.failure(NodeError(77, lastError!)))
            }
            // The primary connects anew, and copies everything.
            if let connection { drop(connection, lastError!) }
        }
    }
}

/// Where io_uring can't wait on a futex (before kernel 6.7): a thread that does, and says so on an eventfd.
final class DoorbellBridge {
    let descriptor: Int32

    init(_ memory: CaptureMemory) {
        descriptor = lockstep_eventfd()
        precondition(descriptor >= 0, "eventfd: errno \(-descriptor)")
        nonisolated(unsafe) let word = memory.doorbellAddress
        let out = descriptor
        startThread("doorbell") {
            var seen = word.pointee
            while true {
                _ = lockstep_futex_wait(word, seen, -1)
                let now = word.pointee
                if now == seen { continue }
                seen = now
                var one: UInt64 = 1
                _ = write(out, &one, 8)
            }
        }
    }

    func clear() {
        var count: UInt64 = 0
        _ = read(descriptor, &count, 8)
    }
}
