import Primitives
import Replication
import Testing

/// Which durability points an acknowledgement releases: G1, I1, I5, and R2 for repairs.
@Suite struct ReleaseQueueTests {
    static let file = ObjectID(inode: 1, generation: 0, root: 0)
    static let other = ObjectID(inode: 2, generation: 0, root: 0)

    /// A queue whose numbers are easy to follow: each barrier's sequence number is what the test gives it.
    struct Queue {
        var queue = ReleaseQueue()
        mutating func write(_ object: ObjectID, isRepair: Bool = false) -> UInt64 { queue.append([object], isRepair: isRepair).value }
        /// True: it waits.
        mutating func barrier(_ object: ObjectID, _ sequence: UInt64) -> Bool {
            queue.barrier(object, sequence: SequenceNumber(sequence), arena: 0, index: 0)
        }
        mutating func acknowledge(_ position: UInt64) -> [UInt64] {
            queue.acknowledged(through: StreamPosition(position)).map(\.sequence.value)
        }
    }

    @Test func `a durability point waits for the file's last record, and for nothing behind it`() {
        var queue = Queue()
        _ = queue.write(ReleaseQueueTests.file)
        let last = queue.write(ReleaseQueueTests.file)
        _ = queue.write(ReleaseQueueTests.other)
        let waits = queue.barrier(ReleaseQueueTests.file, 10)
        #expect(waits)
        #expect(queue.acknowledge(last - 1) == [])
        #expect(queue.acknowledge(last) == [10])
    }

    @Test func `a durability point on everything waits for the last record of all`() {
        var queue = Queue()
        _ = queue.write(ReleaseQueueTests.file)
        let last = queue.write(ReleaseQueueTests.other)
        let waits = queue.barrier(.none, 10)
        #expect(waits)
        #expect(queue.acknowledge(last - 1) == [])
        #expect(queue.acknowledge(last) == [10])
    }

    @Test func `a durability point on a file that nobody changed since the last acknowledgement need not wait`() {
        var queue = Queue()
        let last = queue.write(ReleaseQueueTests.file)
        #expect(queue.acknowledge(last) == [])
        _ = queue.write(ReleaseQueueTests.other)
        let waits = queue.barrier(ReleaseQueueTests.file, 10)
        #expect(!waits)
    }

    @Test func `a repair of any file holds back every durability point behind it`() {
        // Without it the secondary would show an operation whose caller knows that it failed.
        var queue = Queue()
        _ = queue.write(ReleaseQueueTests.file)
        let repair = queue.write(ReleaseQueueTests.other, isRepair: true)
        _ = queue.write(ReleaseQueueTests.other)
        let waits = queue.barrier(ReleaseQueueTests.file, 10)
        #expect(waits)
        #expect(queue.acknowledge(repair - 1) == [])
        #expect(queue.acknowledge(repair) == [10])
    }

    @Test func `an acknowledgement of what was never sent, or of less than before, releases nobody`() {
        var queue = Queue()
        let last = queue.write(ReleaseQueueTests.file)
        _ = queue.barrier(ReleaseQueueTests.file, 10)
        #expect(queue.acknowledge(last + 1) == [])
        #expect(queue.acknowledge(.max) == [])
        #expect(queue.acknowledge(0) == [])
        #expect(queue.queue.acked == .none)
        #expect(queue.acknowledge(last) == [10])
        #expect(queue.acknowledge(last) == [])
    }

    @Test func `what is held is released by no acknowledgement, only by the end of the hold`() {
        var queue = Queue()
        let first = queue.write(ReleaseQueueTests.file)
        queue.queue.hold(sequence: SequenceNumber(10), arena: 0, index: 0)
        #expect(queue.queue.isHolding)
        #expect(queue.acknowledge(first) == [])
        let end = queue.write(ReleaseQueueTests.other)
        let atOnce = queue.queue.endHold(at: StreamPosition(end))
        #expect(atOnce == [])
        #expect(!queue.queue.isHolding)
        #expect(queue.acknowledge(end) == [10])
    }

    @Test func `a hold that ends at an acknowledged position releases at once`() {
        var queue = Queue()
        let last = queue.write(ReleaseQueueTests.file)
        #expect(queue.acknowledge(last) == [])
        queue.queue.hold(sequence: SequenceNumber(10), arena: 0, index: 0)
        #expect(queue.queue.endHold(at: StreamPosition(last)).map(\.sequence.value) == [10])
        #expect(queue.queue.waiting == 0)
    }

    @Test func `a new stream releases nobody: waiters of the old one wait for the end of its copy`() {
        var queue = Queue()
        for _ in 0..<5 { _ = queue.write(ReleaseQueueTests.file) }
        _ = queue.barrier(ReleaseQueueTests.file, 10)
        // The peer lost the last two records that it was sent: positions go on from where it is.
        queue.queue.restart(after: StreamPosition(3))
        #expect(queue.queue.appended == StreamPosition(3) && queue.queue.acked == StreamPosition(3))
        let begins = queue.write(ReleaseQueueTests.other)
        #expect(begins == 4)
        #expect(queue.acknowledge(begins) == [])
        let fifth = queue.write(ReleaseQueueTests.other)
        #expect(queue.acknowledge(fifth) == [], "position 5 of the new stream is not position 5 of the old one")
        let ends = queue.write(ReleaseQueueTests.other)
        _ = queue.queue.endHold(at: StreamPosition(ends))
        #expect(queue.acknowledge(ends) == [10])
    }

    @Test func `an object's record of an earlier stream counts no more`() {
        var queue = Queue()
        _ = queue.write(ReleaseQueueTests.file)
        _ = queue.write(ReleaseQueueTests.file, isRepair: true)
        queue.queue.restart(after: StreamPosition(0))
        let waits = queue.barrier(ReleaseQueueTests.file, 10)
        #expect(!waits, "its copy holds the bytes; while it runs, the plane holds durability points")
    }

    @Test func `the alone permit releases everybody, once`() {
        var queue = Queue()
        _ = queue.write(ReleaseQueueTests.file)
        _ = queue.barrier(ReleaseQueueTests.file, 10)
        queue.queue.hold(sequence: SequenceNumber(11), arena: 0, index: 0)
        #expect(queue.queue.releaseAll().map(\.sequence.value) == [10, 11])
        #expect(queue.queue.releaseAll() == [])
        #expect(queue.queue.oldestWaiting == nil)
    }

    @Test func `the oldest waiter is known by its place in the ring, not by its position`() {
        var queue = Queue()
        _ = queue.write(ReleaseQueueTests.file)
        let waits = queue.barrier(ReleaseQueueTests.file, 12)
        #expect(waits)
        queue.queue.hold(sequence: SequenceNumber(11), arena: 0, index: 0)
        #expect(queue.queue.oldestWaiting == SequenceNumber(11))
    }

    /// Random runs against the plain meaning: a waiter is released when the peer has all records of its file, and all
    /// repairs, that were shipped before it, and never earlier.
    @Test func `no durability point is answered before its records and all earlier repairs are acknowledged`() {
        for seed in 1...200 {
            var random = SplitMix(UInt64(seed))
            var queue = ReleaseQueue()
            var records: [(object: ObjectID, isRepair: Bool)] = []
            var acked = 0
            var needs: [UInt64: Int] = [:]
            for sequence in 1...200 as ClosedRange<UInt64> {
                let object = ObjectID(inode: random.below(4) + 1, generation: 0, root: 0)
                switch random.below(4) {
                case 0, 1:
                    let isRepair = random.below(10) == 0
                    records.append((object, isRepair))
                    _ = queue.append([object], isRepair: isRepair)
                case 2:
                    let all = random.below(5) == 0
                    let needed = records.indices.last { all || records[$0].object == object || records[$0].isRepair }.map { $0 + 1 } ?? 0
                    if queue.barrier(all ? .none : object, sequence: SequenceNumber(sequence), arena: 0, index: 0) {
                        needs[sequence] = needed
                    } else {
                        #expect(needed <= acked, "seed \(seed), sequence \(sequence)")
                    }
                default:
                    acked = max(acked, Int(random.below(UInt64(records.count) + 1)))
                    for waiter in queue.acknowledged(through: StreamPosition(UInt64(acked))) {
                        #expect(needs.removeValue(forKey: waiter.sequence.value)! <= acked, "seed \(seed), sequence \(sequence)")
                    }
                    #expect(!needs.values.contains { $0 <= acked }, "seed \(seed): somebody waits for what is there")
                }
            }
        }
    }
}

/// Deterministic random numbers.
struct SplitMix {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
    mutating func below(_ bound: UInt64) -> UInt64 { next() % bound }
}
