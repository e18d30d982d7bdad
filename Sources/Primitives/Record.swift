// One record of the stream, in a frame in the journal and on the wire. Little-endian, no padding.
//
//      0  u16 kind            2  u16 flags          4  u32 record bytes (all of it)
//      8  u64 stream position
//     16  u64 ring sequence (0: a record of the daemon)
//     24  object              40 parent             56 target parent      (each: u64 inode, u32 generation, u32 root)
//     72  u64 offset          80 u64 length         88 u64 argument
//     96  u32 mode            100 u32 owner         104 u32 group
//    108  u16 name bytes      110 u16 target name bytes
//    112  i64 modification time, nanoseconds since 1970
//    120  u32 payload bytes   124 u32 zero
//    128  name, target name, payload
//
// One shape for all kinds: an independent reader needs one table, and LZ4 makes the zeros cheap.

/// The header and names of one record; its payload lies behind it in the same buffer.
public struct Record: Equatable, Sendable {
    public static let headerBytes = 128
    public static let nameBytesMax = 255
    /// An operation carries at most 512 KiB, an inline fill 1 MiB.
    public static let payloadBytesMax = 1 << 20
    /// Argument of `times`: a program set them, and there is no other record of it.
    public static let timesSet: UInt64 = 1
    public static let bytesMax = headerBytes + 2 * nameBytesMax + payloadBytesMax

    public enum Kind: UInt16, Sendable, CaseIterable {
        // Operations; the numbers are those of the capture ABI. "Object" is the file or directory operated on.
        case write = 1  // object, offset, payload
        case truncate = 2  // object, length = new size
        case create = 3  // parent, name, mode, owner, group -> object (none while tentative)
        case mkdir = 4
        case symlink = 5  // payload = target; argument 0, or the number of a root plus 1: the payload follows that root's path
        case unlink = 6  // parent, name
        case rmdir = 7
        case rename = 8  // parent, name -> target parent, target name; argument = renameat2 flags
        case chmod = 9  // object, mode
        case chown = 10  // object, owner, group
        case times = 11  // object, modification time; argument = `timesSet` if a program set them
        case allocate = 13  // object, offset, length, argument = fallocate mode
        case link = 14  // object -> target parent, target name
        case mknod = 15  // parent, name, mode, argument = device -> object
        case setAttribute = 16  // object, name = attribute (which may hold a slash), payload = value
        case removeAttribute = 17  // object, name = attribute
        // Records of the daemon.
        case outcome = 32  // argument = position of the tentative record; flag succeeded; object, mode, owner, group
        case fill = 33  // object, offset, payload, argument = read floor, length = size of the file when it was read
        case present = 34  // name fill: parent, name mean object; mode (with file type), owner, group, length = size; a symbolic link's argument and payload as of symlink
        case absent = 35  // name fill: parent, name mean nothing
        case copyBegins = 36  // the receiver's trees are void from here on; argument = number of objects announced
        case copyEnds = 37  // consistent from here on
        case settled = 38  // a mark in the stream; argument = number of the request that is fulfilled, 0: of none
    }

    public struct Flags: OptionSet, Sendable {
        public var rawValue: UInt16
        public init(rawValue: UInt16) { self.rawValue = rawValue }
        /// A name operation whose result is not known yet: an `outcome` follows; unresolved at takeover, it is applied.
        public static let tentative = Flags(rawValue: 1)
        /// On an outcome: it took place.
        public static let succeeded = Flags(rawValue: 2)
    }

    public var kind: Kind
    public var flags: Flags = []
    public var position = StreamPosition.none
    public var sequence = SequenceNumber.none
    public var object = ObjectID.none
    public var parent = ObjectID.none
    public var targetParent = ObjectID.none
    public var offset: UInt64 = 0
    public var length: UInt64 = 0
    public var argument: UInt64 = 0
    public var mode: UInt32 = 0
    public var owner: UInt32 = 0
    public var group: UInt32 = 0
    public var modificationTime: Int64 = 0
    public var payloadBytes: UInt32 = 0
    public var name: [UInt8] = []
    public var targetName: [UInt8] = []

    public init(_ kind: Kind) { self.kind = kind }

    /// Header, names and payload together.
    public var bytes: Int { Record.headerBytes + name.count + targetName.count + Int(payloadBytes) }
}

/// What is wrong with foreign bytes, and where.
public struct RecordError: Error, Equatable, CustomStringConvertible {
    public var byteOffset: Int
    public var reason: String
    public init(at byteOffset: Int, _ reason: String) {
        self.byteOffset = byteOffset
        self.reason = reason
    }
    public var description: String { "record at byte \(byteOffset): \(reason)" }
}

extension Record {
    /// Appends header and names to `buffer`; the caller appends `payloadBytes` bytes of payload.
    public func encode(into buffer: inout [UInt8]) {
        precondition(name.count <= Record.nameBytesMax && targetName.count <= Record.nameBytesMax)
        // Sixteen words at once: this runs for every operation.
        let lengths = UInt64(name.count) << 32 | UInt64(targetName.count) << 48
        let words: InlineArray<16, UInt64> = [
            UInt64(kind.rawValue) | UInt64(flags.rawValue) << 16 | UInt64(bytes) << 32, position.value, sequence.value,
            object.inode, UInt64(object.generation) | UInt64(object.root) << 32,
            parent.inode, UInt64(parent.generation) | UInt64(parent.root) << 32,
            targetParent.inode, UInt64(targetParent.generation) | UInt64(targetParent.root) << 32,
            offset, length, argument, UInt64(mode) | UInt64(owner) << 32, UInt64(group) | lengths,
            UInt64(bitPattern: modificationTime), UInt64(payloadBytes),
        ]
        var encoded = words
        for index in encoded.indices { encoded[index] = encoded[index].littleEndian }
        // SAFETY: the bytes of sixteen integers, copied at once.
        unsafe withUnsafeBytes(of: &encoded) { unsafe buffer.append(contentsOf: $0) }
        buffer.append(contentsOf: name)
        buffer.append(contentsOf: targetName)
    }

    /// Parses the record that starts at `start`; its payload is `span[payloadOffset ..< payloadOffset + payloadBytes]`.
    /// The bytes are foreign: every length is checked, and names can't leave their directory.
    public init(parsing span: RawSpan, at start: Int) throws(RecordError) {
        func integer<T: FixedWidthInteger & BitwiseCopyable>(_ at: Int, as type: T.Type) -> T {
            var value: T = 0
            var index = MemoryLayout<T>.size
            while index > 0 {
                index -= 1
                value = (value << 8) | T(truncatingIfNeeded: span.byte(start + at + index))
            }
            return value
        }
        guard start >= 0, span.byteCount - start >= Record.headerBytes else {
            throw RecordError(at: start, "needs \(Record.headerBytes) bytes, \(max(0, span.byteCount - start)) are left")
        }
        guard let kind = Kind(rawValue: integer(0, as: UInt16.self)) else {
            throw RecordError(at: start, "unknown kind \(integer(0, as: UInt16.self))")
        }
        self.init(kind)
        flags = Flags(rawValue: integer(2, as: UInt16.self))
        let total = Int(integer(4, as: UInt32.self))
        position = StreamPosition(integer(8, as: UInt64.self))
        sequence = SequenceNumber(integer(16, as: UInt64.self))
        func object(_ at: Int) -> ObjectID {
            ObjectID(inode: integer(at, as: UInt64.self), generation: integer(at + 8, as: UInt32.self),
                root: integer(at + 12, as: UInt32.self))
        }
        self.object = object(24)
        parent = object(40)
        targetParent = object(56)
        offset = integer(72, as: UInt64.self)
        length = integer(80, as: UInt64.self)
        argument = integer(88, as: UInt64.self)
        mode = integer(96, as: UInt32.self)
        owner = integer(100, as: UInt32.self)
        group = integer(104, as: UInt32.self)
        let nameBytes = Int(integer(108, as: UInt16.self)), targetNameBytes = Int(integer(110, as: UInt16.self))
        modificationTime = Int64(bitPattern: integer(112, as: UInt64.self))
        payloadBytes = integer(120, as: UInt32.self)
        guard Int(payloadBytes) <= Record.payloadBytesMax, nameBytes <= Record.nameBytesMax,
            targetNameBytes <= Record.nameBytesMax,
            total == Record.headerBytes + nameBytes + targetNameBytes + Int(payloadBytes),
            total <= span.byteCount - start
        else { throw RecordError(at: start, "lengths do not agree: \(total) bytes with names of \(nameBytes) and \(targetNameBytes) and a payload of \(payloadBytes)") }
        guard offset <= UInt64(Int64.max) - UInt64(Record.payloadBytesMax), length <= UInt64(Int64.max) else {
            throw RecordError(at: start, "offset \(offset) or length \(length) is beyond any file")
        }
        name = Record.bytes(span, start + Record.headerBytes, nameBytes)
        targetName = Record.bytes(span, start + Record.headerBytes + nameBytes, targetNameBytes)
        let isAttribute = kind == .setAttribute || kind == .removeAttribute
        guard isAttribute ? !name.contains(0) : Record.isName(name), Record.isName(targetName) else {
            throw RecordError(at: start, "a name holds '/' or a zero byte, or is '.' or '..'")
        }
    }

    /// Where the payload lies, relative to the start of the record.
    public var payloadOffset: Int { Record.headerBytes + name.count + targetName.count }

    private static func bytes(_ span: RawSpan, _ start: Int, _ count: Int) -> [UInt8] {
        if count == 0 { return [] }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        for index in start..<(start + count) { bytes.append(span.byte(index)) }
        return bytes
    }

    private static func isName(_ name: [UInt8]) -> Bool {
        name != [0x2e] && name != [0x2e, 0x2e] && !name.contains(0) && !name.contains(0x2f)
    }
}

extension RawSpan {
    /// One byte, with its bounds checked.
    func byte(_ index: Int) -> UInt8 {
        precondition(index >= 0 && index < byteCount)
        return unsafe unsafeLoad(fromUncheckedByteOffset: index, as: UInt8.self)
    }
}

extension [UInt8] {
    /// Appends an integer, least significant byte first.
    public mutating func appendInteger<T: FixedWidthInteger>(_ value: T) {
        var rest = value
        for _ in 0..<MemoryLayout<T>.size {
            append(UInt8(truncatingIfNeeded: rest))
            rest >>= 8
        }
    }
}
