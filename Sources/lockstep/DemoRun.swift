import CProcess
import Control
import Glibc
import Primitives
internal import Foundation

/// The seven steps of the demo.
///
///     pair ─ load ─ pause, settle, compare ─ load ─ SIGKILL of the primary ─ takeover, compare ─ open, look up
struct DemoRun {
    private let directory: String
    private let seconds: Int
    private var sandbox: Sandbox
    private var report = DemoReport()

    static func run(seconds: Int, keep: Bool) throws(ControlError) -> DemoReport {
        guard Program.isInstalled("sqlite3") else {
            throw ControlError(.notFound, "sqlite3: it is not installed; apt-get install sqlite3")
        }
        let directory = try makeDirectory()
        let cleaning = Cleaning(directory: directory, keep: keep)
        cleaning.onInterrupt()
        do throws(ControlError) {
            step(1, "a pair of nodes in \(directory)")
            var run = DemoRun(directory: directory, seconds: seconds,
                sandbox: try Sandbox.up("\(directory)/pair", waitBoundSeconds: nil))
            let report = try run.steps()
            cleaning.clean(keepBecause: report.passed ? nil : "for a look at what went wrong")
            return report
        } catch {
            cleaning.clean(keepBecause: "for a look at what went wrong")
            throw error
        }
    }

    private init(directory: String, seconds: Int, sandbox: Sandbox) {
        self.directory = directory
        self.seconds = seconds
        self.sandbox = sandbox
    }

    private mutating func steps() throws(ControlError) -> DemoReport {
        let first = sandbox.primary
        let load = try SQLiteLoad(log: "\(directory)/acknowledged.log")
        DemoRun.step(2, "\(SQLiteLoad.clients) SQLite clients write for \(seconds) s")
        _ = try query(SQLiteLoad.schema)
        for client in 1...SQLiteLoad.clients {
            let errors = "\(directory)/client-\(client).log"
            load.start(client, try shell(errors: errors), errors: errors)
        }
        var working = try rest(for: Double(seconds) / 2, load)

        DemoRun.step(3, "the load pauses; settle, and compare both trees")
        load.pause()
        _ = try sandbox.demand("settle", of: first, timeout: .seconds(300))
        let comparison = try TreeComparison(sandbox.tree("a"), sandbox.tree("b"))
        report.treesEqual = comparison.equal && comparison.files > 0
        for difference in comparison.differences.prefix(10) { Terminal.note("    \(difference)") }
        load.resume()

        DemoRun.step(4, "the load goes on, until a moment that nobody chose")
        working += try rest(for: Double(seconds) * .random(in: 0.25...0.75), load)

        DemoRun.step(5, "SIGKILL: database, keepers and daemon of node \(first)")
        load.expectEnd()
        // What is under way lies in shared memory: held on to, it can be looked at when all who wrote it are dead.
        let memory = try DemoMemory.open(of: sandbox.keepers(first))
        let killed = ContinuousClock.now
        try sandbox.kill(first, .node)
        load.waitUntilEnded()
        let acknowledged = load.acknowledged
        report.troubles = load.troubles
        report.acknowledged = acknowledged.count
        report.commitsPerSecond = (Double(acknowledged.count) / working * 10).rounded() / 10

        DemoRun.step(6, "takeover by node \(sandbox.secondary), and compare what the kill left")
        let reply = try sandbox.takeOver()
        let takenOver = ContinuousClock.now
        guard let position = reply.fields["position"].flatMap(UInt64.init) else {
            throw ControlError(.protocolError, "the takeover's answer holds no position")
        }
        let operations = try UnacknowledgedOperations(primaryJournal: "\(sandbox.nodeDirectory(first))/journal",
            secondaryJournal: "\(sandbox.nodeDirectory(sandbox.primary))/journal", takenOverAt: StreamPosition(position),
            memory: memory)
        let tail = try DemoTail(primaryTree: sandbox.tree(first), secondaryTree: sandbox.tree(sandbox.primary),
            operations: operations)
        report.tailDiffers = tail.ranges.count
        report.tailUnexplained = tail.unexplained.count
        report.unexplained = tail.unexplained.map(\.description)
        let compared = ContinuousClock.now

        DemoRun.step(7, "open the database on node \(sandbox.primary), and look up \(acknowledged.count) acknowledged commits")
        _ = try query("SELECT count(*) FROM commits;")
        let takeover = (takenOver - killed) + (.now - compared)
        report.takeoverSeconds = (takeover / .seconds(1) * 1000).rounded() / 1000
        report.lost = try countLost(acknowledged)
        report.integrity = try query("PRAGMA integrity_check;").joined(separator: ", ")
        report.judge()
        return report
    }

    private func countLost(_ acknowledged: [SQLiteLoad.Commit: String]) throws(ControlError) -> Int {
        var missing = acknowledged
        for line in try query("SELECT client, n, text FROM commits;") {
            let fields = line.split(separator: "|", maxSplits: 2).map(String.init)
            guard fields.count == 3, let client = Int(fields[0]), let number = Int(fields[1]) else { continue }
            let commit = SQLiteLoad.Commit(client: client, number: number)
            if missing[commit] == fields[2] { missing[commit] = nil }
        }
        return missing.count
    }

    /// Lets the load run; ends early when a client is in trouble. The seconds that it ran.
    private func rest(for seconds: Double, _ load: SQLiteLoad) throws(ControlError) -> Double {
        let start = ContinuousClock.now
        while ContinuousClock.now - start < .seconds(seconds), load.troubles.isEmpty { usleep(5_000) }
        return (.now - start) / .seconds(1)
    }

    // MARK: The database's shell

    private func shell(errors: String) throws(ControlError) -> Subprocess {
        try Subprocess(try Program.path(of: Program.lockstep),
            ["sandbox", "run", "--quiet", sandbox.directory, "--", "sqlite3", "-batch", "-init", "/dev/null",
                "\(sandbox.tree(sandbox.primary))/demo.db"],
            errors: errors)
    }

    /// One shell, one script; its lines of output.
    private func query(_ script: String) throws(ControlError) -> [String] {
        let shell = try shell(errors: "\(directory)/query.log")
        guard shell.write(".bail on\n.timeout 60000\n\(script)\n.print end of script\n.exit\n") else {
            throw failed(script, code: shell.wait())
        }
        var lines: [String] = []
        while let line = shell.readLine() { lines.append(line) }
        let code = shell.wait()
        guard code == 0, lines.popLast() == "end of script" else { throw failed(script, code: code) }
        return lines
    }

    private func failed(_ script: String, code: Int32) -> ControlError {
        let last = lastLine(of: "\(directory)/query.log") ?? "it left no message"
        return ControlError(code == 0 ? .failure : Control.ExitCode(rawValue: code), "sqlite3: \(script.prefix(60)): code \(code): \(last)")
    }

    // MARK: Around it

    private static func step(_ number: Int, _ what: String) { Terminal.note("\(number)/7 \(what)") }

    /// A directory on a file system that gives files an identity; a disk rather than memory.
    static func makeDirectory() throws(ControlError) -> String {
        let chosen = getenv("TMPDIR").map { [String(cString: $0)] } ?? []
        for place in chosen + ["/var/tmp", "/tmp", "/dev/shm"] {
            var overlay: Int32 = 0
            guard cprocess_is_overlay(place, &overlay) == 0, overlay == 0 else { continue }
            var template = Array("\(place)/lockstep-demo-XXXXXX".utf8CString)
            guard mkdtemp(&template) != nil else { continue }
            return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
        throw ControlError(.cannotCreate, "no directory for the demo: \((chosen + ["/var/tmp", "/tmp", "/dev/shm"]).joined(separator: ", ")) "
            + "can't be written or are overlayfs; set TMPDIR")
    }

    /// Stops the pair and removes its directory, also when the demo is interrupted.
    struct Cleaning {
        let directory: String
        let keep: Bool

        func clean(keepBecause why: String?) {
            if var sandbox = try? Sandbox(opening: "\(directory)/pair") { try? sandbox.down() }
            if keep || why != nil {
                Terminal.note("kept\(why.map { " " + $0 } ?? ""): \(directory)")
            } else {
                try? FileManager.default.removeItem(atPath: directory)
            }
        }

        /// Interrupts are taken by a thread of their own; the demo's other threads never see them.
        func onInterrupt() {
            var signals = sigset_t()
            sigemptyset(&signals)
            for signal in [SIGINT, SIGTERM, SIGHUP] { sigaddset(&signals, signal) }
            pthread_sigmask(SIG_BLOCK, &signals, nil)
            let waited = signals
            Thread.detachNewThread {
                var signals = waited, signal: Int32 = 0
                sigwait(&signals, &signal)
                Terminal.note("interrupted")
                clean(keepBecause: nil)
                exit(128 + signal)
            }
        }
    }
}
