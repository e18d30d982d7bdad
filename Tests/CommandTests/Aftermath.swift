import CCaptureABI
import Capture
import Control
import Foundation
import Frame
import Glibc
import Journal
import Platform
import Primitives

@testable import lockstep

/// What a kill leaves, made by hand: two trees, two journals, and the shared memory of a primary that is no more.
///
///     DIR/a  DIR/b                   the trees; a is the primary's
///     DIR/a-journal  DIR/b-journal   the secondary's holds the first batches of the primary's
final class Aftermath {
    let directory: String
    let memory: AftermathMemory
    private let journals: [String: Journal]
    private let encoder = FrameEncoder()
    private var position = StreamPosition(1)
    private var sequenceBelow: UInt64 = 1
    private var chain: UInt64 = 0
    /// Of the last record that the secondary's journal holds.
    private(set) var reached = StreamPosition.none

    init() throws {
        directory = try DemoRun.makeDirectory()
        memory = try AftermathMemory()
        for name in ["a", "b", "a-journal", "b-journal"] { mkdir("\(directory)/\(name)", 0o755) }
        var journals: [String: Journal] = [:]
        for node in ["a", "b"] {
            var configuration = JournalConfiguration(directory: "\(directory)/\(node)-journal", mode: .buffered, module: 7,
                bootID: BootID(high: 1, low: 2))
            configuration.segmentBytes = 256 << 10
            configuration.writesInFlightMax = 4
            journals[node] = try Journal(configuration, continuing: Journal.recover(directory: configuration.directory))
        }
        self.journals = journals
    }

    func remove() { try? FileManager.default.removeItem(atPath: directory) }

    // MARK: Trees

    /// A file of `count` bytes x on both nodes.
    @discardableResult
    func file(_ path: String, _ count: Int = 20000) throws -> ObjectID {
        for node in ["a", "b"] { try put(node, path, 0, [UInt8](repeating: UInt8(ascii: "x"), count: count)) }
        return try object(path)
    }

    func put(_ node: String, _ path: String, _ offset: UInt64, _ bytes: [UInt8]) throws {
        let file = try FileDescriptor.open("\(directory)/\(node)/\(path)", O_WRONLY | O_CREAT, mode: 0o644)
        let count = bytes.withUnsafeBytes { pwrite(file.raw, $0.baseAddress, $0.count, off_t(offset)) }
        guard count == bytes.count else { throw SystemError.current("write", path) }
    }

    func truncate(_ node: String, _ path: String, _ size: UInt64) throws {
        try FileDescriptor.open("\(directory)/\(node)/\(path)", O_WRONLY).truncate(to: size)
    }

    /// As records and intents name it.
    func object(_ path: String) throws -> ObjectID {
        let full = path.isEmpty ? "\(directory)/a" : "\(directory)/a/\(path)"
        return ObjectID(inode: try FileStatus.of(at: AT_FDCWD, full).inode,
            generation: try FileStatus.generation(at: AT_FDCWD, full), root: 0)
    }

    // MARK: Journals

    /// One batch into the primary's journal, and into the secondary's unless it was killed before. The positions of its
    /// records.
    @discardableResult
    func ship(_ records: [(Record, payload: Int)], reachesSecondary: Bool) throws -> [StreamPosition] {
        var header = BatchHeader()
        header.epoch = Epoch(1)
        header.firstPosition = position
        header.firstSequence = SequenceNumber(sequenceBelow)
        header.previousChain = chain
        var raw: [UInt8] = []
        var positions: [StreamPosition] = []
        for (record, payload) in records {
            var record = record
            record.position = position
            record.payloadBytes = UInt32(payload)
            record.encode(into: &raw)
            raw += [UInt8](repeating: UInt8(ascii: "y"), count: payload)
            positions.append(position)
            position = position.next
            sequenceBelow = max(sequenceBelow, record.sequence.value + 1)
        }
        header.lastPosition = positions.last!
        // As the daemon has it: a batch without operations counts one too many.
        header.lastSequence = SequenceNumber(max(header.firstSequence.value, sequenceBelow - 1))
        let batch = encoder.encode(records: raw, header: &header)
        chain = header.chain
        if reachesSecondary { reached = header.lastPosition }
        for node in reachesSecondary ? ["a", "b"] : ["a"] {
            let journal = journals[node]!
            let result = batch.withUnsafeBytes { bytes in
                Result<[WriteRequest], JournalError> { () throws(JournalError) in Array(try journal.append(bytes)) }
            }
            for request in try result.get() {
                let count = pwrite(request.fileDescriptor, request.bytes, request.count, off_t(request.offset))
                _ = try journal.completed(request.token, result: Int32(count))
            }
        }
        return positions
    }

    // MARK: The answer

    func tail() throws -> DemoTail {
        let operations = try UnacknowledgedOperations(primaryJournal: "\(directory)/a-journal",
            secondaryJournal: "\(directory)/b-journal", takenOverAt: reached, memory: memory.view())
        return try DemoTail(primaryTree: "\(directory)/a", secondaryTree: "\(directory)/b", operations: operations)
    }
}

/// Control object, order ring and one arena, written as producers and daemon write them.
final class AftermathMemory {
    private static let slots: UInt32 = 64
    private let module: CaptureMemory
    let arenaDescriptor: Int32
    private let control: UnsafeMutableRawPointer
    private let ring: UnsafeMutableRawPointer
    private let arena: UnsafeMutableRawPointer
    private var busy: UInt64 = 0

    var controlDescriptor: Int32 { module.controlDescriptor }
    var ringDescriptor: Int32 { module.ringDescriptor }

    init() throws {
        module = try CaptureMemory.create(slots: AftermathMemory.slots, incarnation: (11, 22))
        let bytes = lockstep_arena_bytes()
        arenaDescriptor = lockstep_memfd("lockstep-arena")
        // F_ADD_SEALS of F_SEAL_SHRINK and F_SEAL_GROW.
        precondition(arenaDescriptor >= 0 && ftruncate(arenaDescriptor, bytes) == 0 && fcntl(arenaDescriptor, 1033, 6) == 0)
        func map(_ descriptor: Int32, _ bytes: Int) -> UnsafeMutableRawPointer {
            let memory = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
            precondition(memory != MAP_FAILED)
            return memory!
        }
        control = map(module.controlDescriptor, lockstep_control_bytes(AftermathMemory.slots))
        ring = map(module.ringDescriptor, lockstep_ring_bytes(AftermathMemory.slots))
        arena = map(arenaDescriptor, bytes)
        arena.storeBytes(of: 0x3141_5241_534b_434c, as: UInt64.self)
        arena.storeBytes(of: LOCKSTEP_ABI_VERSION, toByteOffset: 8, as: UInt32.self)
        arena.storeBytes(of: 5, toByteOffset: 12, as: UInt32.self)
        arena.storeBytes(of: 11, toByteOffset: 16, as: UInt64.self)
        arena.storeBytes(of: 22, toByteOffset: 24, as: UInt64.self)
        precondition(lockstep_arena_belongs(arena, 5, control) == 1)
        writeFree()
    }

    deinit {
        munmap(control, lockstep_control_bytes(AftermathMemory.slots))
        munmap(ring, lockstep_ring_bytes(AftermathMemory.slots))
        munmap(arena, lockstep_arena_bytes())
        close(arenaDescriptor)
    }

    private func writeFree() {
        arena.storeBytes(of: ~busy, toByteOffset: 64, as: UInt64.self)
        precondition(lockstep_arena_intents_free(arena) == ~busy)
    }

    /// Takes an intent, fills it and publishes it; `result` nil: its caller died inside the call. The sequence number.
    @discardableResult
    func publish(_ kind: Intent.Kind, result: Int64?, name: String = "", state: UInt32 = LOCKSTEP_STATE_PUBLISHED,
        _ fill: (inout lockstep_intent) -> Void) -> UInt64
    {
        let index = (~busy).trailingZeroBitCount
        busy |= 1 << UInt64(index)
        writeFree()
        var intent = lockstep_intent()
        intent.kind = kind.rawValue
        intent.block = LOCKSTEP_NO_BLOCK
        if !name.isEmpty {
            intent.name_bytes = UInt16(name.utf8.count)
            let inlines = UnsafeMutablePointer(mutating: lockstep_arena_inline(arena, UInt32(index))!)
            for (at, byte) in name.utf8.enumerated() { inlines[at] = byte }
        }
        fill(&intent)
        if kind == .write { intent.actual_offset = intent.offset }
        if let result {
            intent.result = result
            intent.done = 1
        }
        arena.storeBytes(of: intent, toByteOffset: 256 + 256 * index, as: lockstep_intent.self)
        let sequence = lockstep_ring_reserved(ring)
        let word = UInt64(sequence / UInt64(AftermathMemory.slots)) << 32 | 5 << 12 | UInt64(index) << 4 | UInt64(state)
        lockstep_ring_set_word(ring, UInt32(sequence % UInt64(AftermathMemory.slots)), word)
        ring.storeBytes(of: sequence + 1, toByteOffset: 64, as: UInt64.self)
        precondition(lockstep_ring_reserved(ring) == sequence + 1)
        return sequence
    }

    /// A write of `count` bytes.
    @discardableResult
    func write(_ object: ObjectID, _ offset: UInt64, _ count: UInt32, result: Int64?, flags: Intent.Flags = [],
        state: UInt32 = LOCKSTEP_STATE_PUBLISHED) -> UInt64
    {
        publish(.write, result: result, state: state) {
            $0.object = raw(object)
            $0.offset = offset
            $0.length = UInt64(count)
            $0.flags = flags.rawValue
            if count > LOCKSTEP_INLINE_BYTES { $0.block = 0 }
            $0.payload_bytes = count
        }
    }

    func raw(_ object: ObjectID) -> lockstep_object {
        lockstep_object(inode: object.inode, generation: object.generation, root: object.root)
    }

    /// The daemon gives the places below `sequence` back, as it does when their batch is in its journal.
    func consume(below sequence: UInt64) {
        for place in lockstep_control_consumed(control)..<sequence {
            let lap = UInt32(place / UInt64(AftermathMemory.slots))
            lockstep_ring_set_word(ring, UInt32(place % UInt64(AftermathMemory.slots)), lockstep_word_empty(lap + 1))
        }
        lockstep_control_set_consumed(control, sequence)
    }

    func view() throws -> CaptureView {
        let view = try CaptureView(controlDescriptor: controlDescriptor, ringDescriptor: ringDescriptor)
        let isOurs = try view.attach(arenaDescriptor: arenaDescriptor)
        precondition(isOurs)
        return view
    }
}
