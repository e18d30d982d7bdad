import CLinux
import Glibc
public import Platform
import Primitives

/// The thread that hears of every change on the roots' file systems and tells the data plane of those that nobody captured.
///
///     kernel --names queue--> event --by whom?--> covered, this daemon: dropped, the common case
///            --bytes queue-->   |        |
///                               |      outside, or gone before it could be asked
///                               v        v
///                           open: does it write? (looked up after the call has returned, and once more)
///                               |  yes: it is asked every second whether it still does
///                               v
///                           in a root? --> merged by process and name --> Mailbox --> data plane
///
/// Bounded everywhere: what finds no room, and a queue of the kernel that ran over, is one word, `lost`: everything is compared.
public final class Watcher: Sendable {
    public enum Report: Sendable {
        case changes([OutsideChange])
        /// Events were lost: whatever can be compared is compared.
        case lost(String)
        /// `deny` answered an opening with EPERM.
        case denied(pid: Int32, program: String, path: String)
    }

    public struct Root: Sendable {
        public var path: String
        public var descriptor: Int32
        public var device: UInt64
        public init(path: String, descriptor: Int32, device: UInt64) {
            self.path = path
            self.descriptor = descriptor
            self.device = device
        }
    }

    private let queues: [Int32]
    private let denyQueue: Int32
    private let denyPipe: Int32
    /// Written by the answering thread, by atomic additions.
    nonisolated(unsafe) private let deniedCount: UnsafeMutablePointer<UInt64>
    private let roots: [Root]
    private let covered: CoveredProcesses
    private let isIgnored: @Sendable ([UInt8]) -> Bool
    private let report: @Sendable (Report) -> Bool

    /// - Parameters:
    ///   - isIgnored: a name that is not replicated
    ///   - report: takes a report; false: there was no room for it
    public init(roots: [Root], covered: CoveredProcesses, deny stubPage: UInt64?, isIgnored: @escaping @Sendable ([UInt8]) -> Bool,
        report: @escaping @Sendable (Report) -> Bool) throws(SystemError)
    {
        self.roots = roots
        self.covered = covered
        self.isIgnored = isIgnored
        self.report = report
        deniedCount = .allocate(capacity: 1)
        deniedCount.initialize(to: 0)
        var queues: [Int32] = []
        do throws(SystemError) {
            for which in [LOCKSTEP_WATCH_NAMES, LOCKSTEP_WATCH_BYTES] {
                let queue = lockstep_watch_open()
                if queue < 0 { throw SystemError("fanotify_init", "", code: -queue) }
                queues.append(queue)
                for root in roots {
                    let result = lockstep_watch_mark(queue, which, root.descriptor)
                    if result < 0 { throw SystemError("fanotify_mark", root.path, code: -result) }
                }
            }
        } catch {
            for queue in queues { close(queue) }
            deniedCount.deallocate()
            throw error
        }
        self.queues = queues
        guard let stubPage else {
            denyQueue = -1
            denyPipe = -1
            return
        }
        var ends: [Int32] = [-1, -1]
        let queue = lockstep_deny_open()
        if queue < 0 { throw SystemError("fanotify_init for permissions", "", code: -queue) }
        guard pipe(&ends) == 0 else { throw SystemError.current("pipe", "") }
        for end in ends {
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
        }
        denyQueue = queue
        denyPipe = ends[0]
        let result = lockstep_deny_start(queue, covered.set, stubPage, ends[1], deniedCount)
        if result < 0 { throw SystemError("start the answering thread", "", code: -result) }
        for root in roots { WatchedDirectories.mark(queue, below: root.descriptor) }
    }

    public var denied: UInt64 { lockstep_denied(deniedCount) }

    /// From here on events are read; the kernel has kept them since `init`.
    public func start() {
        startThread("watch") {
            // Short programs have ended soon; without privilege it stays as it is.
            setpriority(__priority_which_t(PRIO_PROCESS.rawValue), id_t(lockstep_gettid()), -10)
            let work = Work(self)
            while true { work.turn() }
        }
    }

    /// What the thread owns.
    private final class Work {
        let watcher: Watcher
        var writers = OpenWriters()
        var processes: SeenProcesses
        var merged = MergedChanges()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 8)
        let fileSystems: [UInt64]
        var lost: String?

        init(_ watcher: Watcher) {
            self.watcher = watcher
            processes = SeenProcesses(watcher.covered)
            fileSystems = watcher.roots.map { root in
                var id: UInt64 = 0
                return lockstep_file_system(root.descriptor, &id) == 0 ? id : 0
            }
        }

        deinit { buffer.deallocate() }

        func turn() {
            var polled = (watcher.queues + [watcher.denyPipe]).map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
            let isWaiting = !writers.isEmpty || lost != nil
            _ = poll(&polled, nfds_t(polled.count), isWaiting ? 20 : -1)
            var heardOthers = false
            for queue in watcher.queues { if read(queue) { heardOthers = true } }
            readDenials()
            for change in writers.due(now: Clock.monotonic, processes: &processes) { add(change) }
            flush()
            // While only covered programs open and close, or others elsewhere, a turn takes many events at once: waking this thread
            // is what costs. It is not longer, because a program that ends meanwhile can't be asked for its name.
            if !heardOthers { usleep(1_000) }
        }

        /// Whether there was an event of somebody who is not covered.
        private func read(_ queue: Int32) -> Bool {
            let count = Glibc.read(queue, buffer.baseAddress, buffer.count)
            guard count > 0 else { return false }
            var offset = 0
            var event = lockstep_watch_event()
            var heardOthers = false
            while lockstep_watch_next(buffer.baseAddress, count, &offset, &event) {
                if event.mask & UInt64(LOCKSTEP_WATCH_OVERFLOW) != 0 {
                    lost = "the kernel's queue of events ran over"
                    continue
                }
                if watcher.denyQueue >= 0 { followDirectories(event) }
                if watcher.covered.contains(event.pid) { continue }
                if take(event) { heardOthers = true }
            }
            return heardOthers
        }

        /// False: it is about no root, or came from a covered process after all.
        private func take(_ event: lockstep_watch_event) -> Bool {
            var event = event
            let mask = UInt32(truncatingIfNeeded: event.mask)
            let name = withUnsafeBytes(of: &event.name) { Array($0.prefix(Int(event.name_bytes))) }
            if mask & LOCKSTEP_WATCH_DIRECTORY == 0, !name.isEmpty, watcher.isIgnored(name) { return false }
            // The place first: most of what others do on a file system is about no root, and asking who they are costs more.
            guard let place = place(of: event, name) else { return false }
            let who = processes.look(at: event.pid)
            if case .covered = who { return false }
            var what: OutsideChange.What = []
            if mask & LOCKSTEP_WATCH_CLOSE_WRITE != 0 { what.insert(.written) }
            if mask & LOCKSTEP_WATCH_CREATE != 0 { what.insert(.created) }
            if mask & LOCKSTEP_WATCH_DELETE != 0 { what.insert(.removed) }
            if mask & (LOCKSTEP_WATCH_MOVED_FROM | LOCKSTEP_WATCH_MOVED_TO) != 0 { what.insert(.moved) }
            if mask & LOCKSTEP_WATCH_ATTRIBUTES != 0 { what.insert(.attributes) }
            if mask & LOCKSTEP_WATCH_DIRECTORY != 0 { what.insert(.directory) }
            var change = OutsideChange(what: what, pid: event.pid, program: nil, directory: event.directory.file, name: name,
                object: event.object.file, roots: place.roots, path: place.path)
            change.isElsewhere = place.isElsewhere
            if name == [0x2e] {
                // About a directory itself: it is its own parent here.
                change.object = change.directory
                change.directory = nil
                change.name = []
                change.path = String(place.path.dropLast(2))
            }
            if case .outside(let program) = who { change.program = program }
            if mask & LOCKSTEP_WATCH_OPEN != 0, change.program != nil, event.object.bytes > 0, let root = place.roots.first {
                writers.opened(change, handle: event.object, root: watcher.roots[Int(root)])
            }
            if what.subtracting(.directory).isEmpty { return true }
            if what.contains(.written) { writers.closed(pid: event.pid, event.object.inode) }
            add(change)
            return true
        }

        private func add(_ change: OutsideChange) {
            #if LOCKSTEP_FAULTS
            // Planted faults: nothing is heard; or the first thing heard is that the queue ran over.
            if WatchFaults.hearsNothing { return }
            if WatchFaults.runsOver {
                WatchFaults.runsOver = false
                lost = "planted"
                return
            }
            #endif
            if !merged.add(change) { lost = "more than \(MergedChanges.changesMax) changes at a time" }
        }

        private func flush() {
            if let reason = lost, watcher.report(.lost(reason)) {
                lost = nil
                writers.tellAgain()
            }
            guard !merged.isEmpty else { return }
            if !watcher.report(.changes(merged.take())) { lost = "the data plane did not take them" }
        }

        /// Where an event took place; nil: in no root.
        ///
        /// A directory that its handle does not lead to any more has been removed, and all that was in it: the event of its own
        /// removal says so, or that of the directory which it lay in. Only a file that was moved out of it before is still to be found.
        private func place(of event: lockstep_watch_event, _ name: [UInt8]) -> (roots: [UInt32], path: String, isElsewhere: Bool)? {
            var event = event
            guard let first = fileSystems.firstIndex(of: event.file_system) else { return nil }
            let mount = watcher.roots[first].descriptor
            guard let directory = OpenFile.path(mount, &event.directory) else {
                guard event.object.bytes > 0, let path = OpenFile.path(mount, &event.object), let root = root(of: path) else { return nil }
                return ([root], path, false)
            }
            let path = directory + "/" + String(decoding: name, as: UTF8.self)
            if let root = root(of: directory) { return ([root], path, false) }
            // A further name, outside, of a file that may have one inside.
            guard event.object.bytes > 0, event.mask & UInt64(LOCKSTEP_WATCH_CLOSE_WRITE | LOCKSTEP_WATCH_ATTRIBUTES) != 0 else { return nil }
            var status = lockstep_status()
            guard OpenFile.status(mount, &event.object, &status), status.links > 1 else { return nil }
            return (fileSystems.indices.filter { fileSystems[$0] == event.file_system }.map(UInt32.init), path, true)
        }

        private func root(of path: String) -> UInt32? {
            watcher.roots.firstIndex { path == $0.path || path.hasPrefix($0.path + "/") || $0.path == "/" }.map(UInt32.init)
        }

        /// New directories are marked too, whoever made or moved them.
        private func followDirectories(_ event: lockstep_watch_event) {
            var event = event
            let mask = UInt32(truncatingIfNeeded: event.mask)
            guard mask & LOCKSTEP_WATCH_DIRECTORY != 0, mask & (LOCKSTEP_WATCH_CREATE | LOCKSTEP_WATCH_MOVED_TO) != 0,
                let first = fileSystems.firstIndex(of: event.file_system)
            else { return }
            let name = withUnsafeBytes(of: &event.name) { Array($0.prefix(Int(event.name_bytes))) }
            guard let place = place(of: event, name), !place.isElsewhere else { return }
            let parent = lockstep_open_handle(watcher.roots[first].descriptor, &event.directory)
            guard parent >= 0 else { return }
            defer { close(parent) }
            let child = lockstep_openat2(parent, (name + [0]).map { CChar(bitPattern: $0) }, UInt64(O_RDONLY | O_DIRECTORY | O_NOFOLLOW), 0, 0)
            guard child >= 0 else { return }
            defer { close(child) }
            WatchedDirectories.mark(watcher.denyQueue, below: child)
        }

        private func readDenials() {
            guard watcher.denyPipe >= 0 else { return }
            var denial = lockstep_denial()
            while Glibc.read(watcher.denyPipe, &denial, MemoryLayout<lockstep_denial>.size) == MemoryLayout<lockstep_denial>.size {
                let program = withUnsafeBytes(of: &denial.name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
                let path = withUnsafeBytes(of: &denial.path) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
                _ = watcher.report(.denied(pid: denial.pid, program: program, path: path))
            }
        }
    }
}

extension lockstep_handle {
    var file: OutsideChange.File? { bytes == 0 ? nil : OutsideChange.File(inode: inode, generation: generation) }
}

#if LOCKSTEP_FAULTS
/// Faults that tests plant, by name in LOCKSTEP_DAEMON_FAULT. Only builds with LOCKSTEP_FAULTS know them.
enum WatchFaults {
    private static let planted = (getenv("LOCKSTEP_DAEMON_FAULT").map { String(cString: $0) } ?? "").split(separator: ",").map(String.init)
    static let hearsNothing = planted.contains("watch-deaf")
    nonisolated(unsafe) static var runsOver = planted.contains("watch-overflow")
}
#endif
