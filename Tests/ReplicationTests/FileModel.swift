import Primitives
import Replication

/// A file as both servers have it: bytes, and a mode. Small enough that every schedule can be tried.
struct ModelFile: Equatable {
    var bytes: [UInt8] = []
    var mode: UInt32 = 0o644

    mutating func write(_ offset: Int, _ data: [UInt8]) {
        if bytes.count < offset + data.count { bytes += [UInt8](repeating: 0, count: offset + data.count - bytes.count) }
        bytes.replaceSubrange(offset..<(offset + data.count), with: data)
    }

    mutating func truncate(_ size: Int) {
        if size < bytes.count { bytes.removeLast(bytes.count - size) } else { bytes += [UInt8](repeating: 0, count: size - bytes.count) }
    }
}

/// What a program asks for, and what becomes of it.
struct ModelCall: Equatable, CustomStringConvertible {
    enum Verb: Equatable {
        case write(Int, [UInt8])
        /// At the end of the file, wherever that is when the call runs.
        case append([UInt8])
        case truncate(Int)
        case chmod(UInt32)
    }
    enum Fate: Equatable {
        case succeeds
        case fails
        /// A write of which only the first byte is written.
        case isShort
        /// Killed before or after the call's effect; `done` never comes.
        case diesBefore, diesAfter
    }
    var verb: Verb
    var fate = Fate.succeeds
    /// Its offset lock was taken over.
    var isContended = false

    var description: String { "\(verb)\(fate == .succeeds ? "" : " \(fate)")\(isContended ? " contended" : "")" }
    var dies: Bool { fate == .diesBefore || fate == .diesAfter }
}

/// One step of the world; of two calls, each has one of the first three.
enum Step: Equatable, CustomStringConvertible {
    /// Intent filled in and published: it has its sequence number.
    case publish(Int)
    /// The system call's effect.
    case call(Int)
    /// `done`, or the death.
    case end(Int)
    /// The daemon takes the next intent from the ring.
    case drain
    /// The daemon looks who is done, and who is dead.
    case sweep

    var description: String {
        switch self {
        case .publish(let who): "publish \(who)"
        case .call(let who): "call \(who)"
        case .end(let who): "end \(who)"
        case .drain: "drain"
        case .sweep: "sweep"
        }
    }
}

/// Two calls on one file, the daemon between them and the secondary, as the data plane uses the tracker: records are
/// shipped when they are drained, repairs are read when an operation is settled, the secondary applies all in order.
struct World {
    let calls: [ModelCall]
    var primary: ModelFile
    var secondary: ModelFile
    /// The secondary, if it got no repairs.
    var withoutRepairs: ModelFile
    private(set) var repairs = 0
    var tracker = OperationTracker()

    static let object = ObjectID(inode: 7, generation: 1, root: 0)
    private var reserved: UInt64 = 1
    private var drained: UInt64 = 1
    /// By sequence number, from 1.
    private var ring: [Int] = []
    /// Of each call: its sequence number (0: none yet), and what became of it.
    private var sequenceOf: [UInt64]
    private var predicted: [Int]
    private var results: [Result?]
    private var isDead: [Bool]
    private var isSettled: [Bool]

    private struct Result {
        var value: Int64
        var offset: UInt64
        /// `reserved` at its end; .max while it has not ended.
        var reserved = UInt64.max
    }

    init(_ calls: [ModelCall], from start: ModelFile) {
        self.calls = calls
        primary = start
        secondary = start
        withoutRepairs = start
        sequenceOf = [UInt64](repeating: 0, count: calls.count)
        predicted = [Int](repeating: 0, count: calls.count)
        results = [Result?](repeating: nil, count: calls.count)
        isDead = [Bool](repeating: false, count: calls.count)
        isSettled = isDead
    }

    /// Whether a step can be taken now.
    func allows(_ step: Step) -> Bool {
        switch step {
        case .publish(let who): sequenceOf[who] == 0
        case .call(let who): sequenceOf[who] != 0 && results[who] == nil
        case .end(let who): results[who] != nil
        case .drain: drained < reserved
        case .sweep: true
        }
    }

    mutating func take(_ step: Step) {
        switch step {
        case .publish(let who):
            sequenceOf[who] = reserved
            predicted[who] = primary.bytes.count
            ring.append(who)
            reserved += 1
        case .call(let who): perform(who)
        case .end(let who):
            if calls[who].dies { isDead[who] = true } else { results[who]!.reserved = reserved }
        case .drain: drain()
        case .sweep: sweep()
        }
        tracker.forget(drained: drained)
    }

    private mutating func perform(_ who: Int) {
        let call = calls[who]
        let takesPlace = call.fate != .fails && call.fate != .diesBefore
        var value: Int64 = takesPlace ? 0 : -5
        var offset = 0
        if case .write(let at, _) = call.verb { offset = at }
        if case .append = call.verb { offset = primary.bytes.count }
        if takesPlace {
            switch call.verb {
            case .write(_, let data), .append(let data):
                let data = call.fate == .isShort ? Array(data.prefix(1)) : data
                primary.write(offset, data)
                value = Int64(data.count)
            case .truncate(let size): primary.truncate(size)
            case .chmod(let mode): primary.mode = mode
            }
        }
        results[who] = Result(value: value, offset: UInt64(offset))
    }

    private func isDone(_ who: Int) -> Bool { results[who].map { $0.reserved != .max } ?? false }

    private mutating func drain() {
        let who = ring[Int(drained) - 1], call = calls[who], sequence = SequenceNumber(drained)
        drained += 1
        var range = ByteRange(0, 0), kind = Record.Kind.write, predictedOffset = false
        switch call.verb {
        case .write(let at, let data):
            range = ByteRange(offset: UInt64(at), count: UInt64(data.count))
            ship { $0.write(at, data) }
        case .append(let data):
            range = ByteRange(offset: UInt64(predicted[who]), count: UInt64(data.count))
            predictedOffset = true
            let offset = predicted[who]
            ship { $0.write(offset, data) }
        case .truncate(let size):
            (range, kind) = (ByteRange(UInt64(size), .max), .truncate)
            ship { $0.truncate(size) }
        case .chmod(let mode):
            kind = .chmod
            ship { $0.mode = mode }
        }
        tracker.admit(TrackedOperation(sequence: sequence, kind: kind, arena: UInt32(who), index: 0, blocks: 0,
            object: World.object, range: range, predictedOffset: predictedOffset))
        tracker.shipped(sequence, at: StreamPosition(sequence.value))
        if isDone(who) { settle(who) }
    }

    private mutating func ship(_ change: (inout ModelFile) -> Void) {
        change(&secondary)
        change(&withoutRepairs)
    }

    private mutating func settle(_ who: Int) {
        guard !isSettled[who], let result = results[who] else { return }
        isSettled[who] = true
        repair(tracker.settle(SequenceNumber(sequenceOf[who]), value: result.value, actualOffset: result.offset,
            doneReserved: result.reserved, contended: calls[who].isContended))
    }

    private mutating func sweep() {
        for sequence in tracker.unsettled {
            let who = Int(tracker.operations[sequence]!.arena)
            if isDone(who) {
                settle(who)
            } else if isDead[who] {
                isSettled[who] = true
                repair(tracker.settleDead(sequence, doneReserved: reserved))
            }
        }
    }

    /// What the data plane reads from the file and ships, at this moment.
    private mutating func repair(_ settlement: Settlement) {
        if !settlement.isEmpty { repairs += 1 }
        let size = UInt64(primary.bytes.count)
        if settlement.repairAttributes { secondary.mode = primary.mode }
        if settlement.repairsSize {
            secondary.truncate(Int(size))
            tracker.fillShipped(World.object, ByteRange(size, .max))
        }
        for range in settlement.repairRanges {
            tracker.fillShipped(World.object, range)
            let start = range.lowerBound, end = min(range.upperBound, size)
            if start < end { secondary.write(Int(start), Array(primary.bytes[Int(start)..<Int(end)])) }
        }
    }
}

/// Every order in which two calls and a daemon can take their steps, with one look of the daemon in between and one at the
/// end. `body` gets the world as it is when all is over.
func forEachSchedule(_ calls: [ModelCall], from start: ModelFile, _ body: (World, [Step]) -> Void) {
    var steps: [Step] = []
    func go(_ world: World, _ left: [Step]) {
        if left.isEmpty {
            var world = world
            world.take(.sweep)
            body(world, steps)
            return
        }
        var tried: [Step] = []
        for (index, step) in left.enumerated() where world.allows(step) && !tried.contains(step) {
            tried.append(step)
            // Steps of one call come in their order.
            if left[..<index].contains(where: { $0.precedes(step) }) { continue }
            var next = world
            next.take(step)
            var rest = left
            rest.remove(at: index)
            steps.append(step)
            go(next, rest)
            steps.removeLast()
        }
    }
    let all = calls.indices.flatMap { [Step.publish($0), .call($0), .end($0)] } + [Step](repeating: .drain, count: calls.count) + [.sweep]
    go(World(calls, from: start), all)
}

extension Step {
    func precedes(_ other: Step) -> Bool {
        switch (self, other) {
        case (.publish(let a), .call(let b)), (.publish(let a), .end(let b)), (.call(let a), .end(let b)): a == b
        default: false
        }
    }
}
