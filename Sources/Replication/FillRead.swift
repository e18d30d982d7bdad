public import Primitives

/// One read of a file for a bulk fill, from its start until its bytes are in the stream (rule R3).
///
/// A read of a file that is being written gives, range by range, bytes from before or after each concurrent call. The
/// stream already says what those calls wrote, so the fill may only carry ranges that none of them touched:
///
///      read starts: calls in progress --+
///      while it runs: calls admitted ---+--> cut out of the range
///      read ends: the ring is drained up to what is reserved now, then cut
///
/// Tried without: 5 of 768 blocks differed in the end.
public struct FillRead: Sendable {
    public let object: ObjectID
    public let range: ByteRange
    /// Lowest sequence number that was not done when the read began.
    public let floor: SequenceNumber
    private var cuts: [ByteRange]
    private let cutsAtAll: Bool

    /// `cutsAtAll: false` is the planted fault that the race test must catch.
    public init(object: ObjectID, range: ByteRange, floor: SequenceNumber, inFlight: [ByteRange], cutsAtAll: Bool = true) {
        self.object = object
        self.range = range
        self.floor = floor
        self.cutsAtAll = cutsAtAll
        cuts = inFlight
    }

    /// An operation on the file at or after the floor.
    public mutating func operationAdmitted(on object: ObjectID, _ range: ByteRange) {
        if object == self.object, range.overlaps(self.range) { cuts.append(range) }
    }

    /// What may be shipped of the `count` bytes that were read.
    public func pieces(count: UInt64) -> [ByteRange] {
        var pieces = [ByteRange(offset: range.lowerBound, count: min(count, range.count))]
        if !cutsAtAll { return pieces.filter { !$0.isEmpty } }
        for cut in cuts { pieces = pieces.flatMap { $0.subtracting(cut) } }
        return pieces.filter { !$0.isEmpty }
    }
}
