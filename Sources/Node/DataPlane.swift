import CCaptureABI
import CLinux
import Capture
import Frame
import Glibc
import Journal
import Link
import Platform
import Primitives
import Replay
import Replication
import Uring

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
        case promote(@Sendable (Result<StreamPosition, NodeError>) -> Void)
        /// The new epoch is durable: open the capture and be primary. Answers when applications may start.
        case startPrimary(Epoch, holdsAlonePermit: Bool, @Sendable (Result<Void, NodeError>) -> Void)
        /// The alone permit that was asked for under this number is durable.
        case alonePermit(request: UInt64)
        case applier(Applier.Report)
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
        var operations: UInt64 = 0, barriers: UInt64 = 0, batches: UInt64 = 0, fills: UInt64 = 0, repairs: UInt64 = 0
        var revoked: UInt64 = 0, refused: UInt64 = 0
        var lastError: String?
    }

    let orders: Mailbox<Order>
    private let configuration: Configuration
    private let log: Log
    private let events: @Sendable (Supervisor.Event) -> Void
    private let state: NodeState
    private var uring: Uring
    private var journal: Journal
    /// Journals of earlier streams whose last writes the kernel still has.
    private var oldJournals: [Journal] = []
    private let segments: Mailbox<SegmentPool>
    private let current: CurrentPool
    private let encoder = FrameEncoder()
    private var primary: PrimaryPlane?
    private var secondary: SecondaryPlane?
    private var epoch: Epoch

    // The link: one connection at a time; those that are closing wait for the kernel.
    private var connection: Connection?
    private var closing: [Connection] = []
    private var connections: UInt32 = 0
    private var listener: Int32 = -1
    private var isWelcome = false
    private var peerHeard: UInt64 = 0
    private var heartbeatSent: UInt64 = 0
    private var heartbeats: UInt64 = 0
    private var connectAfter: UInt64 = 0
    private var peerAck: Ack?
    private var saidPaired = false
    /// The number of the request for the alone permit that is open: an answer to an older one counts for nothing.
    private var permitAsked: UInt64?
    private var permitRequests: UInt64 = 0
    /// The peer says that this node must not go on: no permit is asked for.
    private var isRefusedByPeer = false
    /// When a welcomed connection was last heard of.
    private var pairHeard: UInt64 = 0

    // The stream that goes out.
    private var chain: UInt64 = 0
    private var cutBelow: UInt64 = 1
    private var encoded: [UInt8] = []
    /// Batches whose journal write has not completed, oldest first, with the ring sequence below which they hold all.
    private var journaling: [(position: StreamPosition, sequenceBelow: UInt64)] = []
    private var timesCarried: UInt64 = 0
    private var batchOpened: UInt64?

    private var doorbellArmed = false
    private var bridge: DoorbellBridge?
    private var lookAgain: Int64 = 1_000_000
    private var settles: [Settle] = []
    private var promotion: (@Sendable (Result<StreamPosition, NodeError>) -> Void)?
    private var promotionFinishing = false
    /// From the order until this node is primary: no primary is welcomed, no second takeover begins.
    private var isPromoting = false
    private var promotionDeadline: UInt64 = 0
    private var lastError: String?
    private var isStopped = false

    /// A settle that runs: drained up to `reserved`, then names, then times, then applied up to `position`.
    private struct Settle {
        var reserved: UInt64
        var hasNames = false
        var position: StreamPosition?
        var repaired = 0
        var answer: @Sendable (Result<Int, NodeError>) -> Void
    }

    /// Tokens: what a completion is about, in the top byte.
    private enum Token: UInt64 {
        case orders = 1, doorbell, bridge, keepers, keeper, process, listener, receive, send, journal, fill, cancel
        func with(_ value: UInt64) -> UInt64 { rawValue << 56 | value & 0xff_ffff_ffff_ffff }
    }

    /// `futexWait: false` forces the way of kernels before 6.7.
    init(_ configuration: Configuration, log: Log, state: NodeState, orders: Mailbox<Order>, journal: Journal,
        segments: Mailbox<SegmentPool>, current: CurrentPool, futexWait: Bool = true, events: @escaping @Sendable (Supervisor.Event) -> Void) throws
    {
        self.configuration = configuration
        self.log = log
        self.orders = orders
        self.journal = journal
        self.segments = segments
        self.current = current
        current.set(journal.pool)
        self.state = state
        self.epoch = state.record.epoch
        self.events = events
        uring = try Uring(entries: 256, futexWait: futexWait)
        try uring.poll(orders.descriptor, events: Int32(POLLIN), token: Token.orders.with(0))
    }

    // MARK: Roles

    /// Opens the capture: the shared memory of an earlier daemon if a keeper still holds it, else new.
    private func startPrimary(epoch: Epoch, holdsAlonePermit: Bool) throws {
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
            lockBoundMilliseconds: Limits.lockBoundMilliseconds, epoch: epoch)
        let after = secondary?.received.position ?? journal.appended?.position ?? .none
        let plane = try PrimaryPlane(configuration, log: log, tree: tree, memory: memory, server: server, epoch: epoch,
            after: after)
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

    private func watch(_ arena: Arena) {
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
            }
        } catch let error as CaptureError {
            // Nothing that this memory says can be believed any more: its processes fail instead of waiting.
            primary?.memory.close()
            throw NodeError(LOCKSTEP_EXIT_PROTOCOL, error.description)
        }
    }

    /// Returns whether there is more to do at once.
    private func turn() throws -> Bool {
        var isBusy = false
        if let primary {
            try connectIfDue(primary)
            if (connection?.unsentBytes ?? 0) < Limits.sendBytesMax { try primary.drain() }
            primary.sweep(checkingDeath: false)
            try turnCopy(primary)
            try endIfRefused(primary)
            carryTimes(primary)
            turnSettles(primary)
            primary.endTurn()
            try cutIfDue(primary)
            isBusy = primary.isStreaming && !primary.fills.isReading && (!primary.fills.isEmpty || (primary.copy.map { $0.ended == nil } ?? false))
        }
        if let secondary { try turnSecondary(secondary) }
        try turnLink()
        return isBusy
    }

    private func turnCopy(_ primary: PrimaryPlane) throws {
        guard primary.isStreaming, primary.batch.bytes < Limits.batchBytes, (connection?.unsentBytes ?? 0) < Limits.sendBytesMax / 2
        else { return }
        if let request = primary.fills.turn(plane: primary) {
            try uring.read(request.descriptor, into: primary.fills.buffer.baseAddress!, count: request.count,
                offset: request.offset, token: Token.fill.with(0))
        }
        primary.copy?.turn(plane: primary)
    }

    /// What can't be read can't be promised: the stream ends, loudly, and is tried again later unless this node's data is suspect.
    private func endIfRefused(_ primary: PrimaryPlane) throws {
        guard let refusal = primary.refusal else { return }
        primary.refusal = nil
        if primary.dataIsSuspect { try state.update { $0.data = .suspect } }
        if let connection { drop(connection, refusal) }
        connectAfter = primary.dataIsSuspect ? .max : Clock.monotonic + 10_000_000_000
    }

    private func carryTimes(_ primary: PrimaryPlane) {
        let now = Clock.monotonic
        guard primary.hasTimesPending, primary.copy == nil, now - timesCarried > Limits.timesNanoseconds else { return }
        timesCarried = now
        primary.shipTimes()
    }

    private func wait(isBusy: Bool) throws {
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
                if !primary.memory.isRingEmpty { timeout = min(timeout, 500_000) }
                try armDoorbell(primary)
                primary.memory.setDataPlane(primary.batch.isEmpty ? LOCKSTEP_DATA_PLANE_SLEEPING : LOCKSTEP_DATA_PLANE_DOZING)
                // Whatever was published before the word said so did not ring.
                if primary.memory.reserved != before { timeout = 0 }
            }
        }
        try uring.submitAndWait(minimum: timeout == 0 ? 0 : 1, timeoutNanoseconds: timeout == 0 ? nil : timeout)
        primary?.memory.setDataPlane(LOCKSTEP_DATA_PLANE_AWAKE)
    }

    private func armDoorbell(_ primary: PrimaryPlane) throws {
        guard uring.hasFutexWait, !doorbellArmed else { return }
        try uring.futexWait(primary.memory.doorbellAddress, expected: primary.memory.doorbell, token: Token.doorbell.with(0))
        doorbellArmed = true
    }

    private func handle(_ completion: Uring.Completion) throws {
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

    // MARK: Batches out

    private func cutIfDue(_ primary: PrimaryPlane) throws {
        guard !primary.batch.isEmpty else {
            batchOpened = nil
            return
        }
        let now = Clock.monotonic
        let opened = batchOpened ?? now
        batchOpened = opened
        let lingered = Int64(now - opened) >= Limits.lingerNanoseconds
        guard journal.hasRoom, primary.wantsCut || (lingered && primary.mayCut) else { return }
        batchOpened = nil
        let batch = primary.takeBatch()
        var header = BatchHeader()
        header.epoch = epoch
        header.firstPosition = batch.first
        header.lastPosition = batch.last
        // Both 0: it holds records of the daemon only.
        if batch.sequenceBelow > cutBelow {
            header.firstSequence = SequenceNumber(cutBelow)
            header.lastSequence = SequenceNumber(batch.sequenceBelow - 1)
        }
        header.previousChain = chain
        header.time = Clock.realtime
        encoder.encode(batch.records, header: &header, into: &encoded)
        chain = header.chain
        cutBelow = max(cutBelow, batch.sequenceBelow)
        encoded.withUnsafeBytes { connection?.queue(.batch($0)) }
        try appendToJournal(header, sequenceBelow: batch.sequenceBelow)
        primary.recycle(batch)
    }

    private func appendToJournal(_ header: BatchHeader, sequenceBelow: UInt64) throws {
        journaling.append((header.lastPosition, sequenceBelow))
        try encoded.withUnsafeBytes { try submit(journal.append($0)) }
    }

    private func submit(_ requests: WriteRequests) throws {
        for request in requests {
            try uring.write(request.fileDescriptor, from: request.bytes, count: request.count, offset: request.offset,
                token: Token.journal.with(request.token))
        }
        if journal.pool.needsPreparation { _ = segments.post(journal.pool) }
    }

    private func journaled(_ result: Int32, token: UInt64) throws {
        if let old = oldJournals.firstIndex(where: { $0.configuration.tokens.contains(token) }) {
            _ = try? oldJournals[old].completed(token, result: result)
            if oldJournals[old].inFlightCount == 0 { oldJournals.remove(at: old) }
            return
        }
        // An error is final: durability is in doubt, the node stops.
        guard let written = try journal.completed(token, result: result)?.position else { return }
        if let primary {
            while let first = journaling.first, first.position <= written {
                journaling.removeFirst()
                primary.journaled(below: first.sequenceBelow)
            }
            // The primary's own journal serves a restarted daemon only: what the peer has is not needed in it.
            if let acked = peerAck?.position { journal.recycle(below: acked) }
        } else {
            secondary?.journaled(through: written)
        }
        if journal.pool.needsPreparation { _ = segments.post(journal.pool) }
    }

    /// A new stream begins on this primary: what its journal holds of the old one is void.
    private func restartJournal() throws {
        var configuration = journal.configuration
        configuration.firstToken += UInt64(configuration.writesInFlightMax)
        configuration.mode = .buffered
        if journal.inFlightCount > 0 { oldJournals.append(journal) }
        for entry in journaling { primary?.journaled(below: entry.sequenceBelow) }
        journaling = []
        current.set(nil)
        try Journal.erase(directory: configuration.directory)
        journal = try Journal(configuration, continuing: Journal.recover(directory: configuration.directory))
        current.set(journal.pool)
    }

    // MARK: The link

    private func connectIfDue(_ primary: PrimaryPlane) throws {
        let now = Clock.monotonic
        guard connection == nil, now >= connectAfter else { return }
        connectAfter = now + 200_000_000
        let descriptor = lockstep_loopback_connect(configuration.peerPort)
        if descriptor >= 0 {
            open(descriptor)
            connection!.queue(.hello(Hello(module: configuration.module, node: configuration.node, epoch: epoch,
                incarnation: Incarnation(high: primary.memory.incarnation.0, low: primary.memory.incarnation.1),
                roots: configuration.roots.map(\.name))))
        } else if descriptor != -ECONNREFUSED {
            // A peer that is stopped does not accept: not so often.
            connectAfter = now + 1_000_000_000
        }
    }

    /// No peer for the time of silence, whether nobody accepts or nobody welcomes: the supervisor is asked for the alone permit.
    private func askForPermitIfAlone(_ primary: PrimaryPlane) {
        guard !(connection != nil && isWelcome), Clock.monotonic - pairHeard > Limits.peerSilenceNanoseconds else { return }
        askForPermit(primary, acked: primary.release.acked)
    }

    private func askForPermit(_ primary: PrimaryPlane, acked: StreamPosition) {
        guard !primary.holdsAlonePermit, permitAsked == nil, !isRefusedByPeer else { return }
        permitRequests += 1
        permitAsked = permitRequests
        events(.peerLost(acked: acked, request: permitRequests))
    }

    private func open(_ descriptor: Int32) {
        connections &+= 1
        connection = Connection(descriptor: descriptor, number: connections & 0xff_ffff)
        isWelcome = false
        peerHeard = Clock.monotonic
        heartbeatSent = peerHeard
    }

    private func accepted(_ result: Int32) throws {
        guard secondary != nil, listener >= 0 else {
            if result >= 0 { close(result) }
            return
        }
        try uring.accept(listener, token: Token.listener.with(0))
        guard result >= 0 else { return }
        lockstep_set_no_delay(result)
        // The primary connects anew only after it gave the old connection up.
        if let connection { drop(connection, "the primary connected anew") }
        open(result)
    }

    private func received(_ result: Int32, number: UInt32) throws {
        guard let connection = connection?.number == number ? connection : closing.first(where: { $0.number == number }) else { return }
        let isOpen = connection.receiveEnded(result)
        if connection.isClosing { return }
        guard isOpen else {
            drop(connection, result == 0 ? "the peer closed the connection" : describe(errno: -result))
            return
        }
        peerHeard = Clock.monotonic
        if isWelcome { pairHeard = peerHeard }
        try processMessages(connection)
    }

    /// What has arrived and finds room; the rest waits in the decoder for the next turn.
    private func processMessages(_ connection: Connection) throws {
        do {
            // A message that finds no room in the journal waits in the decoder, and with it the peer.
            while journal.hasRoom, let message = try connection.decoder.next() {
                try handle(message, connection)
                if connection.isClosing { return }
            }
        } catch let error as LinkError {
            drop(connection, "\(error)")
        } catch let error as FrameError {
            drop(connection, "\(error)")
        } catch let error as NodeError where error.code == 76 {
            drop(connection, "\(error)")
        }
    }

    private func sent(_ result: Int32, number: UInt32) {
        guard let connection = connection?.number == number ? connection : closing.first(where: { $0.number == number }) else { return }
        if !connection.sendEnded(result), !connection.isClosing { drop(connection, describe(errno: -result)) }
    }

    private func drop(_ connection: Connection, _ reason: String) {
        guard !connection.isClosing else { return }
        log.info("link: \(reason)")
        lastError = "link: \(reason)"
        connection.close()
        closing.append(connection)
        guard connection === self.connection else { return }
        self.connection = nil
        connectAfter = Clock.monotonic + 200_000_000
        guard let primary else { return }
        primary.endStream()
        for settle in settles { settle.answer(.failure(NodeError(69, "the peer was lost while settling"))) }
        settles = []
        if isWelcome { askForPermit(primary, acked: primary.release.acked) }
        peerAck = nil
        saidPaired = false
    }

    private func handle(_ message: LinkMessage, _ connection: Connection) throws {
        switch message {
        case .hello(let hello):
            guard let secondary else { throw NodeError(76, "a node that is not secondary was called") }
            if let refusal = refusal(of: hello, secondary) {
                connection.queue(.refused(refusal))
                log.info("link: refused node \(hello.node): \(refusal)")
                return
            }
            secondary.begin(epoch: hello.epoch)
            isWelcome = true
            connection.queue(.welcome(Welcome(node: configuration.node, dataState: secondary.dataState, epoch: secondary.epoch,
                position: secondary.received.position, sequence: secondary.received.sequence, chain: secondary.received.chain)))
            log.info("link: primary \(hello.node) connected, epoch \(hello.epoch.value)")
        case .welcome(let welcome):
            guard let primary, !isWelcome else { throw NodeError(76, "unexpected welcome") }
            guard welcome.position.value < 1 << 62 else { throw NodeError(76, "the peer is at position \(welcome.position.value)") }
            guard welcome.epoch <= epoch else { throw NodeError(76, "node \(welcome.node) is in epoch \(welcome.epoch.value), later than \(epoch.value)") }
            isWelcome = true
            isRefusedByPeer = false
            log.info("link: connected to \(welcome.node), which is at position \(welcome.position.value)")
            chain = welcome.chain
            // The peer says durably that its data is inconsistent before anything of the copy reaches it.
            connection.queue(.request(kind: Request.copy.rawValue, body: []))
            try restartJournal()
            primary.beginStream(after: welcome.position)
        case .refused(let text):
            // It may have been promoted: only a peer that is not there lets this node go on alone.
            isRefusedByPeer = true
            throw NodeError(76, "the peer refused: \(text)")
        case .batch(let bytes):
            guard let secondary, isWelcome else { throw NodeError(76, "unexpected batch") }
            try secondary.receive(bytes)
            #if LOCKSTEP_FAULTS
            if Faults.acknowledgesEarly { return try holdBack(Array(bytes)) }
            #endif
            try submit(journal.append(bytes))
        case .ack(let ack):
            guard let primary, isWelcome else { throw NodeError(76, "unexpected acknowledgement") }
            try acknowledged(ack, primary)
        case .heartbeat: break
        case .request(let kind, _):
            guard let secondary, isWelcome, kind == Request.copy.rawValue else { throw NodeError(76, "unknown request \(kind)") }
            secondary.dataState = .inconsistent
            // Durable before the answer to anything that follows: the record is replaced on this thread, once a copy.
            try state.update { $0.copyBegins(epoch: secondary.epoch, after: secondary.received.position) }
        }
    }

    private enum Request: UInt16 { case copy = 1 }

    private func refusal(of hello: Hello, _ secondary: SecondaryPlane) -> String? {
        if isPromoting { return "this node is being promoted" }
        if hello.epoch.value >= 1 << 62 { return "epoch \(hello.epoch.value)" }
        if hello.version != LinkMessage.version { return "link version \(hello.version), this node speaks \(LinkMessage.version)" }
        if hello.module != configuration.module { return "module '\(hello.module)', this node has '\(configuration.module)'" }
        if hello.roots != configuration.roots.map(\.name) { return "roots \(hello.roots), this node has \(configuration.roots.map(\.name))" }
        if hello.epoch < secondary.epoch { return "epoch \(hello.epoch.value) is over, this node is in epoch \(secondary.epoch.value)" }
        return nil
    }

    private func acknowledged(_ ack: Ack, _ primary: PrimaryPlane) throws {
        guard ack.epoch == epoch, ack.flushed <= primary.release.appended, ack.applied <= ack.flushed else {
            throw NodeError(76, "acknowledgement of position \(ack.flushed.value) in epoch \(ack.epoch.value), which was never sent")
        }
        peerAck = ack
        primary.acknowledged(through: ack.flushed)
        guard let copy = primary.copy else { return }
        if let ended = copy.ended, ack.dataState == .upToDate, ack.flushed >= ended {
            // I5: only now is the peer no longer outdated.
            primary.copy = nil
            saidPaired = true
            permitAsked = nil
            // From the moment it is asked to be cleared the permit is not held any more.
            primary.holdsAlonePermit = false
            log.info("the peer is up to date at position \(ended.value)")
            events(.peerUpToDate)
        } else if copy.ended == nil, ack.flushed >= copy.began {
            // The peer can't be promoted before the copy ends, so nobody needs to wait for it: with a durable permit.
            askForPermit(primary, acked: copy.began)
        }
    }

    private func turnLink() throws {
        let now = Clock.monotonic
        if let connection { try processMessages(connection) }
        if let primary { askForPermitIfAlone(primary) }
        if let connection {
            if now - peerHeard > Limits.peerSilenceNanoseconds {
                drop(connection, "the peer has said nothing for \(Limits.peerSilenceNanoseconds / 1_000_000_000) s")
            } else {
                if now - heartbeatSent > Limits.heartbeatNanoseconds {
                    heartbeatSent = now
                    heartbeats += 1
                    if let secondary, isWelcome, let ack = secondary.ack(evenIfNothingNew: true) {
                        connection.queue(.ack(ack))
                    } else {
                        connection.queue(.heartbeat(heartbeats))
                    }
                }
                let isFull = !journal.hasRoom || (secondary?.unappliedBytes ?? 0) > Limits.unappliedBytesMax
                // A peer that is not read can't be heard.
                if isFull { peerHeard = now }
                if !isFull { try connection.startReceiving(&uring, token: Token.receive.with(UInt64(connection.number))) }
                try connection.startSending(&uring, token: Token.send.with(UInt64(connection.number)))
            }
        }
        closing.removeAll { connection in
            guard connection.isIdle else { return false }
            connection.dispose()
            return true
        }
    }

    // MARK: Secondary

    #if LOCKSTEP_FAULTS
    /// Planted fault: acknowledged, and written only when the next batch comes, or after a while.
    private var heldBack: (batch: [UInt8], since: UInt64)?

    private func holdBack(_ batch: [UInt8]?) throws {
        if let heldBack { try heldBack.batch.withUnsafeBytes { try submit(journal.append($0)) } }
        heldBack = batch.map { ($0, Clock.monotonic) }
    }
    #endif

    private func turnSecondary(_ secondary: SecondaryPlane) throws {
        #if LOCKSTEP_FAULTS
        if let heldBack, Clock.monotonic - heldBack.since > 50_000_000, journal.hasRoom { try holdBack(nil) }
        #endif
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

    private func obey(_ report: Applier.Report) throws {
        guard let secondary else { return }
        switch report {
        case .applied: break  // `ack` looks itself
        case .copyEnded(let position):
            try state.update { $0.data = .upToDate }
            secondary.dataState = .upToDate
            log.info("copy complete at position \(position.value): up to date")
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
        case .failed(let text):
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

    // MARK: Orders

    private func obey(_ order: Order) throws {
        switch order {
        case .status(let answer): answer(snapshot())
        case .settle(let answer):
            guard let primary else { return answer(.failure(NodeError(77, "only a primary settles"))) }
            guard primary.isStreaming else { return answer(.failure(NodeError(69, "the peer is not connected"))) }
            settles.append(Settle(reserved: primary.memory.reserved, answer: answer))
        case .promote(let answer):
            guard let secondary else { return answer(.failure(NodeError(77, "this node is primary already"))) }
            guard !isPromoting else { return answer(.failure(NodeError(77, "a takeover is running already"))) }
            guard secondary.dataState == .upToDate else {
                return answer(.failure(NodeError(77, "this node's data is \(secondary.dataState.rawValue): it can't take over")))
            }
            promotion = answer
            isPromoting = true
            // A primary that was killed just now may not have been missed yet.
            promotionDeadline = Clock.monotonic + 1_000_000_000
        case .startPrimary(let epoch, let holdsAlonePermit, let answer):
            do {
                try startPrimary(epoch: epoch, holdsAlonePermit: holdsAlonePermit)
                answer(.success(()))
            } catch {
                let refusal = error as? NodeError ?? NodeError(71, "\(error)")
                answer(.failure(refusal))
                throw refusal
            }
        case .alonePermit(let request):
            guard permitAsked == request else { return }
            permitAsked = nil
            primary?.permitAlone()
        case .applier(let report): try obey(report)
        case .stop(let answer):
            isStopped = true
            answer()
        }
    }

    private func turnSettles(_ primary: PrimaryPlane) {
        for index in settles.indices {
            if let position = settles[index].position {
                if let ack = peerAck, ack.applied >= position { settles[index].answer(.success(settles[index].repaired)) }
                continue
            }
            guard primary.memory.drained >= settles[index].reserved, primary.tracker.unsettled.isEmpty, primary.copy == nil,
                !primary.owesRepairs, primary.fills.isEmpty
            else { continue }
            if !settles[index].hasNames {
                settles[index].hasNames = true
                do { settles[index].repaired = try primary.passOfNames() } catch {
                    settles[index].answer(.failure(NodeError(1, "pass of names: \(error)")))
                    settles[index].position = StreamPosition.none
                }
                // What it found is shipped whole first.
                if settles[index].repaired > 0 || settles[index].position != nil { continue }
            }
            primary.shipTimes()
            settles[index].position = primary.ship(Record(.settled), about: [])
            primary.batch.mustReach = max(primary.batch.mustReach, 1)
        }
        settles.removeAll { settle in
            guard let position = settle.position else { return false }
            return position == StreamPosition.none || (peerAck.map { $0.applied >= position } ?? false)
        }
    }

    private func snapshot() -> Snapshot {
        var snapshot = Snapshot()
        snapshot.isConnected = connection != nil && isWelcome
        snapshot.lastError = lastError
        if let primary {
            snapshot.appended = primary.release.appended.value
            snapshot.acked = primary.release.acked.value
            snapshot.flushed = peerAck?.flushed.value ?? 0
            snapshot.applied = peerAck?.applied.value ?? 0
            snapshot.drained = primary.memory.drained
            snapshot.released = primary.memory.released
            snapshot.dataState = primary.dataIsSuspect ? .suspect : .upToDate
            snapshot.peerState = peerAck?.dataState
            if let copy = primary.copy {
                snapshot.isCopying = true
                snapshot.objects = copy.objects
                snapshot.objectsDone = copy.objectsDone
                snapshot.bytesDone = primary.fills.bytesShipped
            }
            snapshot.isPaired = saidPaired
            snapshot.keepers = primary.server.keepers.count
            snapshot.processes = primary.memory.arenas.values.filter(\.isAlive).count
            snapshot.operations = primary.counters.operations
            snapshot.barriers = primary.counters.barriers
            snapshot.batches = primary.counters.batches
            snapshot.fills = primary.counters.fills
            snapshot.repairs = primary.counters.repairs
            snapshot.revoked = primary.memory.revoked
            snapshot.refused = primary.server.refused
        }
        if let secondary {
            snapshot.appended = secondary.received.position.value
            snapshot.flushed = secondary.flushed.position.value
            snapshot.acked = secondary.flushed.position.value
            snapshot.applied = secondary.applier.applied.value
            snapshot.dataState = secondary.dataState
            snapshot.batches = secondary.batches
        }
        return snapshot
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
