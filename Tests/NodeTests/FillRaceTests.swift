import Glibc
@testable import Node
import Testing

/// What a first copy reads of a file while calls on it are in progress.
@Suite struct FillRaceTests {
    /// A file with bytes, and a peer that has them; the next stream tells it anew.
    private static func bench() throws -> Bench {
        let bench = try Bench(processes: 1)
        bench.connect()
        for verb in [Process.Verb.create("f0"), .write("f0", "0123456789")] {
            #expect(bench.processes[0].publish(verb))
            bench.processes[0].finish()
        }
        #expect(try bench.settle())
        return bench
    }

    @Test func `space that is reserved while its file is read takes no bytes away`() throws {
        let bench = try FillRaceTests.bench()
        bench.connect()
        while !bench.isReading { try bench.turn(reads: false) }
        #expect(bench.processes[0].publish(.allocate("f0", 8)))
        bench.processes[0].finish()
        #expect(try bench.settle())
        #expect(bench.differences() == [])
    }

    @Test func `space that is being reserved when its file is read takes no bytes away`() throws {
        let bench = try FillRaceTests.bench()
        bench.connect()
        #expect(bench.processes[0].publish(.allocate("f0", 8)))
        while !bench.isReading { try bench.turn(reads: false) }
        try bench.turn()
        try bench.turn()
        bench.processes[0].finish()
        #expect(try bench.settle())
        #expect(bench.differences() == [])
    }
}
