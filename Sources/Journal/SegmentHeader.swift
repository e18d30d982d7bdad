public import Platform
public import Primitives

// A segment: a file of fixed size, written from front to back in blocks of 4 KiB. `lz4 -dc` decodes it once it is closed.
//
//      0  header block (below)
//   4096  batch, padded ~ batch, padded ~ ...
//    end  closing block: u32 0x184D2A5E, u32 rest of the file - 8. Absent while the segment is active, or when it is full
//
// Padding is a skippable frame, written together with its batch: u32 0x184D2A5E, u32 bytes that follow up to the block's
// end; a gap too small for those 8 bytes goes on through the next block.
//
// Header block, little-endian:
//      0  u32 0x184D2A51 (skippable)        4  u32 4088
//      8  "LSSG"                           12  u16 version (1)       14  u16 zero
//     16  u64 module                       24  u64 epoch             32  u64 first stream position
//     40  u64 chain of the batch before    48  2 x u64 boot id       64  u64 bytes of the file
//     72  u32 zero                         76  u32 crc32c of bytes 0 to 75
//     80  zeros up to 4096
//
// The file's name repeats the first position, but only the header counts: a file is renamed after it came into use.

/// What stands at the start of a segment.
public struct SegmentHeader: Equatable, Sendable {
    public static let blockBytes = 4096
    public static let version: UInt16 = 1

    static let magicSkippable: UInt32 = 0x184D_2A51
    static let magicPadding: UInt32 = 0x184D_2A5E
    static let magic: UInt32 = 0x4753_534c  // "LSSG"

    public var module: UInt64
    public var epoch: Epoch
    public var firstPosition: StreamPosition
    public var previousChain: UInt64
    public var bootID: BootID
    public var segmentBytes: UInt64

    func encode(into bytes: UnsafeMutableRawBufferPointer) {
        precondition(bytes.count >= SegmentHeader.blockBytes)
        bytes.baseAddress!.initializeMemory(as: UInt8.self, repeating: 0, count: SegmentHeader.blockBytes)
        func store<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, _ offset: Int) {
            bytes.storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
        }
        store(SegmentHeader.magicSkippable, 0)
        store(UInt32(SegmentHeader.blockBytes - 8), 4)
        store(SegmentHeader.magic, 8)
        store(SegmentHeader.version, 12)
        store(module, 16)
        store(epoch.value, 24)
        store(firstPosition.value, 32)
        store(previousChain, 40)
        store(bootID.high, 48)
        store(bootID.low, 56)
        store(segmentBytes, 64)
        store(Checksum.crc32c(UnsafeRawBufferPointer(rebasing: bytes[..<76])), 76)
    }

    init(module: UInt64, epoch: Epoch, firstPosition: StreamPosition, previousChain: UInt64, bootID: BootID,
        segmentBytes: UInt64)
    {
        self.module = module
        self.epoch = epoch
        self.firstPosition = firstPosition
        self.previousChain = previousChain
        self.bootID = bootID
        self.segmentBytes = segmentBytes
    }

    /// Parses the first block of the file `name`.
    init(parsing bytes: UnsafeRawBufferPointer, name: String) throws(JournalError) {
        func integer<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, _ type: T.Type) -> T {
            T(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: type))
        }
        guard bytes.count >= SegmentHeader.blockBytes else {
            throw JournalError(.foreign, segment: name, at: UInt64(bytes.count), "the file ends before its header")
        }
        guard integer(0, UInt32.self) == SegmentHeader.magicSkippable, integer(8, UInt32.self) == SegmentHeader.magic,
            integer(4, UInt32.self) == UInt32(SegmentHeader.blockBytes - 8)
        else { throw JournalError(.foreign, segment: name, "this is no segment of a journal") }
        let crc = Checksum.crc32c(UnsafeRawBufferPointer(rebasing: bytes[..<76]))
        guard crc == integer(76, UInt32.self) else {
            throw JournalError(.damaged, segment: name, at: 76, "the segment header's checksum is wrong")
        }
        guard integer(12, UInt16.self) == SegmentHeader.version else {
            throw JournalError(.version, segment: name, at: 12,
                "segment version \(integer(12, UInt16.self)), this node knows \(SegmentHeader.version)")
        }
        self.init(module: integer(16, UInt64.self), epoch: Epoch(integer(24, UInt64.self)),
            firstPosition: StreamPosition(integer(32, UInt64.self)), previousChain: integer(40, UInt64.self),
            bootID: BootID(high: integer(48, UInt64.self), low: integer(56, UInt64.self)),
            segmentBytes: integer(64, UInt64.self))
        guard firstPosition != .none else {
            throw JournalError(.foreign, segment: name, at: 32, "the segment begins at position 0")
        }
    }
}

enum SegmentName {
    static let suffix = ".segment"
    /// Ready for use; with a valid header: in use, and the rename was lost.
    static let suffixPrepared = ".prepared"
    /// Not yet ready, or being made ready again: of no use after a crash.
    static let suffixesUnfinished = [".new", ".recycled"]

    static func of(_ position: StreamPosition) -> String { Hex.string(position.value) + suffix }

    static func position(of name: String) -> StreamPosition? {
        guard name.hasSuffix(suffix), let value = Hex.uint64(name.dropLast(suffix.count)) else { return nil }
        return StreamPosition(value)
    }
}
