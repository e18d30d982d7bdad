/// The place of an intent in the order ring: the total order of one ring incarnation. Starts at 1; 0 means none.
public struct SequenceNumber: Hashable, Comparable, Sendable {
    public var value: UInt64
    public init(_ value: UInt64) { self.value = value }
    public static let none = SequenceNumber(0)
    public static func < (a: Self, b: Self) -> Bool { a.value < b.value }
    public var next: SequenceNumber { SequenceNumber(value + 1) }
}

/// The place of a record in the stream to the peer: +1 per record, never restarting within an epoch. 0 means none.
public struct StreamPosition: Hashable, Comparable, Sendable {
    public var value: UInt64
    public init(_ value: UInt64) { self.value = value }
    public static let none = StreamPosition(0)
    public static func < (a: Self, b: Self) -> Bool { a.value < b.value }
    public var next: StreamPosition { StreamPosition(value + 1) }
}

/// Counts promotions; each makes a new one durable before anything is released in it. 0 means never promoted.
public struct Epoch: Hashable, Comparable, Sendable {
    public var value: UInt64
    public init(_ value: UInt64) { self.value = value }
    public static func < (a: Self, b: Self) -> Bool { a.value < b.value }
}

/// What a record calls a file or directory: the identity that it has on the node that is primary in the epoch.
public struct ObjectID: Hashable, Sendable {
    public var inode: UInt64
    public var generation: UInt32
    /// Index of the replicated root, the same on both nodes.
    public var root: UInt32
    public init(inode: UInt64, generation: UInt32, root: UInt32) {
        self.inode = inode
        self.generation = generation
        self.root = root
    }
    public static let none = ObjectID(inode: 0, generation: 0, root: 0)
    public var isNone: Bool { inode == 0 }
}

/// A half-open range of bytes in a file.
public struct ByteRange: Hashable, Sendable {
    public var lowerBound: UInt64
    public var upperBound: UInt64
    public init(offset: UInt64, count: UInt64) {
        lowerBound = offset
        let (sum, overflow) = offset.addingReportingOverflow(count)
        upperBound = overflow ? .max : sum
    }
    public init(_ lowerBound: UInt64, _ upperBound: UInt64) {
        precondition(lowerBound <= upperBound)
        self.lowerBound = lowerBound
        self.upperBound = upperBound
    }
    public static let all = ByteRange(0, .max)
    public var count: UInt64 { upperBound - lowerBound }
    public var isEmpty: Bool { lowerBound == upperBound }
    public func overlaps(_ other: ByteRange) -> Bool {
        lowerBound < other.upperBound && other.lowerBound < upperBound
    }
    /// What remains of this range without `other`: none, one or two pieces, in order.
    public func subtracting(_ other: ByteRange) -> [ByteRange] {
        guard overlaps(other) else { return isEmpty ? [] : [self] }
        var pieces: [ByteRange] = []
        if lowerBound < other.lowerBound { pieces.append(ByteRange(lowerBound, other.lowerBound)) }
        if other.upperBound < upperBound { pieces.append(ByteRange(other.upperBound, upperBound)) }
        return pieces
    }
}

public enum Role: String, Sendable, CaseIterable {
    case primary, secondary
}

/// How far a node's data can be trusted, apart from its role.
public enum DataState: String, Sendable, CaseIterable {
    /// A consistent point, and nothing acknowledged is missing as far as this node knows.
    case upToDate = "up to date"
    /// No consistent point exists: a first copy has not ended.
    case inconsistent
    /// The peer acknowledged alone since.
    case outdated
    /// A flush of this node failed: never a source of bytes again until fetched from the peer.
    case suspect
}
