import CCaptureABI
import Glibc

/// The shared memory of one module, looked at from outside and never changed: as long as it is mapped here, it outlives
/// application, keepers and daemon, and tells what they had under way.
///
///     ring   consumed ... reserved   each word names an arena and an intent      -> operations with a sequence number
///     arenas                         busy intents that no word names any more    -> in the journal, but still in a call
public final class CaptureView {
    /// One captured operation that the daemon had not finished with.
    public struct Operation {
        /// Nil: the ring does not name it any more, its record is in the journal.
        public let sequence: UInt64?
        /// Its payload stays valid as long as the view does.
        public let intent: Intent
        /// The call has returned, and `intent.result` is its result.
        public let isDone: Bool
    }

    private let control: UnsafeMutableRawPointer
    private let controlBytes: Int
    private let ring: UnsafeMutableRawPointer
    private let ringBytes: Int
    private var arenas: [UInt32: Arena] = [:]

    /// Maps control object and order ring. The descriptors stay the caller's and need allow reading only.
    public init(controlDescriptor: Int32, ringDescriptor: Int32) throws(CaptureError) {
        controlBytes = try CaptureMemory.sealedBytes(controlDescriptor, "control object")
        ringBytes = try CaptureMemory.sealedBytes(ringDescriptor, "order ring")
        guard controlBytes >= lockstep_control_header_bytes(), ringBytes >= lockstep_ring_header_bytes() else {
            throw CaptureError("control object or order ring is too small")
        }
        control = try CaptureMemory.map(controlDescriptor, controlBytes, isReadOnly: true)
        do throws(CaptureError) { ring = try CaptureMemory.map(ringDescriptor, ringBytes, isReadOnly: true) } catch {
            munmap(control, controlBytes)
            throw error
        }
        let slots = lockstep_control_slots(control)
        guard lockstep_control_version(control) == LOCKSTEP_ABI_VERSION, slots.nonzeroBitCount == 1,
            lockstep_control_bytes(slots) == controlBytes, lockstep_ring_bytes(slots) == ringBytes,
            lockstep_ring_belongs(ring, control) == 1
        else { throw CaptureError("control object and order ring do not belong together, or are of another version") }
    }

    deinit {
        for arena in arenas.values { arena.unmap() }
        munmap(ring, ringBytes)
        munmap(control, controlBytes)
    }

    /// Maps an arena; false: it is not one of this module, or was prepared and never given to a process.
    public func attach(arenaDescriptor: Int32) throws(CaptureError) -> Bool {
        let bytes = try CaptureMemory.sealedBytes(arenaDescriptor, "arena")
        guard bytes >= lockstep_arena_bytes() else { throw CaptureError("an arena is too small") }
        let memory = try CaptureMemory.map(arenaDescriptor, bytes, isReadOnly: true)
        let number = lockstep_arena_number(memory)
        guard arenas[number] == nil, lockstep_arena_belongs(memory, number, control) == 1 else {
            munmap(memory, bytes)
            return false
        }
        arenas[number] = Arena(number: number, pid: lockstep_arena_pid(memory), processDescriptor: -1, memory: memory, bytes: bytes)
        return true
    }

    /// What is in the ring, in order, and then what is busy and not in the ring. An intent that was being filled in is
    /// among the latter; one that makes no sense is left out.
    ///
    /// To be asked when nobody runs any more: nothing here is a snapshot.
    public func operations() -> [Operation] {
        var operations: [Operation] = []
        var named: Set<UInt64> = []
        let slots = UInt64(lockstep_control_slots(control))
        let consumed = lockstep_control_consumed(control)
        let reserved = min(lockstep_ring_reserved(ring), consumed &+ slots)
        var sequence = consumed
        while sequence < reserved {
            defer { sequence += 1 }
            let word = lockstep_ring_word(ring, UInt32(truncatingIfNeeded: sequence & (slots - 1)))
            guard lockstep_word_lap(word) == UInt32(truncatingIfNeeded: sequence / slots),
                lockstep_word_state(word) == LOCKSTEP_STATE_PUBLISHED, let arena = arenas[lockstep_word_arena(word)]
            else { continue }
            let index = lockstep_word_intent(word)
            guard index < LOCKSTEP_INTENTS else { continue }
            named.insert(UInt64(arena.number) << 8 | UInt64(index))
            append(arena, index, sequence, &operations)
        }
        for arena in arenas.values.sorted(by: { $0.number < $1.number }) {
            var busy = arena.busyIntents
            while busy != 0 {
                let index = UInt32(busy.trailingZeroBitCount)
                busy &= busy - 1
                if !named.contains(UInt64(arena.number) << 8 | UInt64(index)) { append(arena, index, nil, &operations) }
            }
        }
        return operations
    }

    private func append(_ arena: Arena, _ index: UInt32, _ sequence: UInt64?, _ operations: inout [Operation]) {
        // Whether it is done is read before the copy: a result that is there is whole.
        let isDone = arena.isDone(index)
        guard let intent = try? arena.intent(index) else { return }
        operations.append(Operation(sequence: sequence, intent: intent, isDone: isDone))
    }
}
