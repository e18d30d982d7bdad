internal import CLZ4
internal import Primitives

/// Decodes batches that somebody else wrote: every size is checked before memory is taken for it. Belongs to one thread.
public final class FrameDecoder {
    private let lz4: OpaquePointer

    public init() {
        guard let lz4 = lockstep_lz4_decoder_create() else { fatalError("out of memory") }
        self.lz4 = lz4
    }

    deinit { lockstep_lz4_decoder_destroy(lz4) }

    /// Verifies the batch at the start of `bytes` and puts its raw records into `records`, whose old content goes and
    /// whose memory is used again. After an error `records` holds nothing of use.
    public func decode(_ bytes: UnsafeRawBufferPointer, into records: inout [UInt8]) throws(FrameError) -> BatchHeader {
        let header = try BatchHeader(verifying: bytes)
        if records.count < header.rawBytes {
            records.append(contentsOf: repeatElement(0, count: header.rawBytes - records.count))
        } else {
            records.removeLast(records.count - header.rawBytes)
        }
        var at = 0
        let complaint = records.withUnsafeMutableBytes { raw in
            lockstep_lz4_decode(lz4, raw.baseAddress, raw.count, bytes.baseAddress! + BatchHeader.bytes,
                header.compressedBytes, &at)
        }
        if let complaint {
            throw FrameError(.invalid, at: BatchHeader.bytes + at, "LZ4 frame: \(String(cString: complaint))")
        }
        return header
    }

    /// The same into new memory.
    public func decode(_ bytes: UnsafeRawBufferPointer) throws(FrameError) -> (header: BatchHeader, records: [UInt8]) {
        var records: [UInt8] = []
        let header = try decode(bytes, into: &records)
        return (header, records)
    }

    public func decode(_ bytes: [UInt8]) throws(FrameError) -> (header: BatchHeader, records: [UInt8]) {
        let result = bytes.withUnsafeBytes { buffer in
            Result<(header: BatchHeader, records: [UInt8]), FrameError> { () throws(FrameError) in try decode(buffer) }
        }
        return try result.get()
    }
}
