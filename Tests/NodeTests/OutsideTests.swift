import Platform
import Primitives
import Replication
import Testing
import Watch
@testable import Node

@Suite struct RepairRequestTests {
    private let objects = (1...3).map { ObjectID(inode: UInt64($0) << 40, generation: UInt32($0), root: UInt32($0)) }

    @Test func `a request is read as it was written`() throws {
        let read = try RepairRequest(parsing: RepairRequest(token: 7, objects: objects).encoded())
        #expect(read.token == 7 && read.objects == objects)
    }

    @Test func `one that is cut, longer, or counts wrongly is refused`() {
        let bytes = RepairRequest(token: 7, objects: objects).encoded()
        for count in 0..<bytes.count { #expect(throws: NodeError.self) { try RepairRequest(parsing: Array(bytes[..<count])) } }
        #expect(throws: NodeError.self) { try RepairRequest(parsing: bytes + [0]) }
        var many = bytes
        for index in 8..<12 { many[index] = 255 }
        #expect(throws: NodeError.self) { try RepairRequest(parsing: many) }
        #expect(throws: NodeError.self) { try RepairRequest(parsing: RepairRequest(token: 0, objects: objects).encoded()) }
    }
}

@Suite struct SuspectsTests {
    private func change(_ what: OutsideChange.What, inode: UInt64 = 5, pid: Int32 = 9) -> OutsideChange {
        OutsideChange(what: what, pid: pid, program: "sed", directory: nil, name: [], object: .init(inode: inode, generation: 1), roots: [0], path: "/f")
    }
    private let object = ObjectID(inode: 8, generation: 1, root: 0)

    @Test func `a change is suspect until the primary has shipped it again`() throws {
        var suspects = Suspects()
        #expect(suspects.isEmpty)
        _ = suspects.note(change(.written))
        #expect(!suspects.isEmpty)
        let taken = suspects.next(now: 0)
        #expect(taken?.count == 1)
        #expect(!suspects.isEmpty)
        suspects.found(token: 1, [object], now: 0, tookNanoseconds: 0)
        #expect(!suspects.isEmpty)
        suspects.repaired(token: 2)
        #expect(!suspects.isEmpty)
        suspects.repaired(token: 1)
        #expect(suspects.isEmpty)
    }

    @Test func `a file that is held open stays suspect, whatever else is repaired`() {
        var suspects = Suspects()
        _ = suspects.note(change(.opened))
        let taken = suspects.next(now: 0)
        #expect(taken == nil && !suspects.isEmpty)
        suspects.copyBegins()
        #expect(!suspects.isEmpty)
        _ = suspects.note(change(.written, pid: 10))
        _ = suspects.next(now: 0)
        suspects.found(token: 1, [], now: 0, tookNanoseconds: 0)
        #expect(!suspects.isEmpty)
        _ = suspects.note(change(.written))
        _ = suspects.next(now: .max)
        suspects.found(token: 2, [], now: 0, tookNanoseconds: 0)
        #expect(suspects.isEmpty)
    }

    @Test func `when events were lost, who has what open is told anew`() {
        var suspects = Suspects()
        _ = suspects.note(change(.opened))
        suspects.eventsLost()
        #expect(suspects.isEmpty)
    }

    @Test func `the applier has one batch at a time, and its rest after a long pass`() {
        var suspects = Suspects()
        _ = suspects.note(change(.written))
        _ = suspects.next(now: 0)
        _ = suspects.note(change(.written, inode: 6))
        let early = suspects.next(now: 1)
        #expect(early == nil)
        suspects.found(token: 1, [], now: 100, tookNanoseconds: 1_000_000_000)
        let resting = suspects.next(now: 9_000_000_000), rested = suspects.next(now: 10_000_000_100)
        #expect(resting == nil && rested?.count == 1)
    }

    @Test func `what finds no room is said`() {
        var suspects = Suspects()
        var taken = 0
        while taken < 10_000, suspects.note(change(.written)) { taken += 1 }
        #expect(taken == Suspects.changesMax)
    }

    @Test func `a change by a name outside is suspect only when the applier knows the file`() {
        var suspects = Suspects()
        var elsewhere = change(.written)
        elsewhere.isElsewhere = true
        _ = suspects.note(elsewhere)
        #expect(suspects.isEmpty)
        let taken = suspects.next(now: 0)
        #expect(taken?.count == 1 && suspects.isEmpty)
        suspects.found(token: 1, [object], now: 0, tookNanoseconds: 0)
        #expect(!suspects.isEmpty)
    }
}

@Suite struct RecentOperationsTests {
    private let object = ObjectID(inode: 8, generation: 1, root: 0)
    private let second: UInt64 = 1_000_000_000

    @Test func `an operation explains an event for a second`() {
        var recent = RecentOperations()
        recent.note(object, at: 10 * second)
        #expect(recent.contains(object, nil, now: 10 * second + second / 2))
        #expect(!recent.contains(object, nil, now: 12 * second))
        #expect(!recent.contains(ObjectID(inode: 9, generation: 1, root: 0), nil, now: 10 * second))
    }

    @Test func `a name is told from an object`() {
        var recent = RecentOperations()
        let name = NameTable.Name(parent: object, name: [0x61])
        recent.note(name, at: 10 * second)
        #expect(recent.contains(nil, name, now: 10 * second))
        #expect(!recent.contains(object, nil, now: 10 * second))
    }

    @Test func `when more happened than is remembered, anything may have`() {
        var recent = RecentOperations()
        for number in 0..<UInt64(RecentOperations.count) { recent.note(ObjectID(inode: number + 100, generation: 1, root: 0), at: 10 * second) }
        #expect(recent.contains(object, nil, now: 10 * second))
        #expect(!recent.contains(object, nil, now: 12 * second))
    }
}
