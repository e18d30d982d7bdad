internal import CLZ4
internal import Primitives

/// Decodes batches that somebody else wrote: every size is checked before memory is taken for it. Belongs to one thread.
public final class FrameDecoder {
    private let lz4: OpaquePointer
    /// Pages that no batch has used yet cost address space only.
    private let raw = UnsafeMutableRawBufferPointer.allocate(byteCount: BatchHeader.rawBytesMax, alignment: 64)

    public init() {
        guard let lz4 = lockstep_lz4_decoder_create() else { fatalError("out of memory") }
        self.lz4 = lz4
    }

    deinit {
        lockstep_lz4_decoder_destroy(lz4)
        raw.deallocate()
    }

    /// Verifies the batch at the start of `bytes` and decodes it into the decoder's own memory: the records are valid until
    /// the next call.
    public func decode(borrowing bytes: UnsafeRawBufferPointer) throws(FrameError)
        -> (header: BatchHeader, records: UnsafeRawBufferPointer)
    {
        let header = try BatchHeader(verifying: bytes)
        return (header, try decode(bytes, header))
    }

    private func decode(_ bytes: UnsafeRawBufferPointer, _ header: BatchHeader) throws(FrameError)
        -> UnsafeRawBufferPointer
    {
        var at = 0
        // SAFETY: the verified header says that `bytes` holds the frame, and that `raw` holds the records.
        let complaint = lockstep_lz4_decode(lz4, raw.baseAddress, header.rawBytes,
            bytes.baseAddress! + BatchHeader.bytes, header.compressedBytes, &at)
        if let complaint {
            throw FrameError(.invalid, at: BatchHeader.bytes + at, "LZ4 frame: \(String(cString: complaint))")
        }
        return UnsafeRawBufferPointer(rebasing: raw[..<header.rawBytes])
    }

    /// Verifies the batch at the start of `bytes` and puts its raw records into `records`, whose old content goes and
    /// whose memory is used again.
    public func decode(_ bytes: UnsafeRawBufferPointer, into records: inout [UInt8]) throws(FrameError) -> BatchHeader {
        let header = try BatchHeader(verifying: bytes)
        let decoded = try decode(bytes, header)
        records.removeAll(keepingCapacity: true)
        records.append(contentsOf: decoded)
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
