import CCaptureABI
import Capture
import Control
import Foundation
import Glibc
import Primitives
import Testing

@testable import lockstep

/// Whether the demo's judgement of what a kill left can fail: each difference is shown explained, and the same difference
/// without the operation that explains it.
@Suite struct DemoTailTests {
    private func write(_ object: ObjectID, _ offset: UInt64, _ count: Int, sequence: UInt64 = 1) -> (Record, payload: Int) {
        var record = Record(.write)
        record.object = object
        record.offset = offset
        record.length = UInt64(count)
        record.sequence = SequenceNumber(sequence)
        return (record, count)
    }

    private func onName(_ kind: Record.Kind, _ parent: ObjectID, _ name: String, to target: String = "",
        flags: Record.Flags = [], sequence: UInt64 = 1) -> (Record, payload: Int)
    {
        var record = Record(kind)
        record.parent = parent
        record.name = Array(name.utf8)
        if !target.isEmpty {
            record.targetParent = parent
            record.targetName = Array(target.utf8)
        }
        record.flags = flags
        record.sequence = SequenceNumber(sequence)
        return (record, 0)
    }

    /// Runs one case; the result is the numbers of differing ranges and of unexplained differences.
    private func counts(_ body: (Aftermath) throws -> Void) throws -> [Int] {
        let aftermath = try Aftermath()
        defer { aftermath.remove() }
        try body(aftermath)
        let tail = try aftermath.tail()
        return [tail.ranges.count, tail.unexplained.count]
    }

    @Test func `Equal trees differ nowhere, whatever was under way`() throws {
        #expect(try counts { aftermath in
            let file = try aftermath.file("f")
            try aftermath.ship([write(file, 0, 100)], reachesSecondary: false)
            aftermath.memory.write(file, 0, 100, result: nil)
        } == [0, 0])
    }

    // MARK: Journals

    @Test(arguments: [(false, 0), (true, 1)])
    func `A lost write is explained as long as the secondary's journal does not have it`(_ acknowledged: Bool, _ unexplained: Int)
        throws
    {
        #expect(try counts { aftermath in
            let file = try aftermath.file("f")
            try aftermath.put("a", "f", 5000, [1, 2, 3])
            try aftermath.ship([write(file, 5000, 3)], reachesSecondary: acknowledged)
        } == [1, unexplained])
    }

    @Test func `A flipped byte beside an unacknowledged write in the same 4 KiB is found`() throws {
        #expect(try counts { aftermath in
            let file = try aftermath.file("f")
            try aftermath.put("a", "f", 5000, [1, 2, 3])
            try aftermath.put("b", "f", 5003, [0])
            try aftermath.ship([write(file, 5000, 3)], reachesSecondary: false)
        } == [1, 1])
    }

    @Test func `A write explains its own file only`() throws {
        #expect(try counts { aftermath in
            let other = try aftermath.file("other")
            try aftermath.file("f")
            try aftermath.put("a", "f", 0, [1])
            try aftermath.ship([write(other, 0, 100)], reachesSecondary: false)
        } == [1, 1])
    }

    @Test func `A write on an earlier file with the same inode explains nothing`() throws {
        #expect(try counts { aftermath in
            var file = try aftermath.file("f")
            file.generation &+= 1
            try aftermath.put("a", "f", 0, [1])
            try aftermath.ship([write(file, 0, 100)], reachesSecondary: false)
        } == [1, 1])
    }

    @Test func `Batches before the end of the secondary's journal explain nothing, those behind it do`() throws {
        #expect(try counts { aftermath in
            let file = try aftermath.file("f", 40000)
            for offset in [0, 8192] as [UInt64] { try aftermath.put("a", "f", offset, [1]) }
            try aftermath.put("a", "f", 16384, [1])
            try aftermath.ship([write(file, 0, 100), write(file, 8192, 100, sequence: 2)], reachesSecondary: true)
            try aftermath.ship([write(file, 16384, 100, sequence: 3)], reachesSecondary: false)
        } == [3, 2])
    }

    @Test func `A larger size is explained by the write that made it, with the zeros in between, and nothing else there is`() throws {
        for (byte, unexplained) in [(UInt8(0), 0), (7, 1)] {
            #expect(try counts { aftermath in
                let file = try aftermath.file("f", 100)
                try aftermath.put("a", "f", 9000, [1])
                if byte != 0 { try aftermath.put("a", "f", 5000, [byte]) }
                try aftermath.ship([write(file, 9000, 1)], reachesSecondary: false)
            } == [3, unexplained])
        }
    }

    @Test(arguments: [(UInt64(4096), 0), (8192, 1)])
    func `A smaller size is explained by a truncation to there`(_ size: UInt64, _ unexplained: Int) throws {
        #expect(try counts { aftermath in
            let file = try aftermath.file("f", 12288)
            try aftermath.truncate("a", "f", 4096)
            var record = Record(.truncate)
            record.object = file
            record.length = size
            try aftermath.ship([(record, 0)], reachesSecondary: false)
        } == [2, unexplained])
    }

    @Test(arguments: [true, false])
    func `A mode is explained by a chmod`(_ captured: Bool) throws {
        #expect(try counts { aftermath in
            let file = try aftermath.file("f")
            chmod("\(aftermath.directory)/a/f", 0o600)
            var record = Record(.chmod)
            record.object = file
            if captured { try aftermath.ship([(record, 0)], reachesSecondary: false) }
        } == [0, captured ? 0 : 1])
    }

    @Test func `A primary's journal of another stream is no evidence`() throws {
        let aftermath = try Aftermath(), other = try Aftermath()
        defer {
            aftermath.remove()
            other.remove()
        }
        let file = try aftermath.file("f")
        try aftermath.ship([write(file, 1, 1)], reachesSecondary: true)
        for offset in [2, 3] as [UInt64] { try other.ship([write(file, offset, 1)], reachesSecondary: false) }
        #expect(throws: ControlError.self) {
            try UnacknowledgedOperations(primaryJournal: "\(other.directory)/a-journal",
                secondaryJournal: "\(aftermath.directory)/b-journal", takenOverAt: aftermath.reached, memory: nil)
        }
    }

    @Test func `A secondary's journal that holds less than was applied is no evidence`() throws {
        let aftermath = try Aftermath()
        defer { aftermath.remove() }
        try aftermath.ship([write(aftermath.file("f"), 1, 1)], reachesSecondary: true)
        #expect(throws: ControlError.self) {
            try UnacknowledgedOperations(primaryJournal: "\(aftermath.directory)/a-journal",
                secondaryJournal: "\(aftermath.directory)/b-journal", takenOverAt: aftermath.reached.next, memory: nil)
        }
    }

    // MARK: Names

    @Test(arguments: ["a", "b"])
    func `A name on one side only is explained by an operation on it`(_ node: String) throws {
        for (name, unexplained) in [("n", 0), ("m", 2)] {
            #expect(try counts { aftermath in
                try aftermath.put(node, "n", 0, [UInt8](repeating: 1, count: 5000))
                let operation = onName(node == "a" ? .create : .unlink, try aftermath.object(""), name)
                try aftermath.ship([operation], reachesSecondary: false)
            } == [2, unexplained])
        }
    }

    @Test func `A rename explains both its names, and everything beneath them`() throws {
        #expect(try counts { aftermath in
            for (node, name) in [("a", "new"), ("b", "old")] {
                mkdir("\(aftermath.directory)/\(node)/\(name)", 0o755)
                try aftermath.put(node, "\(name)/f", 0, [1])
            }
            try aftermath.ship([onName(.rename, aftermath.object(""), "old", to: "new")], reachesSecondary: false)
        } == [2, 0])
        #expect(try counts { aftermath in
            for node in ["a", "b"] { mkdir("\(aftermath.directory)/\(node)/d", 0o755) }
            try aftermath.file("d/f")
            try aftermath.put("b", "d/f", 0, [1])
            try aftermath.ship([onName(.rename, aftermath.object(""), "e", to: "d")], reachesSecondary: false)
        } == [1, 0])
    }

    @Test(arguments: [(false, 0), (true, 1)])
    func `A shipped name operation without outcome may have taken place or not`(_ hasOutcome: Bool, _ unexplained: Int) throws {
        #expect(try counts { aftermath in
            try aftermath.put("b", "n", 0, [1])
            let root = try aftermath.object("")
            let position = try aftermath.ship([onName(.create, root, "n", flags: .tentative)], reachesSecondary: true)[0]
            var outcome = Record(.outcome)
            outcome.argument = position.value
            outcome.flags = .succeeded
            try aftermath.ship([(outcome, 0)], reachesSecondary: hasOutcome)
        } == [1, unexplained])
    }

    // MARK: Shared memory

    @Test(arguments: [(false, 0), (true, 1)])
    func `What is in the ring explains as long as the secondary's journal does not have it`(_ acknowledged: Bool,
        _ unexplained: Int) throws
    {
        #expect(try counts { aftermath in
            let file = try aftermath.file("f")
            try aftermath.put("a", "f", 0, [1])
            let sequence = aftermath.memory.write(file, 0, 10, result: 10)
            if acknowledged { try aftermath.ship([write(file, 0, 10, sequence: sequence)], reachesSecondary: true) }
        } == [1, unexplained])
    }

    @Test func `A batch of the daemon's own records does not stand for the next operation`() throws {
        #expect(try counts { aftermath in
            let file = try aftermath.file("f")
            try aftermath.put("a", "f", 0, [1])
            try aftermath.ship([(Record(.settled), 0)], reachesSecondary: true)
            // Number 1, which the batch's header names as its last.
            aftermath.memory.write(file, 0, 10, result: 10)
        } == [1, 0])
    }

    @Test(arguments: [(Int64?.none, 0), (10, 1), (4, 0), (-28, 0)])
    func `A shipped write whose caller was not answered, or answered otherwise, explains`(_ result: Int64?, _ unexplained: Int) throws {
        for isConsumed in [false, true] {
            #expect(try counts { aftermath in
                let file = try aftermath.file("f")
                try aftermath.put("b", "f", 0, [1])
                let sequence = aftermath.memory.write(file, 0, 10, result: result)
                try aftermath.ship([write(file, 0, 10, sequence: sequence)], reachesSecondary: true)
                if isConsumed { aftermath.memory.consume(below: sequence + 1) }
            } == [1, unexplained])
        }
    }

    @Test func `An append in its call may have gone anywhere`() throws {
        for (flags, unexplained) in [(Intent.Flags.predicted, 0), ([], 1)] {
            #expect(try counts { aftermath in
                let file = try aftermath.file("f")
                try aftermath.put("a", "f", 12000, [1])
                aftermath.memory.write(file, 20000, 10, result: nil, flags: flags)
            } == [1, unexplained])
        }
    }

    @Test(arguments: [LOCKSTEP_STATE_TAKEN, LOCKSTEP_STATE_REVOKED])
    func `A place that was given back or revoked names nothing`(_ state: UInt32) throws {
        #expect(try counts { aftermath in
            let file = try aftermath.file("f")
            try aftermath.put("a", "f", 0, [1])
            aftermath.memory.write(file, 0, 10, result: 10, state: state)
        } == [1, 1])
    }

    @Test func `Names in the ring explain, barriers do not`() throws {
        for (kind, unexplained) in [(Intent.Kind.create, 0), (.barrier, 1)] {
            #expect(try counts { aftermath in
                try aftermath.put("a", "n", 0, [1])
                let root = try aftermath.object("")
                aftermath.memory.publish(kind, result: nil, name: "n") { $0.parent = aftermath.memory.raw(root) }
            } == [1, unexplained])
        }
    }

    @Test func `The memory is found through the process that holds it, and outlives it`() throws {
        let aftermath = try Aftermath()
        defer { aftermath.remove() }
        let file = try aftermath.file("f")
        try aftermath.put("a", "f", 0, [1])
        aftermath.memory.write(file, 0, 10, result: nil)
        // It holds nothing but these three.
        let holder = try Program.start("/bin/sleep", ["600"],
            standard: [aftermath.memory.controlDescriptor, aftermath.memory.ringDescriptor, aftermath.memory.arenaDescriptor],
            newSession: true)
        let view = Result { try DemoMemory.open(of: [holder]) }
        holder.signal(SIGKILL)
        var status: Int32 = 0
        while waitpid(holder.pid, &status, 0) < 0 && errno == EINTR {}
        #expect(try view.get()?.operations().count == 1)
        #expect(try DemoMemory.open(of: []) == nil)
    }

    // MARK: What the demo says

    @Test func `One unexplained difference fails the demo`() throws {
        var report = DemoReport(app: "sqlite")
        report.acknowledged = 1
        report.treesEqual = true
        report.integrity = "ok"
        report.tailDiffers = 3
        report.judge()
        #expect(report.passed)
        #expect("\(report)".contains("tail after the kill  ranges of 4 KiB that differ: 3, all of operations not yet acknowledged\n"))
        report.tailUnexplained = 1
        report.judge()
        #expect(!report.passed)
        #expect(report.verdict == "failed: differences after the kill that belong to no unacknowledged operation: 1")
        #expect("\(report)".contains("tail after the kill  ranges of 4 KiB that differ: 3; differences that belong to no unacknowledged operation: 1\n"))
        #expect(try jsonLine(report).contains("\"tailUnexplained\":1"))
    }
}
