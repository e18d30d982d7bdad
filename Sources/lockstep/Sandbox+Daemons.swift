import Control
import Glibc

/// Starting daemons, and waiting for what they are expected to become.
extension Sandbox {
    /// Files that are written through shared mappings and that their owners make anew: SQLite's index of its write-ahead
    /// log, LMDB's table of readers. The ends of their paths.
    static let excludedSuffixes = ["-shm", "/lock.mdb"]

    /// Starts a node's daemon and waits until it answers. Called while the sandbox is being changed.
    mutating func startDaemon(_ node: String, role: String) throws(ControlError) {
        let peer = node == "a" ? "b" : "a"
        guard let port = record.nodes[node]?.port, let peerPort = record.nodes[peer]?.port else { return }
        var arguments = ["--directory", nodeDirectory(node), "--node", node, "--module", record.module, "--role", role,
            "--listen", "127.0.0.1:\(port)", "--peer", "127.0.0.1:\(peerPort)"]
        arguments += Sandbox.excludedSuffixes.map { "--exclude=\($0)" }
        for root in roots { arguments += ["--root", "\(root.name)=\(root.paths[node] ?? "")"] }
        for path in record.outside ?? [] { arguments += ["--outside", path] }
        if let bound = record.waitBoundSeconds { arguments += ["--wait-bound", "\(bound)"] }
        if record.ioUring == true { arguments.append("--io-uring") }
        if let watch = record.watch { arguments += ["--watch", watch] }

        let log = "\(nodeDirectory(node))/lockstepd.log"
        let output = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard output >= 0 else { throw ControlError(.cannotCreate, "\(log): \(reason(errno))") }
        defer { close(output) }
        let input = open("/dev/null", O_RDONLY | O_CLOEXEC)
        defer { close(input) }
        let before = lseek(output, 0, SEEK_END)

        let daemon = try Program.start(try Program.path(of: Program.daemon), arguments,
            standard: [input, output, output], newSession: true)
        // Known before anything else can go wrong: it can be found and ended by the next command.
        record.nodes[node]?.daemon = daemon
        try record.save(directory)
        try waitForAnswer(node, daemon, log: log, from: before)
    }

    private func waitForAnswer(_ node: String, _ daemon: ProcessIdentity, log: String, from before: off_t)
        throws(ControlError)
    {
        let deadline = ContinuousClock.now + .seconds(60)
        while true {
            if let reply = try? client(node).call("status", timeout: .seconds(5)), reply.ok { return }
            if daemon.waitUntilDead(within: .milliseconds(1)) {
                let code = exitCode(of: daemon)
                throw ControlError(code, "node \(node): its daemon ended (code \(code.rawValue)): "
                    + (lastLine(of: log, from: Int(before)) ?? "it left no line in \(log)"))
            }
            if ContinuousClock.now > deadline {
                throw ControlError(.bound, "node \(node): its daemon does not answer; see \(log)")
            }
            usleep(10_000)
        }
    }

    /// Why our child ended; a death by a signal is the system's doing.
    private func exitCode(of daemon: ProcessIdentity) -> ExitCode {
        var status: Int32 = 0
        guard waitpid(daemon.pid, &status, WNOHANG) == daemon.pid, status & 0x7f == 0 else { return .system }
        let code = (status >> 8) & 0xff
        return code == 0 ? .unavailable : ExitCode(rawValue: code)
    }

    /// The status of a node; `.stopped` when its daemon doesn't run.
    func status(_ node: String) -> Status {
        if daemon(node) != nil, let status = (try? client(node).call("status"))?.status { return status }
        var stopped = Status(module: record.module, node: node, role: node == primary ? "primary" : "secondary")
        stopped.roots = roots.map { Status.Root(name: $0.name, path: $0.paths[node] ?? "") }
        if daemon(node) != nil { stopped.lastError = "the daemon runs, but does not answer" }
        return stopped
    }

    /// Waits until the secondary has a complete copy. There is no bound on the whole, but on standing still.
    func waitForCopy(stillBound: Duration = .seconds(60)) throws(ControlError) {
        defer { Terminal.endProgress() }
        var seen: Status.Copy?
        var moved = ContinuousClock.now
        while true {
            for node in Sandbox.nodes where daemon(node) == nil {
                throw ControlError(.unavailable, "node \(node): its daemon ended during the copy; see \(nodeDirectory(node))/lockstepd.log")
            }
            let primary = status(primary), secondary = status(secondary)
            if primary.ready, secondary.ready, primary.link == .connected, secondary.data == .upToDate { return }
            let copy = primary.copy.running ? primary.copy : secondary.copy
            if copy != seen {
                seen = copy
                moved = .now
                Terminal.progress("copy: \(copy.objectsDone) of \(copy.objects) objects, \(Terminal.size(copy.bytesDone))")
            }
            if ContinuousClock.now - moved > stillBound {
                let error = primary.lastError ?? secondary.lastError ?? "see \(nodeDirectory(self.primary))/lockstepd.log"
                throw ControlError(.bound, "the copy stands still since \(stillBound.components.seconds) s: \(error)")
            }
            usleep(20_000)
        }
    }

    /// A verb that must succeed; a refusal by the daemon becomes this command's.
    func demand(_ verb: String, _ arguments: [String: String] = [:], of node: String, timeout: Duration) throws(ControlError) -> ControlReply {
        let before = daemon(node)
        let reply: ControlReply
        do throws(ControlError) { reply = try client(node).call(verb, arguments, timeout: timeout) } catch {
            // A daemon that died of the verb said why in its log.
            guard error.code == .unavailable, before != nil, daemon(node) == nil,
                let last = lastLine(of: "\(nodeDirectory(node))/lockstepd.log")
            else { throw error }
            throw ControlError(error.code, "\(error.message); its last words: \(last)")
        }
        if reply.ok { return reply }
        throw ControlError(reply.code == .success ? .protocolError : reply.code,
            "\(verb), node \(node): \(reply.error ?? "refused without a reason")")
    }
}
