import Primitives
import Replication
import Testing

/// Rule R3: a file that is read for a fill while operations run on it, in every order of the steps.
@Suite struct FillReadTests {
    static let object = ObjectID(inode: 7, generation: 1, root: 0)
    static let start: [UInt8] = [1, 2, 3, 4]

    /// Steps: of the writer, of the reader (one byte pair at a time), of the daemon.
    enum Step: Int, CaseIterable {
        case publish, call, end, startRead, readFirst, readSecond, endRead, drain
    }

    /// One write of [8, 8] at `offset`, or a truncation to `offset`, and one fill of the whole file. Result: the
    /// secondary's bytes at the end, when it had zeros before.
    static func run(_ steps: [Step], offset: Int, truncates: Bool, cutsAtAll: Bool) -> (primary: [UInt8], secondary: [UInt8]) {
        var file = ModelFile(bytes: start), secondary = ModelFile(bytes: [0, 0, 0, 0])
        var tracker = OperationTracker()
        var reserved: UInt64 = 1, drained: UInt64 = 1, doneReserved: UInt64?
        var read: FillRead?
        var buffer: [UInt8] = [], after: UInt64?
        let range = truncates ? ByteRange(UInt64(offset), .max) : ByteRange(offset: UInt64(offset), count: 2)
        let sequence = SequenceNumber(1)

        func settle() {
            guard let doneReserved, drained > 1 else { return }
            let settlement = tracker.settle(sequence, value: truncates ? 0 : 2, actualOffset: UInt64(offset),
                doneReserved: doneReserved, contended: false)
            precondition(settlement.isEmpty)
        }
        func place() {
            guard let fill = read, let needed = after, drained >= needed else { return }
            read = nil
            after = nil
            for piece in fill.pieces(count: UInt64(buffer.count)) {
                // A fill never makes the file longer than it was when it was read.
                let end = min(Int(piece.upperBound), file.bytes.count)
                if Int(piece.lowerBound) < end {
                    secondary.write(Int(piece.lowerBound), Array(buffer[Int(piece.lowerBound)..<end]))
                }
            }
        }
        func readPair(_ at: Int) {
            guard at <= file.bytes.count else { return }
            buffer += file.bytes[min(at, buffer.count)..<min(at + 2, file.bytes.count)]
        }
        for step in steps {
            switch step {
            case .publish: reserved += 1
            case .call: if truncates { file.truncate(offset) } else { file.write(offset, [8, 8]) }
            case .end: doneReserved = reserved
            case .startRead:
                read = FillRead(object: object, range: ByteRange(0, 4), floor: tracker.floor ?? SequenceNumber(drained),
                    inFlight: tracker.rangesInFlight(object), cutsAtAll: cutsAtAll)
            case .readFirst: readPair(0)
            case .readSecond: readPair(2)
            case .endRead: after = reserved
            case .drain:
                drained += 1
                read?.operationAdmitted(on: object, range)
                tracker.admit(TrackedOperation(sequence: sequence, kind: truncates ? .truncate : .write, arena: 0, index: 0,
                    blocks: 0, object: object, range: range))
                if truncates { secondary.truncate(offset) } else { secondary.write(offset, [8, 8]) }
            }
            // The daemon looks after every step who is done, and whether the fill may be placed.
            settle()
            place()
        }
        precondition(read == nil)
        return (file.bytes, secondary.bytes)
    }

    static let orders: [[Step]] = {
        var orders: [[Step]] = []
        func go(_ taken: [Step]) {
            if taken.count == Step.allCases.count { return orders.append(taken) }
            for step in Step.allCases where !taken.contains(step) {
                let needs: [Step] =
                    switch step {
                    case .publish, .startRead: []
                    case .call, .drain: [.publish]
                    case .end: [.call]
                    case .readFirst: [.startRead]
                    case .readSecond: [.readFirst]
                    case .endRead: [.readSecond]
                    }
                if needs.allSatisfy(taken.contains) { go(taken + [step]) }
            }
        }
        go([])
        return orders
    }()

    @Test func `a fill beside a write ends where the file ends, in every order`() {
        for steps in FillReadTests.orders {
            for offset in 0...2 {
                let (primary, secondary) = FillReadTests.run(steps, offset: offset, truncates: false, cutsAtAll: true)
                #expect(primary == secondary, "\(steps), at \(offset)")
            }
        }
        #expect(FillReadTests.orders.count >= 200)
    }

    @Test func `a fill beside a truncation ends where the file ends, in every order`() {
        for steps in FillReadTests.orders {
            for size in [0, 1, 3] {
                let (primary, secondary) = FillReadTests.run(steps, offset: size, truncates: true, cutsAtAll: true)
                #expect(primary == secondary, "\(steps), to \(size)")
            }
        }
    }

    @Test func `the same without cuts is wrong in some orders`() {
        // The planted fault: older bytes, read before the call, come after its record.
        let wrong = FillReadTests.orders.filter {
            let (primary, secondary) = FillReadTests.run($0, offset: 1, truncates: false, cutsAtAll: false)
            return primary != secondary
        }
        #expect(!wrong.isEmpty)
    }

    @Test func `ranges in flight when the read begins, and those admitted while it runs, are cut out`() {
        var read = FillRead(object: FillReadTests.object, range: ByteRange(100, 200), floor: SequenceNumber(5),
            inFlight: [ByteRange(90, 110), ByteRange(150, 160)])
        read.operationAdmitted(on: FillReadTests.object, ByteRange(158, 170))
        read.operationAdmitted(on: FillReadTests.object, ByteRange(300, 400))
        read.operationAdmitted(on: ObjectID(inode: 8, generation: 1, root: 0), ByteRange(100, 200))
        #expect(read.pieces(count: 100) == [ByteRange(110, 150), ByteRange(170, 200)])
        #expect(read.pieces(count: 45) == [ByteRange(110, 145)])
        #expect(read.pieces(count: 0) == [])
        read.operationAdmitted(on: FillReadTests.object, ByteRange(0, .max))
        #expect(read.pieces(count: 100) == [])
    }
}
