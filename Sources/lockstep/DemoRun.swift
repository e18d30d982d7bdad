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
    private let application: any DemoApplication
    private var sandbox: Sandbox
    private var report: DemoReport

    static func run(_ type: any DemoApplication.Type, seconds: Int, keep: Bool) throws(ControlError) -> DemoReport {
        try type.checkInstalled()
        let directory = try makeDirectory()
        let cleaning = Cleaning(directory: directory, keep: keep)
        cleaning.onInterrupt()
        do throws(ControlError) {
            step(1, "a pair of nodes in \(directory)")
            var run = DemoRun(directory: directory, seconds: seconds, application: try type.init(directory: directory),
                sandbox: try Sandbox.up("\(directory)/pair"), report: DemoReport(app: type.name))
            let report = try run.steps()
            cleaning.clean(keepBecause: report.passed ? nil : "for a look at what went wrong")
            return report
        } catch {
            cleaning.clean(keepBecause: "for a look at what went wrong")
            throw error
        }
    }

    private mutating func steps() throws(ControlError) -> DemoReport {
        let first = sandbox.primary
        DemoRun.step(2, "\(application.load) for \(seconds) s")
        try application.start(in: sandbox)
        var working = rest(for: Double(seconds) / 2)

        DemoRun.step(3, "the load pauses; settle, and compare both trees")
        try application.pause()
        try compareAtRest(first)
        try application.resume()

        DemoRun.step(4, "the load goes on, until a moment that nobody chose")
        working += rest(for: Double(seconds) * .random(in: 0.25...0.75))

        DemoRun.step(5, "SIGKILL: database, keepers and daemon of node \(first)")
        application.expectEnd()
        // What is under way lies in shared memory: held on to, it can be looked at when all who wrote it are dead.
        // Keepers that are stopped give no new process any: what is forked after the look would not be seen in it.
        let keepers = sandbox.keepers(first)
        for keeper in keepers { keeper.signal(SIGSTOP) }
        let memory = try DemoMemory.open(of: keepers)
        let killed = ContinuousClock.now
        try sandbox.kill(first, .node)
        report.acknowledged = try application.waitUntilEnded()
        report.troubles = application.troubles
        report.commitsPerSecond = (Double(report.acknowledged) / working * 10).rounded() / 10

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

        DemoRun.step(7, "open the database on node \(sandbox.primary), and look up \(report.acknowledged) acknowledged commits")
        try application.open(in: sandbox)
        let takeover = (takenOver - killed) + (.now - compared)
        report.takeoverSeconds = (takeover / .seconds(1) * 1000).rounded() / 1000
        report.lost = try application.countLost()
        report.integrity = try application.checkIntegrity()
        report.judge()
        return report
    }

    /// Trees that are not equal stay so. What a server writes between the settle and the comparison makes a difference
    /// too, but none that another settle leaves.
    private mutating func compareAtRest(_ primary: String) throws(ControlError) {
        let deadline = ContinuousClock.now + .seconds(30)
        while true {
            _ = try sandbox.demand("settle", of: primary, timeout: .seconds(300))
            let comparison = try TreeComparison(sandbox.tree("a"), sandbox.tree("b"))
            report.treesEqual = comparison.equal && comparison.files > 0
            if report.treesEqual { return }
            guard application.writesUnasked, ContinuousClock.now < deadline else {
                for difference in comparison.differences.prefix(10) { Terminal.note("    \(difference)") }
                return
            }
        }
    }

    /// Lets the load run; ends early when a client is in trouble. The seconds that it ran.
    private func rest(for seconds: Double) -> Double {
        let start = ContinuousClock.now
        while ContinuousClock.now - start < .seconds(seconds), application.troubles.isEmpty { usleep(5_000) }
        return (.now - start) / .seconds(1)
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
            guard let resolved = realpath(template, nil) else { continue }
            defer { free(resolved) }
            return String(cString: resolved)
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
