internal import Frame
internal import Glibc
internal import Platform
internal import Primitives

/// Reads one segment front to back, whatever it contains. Batches are slices of its buffer: valid until the next call.
final class SegmentScanner {
    enum Found {
        /// A whole batch with its chain in order; the next one begins at `end`.
        case batch(BatchHeader, UnsafeRawBufferPointer, end: UInt64)
        /// The closing block, or the end of a full segment.
        case closed
        /// A block of zeros: nothing was written here yet.
        case blank
        case invalid(FrameError)
    }

    let name: String
    let header: SegmentHeader
    private let file: FileDescriptor
    private var buffer: PageBuffer
    private var windowStart: UInt64 = 0
    private var windowCount = 0

    private static let windowBytes = 256 << 10
    private static let zeros = [UInt8](repeating: 0, count: SegmentHeader.blockBytes)

    /// Opens `name` and checks its header; nil if the header block is all zeros.
    init?(directory: String, name: String) throws(JournalError) {
        self.name = name
        let buffer = PageBuffer(count: SegmentScanner.windowBytes)
        let block = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<SegmentHeader.blockBytes])
        let status: FileStatus, count: Int
        do throws(SystemError) {
            // O_NONBLOCK: a FIFO that lies here must not stop us.
            let file = try FileDescriptor.open(directory + "/" + name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW)
            status = try file.status()
            count = status.isRegular ? try file.read(into: block, at: 0) : 0
            self.file = file
        } catch { throw JournalError(error) }
        self.buffer = buffer
        guard status.isRegular else { throw JournalError(.foreign, segment: name, "this is no regular file") }
        if count == block.count, SegmentScanner.isZero(UnsafeRawBufferPointer(block)) { return nil }
        header = try SegmentHeader(parsing: UnsafeRawBufferPointer(rebasing: block[..<count]), name: name)
        guard header.segmentBytes == status.size, status.size % UInt64(SegmentHeader.blockBytes) == 0 else {
            throw JournalError(.damaged, segment: name, at: 64,
                "the file has \(status.size) bytes, its header says \(header.segmentBytes)")
        }
    }

    /// What lies at `offset`, a multiple of 4 KiB. `fresh`: read again what the buffer may hold of an earlier state.
    func found(at offset: UInt64, fresh: Bool = false) throws(JournalError) -> Found {
        guard offset < header.segmentBytes else { return .closed }
        if fresh { windowCount = 0 }
        let head = try bytes(at: offset, count: SegmentHeader.blockBytes)
        let rest = header.segmentBytes - offset
        if head.count >= 8, head.loadUnaligned(as: UInt32.self).littleEndian == SegmentHeader.magicPadding,
            head.loadUnaligned(fromByteOffset: 4, as: UInt32.self).littleEndian == UInt32(rest - 8)
        {
            return .closed
        }
        if SegmentScanner.isZero(head) { return .blank }
        do throws(FrameError) {
            let batchHeader = try BatchHeader(parsing: head)
            guard UInt64(batchHeader.batchBytes) <= rest else {
                return .invalid(FrameError(.invalid, at: 76, "the batch is longer than the segment"))
            }
            let whole: UnsafeRawBufferPointer
            do throws(JournalError) {
                whole = try bytes(at: offset, count: batchHeader.batchBytes)
            } catch {
                return .invalid(FrameError(.invalid, at: 0, error.reason))
            }
            _ = try BatchHeader(verifying: whole)
            return .batch(batchHeader, whole, end: offset + UInt64(SegmentScanner.paddedBytes(batchHeader.batchBytes)))
        } catch {
            return .invalid(error)
        }
    }

    /// What a batch of `count` bytes takes with its padding.
    static func paddedBytes(_ count: Int) -> Int {
        let block = SegmentHeader.blockBytes
        let rounded = (count + block - 1) / block * block
        let gap = rounded - count
        return gap > 0 && gap < 8 ? rounded + block : rounded
    }

    /// `count` bytes at `offset`, or up to the end of the file.
    private func bytes(at offset: UInt64, count: Int) throws(JournalError) -> UnsafeRawBufferPointer {
        if offset < windowStart || offset + UInt64(count) > windowStart + UInt64(windowCount) {
            let wanted = max(count, SegmentScanner.windowBytes)
            if buffer.count < wanted { buffer = PageBuffer(count: wanted) }
            windowCount = 0
            windowStart = offset
            let window = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<wanted])
            windowCount = try system { () throws(SystemError) in try file.read(into: window, at: offset) }
        }
        let start = Int(offset - windowStart)
        return UnsafeRawBufferPointer(rebasing: buffer.bytes[start..<min(start + count, windowCount)])
    }

    private static func isZero(_ bytes: UnsafeRawBufferPointer) -> Bool {
        zeros.withUnsafeBytes { memcmp($0.baseAddress!, bytes.baseAddress!, min(bytes.count, $0.count)) == 0 }
    }
}
