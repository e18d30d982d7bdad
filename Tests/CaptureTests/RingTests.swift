import CCaptureABI
import Capture
import Glibc
import Primitives
import Testing

/// The order ring: who gets a place, what becomes of a stopped producer's, laps, and what a daemon finds that starts again.
@Suite struct RingTests {
    func intent(_ next: CaptureMemory.Next) -> (sequence: UInt64, arena: UInt32, index: UInt32)? {
        if case .intent(let sequence, let arena, let index) = next { (sequence, arena, index) } else { nil }
    }
    func isRevoked(_ next: CaptureMemory.Next) -> UInt64? {
        if case .revoked(let sequence) = next { sequence } else { nil }
    }
    func isReserved(_ next: CaptureMemory.Next) -> Bool {
        if case .reserved = next { true } else { false }
    }
    func isNothing(_ next: CaptureMemory.Next) -> Bool {
        if case .nothing = next { true } else { false }
    }

    @Test func `the layout that these tests take for granted is that of the header`() { #expect(Producer.layoutIsKnown()) }

    @Test func `numbers start at 1, and intents come in the order of their numbers`() throws {
        let memory = try CaptureMemory.small(), producer = try Producer(memory)
        #expect(isNothing(try memory.take()))
        let first = producer.fill(), second = producer.fill()
        let one = producer.reserve()!, two = producer.reserve()!
        #expect(one == 1 && two == 2)
        #expect(producer.publish(two, second))
        #expect(isReserved(try memory.take()), "a later intent does not overtake")
        #expect(producer.publish(one, first))
        let a = intent(try memory.take()), b = intent(try memory.take())
        #expect(a?.sequence == 1 && a?.index == first && b?.sequence == 2 && b?.index == second)
        #expect(isNothing(try memory.take()))
    }

    @Test func `a place that stays reserved is revoked after its time, and not before`() throws {
        let memory = try CaptureMemory.small(), producer = try Producer(memory)
        let index = producer.fill(), sequence = producer.reserve()!
        #expect(isReserved(try memory.take(100)))
        #expect(isReserved(try memory.take(104)))
        #expect(isRevoked(try memory.take(105)) == sequence)
        #expect(memory.revoked == 1)
        // The producer goes on: its place is lost, it takes another one.
        #expect(!producer.publish(sequence, index))
        let again = producer.reserve()!
        #expect(producer.publish(again, index))
        #expect(intent(try memory.take(106))?.sequence == again)
    }

    @Test func `publication and revocation race for one word, and one of both wins`() throws {
        for published in [false, true] {
            let memory = try CaptureMemory.small(), producer = try Producer(memory)
            let index = producer.fill(), sequence = producer.reserve()!
            #expect(isReserved(try memory.take(0)))
            if published { #expect(producer.publish(sequence, index)) }
            let next = try memory.take(1000)
            #expect((intent(next)?.sequence == sequence) == published)
            #expect((isRevoked(next) == sequence) == !published)
            #expect(producer.publish(sequence, index) == false)
        }
    }

    @Test func `the time of one stopped producer is not the next one's`() throws {
        let memory = try CaptureMemory.small(), producer = try Producer(memory)
        let first = producer.fill(), one = producer.reserve()!
        _ = try memory.take(0)
        #expect(producer.publish(one, first))
        #expect(intent(try memory.take(100))?.sequence == one)
        _ = producer.fill()
        let two = producer.reserve()!
        #expect(isReserved(try memory.take(101)), "it has only just been seen")
        #expect(isRevoked(try memory.take(106)) == two)
    }

    @Test func `a producer stopped for whole laps can't publish into its place of then`() throws {
        let memory = try CaptureMemory.small(slots: 4), producer = try Producer(memory)
        let index = producer.fill(), stopped = producer.reserve()!
        _ = try memory.take(0)
        #expect(isRevoked(try memory.take(10)) == stopped)
        memory.consume(below: memory.drained)
        for _ in 0..<9 {
            let (_, other) = producer.operation()!
            _ = try memory.take()
            memory.giveBack(sequence: memory.drained - 1, arena: 0, index: other, blocks: 0)
            memory.consume(below: memory.drained)
        }
        #expect(!producer.publish(stopped, index))
    }

    @Test func `many laps around a small ring, place 0 included, lose and repeat nothing`() throws {
        let memory = try CaptureMemory.small(slots: 4), producer = try Producer(memory)
        var random = SplitMix(1), taken: [UInt64] = [], published: [UInt64] = []
        var returning: [(UInt64, UInt32)] = []
        for _ in 0..<2000 {
            if random.below(2) == 0, let operation = producer.operation() { published.append(operation.sequence) }
            if random.below(2) == 0, let next = intent(try memory.take()) {
                taken.append(next.sequence)
                returning.append((next.sequence, next.index))
            }
            if random.below(3) == 0, let (sequence, index) = returning.first {
                returning.removeFirst()
                memory.giveBack(sequence: sequence, arena: 0, index: index, blocks: 0)
                memory.consume(below: sequence + 1)
            }
            #expect(memory.consumed <= memory.drained && memory.drained <= producer.reserved
                && producer.reserved <= memory.consumed + UInt64(memory.slots))
        }
        while let next = intent(try memory.take()) { taken.append(next.sequence) }
        #expect(taken == published && taken.count > 500)
        #expect(taken == Array(1...UInt64(taken.count)))
    }

    @Test func `a full ring gives no place until places are given back`() throws {
        let memory = try CaptureMemory.small(slots: 4), producer = try Producer(memory)
        // Number 0 is never used: numbers 1 to 4 are in the ring.
        for _ in 0..<4 { #expect(producer.operation() != nil) }
        #expect(producer.operation() == nil)
        while intent(try memory.take()) != nil {}
        #expect(producer.operation() == nil, "drained is not enough")
        memory.consume(below: 2)
        #expect(producer.operation()?.sequence == 5)
        #expect(producer.operation() == nil)
    }

    // MARK: A daemon that starts again

    func adopted(_ memory: CaptureMemory) throws -> CaptureMemory {
        try CaptureMemory.adopt(controlDescriptor: dup(memory.controlDescriptor), ringDescriptor: dup(memory.ringDescriptor))
    }

    @Test func `a daemon that starts again takes again what the dead one had not given back, and nothing else`() throws {
        let memory = try CaptureMemory.small(), producer = try Producer(memory)
        let operations = (0..<4).map { _ in producer.operation()! }
        for _ in 0..<4 { _ = try memory.take() }
        // 1 and 3 were given back, so their words are TAKEN; nothing is consumed.
        memory.giveBack(sequence: operations[0].sequence, arena: 0, index: operations[0].index, blocks: 0)
        memory.giveBack(sequence: operations[2].sequence, arena: 0, index: operations[2].index, blocks: 0)
        let reused = producer.operation()!
        #expect(reused.index == operations[0].index, "the intent serves a later operation")

        let second = try adopted(memory)
        #expect(second.isAdopted && second.drained == 1)
        #expect(second.intentsInRing() == [UInt64(operations[1].index), UInt64(operations[3].index), UInt64(reused.index)])
        var taken: [UInt64] = []
        while producer.reserved > second.drained { if let next = intent(try second.take()) { taken.append(next.sequence) } }
        #expect(taken == [2, 4, 5])
    }

    @Test func `places that the dead daemon revoked stay revoked`() throws {
        let memory = try CaptureMemory.small(), producer = try Producer(memory)
        let index = producer.fill(), sequence = producer.reserve()!
        _ = try memory.take(0)
        _ = try memory.take(10)
        let second = try adopted(memory)
        #expect(isRevoked(try second.take()) == sequence)
        #expect(!producer.publish(sequence, index))
    }

    @Test(arguments: 0...4) func `a daemon that died while it gave places back leaves a ring that goes on`(_ emptied: UInt64) throws {
        let memory = try CaptureMemory.small(), producer = try Producer(memory)
        for _ in 0..<6 { _ = producer.operation()! }
        for _ in 0..<5 { _ = try memory.take() }
        // As `consume(below: 5)` does it, up to the moment of the SIGKILL: words emptied, `consumed` not stored.
        for sequence in 1..<(1 + emptied) {
            lockstep_ring_set_word(producer.ring, producer.place(sequence), lockstep_word_empty(producer.lap(sequence) + 1))
        }
        let second = try adopted(memory)
        var taken: [UInt64] = []
        while producer.reserved > second.drained { if let next = intent(try second.take()) { taken.append(next.sequence) } }
        #expect(taken == Array((1 + emptied)...6))
        second.consume(below: 7)
        #expect(producer.operation()?.sequence == 7)
    }

    @Test func `memory that was given up is not adopted`() throws {
        let memory = try CaptureMemory.small()
        memory.close()
        #expect(throws: CaptureError.self) { try adopted(memory) }
    }

    @Test func `objects that do not belong together, are cut short or could be are not adopted`() throws {
        let one = try CaptureMemory.small(), other = try CaptureMemory.create(slots: 8, incarnation: (3, 4))
        #expect(throws: CaptureError.self) {
            try CaptureMemory.adopt(controlDescriptor: dup(one.controlDescriptor), ringDescriptor: dup(other.ringDescriptor))
        }
        #expect(throws: CaptureError.self) {
            try CaptureMemory.adopt(controlDescriptor: dup(one.ringDescriptor), ringDescriptor: dup(one.controlDescriptor))
        }
        let plain = lockstep_memfd("plain")
        #expect(throws: CaptureError.self) {
            try CaptureMemory.adopt(controlDescriptor: plain, ringDescriptor: dup(one.ringDescriptor))
        }
        close(plain)
    }

    // MARK: Answers

    @Test func `an answer is found at the barrier's place, and in its intent by a waiter that the ring lapped`() throws {
        let memory = try CaptureMemory.small(slots: 4), producer = try Producer(memory)
        for lap in 0..<5 as Range<UInt32> {
            let (sequence, index) = producer.operation { $0.kind = 12 }!
            _ = try memory.take()
            memory.answer(sequence: sequence, arena: 0, index: index, ok: lap != 3)
            let answers = producer.control + (lockstep_control_bytes(4) - 4 * 4)
            let word = answers.load(fromByteOffset: Int(producer.place(sequence)) * 4, as: UInt32.self)
            let status = lap == 3 ? LOCKSTEP_ANSWER_ERROR : LOCKSTEP_ANSWER_OK
            #expect(word == producer.lap(sequence) << 2 | status)
            #expect(producer.load(index).answer == status)
            producer.end(index, result: 0)
            memory.giveBack(sequence: sequence, arena: 0, index: index, blocks: 0)
            memory.consume(below: memory.drained)
        }
    }

    @Test func `an arena that is gone can still be answered for`() throws {
        let memory = try CaptureMemory.small(), producer = try Producer(memory)
        let (sequence, index) = producer.operation { $0.kind = 12 }!
        _ = try memory.take()
        memory.retire(arena: 0)
        memory.answer(sequence: sequence, arena: 0, index: index, ok: true)
        memory.giveBack(sequence: sequence, arena: 0, index: index, blocks: 0)
    }
}
