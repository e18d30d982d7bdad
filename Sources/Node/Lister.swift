import CLinux
import Glibc
import Platform
import Primitives
import Watch

/// The thread that keeps the list of what the roots hold: a pass each minute, after a copy, at a stop, and when events were lost.
/// It reads names and sizes only, at the lowest priority, and shares nothing with the data plane but mailboxes.
final class Lister: Sendable {
    enum Reason: Sendable {
        case regular
        /// Events were lost: what differs from the list before is reported.
        case lost
    }

    private enum Order: Sendable {
        case pass(Reason)
        case stop(WatchList.Mark, Box<Bool>)
    }

    static let intervalMilliseconds: Int32 = 60_000

    private let orders = Mailbox<Order>(capacity: 64)
    private let configuration: Configuration
    private let log: Log
    private let boot: BootID
    private let mark: @Sendable () -> WatchList.Mark?
    private let report: @Sendable ([WatchList.Difference]?) -> Void

    static func path(in directory: String) -> String { directory + "/watch-list" }

    /// - Parameters:
    ///   - mark: where the stream stands, from the data plane; nil: it does not answer, and there is no pass
    ///   - report: what differs after events were lost; nil: there is no list to compare with
    init(_ configuration: Configuration, log: Log, boot: BootID, baseline: WatchList?, mark: @escaping @Sendable () -> WatchList.Mark?,
        report: @escaping @Sendable ([WatchList.Difference]?) -> Void)
    {
        self.configuration = configuration
        self.log = log
        self.boot = boot
        self.mark = mark
        self.report = report
        startThread("watch-list") { self.run(baseline) }
    }

    func pass(_ reason: Reason) { _ = orders.post(.pass(reason)) }

    /// Writes the last list; returns when it is durable, or could not be, within a bound.
    func stop(_ mark: WatchList.Mark) {
        let done = Box<Bool>()
        guard orders.post(.stop(mark, done)) else { return }
        _ = done.take(seconds: 30)
    }

    private func run(_ baseline: WatchList?) {
        // The data plane's processor time comes first.
        setpriority(__priority_which_t(PRIO_PROCESS.rawValue), id_t(lockstep_gettid()), 19)
        var list = baseline
        while true {
            orders.wait(milliseconds: Lister.intervalMilliseconds)
            let taken = orders.take()
            var wasLost = false
            for order in taken {
                if case .pass(.lost) = order { wasLost = true }
                guard case .stop(let mark, let done) = order else { continue }
                store(read(mark, isOfStop: true))
                done.put(true)
                return
            }
            // What is being done for the data plane now can't be asked for again.
            guard let mark = mark() else {
                if wasLost { report(nil) }
                continue
            }
            let now = read(mark, isOfStop: false)
            if wasLost { report(now.flatMap { now in list.map { $0.differences(to: now) } }) }
            if let now { list = now }
            store(now)
        }
    }

    private func read(_ mark: WatchList.Mark, isOfStop: Bool) -> WatchList? {
        do { return try Lister.read(configuration, boot: boot, mark, isOfStop: isOfStop) } catch {
            // A tree in motion may not be readable to its end: the next time.
            log.info("list of the roots: \(error)")
            return nil
        }
    }

    private func store(_ list: WatchList?) {
        guard let list else { return }
        do { try DurableFile.replace(path: Lister.path(in: configuration.directory), contents: list.encoded()) } catch {
            log.info("list of the roots: \(error); the pass at the next start will not know what changed meanwhile")
        }
    }

    static func read(_ configuration: Configuration, boot: BootID, _ mark: WatchList.Mark, isOfStop: Bool) throws -> WatchList {
        var entries: [WatchList.Entry] = []
        try Tree(configuration).walk(withTimes: true, found: { entry in
            entries.append(WatchList.Entry(root: entry.parent.root, directory: .init(inode: entry.parent.inode, generation: entry.parent.generation),
                name: entry.name, file: .init(inode: entry.object.inode, generation: entry.object.generation),
                isDirectory: entry.mode & S_IFMT == S_IFDIR, size: entry.size, changed: entry.changed))
        }, skipped: { _ in })
        return WatchList(boot: boot, mark: mark, isOfStop: isOfStop, entries: entries)
    }
}
