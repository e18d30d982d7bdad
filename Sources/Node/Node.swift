import CCaptureABI
import CLinux
import Capture
import Control
import Frame
import Glibc
import Journal
import Platform
import Primitives
import Replay
import Replication
import Synchronization
import Watch

/// One node of a pair: puts the threads together and runs until it is stopped.
///
///     main        starts the others, waits for the end
///     data-plane  the way of a write (`DataPlane`)
///     applier     a secondary's files (`Applier`)
///     supervisor  role and permits (`Supervisor`)
///     control     the command line's requests, a thread each (`ControlServer`)
///     segments    makes journal segments ready
///     watch       hears of changes outside the capture (`Watcher`); watch-list keeps the list for the next start (`Lister`)
public enum Node {
    /// Returns when the node was stopped; throws what made it stop or kept it from starting.
    public static func run(_ configuration: Configuration) throws {
        Limits.check()
        signal(SIGPIPE, SIG_IGN)
        raiseDescriptorLimit()
        let log = Log(node: configuration.node)
        let lock = try lockDirectory(configuration.directory)
        defer { close(lock) }

        let tree = try Tree(configuration)
        // A secondary's tree is the primary's, or about to be; and a daemon that is started again must not end the application
        // for a link that it made meanwhile: that is said in the log and in the status.
        if configuration.role == .primary, try NodeRecord.load(from: configuration.directory) == nil {
            let leading = tree.linksLeadingOut(try tree.names()).values.sorted()
            guard leading.isEmpty else {
                throw NodeError(78, "symbolic links lead out of the replicated roots: \(leading.joined(separator: ", ")); what they point to would not be replicated")
            }
        }

        let state = try NodeState(try record(configuration, log), directory: configuration.directory)
        let listener = listen(configuration.listenPort)
        guard listener >= 0 else {
            throw NodeError(71, "port \(configuration.listenPort) on 127.0.0.1: \(describe(errno: -listener))")
        }

        let ended = Box<Ended>()
        let orders = Mailbox<DataPlane.Order>(capacity: 1 << 16)
        let segments = Mailbox<SegmentPool>(capacity: 1024)
        let current = CurrentPool()
        startThread("segments") { prepareSegments(segments, current, ended) }
        let supervisor = Supervisor(configuration, log: log, state: state, orders: orders) { ended.put(.failed($0)) }
        supervisor.start()
        startThread("data-plane") {
            do {
                try runDataPlane(configuration, log: log, state: state, listener: listener, orders: orders, segments: segments,
                    current: current, supervisor: supervisor)
                ended.put(.stopped)
            } catch {
                ended.put(.failed(error as? NodeError ?? NodeError(71, "\(error)")))
            }
        }
        let starting = state.record
        if starting.role == .primary {
            let opened: Result<Void, NodeError>? = {
                let box = Box<Result<Void, NodeError>>()
                _ = orders.post(.startPrimary(starting.epoch, holdsAlonePermit: starting.alone != nil) { box.put($0) })
                return box.take(seconds: 60)
            }()
            switch opened {
            case .success: break
            case .failure(let error): throw error
            case nil:
                if case .failed(let error) = ended.take(seconds: 0.1) { throw error }
                throw NodeError(75, "the capture did not open within 60 s")
            }
        }
        let control: ControlServer
        do { control = try ControlServer(directory: configuration.directory, handler: { supervisor.answer($0) }) } catch {
            throw NodeError(error.code.rawValue, error.message)
        }
        log.info("\(starting.role.rawValue) of module \(configuration.module), epoch \(starting.epoch.value)")
        defer { control.stop() }
        while true {
            switch ended.take(seconds: 3600) {
            case .stopped: return
            case .failed(let error): throw error
            case nil: continue
            }
        }
    }

    private enum Ended: Sendable {
        case stopped
        case failed(NodeError)
    }

    /// Every process of the application costs a descriptor.
    private static func raiseDescriptorLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    /// The kernel gives the port of a daemon that was killed back a moment after its process.
    private static func listen(_ port: UInt16) -> Int32 {
        let deadline = Clock.monotonic + Limits.lockNanoseconds
        while true {
            let listener = lockstep_loopback_listen(port)
            guard listener == -EADDRINUSE, Clock.monotonic < deadline else { return listener }
            usleep(10_000)
        }
    }

    /// One daemon a directory.
    private static func lockDirectory(_ directory: String) throws -> Int32 {
        let path = directory + "/lock"
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw NodeError(errno == ENOENT ? 66 : 73, "\(path): \(describe(errno: errno))") }
        // One that was killed lets go of it a moment after everything else.
        let deadline = Clock.monotonic + Limits.lockNanoseconds
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            guard errno == EWOULDBLOCK || errno == EINTR, Clock.monotonic < deadline else {
                throw NodeError(77, "\(directory): a daemon runs here already")
            }
            usleep(10_000)
        }
        return descriptor
    }

    /// What this node was, and whether it may start in the role that it is told.
    private static func record(_ configuration: Configuration, _ log: Log) throws -> NodeRecord {
        guard var record = try NodeRecord.load(from: configuration.directory) else {
            switch configuration.role {
            case .primary: return NodeRecord(role: .primary, epoch: Epoch(1), data: .upToDate)
            case .secondary: return NodeRecord(role: .secondary, data: .inconsistent)
            }
        }
        switch (record.role, configuration.role) {
        case (.primary, .primary), (.secondary, .secondary): break
        case (.secondary, .primary):
            throw NodeError(77, "this node is secondary, its data \(record.data.rawValue): it becomes primary by takeover only")
        case (.primary, .secondary):
            // Another node may have been promoted since: what this one holds is not newer than that.
            record.role = .secondary
            record.data = .outdated
            record.alone = nil
            // Its journal is of its own stream, which it can't go on with: a copy comes first.
            let journal = configuration.directory + "/journal"
            try DurableFile.makeDirectories(path: journal)
            try Journal.erase(directory: journal)
        }
        guard configuration.role == .secondary || record.data == .upToDate else {
            throw NodeError(77, "this node's data is \(record.data.rawValue)")
        }
        return record
    }

    private static func prepareSegments(_ pools: Mailbox<SegmentPool>, _ current: CurrentPool, _ ended: Box<Ended>) {
        while true {
            pools.wait(milliseconds: -1)
            for pool in pools.take() {
                do { while pool.needsPreparation { if try !pool.prepareNext() { break } } } catch {
                    // A new stream began meanwhile, and its journal swept this one's files away.
                    if !current.isCurrent(pool) { continue }
                    ended.put(.failed(NodeError(71, "journal: \(error)")))
                }
            }
        }
    }

    private static func runDataPlane(_ configuration: Configuration, log: Log, state: NodeState, listener: Int32,
        orders: Mailbox<DataPlane.Order>, segments: Mailbox<SegmentPool>, current: CurrentPool, supervisor: Supervisor) throws
    {
        let directory = configuration.directory + "/journal"
        try DurableFile.makeDirectories(path: directory)
        let record = state.record
        var mode = record.role == .primary ? JournalConfiguration.Mode.buffered : .flushed
        #if LOCKSTEP_FAULTS
        if Faults.writesWithoutFlush { mode = .buffered }
        #endif
        let boot = try BootID.current()
        let journalConfiguration = JournalConfiguration(directory: directory, mode: mode, module: moduleNumber(configuration.module),
            bootID: boot)
        // Before anything changes the trees, or the journal that explains what did.
        let startPass = StartPass(configuration, boot: boot, role: record.role, recovery: try Journal.recover(directory: directory))
        if record.role == .primary {
            // It serves a restarted daemon of the same boot; every stream begins with a copy, so nothing of it is needed.
            try Journal.erase(directory: directory)
        }
        let recovery = try Journal.recover(directory: directory)
        if let stop = recovery.stop { log.info("journal ends in \(stop.segment) at byte \(stop.byteOffset): \(stop.reason)") }
        let secondary = record.role == .secondary
            ? try recoverSecondary(configuration, log: log, state: state, recovery: recovery, startPass: startPass, orders: orders) : nil
        let journal = try Journal(journalConfiguration, continuing: recovery)
        let plane = try DataPlane(configuration, log: log, state: state, orders: orders, journal: journal, segments: segments,
            current: current) {
            _ = supervisor.events.post($0)
        }
        if let (secondary, _) = secondary { try plane.become(secondary: secondary, listener: listener) } else { close(listener) }
        if let (_, found) = secondary {
            if let doubt = startPass.doubt { log.info("what happened while no daemon ran is not known: \(doubt)") }
            try plane.take(found: found)
        } else {
            plane.startPass = startPass
        }
        watch(plane, configuration, log, orders)
        let lister = Lister(configuration, log: log, boot: boot, baseline: startPass.baseline, mark: {
            let box = Box<WatchList.Mark>()
            return orders.post(.mark { box.put($0) }) ? box.take(seconds: 30) : nil
        }, report: { _ = orders.post(.listed($0)) })
        plane.lister = lister
        lister.pass(.regular)
        try plane.run()
        // What is in the ring now is in the next daemon's, too.
        lister.stop(plane.markOfStop)
    }

    /// Starts hearing of what others do to the roots, if the kernel lets this process.
    private static func watch(_ plane: DataPlane, _ configuration: Configuration, _ log: Log, _ orders: Mailbox<DataPlane.Order>) {
        guard configuration.watch != .off else {
            plane.watchState = "not watched (off)"
            return
        }
        do {
            let tree = try Tree(configuration)
            let roots = withExtendedLifetime(tree) {
                tree.roots.map { Watcher.Root(path: $0.path, descriptor: dup($0.descriptor), device: $0.device) }
            }
            let own = Array(".lockstep-\(configuration.module)".utf8)
            plane.watcher = try Watcher(roots: roots, covered: plane.covered, deny: configuration.watch == .deny ? LOCKSTEP_STUB_PAGE : nil,
                isIgnored: { configuration.isExcluded($0) || $0 == own }, report: { orders.post(.outside($0)) })
            plane.watchState = configuration.watch == .deny ? "watched, others are denied to write" : "watched"
        } catch {
            plane.watchState = "not watched (\(error))"
            log.info(plane.watchState)
        }
    }

    /// Brings a secondary's files to the end of its journal, and starts the applier behind it.
    private static func recoverSecondary(_ configuration: Configuration, log: Log, state: NodeState, recovery: JournalRecovery,
        startPass: StartPass, orders: Mailbox<DataPlane.Order>) throws -> (SecondaryPlane, found: [OutsideChange])
    {
        let replayer = try Replayer.recover(roots: configuration.roots.map(\.path),
            stateDirectory: configuration.directory, module: configuration.module)
        let work = ApplierWork(replayer: replayer, epoch: replayer.mark.epoch, position: replayer.mark.position,
            chain: replayer.mark.chain, log: log)
        let reader = JournalReader(directory: configuration.directory + "/journal", from: replayer.mark.position.next)
        var batches = 0
        var replayFailure: String?
        if let last = recovery.last, last.position > replayer.mark.position {
            do {
                while let batch = try reader.next(through: last.position) {
                    _ = try work.apply(Array(batch.bytes))
                    batches += 1
                }
                try replayer.replayEnded()
            } catch {
                // A gap between table and journal, or a record that does not fit: a copy puts it right, nothing else does.
                log.info("replay of the journal ended at position \(work.position.value): \(error)")
                replayFailure = "\(error)"
            }
        }
        if batches > 0 { log.info("replayed \(batches) batches of the journal, up to position \(work.position.value)") }
        // A copy that was announced and never reached the journal made everything older void.
        let isWhole = replayFailure == nil && replayer.consistent && (state.record.copyAfter.map { work.position > $0 } ?? true)
        let last = recovery.last
        let mark = SecondaryPlane.Mark(position: max(work.position, last?.position ?? .none),
            sequence: last?.sequence ?? .none, chain: last?.chain ?? work.chain)
        // What others had changed before is still so: until a copy.
        let wasSuspect = state.record.data == .suspect
        try state.update { record in
            if record.data != .outdated, !(wasSuspect && isWhole) { record.data = isWhole ? .upToDate : .inconsistent }
        }
        let found = startPass.changes(configuration, replayer: replayer)
        let applier = Applier(work: work) { _ = orders.post(.applier($0)) }
        let plane = SecondaryPlane(mark: mark, epoch: state.record.epoch, dataState: state.record.data, applier: applier, log: log)
        plane.isRepairable = !wasSuspect
        return (plane, found)
    }

    /// The module's name as the journal's number.
    private static func moduleNumber(_ name: String) -> UInt64 {
        name.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    }
}
