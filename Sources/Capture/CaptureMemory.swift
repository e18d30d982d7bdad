public import CCaptureABI
import CLinux
import Glibc
public import Primitives

/// What is wrong with the shared memory; the application that did it is not trusted.
public struct CaptureError: Error, CustomStringConvertible {
    public var description: String
    public init(_ description: String) { self.description = description }
}

/// The control object and the order ring of one module, as the daemon sees them: it writes the first and reads the
/// second, and holds the arenas of the processes that are attached.
///
///     reserved  next number a producer takes            (ring, written by everybody: checked here)
///     drained   everything below was taken by `next()`   (control)
///     consumed  everything below may be used again       (control)
///
///         consumed <= drained <= reserved <= consumed + slots
///
/// Owned by the data-plane thread.
public final class CaptureMemory {
    public let controlDescriptor: Int32
    public let ringDescriptor: Int32
    public let slots: UInt32
    public let incarnation: (UInt64, UInt64)
    public private(set) var arenas: [UInt32: Arena] = [:]
    /// Numbers of those that were forgotten: a process that shared its memory with a dead one may publish there still.
    private var retired: Set<UInt32> = []
    /// Next sequence number to be taken.
    public private(set) var drained: UInt64
    public private(set) var consumed: UInt64
    public private(set) var revoked: UInt64 = 0
    /// It is an earlier daemon's.
    public private(set) var isAdopted = false
    private let control: UnsafeMutableRawPointer
    private let ring: UnsafeMutableRawPointer
    /// When `drained` was first seen reserved and unpublished.
    private var reservedSince: UInt64?

    /// Makes a new incarnation.
    public static func create(slots: UInt32 = LOCKSTEP_RING_SLOTS_DEFAULT, incarnation: (UInt64, UInt64)) throws(CaptureError) -> CaptureMemory {
        precondition(slots.nonzeroBitCount == 1)
        let control = try allocate("lockstep-control", lockstep_control_bytes(slots))
        let ring = try allocate("lockstep-ring", lockstep_ring_bytes(slots))
        lockstep_control_initialize(control.memory, slots, incarnation.0, incarnation.1)
        lockstep_ring_initialize(ring.memory, slots, incarnation.0, incarnation.1)
        return CaptureMemory(controlDescriptor: control.descriptor, ringDescriptor: ring.descriptor, slots: slots,
            incarnation: incarnation, control: control.memory, ring: ring.memory)
    }

    /// Takes the memory of an earlier daemon back from a keeper: its numbers go on.
    public static func adopt(controlDescriptor: Int32, ringDescriptor: Int32) throws(CaptureError) -> CaptureMemory {
        let controlBytes = try sealedBytes(controlDescriptor, "control object")
        let ringBytes = try sealedBytes(ringDescriptor, "order ring")
        guard controlBytes >= lockstep_control_header_bytes(), ringBytes >= lockstep_ring_header_bytes() else {
            throw CaptureError("control object or order ring handed back by a keeper is too small")
        }
        let control = try map(controlDescriptor, controlBytes)
        let ring = try map(ringDescriptor, ringBytes)
        let version = lockstep_control_version(control)
        guard version == LOCKSTEP_ABI_VERSION else {
            throw CaptureError("control object handed back by a keeper has ABI version \(version), this daemon speaks \(LOCKSTEP_ABI_VERSION)")
        }
        guard lockstep_control_is_closed(control) == 0 else {
            throw CaptureError("the shared memory that a keeper handed back was given up: its programs must be started again")
        }
        let slots = lockstep_control_slots(control)
        guard slots.nonzeroBitCount == 1, lockstep_control_bytes(slots) == controlBytes,
            lockstep_ring_bytes(slots) == ringBytes, lockstep_ring_belongs(ring, control) == 1
        else { throw CaptureError("control object and order ring handed back by a keeper do not belong together") }
        let memory = CaptureMemory(controlDescriptor: controlDescriptor, ringDescriptor: ringDescriptor, slots: slots,
            incarnation: (lockstep_control_incarnation(control, 0), lockstep_control_incarnation(control, 1)), control: control,
            ring: ring)
        memory.isAdopted = true
        memory.consumed = lockstep_control_consumed(control)
        // It may have died while it gave places back: those are empty already, one lap on.
        while memory.consumed < lockstep_ring_reserved(ring),
            lockstep_ring_word(ring, UInt32(truncatingIfNeeded: memory.consumed & UInt64(slots - 1)))
                == lockstep_word_empty(UInt32(truncatingIfNeeded: memory.consumed / UInt64(slots)) &+ 1)
        {
            memory.consumed += 1
        }
        lockstep_control_set_consumed(control, memory.consumed)
        // What the dead daemon had taken and not finished is taken again.
        memory.drained = memory.consumed
        return memory
    }

    /// Of the control object behind a descriptor, without taking it over; nil: it is none.
    public static func incarnation(controlDescriptor: Int32) -> (UInt64, UInt64)? {
        var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        let count = withUnsafeMutableBytes(of: &words) { pread(controlDescriptor, $0.baseAddress, $0.count, 0) }
        return count == 32 && words.0 == LOCKSTEP_MAGIC_CONTROL ? (words.2, words.3) : nil
    }

    private init(controlDescriptor: Int32, ringDescriptor: Int32, slots: UInt32, incarnation: (UInt64, UInt64),
        control: UnsafeMutableRawPointer, ring: UnsafeMutableRawPointer)
    {
        self.controlDescriptor = controlDescriptor
        self.ringDescriptor = ringDescriptor
        self.slots = slots
        self.incarnation = incarnation
        self.control = control
        self.ring = ring
        drained = 1
        consumed = 1
    }

    deinit {
        for arena in arenas.values { arena.unmap() }
        munmap(ring, lockstep_ring_bytes(slots))
        munmap(control, lockstep_control_bytes(slots))
        Glibc.close(ringDescriptor)
        Glibc.close(controlDescriptor)
    }

    /// Producers fail from now on. The memory itself stays: waiters may still be answered.
    public func close() {
        lockstep_control_set_switch(control, LOCKSTEP_SWITCH_CLOSED, 1)
    }

    // MARK: Settings, before anybody attaches

    public func set(root index: UInt32, device: UInt64, object: ObjectID, name: String, path: String) {
        lockstep_control_set_root(control, index, device,
            lockstep_object(inode: object.inode, generation: object.generation, root: object.root), name, path)
    }

    public func set(exclusions: [String]) {
        for (index, suffix) in exclusions.prefix(Int(LOCKSTEP_EXCLUSIONS_MAX)).enumerated() {
            lockstep_control_set_exclusion(control, UInt32(index), suffix)
        }
    }

    /// - Parameter ioUring: programs may have rings, by liburing's functions; else io_uring can't be set up
    public func set(waitBoundMilliseconds: UInt32, lockBoundMilliseconds: UInt32, epoch: Epoch, ioUring: Bool) {
        lockstep_control_set_bounds(control, LOCKSTEP_WAIT_DURABLE, waitBoundMilliseconds, LOCKSTEP_ON_BOUND_EIO,
            lockBoundMilliseconds, getpid())
        lockstep_control_set_epoch(control, epoch.value)
        // Without a modification map every extent counts as hot: nobody waits for marks.
        lockstep_control_set_switch(control, LOCKSTEP_SWITCH_ALL_HOT, 1)
        lockstep_control_set_switch(control, LOCKSTEP_SWITCH_HOLD, 0)
        lockstep_control_set_switch(control, LOCKSTEP_SWITCH_IO_URING, ioUring ? 1 : 0)
        lockstep_control_set_data_plane(control, LOCKSTEP_DATA_PLANE_AWAKE)
    }

    // MARK: Draining

    /// The ring's `reserved`, unchecked: only for comparing with a sequence number.
    public var reserved: UInt64 { lockstep_ring_reserved(ring) }

    public enum Next {
        case nothing
        /// A producer holds the next place and has not published it.
        case reserved
        case revoked(sequence: UInt64)
        case intent(sequence: UInt64, arena: UInt32, index: UInt32)
    }

    /// Takes the next word of the ring. A place that stays unpublished for `revokeAfterNanoseconds` is revoked (R1).
    public func next(now: UInt64, revokeAfterNanoseconds: UInt64) throws(CaptureError) -> Next {
        let sequence = drained
        let place = UInt32(truncatingIfNeeded: sequence & UInt64(slots - 1))
        let lap = UInt32(truncatingIfNeeded: sequence / UInt64(slots))
        let reserved = lockstep_ring_reserved(ring)
        if sequence == reserved { return .nothing }
        guard sequence < reserved, reserved - consumed <= UInt64(slots) else {
            throw CaptureError("order ring is scribbled over: reserved \(reserved), drained \(sequence), consumed \(consumed)")
        }
        let word = lockstep_ring_word(ring, place)
        guard lockstep_word_lap(word) == lap else {
            throw CaptureError("order ring is scribbled over: place \(place) holds lap \(lockstep_word_lap(word)), not \(lap)")
        }
        switch lockstep_word_state(word) {
        case LOCKSTEP_STATE_EMPTY:
            guard let since = reservedSince else {
                reservedSince = now
                return .reserved
            }
            if now - since < revokeAfterNanoseconds { return .reserved }
            guard lockstep_ring_revoke(ring, place, lap) == 1 else { return .reserved }
            revoked += 1
            advance()
            return .revoked(sequence: sequence)
        case LOCKSTEP_STATE_REVOKED, LOCKSTEP_STATE_TAKEN:
            advance()
            return .revoked(sequence: sequence)
        case LOCKSTEP_STATE_PUBLISHED:
            let index = lockstep_word_intent(word)
            guard index < LOCKSTEP_INTENTS else {
                throw CaptureError("order ring is scribbled over: place \(place) names intent \(index)")
            }
            advance()
            return .intent(sequence: sequence, arena: lockstep_word_arena(word), index: index)
        default:
            throw CaptureError("order ring is scribbled over: place \(place) has state \(lockstep_word_state(word))")
        }
    }

    /// The intent just taken can't be looked at yet: it is taken again later.
    public func putBack(sequence: UInt64) {
        precondition(sequence == drained - 1)
        drained = sequence
        lockstep_control_set_drained(control, drained)
    }

    private func advance() {
        drained += 1
        reservedSince = nil
        lockstep_control_set_drained(control, drained)
    }

    /// Gives an intent back to its process, and says so in the ring first, for a daemon that may have to start again.
    public func giveBack(sequence: UInt64, arena number: UInt32, index: UInt32, blocks: UInt64) {
        if sequence >= consumed && sequence < drained {
            let lap = UInt32(truncatingIfNeeded: sequence / UInt64(slots))
            lockstep_ring_set_word(ring, UInt32(truncatingIfNeeded: sequence & UInt64(slots - 1)), lockstep_word_taken(lap))
        }
        arenas[number]?.giveBack(index, blocks: blocks)
    }

    /// The intents that words of the ring name and that nobody drained yet.
    public func intentsInRing() -> Set<UInt64> {
        var intents: Set<UInt64> = []
        let end = min(lockstep_ring_reserved(ring), consumed + UInt64(slots))
        var sequence = drained
        while sequence < end {
            let word = lockstep_ring_word(ring, UInt32(truncatingIfNeeded: sequence & UInt64(slots - 1)))
            if lockstep_word_state(word) == LOCKSTEP_STATE_PUBLISHED {
                intents.insert(UInt64(lockstep_word_arena(word)) << 8 | UInt64(lockstep_word_intent(word)))
            }
            sequence += 1
        }
        return intents
    }

    /// Gives all places below `sequence` back to the producers.
    public func consume(below sequence: UInt64) {
        precondition(sequence <= drained)
        guard sequence > consumed else { return }
        while consumed < sequence {
            let place = UInt32(truncatingIfNeeded: consumed & UInt64(slots - 1))
            let lap = UInt32(truncatingIfNeeded: consumed / UInt64(slots))
            lockstep_ring_set_word(ring, place, lockstep_word_empty(lap &+ 1))
            consumed += 1
        }
        lockstep_control_set_consumed(control, consumed)
    }

    /// Answers the durability point that waits at `sequence`.
    public func answer(sequence: UInt64, arena: UInt32, index: UInt32, ok: Bool) {
        let place = UInt32(truncatingIfNeeded: sequence & UInt64(slots - 1))
        let lap = UInt32(truncatingIfNeeded: sequence / UInt64(slots))
        lockstep_answer(control, arenas[arena]?.memory, index, place, lap & 0x3fff_ffff,
            ok ? LOCKSTEP_ANSWER_OK : LOCKSTEP_ANSWER_ERROR)
    }

    public func setReleased(below sequence: UInt64) { lockstep_control_set_released(control, sequence) }
    public var released: UInt64 { lockstep_control_released(control) }

    /// New operations wait before they are published, or go on.
    public func setHold(_ on: Bool) { lockstep_control_set_switch(control, LOCKSTEP_SWITCH_HOLD, on ? 1 : 0) }

    // MARK: Waking up

    /// Raised with each new writable mapping of a replicated file; 0: there never was one.
    public var mappings: UInt64 { lockstep_ring_mappings(ring) }

    /// Says how deep the data plane sleeps; producers look at it after publishing.
    public func setDataPlane(_ state: UInt32) { lockstep_control_set_data_plane(control, state) }
    public var doorbell: UInt32 { lockstep_ring_doorbell(ring) }
    public var doorbellAddress: UnsafePointer<UInt32> { lockstep_ring_doorbell_address(ring) }
    public var isRingEmpty: Bool { drained == lockstep_ring_reserved(ring) }

    // MARK: Arenas

    /// Takes over an arena announced by a keeper; both descriptors are its own from here on, also when it refuses.
    public func attach(arena number: UInt32, descriptor: Int32, processDescriptor: Int32, pid: Int32) throws(CaptureError) -> Arena {
        defer { Glibc.close(descriptor) }
        do throws(CaptureError) {
            if let known = arenas[number] {
                guard known.pid == pid, known.isAlive else { throw CaptureError("arena \(number) was announced twice") }
                Glibc.close(processDescriptor)
                return known
            }
            let bytes = try CaptureMemory.sealedBytes(descriptor, "arena \(number)")
            guard bytes >= lockstep_arena_bytes() else { throw CaptureError("arena \(number) is too small") }
            let memory = try CaptureMemory.map(descriptor, bytes)
            guard lockstep_arena_belongs(memory, number, control) == 1
            else {
                munmap(memory, bytes)
                throw CaptureError("arena \(number) of process \(pid) is not of this module's incarnation")
            }
            let arena = Arena(number: number, pid: pid, processDescriptor: processDescriptor, memory: memory, bytes: bytes)
            arenas[number] = arena
            retired.remove(number)
            return arena
        } catch {
            Glibc.close(processDescriptor)
            throw error
        }
    }

    public func wasRetired(_ number: UInt32) -> Bool { retired.contains(number) }

    /// Forgets the arena of a process that is gone and of which nothing is in flight any more.
    public func retire(arena number: UInt32) {
        guard let arena = arenas.removeValue(forKey: number) else { return }
        retired.insert(number)
        lockstep_ring_unlock_arena(ring, number)
        arena.unmap()
    }

    // MARK: Memory

    private static func allocate(_ name: String, _ bytes: Int) throws(CaptureError) -> (descriptor: Int32, memory: UnsafeMutableRawPointer) {
        let descriptor = lockstep_memfd(name)
        guard descriptor >= 0 else { throw CaptureError("memfd_create: errno \(errno)") }
        // Allocated in full: a store must never fail for lack of memory.
        guard ftruncate(descriptor, bytes) == 0, posix_fallocate(descriptor, 0, bytes) == 0,
            fcntl(descriptor, seals.add, seals.shrink | seals.grow) == 0
        else { throw CaptureError("\(name): allocating and sealing \(bytes) bytes: errno \(errno)") }
        return (descriptor, try map(descriptor, bytes))
    }

    static func sealedBytes(_ descriptor: Int32, _ what: String) throws(CaptureError) -> Int {
        let present = fcntl(descriptor, seals.get)
        guard present >= 0, present & (seals.shrink | seals.grow) == seals.shrink | seals.grow else {
            throw CaptureError("\(what) is not sealed")
        }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw CaptureError("\(what): errno \(errno)") }
        return Int(status.st_size)
    }

    static func map(_ descriptor: Int32, _ bytes: Int, isReadOnly: Bool = false) throws(CaptureError) -> UnsafeMutableRawPointer {
        let protection = isReadOnly ? PROT_READ : PROT_READ | PROT_WRITE
        guard let memory = mmap(nil, bytes, protection, MAP_SHARED, descriptor, 0), memory != MAP_FAILED else {
            throw CaptureError("mapping \(bytes) bytes: errno \(errno)")
        }
        return memory
    }

    /// fcntl's memfd seals (linux/fcntl.h: F_LINUX_SPECIFIC_BASE + 9, + 10).
    private enum seals {
        static let add: Int32 = 1033
        static let get: Int32 = 1034
        static let shrink: Int32 = 2
        static let grow: Int32 = 4
    }
}

/// The arena of one attached process.
public final class Arena {
    public let number: UInt32
    public let pid: Int32
    /// Polls readable when the process has ended; -1 once that was seen.
    public private(set) var processDescriptor: Int32
    public private(set) var isAlive = true
    /// Operations of it that are still tracked; the arena is retired at 0 once the process is gone.
    public var tracked = 0
    /// Of a process that is gone: the ring must be drained up to here before the arena may be forgotten.
    public var retireAfter: UInt64?
    /// Of a process that is gone, or whose table is no table: these lines need no further look.
    public var settledMappings: Set<UInt32> = []
    public var hasScribbledMappings = false
    /// How often a mapping of it could not be asked.
    public var mappingsUnknown = 0
    let memory: UnsafeMutableRawPointer
    /// Its /proc/PID/pagemap; -1: not needed so far.
    var pagemap: Int32 = -1
    private let bytes: Int

    init(number: UInt32, pid: Int32, processDescriptor: Int32, memory: UnsafeMutableRawPointer, bytes: Int) {
        self.number = number
        self.pid = pid
        self.processDescriptor = processDescriptor
        self.memory = memory
        self.bytes = bytes
    }

    /// Looks whether the process still runs. Once gone it never returns: `done` can't change any more.
    public func checkAlive() -> Bool {
        guard isAlive else { return false }
        var entry = pollfd(fd: processDescriptor, events: Int16(POLLIN), revents: 0)
        if poll(&entry, 1, 0) > 0, entry.revents != 0 { markGone() }
        return isAlive
    }

    /// The process ended, or became another program.
    public func markGone() {
        guard isAlive else { return }
        isAlive = false
        close(processDescriptor)
        processDescriptor = -1
        if pagemap >= 0 { close(pagemap) }
        pagemap = -1
    }

    public func isDone(_ index: UInt32) -> Bool { lockstep_intent_done(memory, index) == 1 }

    /// Its process will soon have to wait for space.
    public var isShort: Bool { lockstep_arena_is_short(memory) != 0 }

    /// Intents that the process has taken, or published and not got back.
    public var busyIntents: UInt64 { ~lockstep_arena_intents_free(memory) }

    /// A checked copy; nothing in it points outside the arena.
    public func intent(_ index: UInt32) throws(CaptureError) -> Intent {
        var raw = lockstep_intent()
        lockstep_arena_copy_intent(memory, index, &raw)
        return try Intent(raw, arena: self, index: index)
    }

    /// Gives an intent and its payload blocks back to the process.
    fileprivate func giveBack(_ index: UInt32, blocks: UInt64) {
        lockstep_arena_return(memory, index, blocks)
    }

    func unmap() {
        markGone()
        munmap(memory, bytes)
    }
}
