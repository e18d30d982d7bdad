import Glibc
import Primitives

/// System calls about a file's bytes and size that this node's file system refused.
///
/// Such a record is shipped before the primary knows its result, so the primary's call may have failed just so: any
/// program with a wild offset does it. Then its compensation follows, a truncate to the real size and fills of the range.
/// If the primary's call succeeded nothing follows, and bytes are missing here. So the range is in doubt:
///
///     refused --> in doubt --+-- written, filled or cut off by a later record        -> settled
///                            +-- the file lost its last name, a copy begins           -> settled
///                            +-- a takeover, the end of a copy, or a checkpoint more
///                                than `positionsMax` records later finds it           -> inconsistent
///
/// They are not in the table: no checkpoint is made while there are any, so that a restart meets the same records again,
/// and a disk that was full and is not any more takes them then.
struct Refusals {
    /// What a file system says to a range or size that it can't hold.
    static let codes: Set<Int32> = [EFBIG, ENOSPC, EDQUOT, EINVAL]
    /// A compensation is this near. It is shipped when the call has returned; other processes go on meanwhile.
    static let positionsMax: UInt64 = 4096
    /// Of one file; more are taken together, which only delays their settling.
    static let rangesMax = 64

    struct Refusal {
        var object: ObjectID
        var range: ByteRange
        var position: StreamPosition
        var code: Int32
    }

    private var ofObject: [ObjectID: [Refusal]] = [:]
    /// Extended attributes: there is no room for one that overlapped with the removal of another. All of an object's are in
    /// doubt until they are told anew.
    private var ofAttributes: [ObjectID: Refusal] = [:]

    var isEmpty: Bool { ofObject.isEmpty && ofAttributes.isEmpty }
    func contains(_ object: ObjectID) -> Bool { !isEmpty && (ofObject[object] != nil || ofAttributes[object] != nil) }
    var oldest: Refusal? {
        (ofObject.values.flatMap { $0 } + ofAttributes.values).min { $0.position < $1.position }
    }

    mutating func insertAttributes(_ refusal: Refusal) { ofAttributes[refusal.object] = ofAttributes[refusal.object] ?? refusal }
    mutating func settleAttributes(_ object: ObjectID) { ofAttributes[object] = nil }

    mutating func insert(_ refusal: Refusal) {
        guard !refusal.range.isEmpty else { return }
        var all = ofObject[refusal.object] ?? []
        all.append(refusal)
        if all.count > Refusals.rangesMax {
            var together = all[0]
            for other in all {
                together.range = ByteRange(min(together.range.lowerBound, other.range.lowerBound),
                    max(together.range.upperBound, other.range.upperBound))
            }
            all = [together]
        }
        ofObject[refusal.object] = all
    }

    /// What the range holds now is as on the primary.
    mutating func settle(_ object: ObjectID, _ range: ByteRange) {
        guard let all = ofObject[object] else { return }
        let left = all.flatMap { refusal in
            refusal.range.subtracting(range).map { piece in
                var rest = refusal
                rest.range = piece
                return rest
            }
        }
        ofObject[object] = left.isEmpty ? nil : left
    }

    mutating func remove(_ object: ObjectID) {
        ofObject[object] = nil
        ofAttributes[object] = nil
    }
}
