import Control
import Glibc
import Platform
import Primitives
import Replication
import Watch

/// Who changed what outside the capture, for the log and the status: bounded, the oldest goes first. Owned by the data plane.
final class OutsideLog {
    /// What a change has put in doubt, until it is shipped again.
    enum Doubt: Hashable {
        case object(ObjectID)
        case name(NameTable.Name)
        case everything
    }

    private struct Entry {
        var writer: Status.OutsideWriter
        var what: OutsideChange.What
        var doubts: Set<Doubt>
        /// Times that it was noted since it was last repaired.
        var unrepaired: UInt64
    }

    static let entriesMax = 64
    /// Lines in the log within ten seconds; what is more is only counted.
    static let linesMax = 50

    private var entries: [Entry] = []
    private(set) var changes: UInt64 = 0
    private(set) var repaired: UInt64 = 0
    /// Events of processes that were gone, on what covered ones had touched too: compared, and put down to nobody.
    var unattributed: UInt64 = 0
    var lost: UInt64 = 0
    private var lines = 0, unsaid = 0
    private var linesSince: UInt64 = 0
    private let log: Log

    init(log: Log) { self.log = log }

    var writers: [Status.OutsideWriter] { entries.map(\.writer) }

    func note(_ change: OutsideChange, _ doubts: [Doubt]) {
        changes += 1
        let program = change.program ?? (change.pid == 0 ? "?" : "gone")
        if let known = entries.lastIndex(where: { $0.writer.pid == change.pid && $0.writer.path == change.path && $0.writer.program == program }) {
            entries[known].writer.count += 1
            entries[known].writer.repaired = false
            entries[known].writer.time = OutsideLog.now()
            entries[known].doubts.formUnion(doubts)
            entries[known].unrepaired += 1
            // It goes on writing: said once.
            guard !entries[known].what.isSuperset(of: change.what) else { return }
            entries[known].what.formUnion(change.what)
            entries[known].writer.what = entries[known].what.words
        } else {
            if entries.count >= OutsideLog.entriesMax { entries.remove(at: entries.firstIndex { $0.writer.repaired } ?? 0) }
            entries.append(Entry(writer: Status.OutsideWriter(program: program, pid: change.pid, path: change.path, what: change.what.words,
                time: OutsideLog.now(), count: 1, repaired: false), what: change.what, doubts: Set(doubts), unrepaired: 1))
        }
        let who = change.pid == 0 ? "somebody" : "\(program) (process \(change.pid))"
        say("outside the capture: \(who): \(change.what.words): \(change.path)")
    }

    /// It is on both nodes as it should be.
    func resolved(_ doubt: Doubt) {
        for index in entries.indices where !entries[index].writer.repaired {
            entries[index].doubts.remove(doubt)
            guard entries[index].doubts.isEmpty else { continue }
            isRepaired(index)
        }
    }

    func resolvedAll() {
        for index in entries.indices where !entries[index].writer.repaired {
            entries[index].doubts = []
            isRepaired(index)
        }
    }

    private func isRepaired(_ index: Int) {
        entries[index].writer.repaired = true
        repaired += entries[index].unrepaired
        entries[index].unrepaired = 0
    }

    /// Somebody can make many of these: the log is bounded.
    func say(_ line: String) {
        let now = Clock.monotonic
        if now - linesSince > 10_000_000_000 {
            if unsaid > 0 { log.info("outside the capture: \(unsaid) more changes") }
            (linesSince, lines, unsaid) = (now, 0, 0)
        }
        guard lines < OutsideLog.linesMax else {
            unsaid += 1
            return
        }
        lines += 1
        log.info(line)
    }

    private static func now() -> String {
        var seconds = time_t(Clock.realtime / 1_000_000_000)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        func two(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
        return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))T\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))Z"
    }
}
