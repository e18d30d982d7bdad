internal import CLZ4
internal import CLinux
public import Primitives

// A batch: a skippable LZ4 frame with the header, then one standard LZ4 frame with the records. Any LZ4 tool decodes it.
// Little-endian, no padding; the same bytes go to the journal and to the wire.
//
//      0  u32 0x184D2A50 (skippable)        4  u32 96, the bytes that follow up to 104
//      8  "LSB1"                           12  u16 version (1)       14  u16 flags (1: bulk)
//     16  u64 epoch
//     24  u64 first stream position        32  u64 last stream position
//     40  u64 first ring sequence          48  u64 last ring sequence    (0: records of the daemon only)
//     56  u64 chain of the batch before    64  u64 chain of this one
//     72  u32 record count                 76  u32 compressed bytes      80  u32 raw bytes     84  u32 zero
//     88  u64 time, nanoseconds since 1970
//     96  u32 zero                        100  u32 crc32c of bytes 0 to 99
//    104  LZ4 frame: content size, content checksum, independent blocks
//
// The chain says that this batch follows that one and nothing was changed, left out or put in between:
//     low half   crc32c, beginning with the low half of the previous chain, of the header (chain and crc zero) and the LZ4 frame
//     high half  that of fold64 (Checksum.c), seeded by the previous chain and then by the first result, of the same bytes

/// What stands before the records of a batch.
public struct BatchHeader: Equatable, Sendable {
    public static let bytes = 104
    public static let version: UInt16 = 1
    /// Raw records of one batch.
    public static let rawBytesMax = 8 << 20
    /// Header and LZ4 frame of the largest batch: what a buffer must hold.
    public static let batchBytesMax = bytes + lockstep_lz4_bound(rawBytesMax)

    static let magicSkippable: UInt32 = 0x184D_2A50
    static let magic: UInt32 = 0x3142_534c  // "LSB1"

    public struct Flags: OptionSet, Sendable {
        public var rawValue: UInt16
        public init(rawValue: UInt16) { self.rawValue = rawValue }
        /// Fills of a first copy or a resync.
        public static let bulk = Flags(rawValue: 1)
    }

    public var flags: Flags = []
    public var epoch = Epoch(0)
    public var firstPosition = StreamPosition.none
    public var lastPosition = StreamPosition.none
    public var firstSequence = SequenceNumber.none
    public var lastSequence = SequenceNumber.none
    public var previousChain: UInt64 = 0
    /// Filled in by the encoder, as are both sizes.
    public var chain: UInt64 = 0
    public var compressedBytes = 0
    public var rawBytes = 0
    /// Nanoseconds since 1970.
    public var time: UInt64 = 0

    public init() {}

    /// Positions are without gaps, so they say how many.
    public var recordCount: Int { Int(lastPosition.value - firstPosition.value) + 1 }
    /// Header and LZ4 frame.
    public var batchBytes: Int { BatchHeader.bytes + compressedBytes }
}

extension BatchHeader {
    /// Parses and checks the header alone: its checksum, its version, and that its numbers agree with each other.
    public init(parsing bytes: UnsafeRawBufferPointer) throws(FrameError) {
        guard bytes.count >= BatchHeader.bytes else {
            throw FrameError(.short, at: bytes.count, "a header has \(BatchHeader.bytes) bytes")
        }
        func integer<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, _ type: T.Type) -> T {
            T(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: type))
        }
        guard integer(0, UInt32.self) == BatchHeader.magicSkippable, integer(8, UInt32.self) == BatchHeader.magic else {
            throw FrameError(.invalid, at: 0, "no batch begins here")
        }
        let announced = integer(4, UInt32.self), version = integer(12, UInt16.self)
        let crc = lockstep_crc32c(0, bytes.baseAddress, 100)
        guard crc == integer(100, UInt32.self) else {
            throw FrameError(.invalid, at: 100, "the header's checksum is wrong")
        }
        // After the checksum: only a header that is whole can be called one of another version.
        guard version == BatchHeader.version else {
            throw FrameError(.version, at: 12, "version \(version), this node knows \(BatchHeader.version)")
        }
        guard announced == 96 else { throw FrameError(.invalid, at: 4, "a header of \(announced) bytes") }
        guard integer(84, UInt32.self) == 0, integer(96, UInt32.self) == 0 else {
            throw FrameError(.invalid, at: 84, "reserved bytes are not zero")
        }
        flags = Flags(rawValue: integer(14, UInt16.self))
        guard flags.isSubset(of: .bulk) else { throw FrameError(.invalid, at: 14, "unknown flags \(flags.rawValue)") }
        epoch = Epoch(integer(16, UInt64.self))
        firstPosition = StreamPosition(integer(24, UInt64.self))
        lastPosition = StreamPosition(integer(32, UInt64.self))
        firstSequence = SequenceNumber(integer(40, UInt64.self))
        lastSequence = SequenceNumber(integer(48, UInt64.self))
        previousChain = integer(56, UInt64.self)
        chain = integer(64, UInt64.self)
        let count = integer(72, UInt32.self)
        compressedBytes = Int(integer(76, UInt32.self))
        rawBytes = Int(integer(80, UInt32.self))
        time = integer(88, UInt64.self)
        guard firstPosition != .none, lastPosition >= firstPosition, lastPosition.value < .max,
            lastPosition.value - firstPosition.value == UInt64(count) &- 1
        else {
            throw FrameError(.invalid, at: 24,
                "positions \(firstPosition.value) to \(lastPosition.value) are not \(count) records")
        }
        guard lastSequence >= firstSequence else {
            throw FrameError(.invalid, at: 40, "ring sequences \(firstSequence.value) to \(lastSequence.value)")
        }
        guard (1...BatchHeader.rawBytesMax).contains(rawBytes) else {
            throw FrameError(.invalid, at: 80, "\(rawBytes) raw bytes, \(BatchHeader.rawBytesMax) are the most")
        }
        guard compressedBytes <= lockstep_lz4_bound(rawBytes) else {
            throw FrameError(.invalid, at: 76, "\(compressedBytes) compressed bytes for \(rawBytes) raw ones")
        }
    }

    /// Parses the header at the start of `bytes` and checks the chain: the batch is whole and as it was encoded. What
    /// follows it is not looked at. Nothing is decompressed: this is what the path of an ack can afford.
    public init(verifying bytes: UnsafeRawBufferPointer) throws(FrameError) {
        try self.init(parsing: bytes)
        guard bytes.count >= batchBytes else {
            throw FrameError(.short, at: bytes.count, "the batch has \(batchBytes) bytes")
        }
        let found = chain(over: UnsafeRawBufferPointer(rebasing: bytes[BatchHeader.bytes..<batchBytes]))
        guard found == chain else { throw FrameError(.invalid, at: 64, "the chain is wrong: the batch was changed") }
    }

    /// Writes the 104 bytes, with the header's own checksum.
    public func encode(into bytes: UnsafeMutableRawBufferPointer) {
        precondition(bytes.count >= BatchHeader.bytes && lastPosition >= firstPosition)
        func store<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, _ offset: Int) {
            bytes.storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
        }
        store(BatchHeader.magicSkippable, 0)
        store(UInt32(96), 4)
        store(BatchHeader.magic, 8)
        store(BatchHeader.version, 12)
        store(flags.rawValue, 14)
        store(epoch.value, 16)
        store(firstPosition.value, 24)
        store(lastPosition.value, 32)
        store(firstSequence.value, 40)
        store(lastSequence.value, 48)
        store(previousChain, 56)
        store(chain, 64)
        store(UInt32(recordCount), 72)
        store(UInt32(compressedBytes), 76)
        store(UInt32(rawBytes), 80)
        store(UInt32(0), 84)
        store(time, 88)
        store(UInt32(0), 96)
        store(lockstep_crc32c(0, bytes.baseAddress, 100), 100)
    }

    /// The chain that this header and `frame` should have.
    func chain(over frame: UnsafeRawBufferPointer) -> UInt64 {
        var unchained = self
        unchained.chain = 0
        return withUnsafeTemporaryAllocation(byteCount: BatchHeader.bytes, alignment: 8) { header in
            unchained.encode(into: header)
            header.storeBytes(of: 0, toByteOffset: 100, as: UInt32.self)
            let base = UnsafeRawPointer(header.baseAddress!)
            let crc = lockstep_crc32c(lockstep_crc32c(UInt32(truncatingIfNeeded: previousChain), base, BatchHeader.bytes),
                frame.baseAddress, frame.count)
            let folded = lockstep_fold64(lockstep_fold64(previousChain, base, BatchHeader.bytes), frame.baseAddress,
                frame.count)
            return folded & 0xffff_ffff_0000_0000 | UInt64(crc)
        }
    }
}
