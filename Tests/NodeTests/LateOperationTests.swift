import Capture
import Glibc
@testable import Node
import Testing

/// A process that shares its memory with another (vfork, clone) goes on when that one is killed, and publishes in an arena
/// which the daemon has forgotten.
@Suite struct LateOperationTests {
    @Test func `an operation in the arena of a dead process costs a copy, not the daemon`() throws {
        let bench = try Bench(processes: 2)
        bench.connect()
        #expect(try bench.settle())
        let number = bench.processes[0].producer.number
        bench.processes[0].producer.die()
        #expect(bench.plane.memory.arenas[number]?.checkAlive() == false)
        bench.plane.retireArenas()
        #expect(bench.plane.memory.arenas[number] == nil)
        #expect(bench.processes[0].publish(.create("late")))
        bench.processes[0].finish()
        #expect(try bench.settle())
        #expect(bench.failure == nil && bench.differences() == [])
        #expect(access(bench.secondary + "/late", F_OK) == 0)
    }
}
