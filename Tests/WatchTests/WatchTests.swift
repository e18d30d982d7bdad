import Foundation
import Glibc
import Testing
@testable import Watch

@Suite struct MergedChangesTests {
    private func change(_ what: OutsideChange.What, pid: Int32 = 7, name: String = "file") -> OutsideChange {
        OutsideChange(what: what, pid: pid, program: nil, directory: .init(inode: 2, generation: 1), name: Array(name.utf8), object: nil,
            roots: [0], path: "/tree/" + name)
    }

    @Test func `what one process does to one name is one change`() {
        var merged = MergedChanges()
        let taken = [merged.add(change(.created)), merged.add(change(.written))]
        #expect(taken == [true, true])
        let changes = merged.take()
        #expect(changes.map(\.what) == [[.created, .written]])
        #expect(merged.isEmpty)
    }

    @Test func `another process's change to the same name is told apart`() {
        var merged = MergedChanges()
        _ = merged.add(change(.written))
        _ = merged.add(change(.written, pid: 8))
        let changes = merged.take()
        #expect(changes.map(\.pid) == [7, 8])
    }

    @Test func `a change that finds no room is refused, not forgotten`() {
        var merged = MergedChanges()
        var taken = 0
        for number in 0..<MergedChanges.changesMax where merged.add(change(.written, name: "\(number)")) { taken += 1 }
        #expect(taken == MergedChanges.changesMax)
        let isTaken = merged.add(change(.written, name: "one more"))
        #expect(!isTaken)
        let isMerged = merged.add(change(.attributes, name: "0"))
        #expect(isMerged)
    }
}

@Suite struct CoveredProcessesTests {
    @Test func `this process is covered, and what it starts is below it`() throws {
        let covered = CoveredProcesses()
        #expect(covered.contains(getpid()) && covered.covers(getpid()) == true)
        let child = Process()
        child.executableURL = URL(fileURLWithPath: "/bin/sleep")
        child.arguments = ["60"]
        try child.run()
        defer { child.terminate() }
        #expect(!covered.contains(child.processIdentifier))
        #expect(covered.covers(child.processIdentifier) == true)
        covered.insert(child.processIdentifier)
        #expect(covered.contains(child.processIdentifier))
        covered.remove(child.processIdentifier)
        #expect(!covered.contains(child.processIdentifier))
    }

    @Test func `init is not covered, and of a process that is gone nobody knows`() throws {
        let covered = CoveredProcesses()
        #expect(covered.covers(1) == false)
        let child = Process()
        child.executableURL = URL(fileURLWithPath: "/bin/true")
        try child.run()
        child.waitUntilExit()
        #expect(covered.covers(child.processIdentifier) == nil)
    }

    @Test func `this daemon stays in the set whoever removes it`() {
        let covered = CoveredProcesses()
        covered.remove(getpid())
        #expect(covered.contains(getpid()))
    }
}
