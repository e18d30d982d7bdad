public import Primitives

/// A durability point that waits for the peer.
public struct Waiter: Equatable, Sendable {
    public var sequence: SequenceNumber
    public var arena: UInt32
    public var index: UInt32
    /// It may be answered when the peer has made everything up to here durable.
    public var position: StreamPosition
    public init(sequence: SequenceNumber, arena: UInt32, index: UInt32, position: StreamPosition) {
        self.sequence = sequence
        self.arena = arena
        self.index = index
        self.position = position
    }
}

/// Which durability points wait, for what, and which an acknowledgement releases (guarantee G1, rules I1 and I5).
///
///     appended   last position in the local journal's batches
///     acked      last position that the peer has made durable
///
/// A barrier on a file waits for the file's last record, and no longer: the order is total, so everything before that
/// record is durable with it. Repairs and refused operations are part of what it needs (R2): without them the secondary
/// would show an operation that its caller knows to have failed.
public struct ReleaseQueue: Sendable {
    public private(set) var appended = StreamPosition.none
    public private(set) var acked = StreamPosition.none
    /// Last record of each object that is not acknowledged yet.
    private var lastOfObject: [ObjectID: StreamPosition] = [:]
    private var lastRepair = StreamPosition.none
    private var waiters: [Waiter] = []

    public init() {}

    public var waiting: Int { waiters.count }
    /// The oldest durability point that waits: its place in the ring can't be used again.
    public var oldestWaiting: SequenceNumber? {
        var oldest: SequenceNumber?
        for waiter in waiters where oldest.map({ waiter.sequence < $0 }) ?? true { oldest = waiter.sequence }
        return oldest
    }
    /// Somebody waits for a record that is not acknowledged yet.
    public var isNeeded: Bool { waiters.contains { $0.position.value != .max } }

    /// Takes the next position for a record about `objects`.
    public mutating func append(_ objects: [ObjectID], isRepair: Bool = false) -> StreamPosition {
        let position = appended.next
        appended = position
        for object in objects where !object.isNone { lastOfObject[object] = position }
        if isRepair { lastRepair = position }
        return position
    }

    /// A durability point on `object` (none: on everything). Returns false when it need not wait at all.
    public mutating func barrier(_ object: ObjectID, sequence: SequenceNumber, arena: UInt32, index: UInt32) -> Bool {
        var position = object.isNone ? appended : lastOfObject[object] ?? .none
        if lastRepair > acked { position = max(position, lastRepair) }
        guard position > acked else { return false }
        waiters.append(Waiter(sequence: sequence, arena: arena, index: index, position: position))
        return true
    }

    /// A durability point while no peer could promise anything, or repairs are owed: it waits for the end of a copy, for
    /// the last repair, or for the alone permit.
    public mutating func hold(sequence: SequenceNumber, arena: UInt32, index: UInt32) {
        waiters.append(Waiter(sequence: sequence, arena: arena, index: index, position: StreamPosition(.max)))
    }

    public var isHolding: Bool { waiters.contains { $0.position.value == .max } }

    /// The copy, or the last repair that was owed, is in the stream at `position`: what was held waits for that. Returns
    /// what need not wait at all.
    public mutating func endHold(at position: StreamPosition) -> [Waiter] {
        var released: [Waiter] = []
        if position <= acked {
            released = waiters.filter { $0.position.value == .max }
            waiters.removeAll { $0.position.value == .max }
        }
        for index in waiters.indices where waiters[index].position.value == .max { waiters[index].position = position }
        return released
    }

    /// The peer has made everything up to `position` durable: returns the durability points that this releases.
    public mutating func acknowledged(through position: StreamPosition) -> [Waiter] {
        // An acknowledgement of what was never sent releases nothing: the caller checks, this does not trust it either.
        guard position > acked, position <= appended else { return [] }
        acked = position
        if lastOfObject.count > 1024 || position == appended {
            lastOfObject = position == appended ? [:] : lastOfObject.filter { $0.value > position }
        }
        let released = waiters.filter { $0.position <= position }
        waiters.removeAll { $0.position <= position }
        return released
    }

    /// Takes waiters out that wait no longer.
    public mutating func remove(where isOver: (Waiter) -> Bool) -> [Waiter] {
        let over = waiters.filter(isOver)
        if !over.isEmpty { waiters.removeAll { over.contains($0) } }
        return over
    }

    /// Everybody who waits, because this node holds the alone permit (I1) or because the stream ended.
    public mutating func releaseAll() -> [Waiter] {
        defer { waiters = [] }
        return waiters
    }

    /// A new stream starts after `position`, where the peer is, which may have lost more than it was told: nothing of the
    /// old one counts any more. Waiters need the end of its copy.
    public mutating func restart(after position: StreamPosition) {
        appended = position
        acked = position
        lastOfObject = [:]
        lastRepair = .none
        for index in waiters.indices { waiters[index].position = StreamPosition(.max) }
    }
}
