import CCaptureABI
import Capture
import Glibc
import Primitives
import Testing

/// Intents and arenas as untrusted input: copied once, checked, never a trap.
@Suite struct IntentTests {
    func intent(_ change: @escaping (inout lockstep_intent) -> Void, payload: [UInt8] = [], names: ([UInt8], [UInt8]) = ([], []))
        throws -> Intent
    {
        let memory = try CaptureMemory.small(), producer = try Producer(memory)
        let (_, index) = producer.operation { intent in
            intent.payload_bytes = UInt32(payload.count)
            intent.name_bytes = UInt16(names.0.count)
            intent.target_name_bytes = UInt16(names.1.count)
            change(&intent)
        }!
        let inline = producer.arena + Producer.Offset.inlines + Int(index) * 1024
        inline.copyMemory(from: payload, byteCount: payload.count)
        if !names.0.isEmpty { inline.copyMemory(from: names.0, byteCount: names.0.count) }
        if !names.1.isEmpty { (inline + 256).copyMemory(from: names.1, byteCount: names.1.count) }
        let intent = try memory.arenas[0]!.intent(index)
        // The memory goes with the fixture: what lies in it is looked at here.
        #expect(payload.isEmpty || Array(intent.payload) == payload || intent.blocks != 0)
        return intent
    }

    static let directory = lockstep_object(inode: 2, generation: 0, root: 0)

    @Test func `what a process filled in is what the daemon reads`() throws {
        let written = try intent({ $0.offset = 4096; $0.length = 3; $0.flags = 3 }, payload: [1, 2, 3])
        #expect(written.kind == .write && written.object == ObjectID(inode: 77, generation: 1, root: 0))
        #expect(written.offset == 4096 && written.flags == [.predicted, .append] && written.payload.count == 3)
        let renamed = try intent({
            $0.kind = 8
            $0.parent = IntentTests.directory
            $0.target_parent = IntentTests.directory
        }, names: (Array("from".utf8), Array("to".utf8)))
        #expect(renamed.kind == .rename && renamed.name == Array("from".utf8) && renamed.targetName == Array("to".utf8))
    }

    @Test func `a payload of blocks is exactly its blocks, and goes back as them`() throws {
        let memory = try CaptureMemory.small(), producer = try Producer(memory)
        let (sequence, index) = producer.operation {
            $0.block = 3
            $0.payload_bytes = 16384 + 1
        }!
        producer.blocksFree = ~(3 << 3)
        let intent = try memory.arenas[0]!.intent(index)
        #expect(intent.blocks == 3 << 3 && intent.payload.count == 16385)
        _ = try memory.take()
        memory.giveBack(sequence: sequence, arena: 0, index: index, blocks: intent.blocks)
        #expect(producer.blocksFree == .max && producer.intentsFree == .max)
    }

    static let spoiled: [(String, @Sendable (inout lockstep_intent) -> Void)] = [
        ("kind 0", { $0.kind = 0 }),
        ("kind 20", { $0.kind = 20 }),
        ("no object", { $0.object.inode = 0 }),
        ("root 8", { $0.object.root = 8 }),
        ("outcome's root 8", { $0.outcome.root = 8 }),
        ("parent's root", { $0.parent.root = .max }),
        ("offset beyond any file", { $0.offset = .max }),
        ("length beyond any file", { $0.length = .max }),
        ("more than an operation carries", { $0.payload_bytes = 32 * 16384 + 1; $0.block = 0 }),
        ("inline payload longer than its place", { $0.payload_bytes = 1025 }),
        ("inline payload where names are", { $0.payload_bytes = 1; $0.name_bytes = 1 }),
        ("block 64", { $0.block = 64; $0.payload_bytes = 1 }),
        ("blocks beyond the last", { $0.block = 63; $0.payload_bytes = 16385 }),
        ("block number that overflows", { $0.block = .max - 1; $0.payload_bytes = .max }),
        ("name of 256 bytes", { $0.name_bytes = 256 }),
        ("a directory without a name", { $0.kind = 4; $0.parent = IntentTests.directory }),
        ("a file without a name in no directory", { $0.kind = 3 }),
        ("an attribute without a name", { $0.kind = 16 }),
        ("an exchange and more", { $0.kind = 8; $0.argument = 3; $0.parent = IntentTests.directory; $0.target_parent = IntentTests.directory; $0.name_bytes = 1; $0.target_name_bytes = 1 }),
        ("a mode of allocation that nobody knows", { $0.kind = 13; $0.argument = 4 }),
        ("creation without a parent", { $0.kind = 3; $0.name_bytes = 3 }),
        ("rename without a target", { $0.kind = 8; $0.parent = IntentTests.directory; $0.name_bytes = 3 }),
        ("link without a target", { $0.kind = 14 }),
    ]

    @Test(arguments: spoiled.indices) func `an impossible intent is an error that says what is impossible`(_ which: Int) throws {
        let (name, change) = IntentTests.spoiled[which]
        #expect(throws: CaptureError.self, Comment(rawValue: name)) { try intent(change, names: ([], [])) }
    }

    @Test(arguments: [".", "..", "a/b", "a\0b", "/"]) func `a name that leads elsewhere is refused`(_ name: String) {
        #expect(throws: CaptureError.self) {
            try intent({ $0.kind = 3; $0.parent = IntentTests.directory }, names: (Array(name.utf8), []))
        }
        #expect(throws: CaptureError.self) {
            try intent({
                $0.kind = 8
                $0.parent = IntentTests.directory
                $0.target_parent = IntentTests.directory
            }, names: (Array("a".utf8), Array(name.utf8)))
        }
    }

    /// Whatever the check lets through stays inside the arena.
    @Test func `twenty thousand scribbled intents: an error or a payload inside the arena, never a trap`() throws {
        let memory = try CaptureMemory.small(), producer = try Producer(memory)
        let arena = memory.arenas[0]!
        // Inline bytes that are names, and blocks that are touched.
        memset(producer.arena + Producer.Offset.inlines, 0x61, 64 * 1024)
        var random = SplitMix(20_000), refused = 0, read = 0, sum = 0
        for round in 0..<20_000 {
            let index = UInt32(random.below(64))
            let at = producer.arena + Producer.Offset.intents + Int(index) * Producer.Offset.intentBytes
            if round % 3 == 0 {
                for byte in 0..<Producer.Offset.intentBytes { at.storeBytes(of: UInt8(truncatingIfNeeded: random.next()), toByteOffset: byte, as: UInt8.self) }
            } else {
                // A good one with a few bytes changed, which gets further.
                var intent = lockstep_intent()
                intent.kind = UInt16(1 + random.below(19))
                intent.object = lockstep_object(inode: 7, generation: 1, root: 0)
                intent.parent = IntentTests.directory
                intent.target_parent = IntentTests.directory
                intent.block = random.below(2) == 0 ? .max : UInt32(random.below(64))
                intent.payload_bytes = UInt32(random.below(2) == 0 ? random.below(1200) : random.below(600_000))
                intent.name_bytes = UInt16(random.below(2) == 0 ? 0 : random.below(300))
                intent.target_name_bytes = UInt16(random.below(2) == 0 ? 0 : random.below(300))
                producer.store(intent, index)
                for _ in 0..<random.below(4) {
                    at.storeBytes(of: UInt8(truncatingIfNeeded: random.next()), toByteOffset: random.below(256), as: UInt8.self)
                }
            }
            do {
                let intent = try arena.intent(index)
                read += 1
                #expect(intent.payload.count <= 32 * 16384 && intent.name.count <= 255 && intent.targetName.count <= 255)
                #expect(intent.blocks.nonzeroBitCount == (intent.blocks == 0 ? 0 : (intent.payload.count + 16383) / 16384))
                if let last = intent.payload.last { sum += Int(last) + Int(intent.payload.first!) }
            } catch {
                refused += 1
                #expect(error.description.contains("scribbled"))
            }
        }
        #expect(refused > 1000 && read > 1000, "both happen: \(refused) refused, \(read) read")
        #expect(sum >= 0)
    }

    @Test func `twenty thousand scribbled words: an error or an intent of an arena's size, never a trap`() throws {
        var random = SplitMix(77), errors = 0, taken = 0, now: UInt64 = 0
        for _ in 0..<200 {
            let memory = try CaptureMemory.small(), producer = try Producer(memory)
            for _ in 0..<100 {
                if producer.reserved &- producer.consumed < 8 {
                    let sequence = producer.reserved
                    producer.reserved = sequence + 1
                    _ = producer.publish(sequence, UInt32(random.below(64)))
                } else {
                    memory.consume(below: memory.drained)
                }
                switch random.below(60) {
                case 0: lockstep_ring_set_word(producer.ring, UInt32(random.below(8)), random.next())
                case 1:
                    let sequence = memory.drained
                    lockstep_ring_set_word(producer.ring, producer.place(sequence), UInt64(producer.lap(sequence)) << 32 | random.next() & 0xffff_ffff)
                case 2 where random.below(3) == 0: producer.reserved = random.next()
                case 3 where random.below(3) == 0: producer.reserved = producer.reserved &+ UInt64(random.below(20)) &- 10
                default: break
                }
                now += UInt64(random.below(4))
                do {
                    if case .intent(_, _, let index) = try memory.take(now) {
                        taken += 1
                        #expect(index < 64)
                    }
                } catch {
                    errors += 1
                    #expect(error.description.contains("scribbled"))
                    break
                }
            }
        }
        #expect(errors > 50 && taken > 1000, "both happen: \(errors) errors, \(taken) taken")
    }

    @Test func `an arena that is too small, unsealed, of another incarnation or number is not attached`() throws {
        let memory = try CaptureMemory.small()
        func attach(_ descriptor: Int32, number: UInt32 = 0) throws {
            let (process, life) = Producer.processDescriptor()
            defer { close(life) }
            _ = try memory.attach(arena: number, descriptor: descriptor, processDescriptor: process, pid: getpid())
        }
        #expect(throws: CaptureError.self) { try attach(Producer.makeArena(0, memory.incarnation, sealed: false)) }
        #expect(throws: CaptureError.self) { try attach(Producer.makeArena(0, (9, 9))) }
        #expect(throws: CaptureError.self) { try attach(Producer.makeArena(1, memory.incarnation)) }
        let tiny = lockstep_memfd("tiny")
        #expect(ftruncate(tiny, 4096) == 0 && fcntl(tiny, 1033, 2 | 4) == 0)
        #expect(throws: CaptureError.self) { try attach(tiny) }
        try attach(Producer.makeArena(0, memory.incarnation))
        #expect(memory.arenas.count == 1)
    }

    @Test func `a refused arena's process descriptor is closed`() throws {
        let memory = try CaptureMemory.small()
        func isClosedAfterAttaching(_ arena: Int32) -> Bool {
            let (process, life) = Producer.processDescriptor()
            defer { close(life) }
            _ = try? memory.attach(arena: 0, descriptor: arena, processDescriptor: process, pid: getpid())
            // The other end of a pipe that nobody reads any more.
            var entry = pollfd(fd: life, events: 0, revents: 0)
            return poll(&entry, 1, 0) == 1 && entry.revents & Int16(POLLERR) != 0
        }
        #expect(isClosedAfterAttaching(Producer.makeArena(1, memory.incarnation)), "of another number")
        #expect(isClosedAfterAttaching(Producer.makeArena(0, memory.incarnation, sealed: false)), "not sealed")
        #expect(!isClosedAfterAttaching(Producer.makeArena(0, memory.incarnation)))
    }

    @Test func `a process that has ended is known to have ended, for good`() throws {
        let memory = try CaptureMemory.small(), producer = try Producer(memory)
        let arena = memory.arenas[0]!
        #expect(arena.checkAlive())
        producer.die()
        #expect(!arena.checkAlive() && !arena.isAlive && arena.processDescriptor == -1)
        #expect(!arena.checkAlive())
        memory.retire(arena: 0)
        #expect(memory.arenas.isEmpty)
        memory.retire(arena: 0)
    }
}
