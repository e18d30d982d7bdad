import Control
import Glibc

/// Ending parts of a node: at once and without warning, or in order.
extension Sandbox {
    enum Victim: String, CaseIterable {
        case app, daemon, node
    }

    /// SIGKILL. `node` kills the daemon, the keepers and the application as close together as one process can.
    func kill(_ node: String, _ victim: Victim) throws(ControlError) {
        let daemon = victim == .app ? nil : daemon(node)
        guard victim != .daemon else {
            daemon?.signal(SIGKILL)
            return try expectDead([daemon].compactMap { $0 })
        }
        // The quick pass first: whoever is beneath a keeper now. Environments, which take longer to read, come after.
        let keepers = keepers(node)
        let family = ProcessSurvey().descendants(of: keepers)
        let words = ProcessSurvey.keeperWords(of: family)
        daemon?.signal(SIGKILL)
        if victim == .node { for keeper in keepers { keeper.signal(SIGKILL) } }
        for process in family { process.signal(SIGKILL) }
        try expectDead([daemon].compactMap { $0 })
        try endStragglers(node, keepersToo: victim == .node, words: words)
    }

    /// Repeats until a look at all processes finds nobody: whoever was forked meanwhile, or had left its family.
    private func endStragglers(_ node: String, keepersToo: Bool, words: Set<String> = []) throws(ControlError) {
        let deadline = ContinuousClock.now + .seconds(10)
        while true {
            let living = living(node, words: words)
            let left = living.application + (keepersToo ? living.keepers : [])
            if left.isEmpty { return }
            for process in left { process.signal(SIGKILL) }
            for process in left { _ = process.waitUntilDead(within: .milliseconds(100)) }
            if ContinuousClock.now > deadline { throw Sandbox.outlived(left) }
        }
    }

    private func expectDead(_ processes: [ProcessIdentity]) throws(ControlError) {
        let left = processes.filter { !$0.waitUntilDead(within: .seconds(10)) }
        if !left.isEmpty { throw Sandbox.outlived(left) }
    }

    private static func outlived(_ processes: [ProcessIdentity]) -> ControlError {
        ControlError(.bound, "they outlive SIGKILL: \(processes.map { "process \($0.pid)" }.joined(separator: ", "))")
    }

    /// Kills a daemon and starts it again, as what it was.
    mutating func restartDaemon(_ node: String) throws(ControlError) {
        try changing { (sandbox) throws(ControlError) in
            try sandbox.followRecords()
            try sandbox.kill(node, .daemon)
            try sandbox.startDaemon(node, role: node == sandbox.primary ? "primary" : "secondary")
        }
    }

    func endDaemon(_ node: String) {
        guard let daemon = daemon(node) else { return }
        _ = try? client(node).call("stop")
        if daemon.waitUntilDead(within: .seconds(10)) { return }
        daemon.signal(SIGKILL)
        _ = daemon.waitUntilDead(within: .seconds(10))
    }

    /// Ends everything, the application first and politely, so that its last writes still find their daemons.
    mutating func down() throws(ControlError) {
        try changing { (sandbox) throws(ControlError) in
            for node in Sandbox.nodes {
                let application = sandbox.living(node).application
                for process in application { process.signal(SIGTERM) }
                let deadline = ContinuousClock.now + .seconds(10)
                for process in application { _ = process.waitUntilDead(within: ContinuousClock.now.duration(to: deadline)) }
                try sandbox.endStragglers(node, keepersToo: false)
            }
            // A keeper ends with its application; one that doesn't is not waited for long.
            for node in Sandbox.nodes {
                for keeper in sandbox.keepers(node) { _ = keeper.waitUntilDead(within: .seconds(2)) }
                try sandbox.endStragglers(node, keepersToo: true)
            }
            sandbox.endDaemon(sandbox.primary)
            sandbox.endDaemon(sandbox.secondary)
            for node in Sandbox.nodes { sandbox.record.nodes[node]?.daemon = nil }
            try sandbox.record.save(sandbox.directory)
        }
    }
}
