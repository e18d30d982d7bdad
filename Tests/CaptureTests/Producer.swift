import CCaptureABI
import Capture
import Glibc
import Primitives

/// What a process does with ring and arena (CInterposer/intent.c), step by step, with bytes that a test may spoil.
/// It maps the objects by their descriptors, as a process does; one thread, so plain stores are enough.
final class Producer {
    let memory: CaptureMemory
    let number: UInt32
    let control: UnsafeMutableRawPointer
    let ring: UnsafeMutableRawPointer
    let arena: UnsafeMutableRawPointer
    let arenaDescriptor: Int32
    private var life: Int32 = -1
    private let controlBytes: Int
    private let ringBytes: Int

    /// Places in the structures, which Swift can't import; `layoutIsKnown` holds them to the header.
    enum Offset {
        static let ringReserved = 64, ringWords = 36864
        static let controlConsumed = 128
        static let arenaNumber = 12, arenaIncarnation = 16, arenaPid = 32
        static let arenaIntentsFree = 64, arenaBlocksFree = 72
        static let intents = 256, intentBytes = 256, inlines = 20480, blocks = 86016, mappings = blocks + 64 * 16384, mappingLines = mappings + 64
    }

    static func layoutIsKnown() -> Bool {
        let base = UnsafeMutableRawPointer.allocate(byteCount: lockstep_arena_bytes(), alignment: 4096)
        defer { base.deallocate() }
        return lockstep_arena_bytes() == Offset.mappings + 12288 && MemoryLayout<lockstep_mapping>.size == 64
            && UnsafeRawPointer(lockstep_arena_inline(base, 0)!) == UnsafeRawPointer(base + Offset.inlines)
            && UnsafeRawPointer(lockstep_arena_block(base, 0)!) == UnsafeRawPointer(base + Offset.blocks)
            && lockstep_ring_bytes(1024) == (Offset.ringWords + 1024 * 8 + 4095) / 4096 * 4096
            && MemoryLayout<lockstep_intent>.size == Offset.intentBytes
    }

    init(_ memory: CaptureMemory, number: UInt32 = 0, attach: Bool = true) throws {
        self.memory = memory
        self.number = number
        controlBytes = lockstep_control_bytes(memory.slots)
        ringBytes = lockstep_ring_bytes(memory.slots)
        control = Producer.map(memory.controlDescriptor, controlBytes)
        ring = Producer.map(memory.ringDescriptor, ringBytes)
        arenaDescriptor = Producer.makeArena(number, memory.incarnation)
        arena = Producer.map(arenaDescriptor, lockstep_arena_bytes())
        if attach { try self.attach() }
    }

    func attach() throws {
        let (process, life) = Producer.processDescriptor()
        self.life = life
        _ = try memory.attach(arena: number, descriptor: dup(arenaDescriptor), processDescriptor: process, pid: getpid())
    }

    deinit {
        munmap(control, controlBytes)
        munmap(ring, ringBytes)
        munmap(arena, lockstep_arena_bytes())
        close(arenaDescriptor)
        if life >= 0 { close(life) }
    }

    static func map(_ descriptor: Int32, _ bytes: Int) -> UnsafeMutableRawPointer {
        let address = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)!
        precondition(address != MAP_FAILED)
        return address
    }

    /// In place of a process descriptor: the end of a pipe, readable as soon as the other end is closed.
    static func processDescriptor() -> (process: Int32, life: Int32) {
        var ends: [Int32] = [0, 0]
        precondition(pipe(&ends) == 0)
        return (ends[0], ends[1])
    }

    /// The process ends.
    func die() {
        close(life)
        life = -1
    }

    /// As the keeper makes it.
    static func makeArena(_ number: UInt32, _ incarnation: (UInt64, UInt64), sealed: Bool = true) -> Int32 {
        let descriptor = lockstep_memfd("arena")
        precondition(descriptor >= 0 && ftruncate(descriptor, lockstep_arena_bytes()) == 0)
        let memory = map(descriptor, lockstep_arena_bytes())
        memory.storeBytes(of: 0x3141_5241_534b_434c, as: UInt64.self)
        memory.storeBytes(of: LOCKSTEP_ABI_VERSION, toByteOffset: 8, as: UInt32.self)
        memory.storeBytes(of: number, toByteOffset: Offset.arenaNumber, as: UInt32.self)
        memory.storeBytes(of: incarnation.0, toByteOffset: Offset.arenaIncarnation, as: UInt64.self)
        memory.storeBytes(of: incarnation.1, toByteOffset: Offset.arenaIncarnation + 8, as: UInt64.self)
        memory.storeBytes(of: getpid(), toByteOffset: Offset.arenaPid, as: Int32.self)
        memory.storeBytes(of: .max, toByteOffset: Offset.arenaIntentsFree, as: UInt64.self)
        memory.storeBytes(of: .max, toByteOffset: Offset.arenaBlocksFree, as: UInt64.self)
        munmap(memory, lockstep_arena_bytes())
        if sealed { precondition(fcntl(descriptor, 1033 /* F_ADD_SEALS */, 2 | 4) == 0) }
        return descriptor
    }

    // MARK: the steps

    var reserved: UInt64 {
        get { lockstep_ring_reserved(ring) }
        set { ring.storeBytes(of: newValue, toByteOffset: Offset.ringReserved, as: UInt64.self) }
    }
    var consumed: UInt64 { lockstep_control_consumed(control) }
    var intentsFree: UInt64 {
        get { lockstep_arena_intents_free(arena) }
        set { arena.storeBytes(of: newValue, toByteOffset: Offset.arenaIntentsFree, as: UInt64.self) }
    }
    var blocksFree: UInt64 {
        get { arena.load(fromByteOffset: Offset.arenaBlocksFree, as: UInt64.self) }
        set { arena.storeBytes(of: newValue, toByteOffset: Offset.arenaBlocksFree, as: UInt64.self) }
    }

    func place(_ sequence: UInt64) -> UInt32 { UInt32(sequence & UInt64(memory.slots - 1)) }
    func lap(_ sequence: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: sequence / UInt64(memory.slots)) }
    func word(_ sequence: UInt64) -> UInt64 { lockstep_ring_word(ring, place(sequence)) }
    static func word(lap: UInt32, arena: UInt32, intent: UInt32, state: UInt32) -> UInt64 {
        UInt64(lap) << 32 | UInt64(arena & 0xfffff) << 12 | UInt64(intent & 0xff) << 4 | UInt64(state & 0xf)
    }

    /// Takes the lowest free intent and fills it in.
    func fill(_ change: (inout lockstep_intent) -> Void = { _ in }) -> UInt32 {
        let index = UInt32(intentsFree.trailingZeroBitCount)
        precondition(index < 64, "no intent is free")
        intentsFree &= intentsFree - 1
        var intent = lockstep_intent()
        intent.kind = 1
        intent.object = lockstep_object(inode: 77, generation: 1, root: 0)
        intent.block = .max
        change(&intent)
        store(intent, index)
        return index
    }

    func store(_ intent: lockstep_intent, _ index: UInt32) {
        withUnsafeBytes(of: intent) {
            (arena + Offset.intents + Int(index) * Offset.intentBytes).copyMemory(from: $0.baseAddress!, byteCount: Offset.intentBytes)
        }
    }
    func load(_ index: UInt32) -> lockstep_intent {
        var intent = lockstep_intent()
        lockstep_arena_copy_intent(arena, index, &intent)
        return intent
    }

    /// Nil: the ring is full.
    func reserve() -> UInt64? {
        let sequence = reserved
        guard sequence - consumed < UInt64(memory.slots) else { return nil }
        reserved = sequence + 1
        return sequence
    }

    /// False: the place was revoked.
    func publish(_ sequence: UInt64, _ index: UInt32) -> Bool {
        guard word(sequence) == lockstep_word_empty(lap(sequence)) else { return false }
        lockstep_ring_set_word(ring, place(sequence),
            Producer.word(lap: lap(sequence), arena: number, intent: index, state: LOCKSTEP_STATE_PUBLISHED))
        return true
    }

    func end(_ index: UInt32, result: Int64) {
        var intent = load(index)
        intent.result = result
        intent.done_reserved = reserved
        store(intent, index)
        // `done` lies behind it; it is an atomic word, a plain field for Swift.
        intent.done = 1
        store(intent, index)
    }

    /// All of it.
    func operation(_ change: (inout lockstep_intent) -> Void = { _ in }) -> (sequence: UInt64, index: UInt32)? {
        let index = fill(change)
        guard let sequence = reserve() else {
            intentsFree |= 1 << UInt64(index)
            return nil
        }
        precondition(publish(sequence, index))
        return (sequence, index)
    }
}

extension CaptureMemory {
    static func small(slots: UInt32 = 8) throws -> CaptureMemory {
        try CaptureMemory.create(slots: slots, incarnation: (0x1111, 0x2222))
    }

    /// The next word, with time far enough on to revoke, or not.
    func take(_ now: UInt64 = 0) throws(CaptureError) -> Next { try next(now: now, revokeAfterNanoseconds: 5) }
}

/// Deterministic random numbers.
struct SplitMix: RandomNumberGenerator {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
    mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
}
