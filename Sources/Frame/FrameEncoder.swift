internal import CLZ4
internal import Primitives

/// Encodes batches, each once: the bytes are the same in the journal and on the wire. Belongs to one thread; allocates
/// nothing once it is warm.
public final class FrameEncoder {
    private let lz4: OpaquePointer
    /// Pages that no batch has used yet cost address space only.
    private let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: BatchHeader.batchBytesMax, alignment: 64)

    public init() {
        guard let lz4 = lockstep_lz4_encoder_create() else { fatalError("out of memory") }
        self.lz4 = lz4
    }

    deinit {
        lockstep_lz4_encoder_destroy(lz4)
        scratch.deallocate()
    }

    /// What the batch of `rawBytes` bytes of records takes at most.
    public static func batchBytesMax(rawBytes: Int) -> Int { BatchHeader.bytes + lockstep_lz4_bound(rawBytes) }

    /// Encodes `records` behind `header`, whose sizes and chain are filled in. The result is the number of bytes written
    /// to `batch`, which holds at least `batchBytesMax(rawBytes:)`.
    public func encode(_ records: UnsafeRawBufferPointer, header: inout BatchHeader,
        into batch: UnsafeMutableRawBufferPointer) -> Int
    {
        precondition(records.count > 0 && records.count <= BatchHeader.rawBytesMax, "a batch of \(records.count) bytes")
        precondition(batch.count >= FrameEncoder.batchBytesMax(rawBytes: records.count), "the buffer is too small")
        let frame = UnsafeMutableRawBufferPointer(rebasing: batch[BatchHeader.bytes...])
        let count = lockstep_lz4_encode(lz4, frame.baseAddress, frame.count, records.baseAddress, records.count)
        precondition(count > 0, "LZ4 refused a batch that fits")
        header.rawBytes = records.count
        header.compressedBytes = Int(count)
        header.chain = header.chain(over: UnsafeRawBufferPointer(rebasing: frame[..<Int(count)]))
        header.encode(into: batch)
        return header.batchBytes
    }

    /// The same into `batch`, whose old content goes and whose memory is used again.
    public func encode(_ records: [UInt8], header: inout BatchHeader, into batch: inout [UInt8]) {
        let count = records.withUnsafeBytes { encode($0, header: &header, into: scratch) }
        batch.removeAll(keepingCapacity: true)
        batch.append(contentsOf: UnsafeRawBufferPointer(rebasing: scratch[..<count]))
    }

    /// The same into new memory: for tests and tools.
    public func encode(records: [UInt8], header: inout BatchHeader) -> [UInt8] {
        var batch: [UInt8] = []
        encode(records, header: &header, into: &batch)
        return batch
    }
}

extension FrameEncoder {
    /// A batch around any bytes, with header and chain right: what a hostile peer could send. For tests.
    package static func forge(frame: [UInt8], rawBytes: Int, header: BatchHeader) -> [UInt8] {
        var header = header
        header.rawBytes = rawBytes
        header.compressedBytes = frame.count
        header.chain = frame.withUnsafeBytes { header.chain(over: $0) }
        var batch = [UInt8](repeating: 0, count: BatchHeader.bytes)
        batch.withUnsafeMutableBytes { header.encode(into: $0) }
        return batch + frame
    }
}
