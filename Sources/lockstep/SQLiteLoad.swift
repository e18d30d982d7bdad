import Control
import Glibc
import Synchronization
internal import Foundation

/// Four clients that insert into one SQLite database (write-ahead log, full synchronisation), and what it acknowledged.
///
///     client thread ── INSERT; SELECT ──> sqlite3 under `sandbox run`
///           │  <──────── "ok CLIENT N" ──┘  the shell answers once the INSERT's transaction has been committed
///           └──> own log, outside of the trees
final class SQLiteLoad: Sendable {
    struct Commit: Hashable {
        var client: Int
        var number: Int
    }

    private struct State {
        var pausing = false
        var paused = 0
        var stopping = false
        var acknowledged: [Commit: String] = [:]
        var running = 0
        var troubles: [String] = []
    }

    static let clients = 4
    private let state = Mutex(State())
    private let changed = NSCondition()
    private let log: Int32

    /// `log` is the path of the clients' own record of what was acknowledged.
    init(log path: String) throws(ControlError) {
        log = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0o600)
        guard log >= 0 else { throw ControlError(.cannotCreate, "\(path): \(reason(errno))") }
    }

    deinit { close(log) }

    static let schema = "PRAGMA journal_mode=WAL; CREATE TABLE commits(client INTEGER, n INTEGER, text TEXT, PRIMARY KEY(client, n));"

    var acknowledged: [Commit: String] { state.withLock { $0.acknowledged } }
    var troubles: [String] { state.withLock { $0.troubles } }

    /// `errors` is the file that holds what the shell complains about.
    func start(_ client: Int, _ shell: Subprocess, errors: String) {
        state.withLock { $0.running += 1 }
        Thread.detachNewThread {
            let trouble = self.work(client, shell)
            let code = shell.wait()
            let complaint = lastLine(of: errors) ?? "it left no message"
            self.change {
                if !$0.stopping { $0.troubles.append("client \(client): \(trouble), code \(code): \(complaint)") }
                $0.running -= 1
            }
        }
    }

    /// Returns when every client stands still between two commits.
    func pause() {
        change { $0.pausing = true }
        wait { $0.paused == $0.running }
    }

    func resume() { change { $0.pausing = false } }

    /// From now on a shell that ends is no trouble: it is about to be killed.
    func expectEnd() { change { $0.stopping = true } }

    func waitUntilEnded() { wait { $0.running == 0 } }

    /// Works until the shell ends; says how it ended.
    private func work(_ client: Int, _ shell: Subprocess) -> String {
        guard shell.write(".bail on\n.timeout 60000\nPRAGMA synchronous=FULL;\n") else { return "its shell did not start" }
        var number = 0
        while true {
            standStill()
            number += 1
            let text = SQLiteLoad.randomText()
            let asked = shell.write("INSERT INTO commits VALUES(\(client), \(number), '\(text)');\nSELECT 'ok \(client) \(number)';\n")
            guard asked, let answer = shell.readLine() else { return "its shell ended" }
            guard answer == "ok \(client) \(number)" else { return "it answered \(answer)" }
            let line = Array("\(client) \(number) \(text)\n".utf8)
            guard write(log, line, line.count) == line.count else { return "its log: \(reason(errno))" }
            state.withLock { $0.acknowledged[Commit(client: client, number: number)] = text }
        }
    }

    private func standStill() {
        guard state.withLock({ $0.pausing }) else { return }
        change { $0.paused += 1 }
        wait { !$0.pausing }
        change { $0.paused -= 1 }
    }

    private static func randomText() -> String {
        String((0..<Int.random(in: 20...1200)).map { _ in "abcdefghijklmnopqrstuvwxyz0123456789".randomElement()! })
    }

    private func change(_ body: (inout State) -> Void) {
        changed.lock()
        state.withLock { body(&$0) }
        changed.broadcast()
        changed.unlock()
    }

    private func wait(until condition: (State) -> Bool) {
        changed.lock()
        while !state.withLock({ condition($0) }) { changed.wait() }
        changed.unlock()
    }
}
