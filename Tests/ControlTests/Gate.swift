import Foundation
import Synchronization

/// Holds threads until it is opened, and knows how many it holds.
final class Gate: Sendable {
    private struct State {
        var inside = 0
        var isOpen = false
    }
    private let state = Mutex(State())
    private let condition = NSCondition()

    func pass() {
        change { $0.inside += 1 }
        wait { $0.isOpen }
    }

    func waitUntilInside(_ count: Int) { wait { $0.inside >= count } }

    func open() { change { $0.isOpen = true } }

    private func change(_ body: (inout State) -> Void) {
        condition.lock()
        state.withLock { body(&$0) }
        condition.broadcast()
        condition.unlock()
    }

    private func wait(until condition: (State) -> Bool) {
        self.condition.lock()
        while !state.withLock({ condition($0) }) { self.condition.wait() }
        self.condition.unlock()
    }
}
