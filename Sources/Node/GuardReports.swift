import CCaptureABI
import Control

/// What keepers say about their guards: on or off, and the calls in the trees that did not come through the library, by
/// program and call, since this daemon started. A keeper says everything again to a daemon that is new to it.
struct GuardReports {
    /// Programs and calls that are told apart; what comes later is counted under the last name.
    static let callsMax = 256

    private var states: [Int32: String] = [:]
    private var lastState: String?
    /// By keeper and place in its table: the last word counts.
    private var living: [Int32: [UInt32: Status.GuardedCall]] = [:]
    private var ended: [Status.GuardedCall] = []

    mutating func take(_ message: lockstep_message, from keeper: Int32) {
        let text = GuardReports.text(of: message)
        if message.type == LOCKSTEP_MESSAGE_GUARD.rawValue {
            let state = message.code == 1 ? "on" : "off (\(text))"
            states[keeper] = state
            lastState = state
        } else {
            let words = text.split(separator: " ", maxSplits: 1).map(String.init)
            // The table of a keeper is bounded; so is what a wrong one can make of it.
            guard words.count == 2, message.arena < 1024 else { return }
            living[keeper, default: [:]][message.arena] = Status.GuardedCall(program: words[0], call: words[1],
                captured: message.start_time, refused: UInt64(message.count))
        }
    }

    mutating func keeperIsGone(_ keeper: Int32) {
        states[keeper] = nil
        GuardReports.add(living.removeValue(forKey: keeper).map { Array($0.values) } ?? [], to: &ended)
    }

    /// "on" only if the guards of all keepers are.
    var state: String { states.values.first { $0 != "on" } ?? states.values.first ?? lastState ?? "no application" }

    var calls: [Status.GuardedCall] {
        var calls = ended
        for counts in living.values { GuardReports.add(Array(counts.values), to: &calls) }
        return calls.sorted { ($0.program, $0.call) < ($1.program, $1.call) }
    }

    private static func add(_ counts: [Status.GuardedCall], to calls: inout [Status.GuardedCall]) {
        for count in counts {
            var index = calls.firstIndex { $0.program == count.program && $0.call == count.call }
            if index == nil, calls.count < callsMax {
                calls.append(Status.GuardedCall(program: count.program, call: count.call, captured: 0, refused: 0))
                index = calls.count - 1
            }
            let found = index ?? calls.count - 1
            calls[found].captured &+= count.captured
            calls[found].refused &+= count.refused
        }
    }

    /// A program can give itself any name: nothing of it reaches a terminal but ASCII.
    private static func text(of message: lockstep_message) -> String {
        withUnsafeBytes(of: message.text) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }.map { (0x20..<0x7f).contains($0) ? $0 : 0x3f }, as: UTF8.self)
        }
    }
}
