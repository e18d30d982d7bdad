public import Primitives

/// What must be read of a file because of one mapping of it through which stores reach it unseen (rule R3).
///
///     mapping   |----- armed ------|------------ not armed -----------|
///     file      |=========================| its end
///                  asked: written?    grown: all of it
///
/// A page counts as written until it was write-protected, so what the file has grown by since is read whole, once. Behind the
/// file's end there is nothing to store to.
public struct MappedRange: Equatable, Sendable {
    /// In the file, and of the mapping.
    public var offset: UInt64
    public var length: UInt64
    /// Bytes from the start that are write-protected where they were not written.
    public var armed: UInt64
    /// Of the file; nil: not known.
    public var size: UInt64?

    static let pageBytes: UInt64 = 4096
    /// So much between two written pages is shipped along: a further record and a further read cost more.
    static let gapBytes: UInt64 = 16384

    public init(offset: UInt64, length: UInt64, armed: UInt64, size: UInt64?) {
        self.offset = offset
        self.length = length
        self.armed = min(armed, length)
        self.size = size
    }

    /// Bytes of the mapping that the file fills, in whole pages.
    public var filled: UInt64 {
        guard let size else { return length }
        guard size > offset else { return 0 }
        return min(length, (size - offset + MappedRange.pageBytes - 1) / MappedRange.pageBytes * MappedRange.pageBytes)
    }

    public var asked: UInt64 { min(armed, filled) }

    /// All of it: what the kernel can't tell.
    public var whole: [ByteRange] { filled == 0 ? [] : [ByteRange(offset: offset, count: filled)] }

    /// In the file, for pages that were written (relative to the mapping, in order).
    public func ranges(written: [ByteRange]) -> [ByteRange] {
        var ranges: [ByteRange] = []
        for page in written where page.lowerBound < asked {
            ranges.append(ByteRange(offset + page.lowerBound, offset + min(page.upperBound, asked)))
        }
        if filled > armed { ranges.append(ByteRange(offset + armed, offset + filled)) }
        return ranges
    }

    /// In order, without overlaps; what lies close together is one.
    public static func merged(_ ranges: [ByteRange]) -> [ByteRange] {
        var merged: [ByteRange] = []
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) where !range.isEmpty {
            // A range may have no end.
            if let last = merged.last, range.lowerBound <= last.upperBound || range.lowerBound - last.upperBound <= gapBytes {
                merged[merged.count - 1] = last.union(range)
            } else {
                merged.append(range)
            }
        }
        return merged
    }
}
