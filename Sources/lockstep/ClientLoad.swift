import Control
import Glibc
import Synchronization
internal import Foundation

/// One client's connection to a database; one thread uses it.
protocol LoadClient: Sendable {
    /// Writes `text` under the commit's number. Nil when the database has acknowledged it, else what it did instead.
    func write(_ commit: ClientLoad.Commit, _ text: String) -> String?
    /// Called once, after a write that was not acknowledged: the client's last words.
    func lastWords() -> String
}

/// Clients that write one commit after the other into a database, and what it acknowledged to them.
///
///     client thread ── write ──> connection ──> database
///           │  <──── acknowledged ──┘
///           └──> own log, outside of the trees
final class ClientLoad: Sendable {
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

    private let state = Mutex(State())
    private let changed = NSCondition()
    private let log: Int32

    /// `log` is the path of the clients' own record of what was acknowledged.
    init(log path: String) throws(ControlError) {
        log = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0o600)
        guard log >= 0 else { throw ControlError(.cannotCreate, "\(path): \(reason(errno))") }
    }

    deinit { close(log) }

    var acknowledged: [Commit: String] { state.withLock { $0.acknowledged } }
    var troubles: [String] { state.withLock { $0.troubles } }

    func start(_ number: Int, _ client: any LoadClient) {
        state.withLock { $0.running += 1 }
        Thread.detachNewThread {
            let trouble = self.work(number, client)
            let words = client.lastWords()
            self.change {
                if !$0.stopping { $0.troubles.append("client \(number): \(trouble), \(words)") }
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

    /// From now on a client that ends is no trouble: its database is about to be killed.
    func expectEnd() { change { $0.stopping = true } }

    func waitUntilEnded() { wait { $0.running == 0 } }

    /// Works until the connection ends; says how it ended.
    private func work(_ client: Int, _ connection: any LoadClient) -> String {
        var number = 0
        while true {
            standStill()
            number += 1
            let commit = Commit(client: client, number: number)
            let text = ClientLoad.randomText()
            if let trouble = connection.write(commit, text) { return trouble }
            let line = Array("\(client) \(number) \(text)\n".utf8)
            guard write(log, line, line.count) == line.count else { return "its log: \(reason(errno))" }
            state.withLock { $0.acknowledged[commit] = text }
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
