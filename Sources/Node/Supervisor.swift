import Control
import Glibc
import Platform
import Primitives
import Synchronization

/// The thread that decides: who is primary, and whether this node may acknowledge alone. It never does I/O on replicated
/// files, so nothing that happens to them stops it; what it decides is durable in the node's record before it takes effect.
///
///     data plane --peerLost--------> alone record durable -----> alonePermit   (I4)
///                --peerUpToDate----> alone record cleared                      (I5)
///     takeover   --promote---------> journal replayed -> epoch + 1 durable -> startPrimary   (I2)
final class Supervisor: Sendable {
    enum Event: Sendable {
        /// No peer answers, or it can't be promoted while a copy runs; it had acknowledged up to here.
        case peerLost(acked: StreamPosition, request: UInt64)
        case peerUpToDate
    }

    let events = Mailbox<Event>(capacity: 1024)
    private let configuration: Configuration
    private let log: Log
    private let state: NodeState
    private let orders: Mailbox<DataPlane.Order>
    private let exitWith: @Sendable (NodeError) -> Void

    init(_ configuration: Configuration, log: Log, state: NodeState, orders: Mailbox<DataPlane.Order>,
        exitWith: @escaping @Sendable (NodeError) -> Void)
    {
        self.configuration = configuration
        self.log = log
        self.state = state
        self.orders = orders
        self.exitWith = exitWith
    }

    func start() { startThread("supervisor") { self.run() } }

    private func run() {
        while true {
            events.wait(milliseconds: -1)
            for event in events.take() {
                do { try handle(event) } catch {
                    exitWith(NodeError(71, "the node's record can't be written: \(error)"))
                }
            }
        }
    }

    private func handle(_ event: Event) throws {
        switch event {
        case .peerLost(let acked, let request):
            try state.update { $0.alone = acked }
            log.info("alone: durability points are released without the peer, which is outdated at position \(acked.value)")
            _ = orders.post(.alonePermit(request: request))
        case .peerUpToDate:
            try state.update { $0.alone = nil }
            log.info("paired: durability points wait for the peer")
        }
    }

    // MARK: Requests from the control socket, each on a thread of its own

    func answer(_ request: ControlRequest) -> ControlReply {
        switch request.verb {
        case "status": return status()
        case "settle": return settle(request)
        case "takeover": return takeOver(force: request.arguments["force"] != nil)
        case "stop": return stop()
        default: return ControlReply(refusing: .usage, "unknown verb '\(request.verb)'")
        }
    }

    /// Asks the data plane and waits for its answer, bounded.
    private func ask<Answer: Sendable>(seconds: Double, _ order: (@escaping @Sendable (Answer) -> Void) -> DataPlane.Order) -> Answer? {
        let box = Box<Answer>()
        guard orders.post(order { box.put($0) }) else { return nil }
        return box.take(seconds: seconds)
    }

    private func status() -> ControlReply {
        let record = state.record
        var status = Status(module: configuration.module, node: configuration.node, role: record.role.rawValue)
        status.epoch = record.epoch.value
        status.roots = configuration.roots.map { Status.Root(name: $0.name, path: $0.path) }
        guard let snapshot: DataPlane.Snapshot = ask(seconds: 10, { .status($0) }) else {
            return ControlReply(refusing: .bound, "the data plane does not answer")
        }
        status.data = Status.Data(rawValue: snapshot.dataState.rawValue) ?? .inconsistent
        status.link = snapshot.isConnected ? .connected : .disconnected
        status.positions.appended = snapshot.appended
        status.positions.flushed = snapshot.flushed
        status.positions.acked = snapshot.acked
        status.positions.applied = snapshot.applied
        status.drained = snapshot.drained
        status.released = snapshot.released
        status.copy.running = snapshot.isCopying
        status.copy.objects = snapshot.objects
        status.copy.objectsDone = snapshot.objectsDone
        status.copy.bytesDone = snapshot.bytesDone
        status.application.keepers = UInt64(snapshot.keepers)
        status.application.processes = UInt64(snapshot.processes)
        status.guard = snapshot.guardState
        status.guarded = snapshot.guardedCalls
        status.counters.operations = snapshot.operations
        status.counters.barriers = snapshot.barriers
        status.counters.batches = snapshot.batches
        status.counters.fills = snapshot.fills
        status.counters.repairs = snapshot.repairs
        status.counters.revoked = snapshot.revoked
        status.counters.refused = snapshot.refused
        status.watch = snapshot.watch
        status.outside = snapshot.outside
        status.outsideUnrepaired = snapshot.unrepaired
        status.counters.outside = snapshot.outsideChanges
        status.counters.outsideRepaired = snapshot.outsideRepaired
        status.counters.outsideUnattributed = snapshot.outsideUnattributed
        status.counters.watchLost = snapshot.watchLost
        status.counters.denied = snapshot.denied
        status.linksOut = UInt64(snapshot.linksOut.count)
        status.linksOutShown = Array(snapshot.linksOut.prefix(10))
        status.lastError = snapshot.lastError
        switch record.role {
        case .secondary:
            status.state = .secondary
            status.ready = snapshot.isConnected && snapshot.dataState == .upToDate
        case .primary:
            status.state = snapshot.isPaired ? .primary : record.alone != nil ? .alone : .wait
            status.ready = snapshot.isPaired
        }
        return ControlReply(status: status)
    }

    private func settle(_ request: ControlRequest) -> ControlReply {
        let seconds = request.arguments["seconds"].flatMap(Double.init) ?? 60
        guard let result: Result<Int, NodeError> = ask(seconds: seconds, { .settle($0) }) else {
            return ControlReply(refusing: .bound, "not settled within \(Int(seconds)) s: the application goes on writing, or the peer is slow")
        }
        switch result {
        case .success(let repaired): return ControlReply(fields: ["repaired": "\(repaired)"])
        case .failure(let error): return ControlReply(refusing: ExitCode(rawValue: error.code), error.description)
        }
    }

    /// Promotes this node: its journal is replayed to the end, the new epoch is durable, then applications may start (I2). Suspect
    /// data is taken over by `force` only (I6).
    private func takeOver(force: Bool) -> ControlReply {
        let record = state.record
        if record.role == .primary {
            // Tried again after it had succeeded.
            return ControlReply(fields: ["epoch": "\(record.epoch.value)", "position": "\(record.alone?.value ?? 0)"])
        }
        guard let replayed: Result<StreamPosition, NodeError> = ask(seconds: 600, { .promote(force: force, $0) }) else {
            return ControlReply(refusing: .bound, "the journal was not replayed within 600 s")
        }
        let position: StreamPosition
        switch replayed {
        case .failure(let error): return ControlReply(refusing: ExitCode(rawValue: error.code), error.description)
        case .success(let reached): position = reached
        }
        do {
            try state.update { record in
                record.role = .primary
                record.epoch = Epoch(record.epoch.value + 1)
                record.data = .upToDate
                record.alone = position
                record.copyAfter = nil
            }
        } catch {
            let failure = NodeError(71, "the new epoch can't be made durable: \(error)")
            exitWith(failure)
            return ControlReply(refusing: .system, failure.description)
        }
        let epoch = state.record.epoch
        log.info("promoted: epoch \(epoch.value) begins after position \(position.value)")
        guard let started: Result<Void, NodeError> = ask(seconds: 60, { .startPrimary(epoch, holdsAlonePermit: true, $0) }) else {
            return ControlReply(refusing: .bound, "the capture did not open within 60 s")
        }
        if case .failure(let error) = started { return ControlReply(refusing: ExitCode(rawValue: error.code), error.description) }
        return ControlReply(fields: ["epoch": "\(epoch.value)", "position": "\(position.value)"])
    }

    private func stop() -> ControlReply {
        let _: Void? = ask(seconds: 10) { answer in .stop { answer(()) } }
        return ControlReply()
    }
}

/// One answer, handed from one thread to another.
final class Box<Value: Sendable>: Sendable {
    private let content = Mutex<Value?>(nil)
    private let filled = Mailbox<Bool>(capacity: 4)

    func put(_ value: Value) {
        content.withLock { $0 = value }
        _ = filled.post(true)
    }

    func take(seconds: Double) -> Value? {
        let deadline = Clock.monotonic + UInt64(seconds * 1e9)
        while true {
            if let value = content.withLock({ $0 }) { return value }
            let now = Clock.monotonic
            if now >= deadline { return nil }
            filled.wait(milliseconds: Int32(min((deadline - now) / 1_000_000 + 1, 1000)))
            _ = filled.take()
        }
    }
}
