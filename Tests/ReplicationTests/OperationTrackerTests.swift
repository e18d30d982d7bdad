import Primitives
import Replication
import Testing

/// What the tracker says of operations on names, of those that a new stream finds in their calls, and what it keeps.
@Suite struct OperationTrackerTests {
    static let file = ObjectID(inode: 7, generation: 1, root: 0)
    static let name = NameTable.Name(parent: ObjectID(inode: 2, generation: 0, root: 0), name: Array("y".utf8))

    static func operation(_ sequence: UInt64, _ kind: Record.Kind, range: ByteRange = ByteRange(0, 0), names: [NameTable.Name] = [])
        -> TrackedOperation
    {
        TrackedOperation(sequence: SequenceNumber(sequence), kind: kind, arena: 0, index: 0, blocks: 0,
            object: names.isEmpty ? file : .none, range: range, names: names)
    }

    static func settle(_ tracker: inout OperationTracker, _ sequence: UInt64, doneReserved: UInt64, value: Int64 = 0) -> Settlement {
        tracker.settle(SequenceNumber(sequence), value: value, actualOffset: 0, doneReserved: doneReserved, contended: false)
    }

    @Test func `two operations on one name at the same time have the name looked up after each`() {
        var tracker = OperationTracker()
        tracker.admit(OperationTrackerTests.operation(5, .unlink, names: [OperationTrackerTests.name]))
        tracker.admit(OperationTrackerTests.operation(6, .create, names: [OperationTrackerTests.name]))
        #expect(OperationTrackerTests.settle(&tracker, 6, doneReserved: 7).repairNames == [OperationTrackerTests.name])
        #expect(OperationTrackerTests.settle(&tracker, 5, doneReserved: 7).repairNames == [OperationTrackerTests.name])
    }

    @Test func `an operation on a name that ended before the next began causes no look`() {
        var tracker = OperationTracker()
        tracker.admit(OperationTrackerTests.operation(5, .unlink, names: [OperationTrackerTests.name]))
        #expect(OperationTrackerTests.settle(&tracker, 5, doneReserved: 6).isEmpty)
        tracker.admit(OperationTrackerTests.operation(6, .create, names: [OperationTrackerTests.name]))
        #expect(OperationTrackerTests.settle(&tracker, 6, doneReserved: 7).isEmpty)
    }

    @Test func `an operation that was settled before an overlapping one was drained is still seen`() {
        var tracker = OperationTracker()
        tracker.admit(OperationTrackerTests.operation(5, .unlink, names: [OperationTrackerTests.name]))
        #expect(OperationTrackerTests.settle(&tracker, 5, doneReserved: 8).isEmpty)
        tracker.forget(drained: 6)
        tracker.admit(OperationTrackerTests.operation(6, .create, names: [OperationTrackerTests.name]))
        #expect(OperationTrackerTests.settle(&tracker, 6, doneReserved: 8).repairNames == [OperationTrackerTests.name])
    }

    @Test func `a new stream has everything that is in its call looked at again`() {
        var tracker = OperationTracker()
        tracker.admit(OperationTrackerTests.operation(5, .write, range: ByteRange(10, 20)))
        tracker.shipped(SequenceNumber(5), at: StreamPosition(50))
        tracker.admit(OperationTrackerTests.operation(6, .unlink, names: [OperationTrackerTests.name]))
        tracker.admit(OperationTrackerTests.operation(7, .chmod))
        tracker.restart()
        #expect(tracker.operations[SequenceNumber(5)]?.position == StreamPosition.none)
        #expect(OperationTrackerTests.settle(&tracker, 5, doneReserved: 8, value: 10).repairRanges == [ByteRange(10, 20)])
        #expect(OperationTrackerTests.settle(&tracker, 6, doneReserved: 8).repairNames == [OperationTrackerTests.name])
        #expect(OperationTrackerTests.settle(&tracker, 7, doneReserved: 8).repairAttributes)
    }

    @Test func `a fill makes what is inside its call right now be read again later`() {
        var tracker = OperationTracker()
        tracker.admit(OperationTrackerTests.operation(5, .write, range: ByteRange(10, 20)))
        tracker.admit(OperationTrackerTests.operation(6, .write, range: ByteRange(30, 40)))
        tracker.fillShipped(OperationTrackerTests.file, ByteRange(0, 15))
        #expect(OperationTrackerTests.settle(&tracker, 5, doneReserved: 7, value: 10).repairRanges == [ByteRange(10, 20)])
        #expect(OperationTrackerTests.settle(&tracker, 6, doneReserved: 7, value: 10).isEmpty)
    }

    @Test func `a name fill makes what is inside its call on that name be looked up again later`() {
        // Churn found it: a creation in its call, its name looked up and not there yet, `absent` behind its record.
        var tracker = OperationTracker()
        tracker.admit(OperationTrackerTests.operation(5, .create, names: [OperationTrackerTests.name]))
        tracker.nameFillShipped(OperationTrackerTests.name)
        #expect(OperationTrackerTests.settle(&tracker, 5, doneReserved: 6).repairNames == [OperationTrackerTests.name])
    }

    @Test func `modes that are read and shipped make a change inside its call be read again later`() {
        var tracker = OperationTracker()
        tracker.admit(OperationTrackerTests.operation(5, .chmod))
        tracker.attributesShipped(OperationTrackerTests.file)
        #expect(OperationTrackerTests.settle(&tracker, 5, doneReserved: 6).repairAttributes)
    }

    @Test func `bytes that were not seen are read when their call has returned, to the end of the file`() {
        var tracker = OperationTracker()
        tracker.admit(OperationTrackerTests.operation(5, .fill, range: ByteRange(4096, .max)))
        #expect(tracker.awaitsSettlement)
        let settlement = OperationTrackerTests.settle(&tracker, 5, doneReserved: 6)
        #expect(settlement.repairRanges == [ByteRange(4096, .max)] && settlement.repairsSize)
        #expect(!tracker.awaitsSettlement)
        tracker.admit(OperationTrackerTests.operation(6, .fill, range: ByteRange(0, 10)))
        #expect(tracker.settleDead(SequenceNumber(6), doneReserved: 7).repairRanges == [ByteRange(0, 10)])
        #expect(!tracker.awaitsSettlement)
    }

    @Test func `an operation is settled once`() {
        var tracker = OperationTracker()
        tracker.admit(OperationTrackerTests.operation(5, .write, range: ByteRange(10, 20)))
        #expect(!OperationTrackerTests.settle(&tracker, 5, doneReserved: 6, value: -28).isEmpty)
        #expect(OperationTrackerTests.settle(&tracker, 5, doneReserved: 6, value: -28).isEmpty)
        #expect(tracker.settleDead(SequenceNumber(5), doneReserved: 6).isEmpty)
        #expect(OperationTrackerTests.settle(&tracker, 99, doneReserved: 6).isEmpty)
    }

    @Test func `what nothing can overlap any more is forgotten`() {
        var tracker = OperationTracker()
        for sequence in 1...1000 as ClosedRange<UInt64> {
            tracker.admit(OperationTrackerTests.operation(sequence, .write, range: ByteRange(0, 10)))
            _ = OperationTrackerTests.settle(&tracker, sequence, doneReserved: sequence + 1, value: 10)
            tracker.forget(drained: sequence + 1)
        }
        #expect(tracker.isEmpty)
        #expect(tracker.floor == nil)
    }

    @Test func `the floor is the lowest operation that is not done, whatever was settled behind it`() {
        var tracker = OperationTracker()
        for sequence in 5...7 as ClosedRange<UInt64> {
            tracker.admit(OperationTrackerTests.operation(sequence, .write, range: ByteRange(sequence * 10, sequence * 10 + 10)))
        }
        _ = OperationTrackerTests.settle(&tracker, 6, doneReserved: 8, value: 10)
        #expect(tracker.floor == SequenceNumber(5))
        #expect(tracker.rangesInFlight(OperationTrackerTests.file) == [ByteRange(50, 60), ByteRange(70, 80)])
        _ = OperationTrackerTests.settle(&tracker, 5, doneReserved: 8, value: 10)
        #expect(tracker.floor == SequenceNumber(7))
    }
}
