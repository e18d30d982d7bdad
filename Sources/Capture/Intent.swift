import CCaptureABI
public import Primitives

/// One captured operation: a copy of the intent, checked. Its payload stays in the arena until it is copied out once.
public struct Intent {
    public enum Kind: UInt16, Sendable {
        case write = 1, truncate, create, mkdir, symlink, unlink, rmdir, rename, chmod, chown, times, barrier, allocate,
            link, mknod, setAttribute, removeAttribute, changed, submit
    }

    /// linux/falloc.h: KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE, ZERO_RANGE, INSERT_RANGE, UNSHARE_RANGE.
    static let allocationModes: UInt64 = 0x7b
    /// Everything behind `offset` moves: applied twice it would move twice, so it is carried as bytes.
    public var shiftsBytes: Bool { kind == .allocate && argument & 0x28 != 0 }

    /// It only reserves space: what is there stays, and its record says nothing of the bytes.
    public var keepsBytes: Bool { kind == .allocate && argument & 0x3a == 0 }

    /// A file without a name (O_TMPFILE).
    public var isNameless: Bool { kind == .create && name.isEmpty }
    /// RENAME_EXCHANGE.
    public var isExchange: Bool { kind == .rename && argument == 2 }

    public struct Flags: OptionSet, Sendable {
        public var rawValue: UInt16
        public init(rawValue: UInt16) { self.rawValue = rawValue }
        public static let predicted = Flags(rawValue: 1)
        public static let append = Flags(rawValue: 2)
        public static let durable = Flags(rawValue: 4)
        public static let continued = Flags(rawValue: 8)
        public static let crosses = Flags(rawValue: 16)
    }

    /// What the system call gave, once the producer said `done`.
    public struct Result: Equatable {
        /// As the kernel gave it: at least 0, or -errno.
        public var value: Int64
        public var actualOffset: UInt64
        public var doneReserved: UInt64
        public var object: ObjectID
        public var mode: UInt32
        public var owner: UInt32
        public var group: UInt32
        public var contended: Bool
        public init(value: Int64, actualOffset: UInt64 = 0, doneReserved: UInt64 = 0, object: ObjectID = .none,
            mode: UInt32 = 0, owner: UInt32 = 0, group: UInt32 = 0, contended: Bool = false)
        {
            self.value = value
            self.actualOffset = actualOffset
            self.doneReserved = doneReserved
            self.object = object
            self.mode = mode
            self.owner = owner
            self.group = group
            self.contended = contended
        }
    }

    public let kind: Kind
    public let flags: Flags
    public let object: ObjectID
    public let parent: ObjectID
    public let targetParent: ObjectID
    public let offset: UInt64
    public let length: UInt64
    public let argument: UInt64
    public let mode: UInt32
    public let owner: UInt32
    public let group: UInt32
    public let name: [UInt8]
    public let targetName: [UInt8]
    /// Payload in the arena; valid until the intent is given back.
    public let payload: UnsafeRawBufferPointer
    /// The arena's blocks that hold it, as bits.
    public let blocks: UInt64
    public let result: Result

    init(_ raw: lockstep_intent, arena: Arena, index: UInt32) throws(CaptureError) {
        func scribbled(_ what: String) -> CaptureError {
            CaptureError("intent \(index) of process \(arena.pid) is scribbled over: \(what)")
        }
        guard let kind = Kind(rawValue: raw.kind) else { throw scribbled("kind \(raw.kind)") }
        self.kind = kind
        flags = Flags(rawValue: raw.flags)
        func object(_ raw: lockstep_object) throws(CaptureError) -> ObjectID {
            guard raw.root < LOCKSTEP_ROOTS_MAX else { throw scribbled("root \(raw.root)") }
            return ObjectID(inode: raw.inode, generation: raw.generation, root: raw.root)
        }
        self.object = try object(raw.object)
        parent = try object(raw.parent)
        targetParent = try object(raw.target_parent)
        guard raw.offset <= UInt64(Int64.max) - (1 << 30), raw.length <= UInt64(Int64.max) else {
            throw scribbled("offset \(raw.offset), length \(raw.length)")
        }
        offset = raw.offset
        length = raw.length
        argument = raw.argument
        mode = raw.mode
        owner = raw.owner
        group = raw.group
        guard raw.payload_bytes <= LOCKSTEP_OPERATION_BYTES_MAX, raw.name_bytes <= 255, raw.target_name_bytes <= 255 else {
            throw scribbled("\(raw.payload_bytes) bytes of payload, names of \(raw.name_bytes) and \(raw.target_name_bytes)")
        }
        let inline = lockstep_arena_inline(arena.memory, index)!
        if raw.block == LOCKSTEP_NO_BLOCK {
            guard raw.payload_bytes == 0 || (raw.payload_bytes <= LOCKSTEP_INLINE_BYTES && raw.name_bytes == 0) else {
                throw scribbled("\(raw.payload_bytes) bytes of inline payload")
            }
            payload = UnsafeRawBufferPointer(start: inline, count: Int(raw.payload_bytes))
            blocks = 0
        } else {
            let count = (raw.payload_bytes + LOCKSTEP_BLOCK_BYTES - 1) / LOCKSTEP_BLOCK_BYTES
            guard raw.block < LOCKSTEP_BLOCKS, count <= LOCKSTEP_BLOCKS - raw.block else {
                throw scribbled("payload of \(raw.payload_bytes) bytes in block \(raw.block)")
            }
            payload = UnsafeRawBufferPointer(start: lockstep_arena_block(arena.memory, raw.block), count: Int(raw.payload_bytes))
            blocks = (count == 64 ? UInt64.max : (1 << UInt64(count)) - 1) << UInt64(raw.block)
        }
        name = Array(UnsafeRawBufferPointer(start: inline, count: Int(raw.name_bytes)))
        targetName = Array(UnsafeRawBufferPointer(start: inline + 256, count: Int(raw.target_name_bytes)))
        let isAttribute = kind == .setAttribute || kind == .removeAttribute
        if isAttribute, name.isEmpty || name.contains(0) { throw scribbled("an attribute without a name, or with a zero byte in it") }
        for name in isAttribute ? [targetName] : [name, targetName]
        where name == [0x2e] || name == [0x2e, 0x2e] || name.contains(0) || name.contains(0x2f) {
            throw scribbled("a name holds '/' or a zero byte, or is '.' or '..'")
        }
        switch kind {
        case .write, .truncate, .chmod, .chown, .times, .allocate, .setAttribute, .removeAttribute, .changed, .submit:
            guard !self.object.isNone else { throw scribbled("\(kind) without object") }
        case .create where raw.name_bytes == 0:
            guard !parent.isNone else { throw scribbled("create without parent") }
        case .create, .mkdir, .symlink, .unlink, .rmdir, .mknod:
            guard !parent.isNone, !name.isEmpty else { throw scribbled("\(kind) without parent or name") }
        case .rename:
            guard !parent.isNone, !targetParent.isNone, !name.isEmpty, !targetName.isEmpty else {
                throw scribbled("rename without parent or name")
            }
        case .link:
            guard !self.object.isNone, !targetParent.isNone, !targetName.isEmpty else { throw scribbled("link without parent or name") }
        case .barrier: break
        }
        // Kinds and arguments that this version of the library never publishes.
        switch kind {
        case .mknod: throw scribbled("\(kind) is not captured by this version")
        case .rename where argument > 2: throw scribbled("rename with flags \(argument)")
        case .allocate where argument & ~Intent.allocationModes != 0 || offset + (length & (1 << 62 - 1)) > UInt64(Int64.max) || length >= 1 << 62:
            throw scribbled("allocate \(length) bytes at \(offset) in mode \(argument)")
        case .setAttribute where payload.count > 65536: throw scribbled("an attribute of \(payload.count) bytes")
        case .symlink where payload.isEmpty || payload.count > Int(LOCKSTEP_LINK_TARGET_BYTES_MAX) || payload.contains(0):
            throw scribbled("a link target of \(payload.count) bytes")
        default: break
        }
        result = Result(value: raw.result, actualOffset: raw.actual_offset, doneReserved: raw.done_reserved,
            object: try object(raw.outcome), mode: raw.outcome_mode, owner: raw.outcome_owner,
            group: raw.outcome_group, contended: raw.result_flags & LOCKSTEP_RESULT_CONTENDED != 0)
    }
}
