import Control
import Glibc

/// The primary changes, and the other node comes back.
extension Sandbox {
    /// Makes the secondary the primary, from its journal.
    ///
    /// Without a witness nobody but this command can tell that the old primary is dead: it refuses while anything of
    /// that node lives.
    ///
    /// It may be tried again after it was ended half-way. From the moment at which the other node's own record says that
    /// it is primary it never is started as a secondary again, which would make its data outdated.
    ///
    /// `force`: also when its data is suspect, because somebody changed the replica and the primary did not ship it again.
    mutating func takeOver(force: Bool = false) throws(ControlError) -> ControlReply {
        try changing { (sandbox) throws(ControlError) in
            let other = sandbox.secondary
            try sandbox.refuseWhileAlive(sandbox.primary, "takeover")
            if sandbox.daemon(other) == nil {
                try sandbox.startDaemon(other, role: sandbox.primaryByRecords() == other ? "primary" : "secondary")
            }
            let reply = try sandbox.demand("takeover", force ? ["force": "yes"] : [:], of: other, timeout: .seconds(600))
            sandbox.record.primary = other
            try sandbox.record.save(sandbox.directory)
            return reply
        }
    }

    /// Starts the node that is not primary, as its secondary, and waits until it has a complete copy.
    mutating func rejoin() throws(ControlError) {
        try changing { (sandbox) throws(ControlError) in
            try sandbox.followRecords()
            guard sandbox.daemon(sandbox.primary) != nil else {
                throw ControlError(.unavailable, "node \(sandbox.primary): the primary's daemon is not running")
            }
            try sandbox.refuseWhileAlive(sandbox.secondary, "rejoin")
            try sandbox.startDaemon(sandbox.secondary, role: "secondary")
        }
        try waitForCopy()
    }

    private func refuseWhileAlive(_ node: String, _ verb: String) throws(ControlError) {
        let living = living(node)
        var left: [String] = []
        if let daemon = living.daemon { left.append("its daemon (process \(daemon.pid))") }
        left += living.keepers.map { "a keeper (process \($0.pid))" }
        left += living.application.map { "an application (process \($0.pid))" }
        guard left.isEmpty else {
            throw ControlError(.refused, "\(verb): node \(node) lives: \(left.joined(separator: ", "))")
        }
    }
}
