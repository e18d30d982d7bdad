import Glibc
@testable import Node
import Testing

/// Bytes of files that are read for the peer while calls on them are in progress.
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
        #expect(bench.processes[0].publish(.allocate("f0", 0, 0, 8)))
        bench.processes[0].finish()
        #expect(try bench.settle())
        #expect(bench.differences() == [])
    }

    @Test func `space that is being reserved when its file is read takes no bytes away`() throws {
        let bench = try FillRaceTests.bench()
        bench.connect()
        #expect(bench.processes[0].publish(.allocate("f0", 0, 0, 8)))
        while !bench.isReading { try bench.turn(reads: false) }
        try bench.turn()
        try bench.turn()
        bench.processes[0].finish()
        #expect(try bench.settle())
        #expect(bench.differences() == [])
    }

    /// One run of calls on the bytes of few files, in the order of steps that a seed gives; nil: all is well.
    static func run(seed: UInt64, steps: Int, restarts: Bool) throws -> String? {
        var random = SplitMix(seed)
        let bench = try Bench(processes: 4)
        func path() -> String { "f\(random.below(2))" }
        func text() -> String { String(repeating: "\(random.below(10))", count: 1 + random.below(40)) }
        func verb() -> Process.Verb {
            switch random.below(16) {
            case 0..<5: .writeAt(path(), random.below(100), text())
            case 5, 6: .append(path(), text())
            case 7, 8: .truncate(path(), random.below(120))
            case 9: .allocate(path(), 0, random.below(80), 1 + random.below(60))
            case 10: .allocate(path(), 1, random.below(80), 1 + random.below(60))
            case 11: .allocate(path(), 3, random.below(80), 1 + random.below(60))
            case 12: .create(path())
            case 13: random.below(4) == 0 ? .unlink(path()) : .writeAt(path(), 0, text())
            case 14: random.below(4) == 0 ? .rename(path(), path()) : .append(path(), text())
            default: .barrier
            }
        }
        bench.connect()
        for _ in 0..<steps {
            let process = bench.processes[random.below(4)]
            switch random.below(16) {
            case 0..<4: try bench.turn(reads: random.below(3) == 0)
            case 4 where bench.plane.namesAreKnown && random.below(12) == 0: bench.connect()
            case 4 where restarts && random.below(12) == 0: try bench.restart()
            default:
                if process.step != .idle { process.proceed() } else if bench.plane.holdingSince == nil { _ = process.publish(verb()) }
            }
            if let failure = bench.failure { return failure }
        }
        for process in bench.processes { process.finish() }
        guard try bench.settle() else { return bench.failure ?? "it does not settle" }
        let differences = bench.differences()
        return differences.isEmpty ? nil : differences.joined(separator: "\n")
    }

    @Test(arguments: NameRaceTests.seeds) func `equal bytes in every order of steps`(_ seed: UInt64) throws {
        let failure = try FillRaceTests.run(seed: seed, steps: 300, restarts: false)
        #expect(failure == nil)
    }

    @Test(arguments: NameRaceTests.seeds) func `equal bytes when daemons die meanwhile`(_ seed: UInt64) throws {
        let failure = try FillRaceTests.run(seed: seed, steps: 300, restarts: true)
        #expect(failure == nil)
    }
}
