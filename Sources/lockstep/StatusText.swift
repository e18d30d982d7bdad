import Control

/// A status for people: an indented paragraph, one axis after the other.
struct StatusText: CustomStringConvertible {
    static let guardedCallsMax = 20
    static let outsideMax = 20

    let status: Status

    init(_ status: Status) { self.status = status }

    private var transition: String { status.exitCode == .bound ? " (in transition)" : "" }

    var description: String {
        var lines = ["\(status.module) node:\(status.node) role:\(status.role) state:\(status.state)\(transition)"]
        guard status.state != .stopped else {
            if let error = status.lastError { lines.append("  last error: \(error)") }
            return lines.joined(separator: "\n")
        }
        let positions = status.positions, counters = status.counters
        lines.append("  data:\(status.data.rawValue) link:\(status.link) epoch:\(status.epoch)")
        if status.copy.running {
            lines.append("  copy:running objects:\(status.copy.objectsDone)/\(status.copy.objects) done:\(Terminal.size(status.copy.bytesDone))")
        }
        lines.append("  appended:\(positions.appended) flushed:\(positions.flushed) acked:\(positions.acked) applied:\(positions.applied)")
        lines.append("  ring drained:\(status.drained) released:\(status.released)")
        lines.append("  application keepers:\(status.application.keepers) processes:\(status.application.processes)")
        lines.append("  operations:\(counters.operations) barriers:\(counters.barriers) batches:\(counters.batches) fills:\(counters.fills) "
            + "repairs:\(counters.repairs) revoked:\(counters.revoked) refused:\(counters.refused)")
        let captured = status.guarded.reduce(0) { $0 &+ $1.captured }, refused = status.guarded.reduce(0) { $0 &+ $1.refused }
        lines.append("  guard: \(status.guard) captured:\(captured) refused:\(refused)")
        for call in status.guarded.prefix(StatusText.guardedCallsMax) {
            lines.append("    \(call.program) \(call.call) captured:\(call.captured) refused:\(call.refused)")
        }
        if status.guarded.count > StatusText.guardedCallsMax {
            lines.append("    and \(status.guarded.count - StatusText.guardedCallsMax) more (--json)")
        }
        lines.append("  watch: \(status.watch)")
        lines.append("  outside the capture: \(counters.outside) repaired:\(counters.outsideRepaired) unattributed:\(counters.outsideUnattributed) "
            + "lost:\(counters.watchLost) denied:\(counters.denied)\(status.outsideUnrepaired ? " (being repaired)" : "")")
        for writer in status.outside.suffix(StatusText.outsideMax) {
            let who = writer.pid == 0 ? "somebody" : "\(writer.program) (process \(writer.pid))"
            lines.append("    \(writer.time) \(who): \(writer.what): \(writer.path)\(writer.count > 1 ? " (\(writer.count) times)" : "")"
                + (writer.repaired ? "" : ": not repaired yet"))
        }
        for root in status.roots { lines.append("  root \(root.name): \(root.path)") }
        if status.linksOut > 0 { lines.append("  links out of the roots: \(status.linksOut); what they point to is not replicated") }
        for link in status.linksOutShown { lines.append("    \(link)") }
        if let error = status.lastError { lines.append("  last error: \(error)") }
        return lines.joined(separator: "\n")
    }
}
