import Glibc
@testable import Node
import Replay
import Testing

/// Processes that meet on few names, in every order of their steps that a seed gives, while streams begin and daemons die:
/// the trees are equal at the end, and the secondary says no word of inconsistency.
@Suite struct NameRaceTests {
    /// One run; nil: all is well.
    ///
    /// `mixed`: a name may be a file's now and a directory's next.
    static func run(seed: UInt64, steps: Int, streams: Bool = false, restarts: Bool = false, mixed: Bool = false) throws -> String? {
        var random = SplitMix(seed)
        let bench = try Bench(processes: 4)
        func path(_ directory: Bool) -> String {
            var path = ""
            for _ in 0..<random.below(3) { path += "d\(random.below(2))/" }
            return path + ((mixed && random.below(3) == 0 ? !directory : directory) ? "d" : "f") + "\(random.below(2))"
        }
        func verb() -> Process.Verb {
            switch random.below(13) {
            case 0, 1: .create(path(false))
            case 2: .write(path(false), String(repeating: "x", count: 1 + random.below(9)))
            case 3: .unlink(path(false))
            case 4, 5: .rename(path(false), path(false))
            case 6, 7: .rename(path(true), path(true))
            case 8, 9: .mkdir(path(true))
            case 10: .rmdir(path(true))
            case 11: .link(path(false), path(false))
            default: .symlink(path(false))
            }
        }
        bench.connect()
        for _ in 0..<steps {
            let process = bench.processes[random.below(4)]
            switch random.below(20) {
            case 0..<4: try bench.turn(reads: random.below(2) == 0)
            case 4 where streams && random.below(40) == 0: bench.connect()
            case 4 where restarts && random.below(40) == 0: try bench.restart()
            default:
                // Who has not seen yet that new operations wait publishes all the same.
                if process.step != .idle { process.proceed() } else if bench.plane.holdingSince == nil || random.below(16) == 0 { _ = process.publish(verb()) }
            }
            if let failure = bench.failure { return failure }
        }
        for process in bench.processes { process.finish() }
        guard try bench.settle() else { return bench.failure ?? "it does not settle" }
        let differences = bench.differences()
        if !differences.isEmpty { return differences.prefix(8).joined(separator: "\n") }
        return bench.replayer.owedNames == 0 ? nil : "\(bench.replayer.owedNames) names are owed"
    }

    /// LOCKSTEP_SEEDS="FROM TO" in the environment runs others.
    static let seeds: ClosedRange<UInt64> = {
        let words = (getenv("LOCKSTEP_SEEDS").map { String(cString: $0) } ?? "1 150").split(separator: " ").compactMap { UInt64($0) }
        return words[0]...words[1]
    }()

    @Test(arguments: seeds) func `equal trees in every order of steps`(_ seed: UInt64) throws {
        let failure = try NameRaceTests.run(seed: seed, steps: 600)
        #expect(failure == nil)
    }

    @Test(arguments: seeds) func `equal trees when files and directories change places`(_ seed: UInt64) throws {
        let failure = try NameRaceTests.run(seed: seed, steps: 600, mixed: true)
        #expect(failure == nil)
    }

    @Test(arguments: seeds) func `equal trees when streams begin meanwhile`(_ seed: UInt64) throws {
        let failure = try NameRaceTests.run(seed: seed, steps: 600, streams: true)
        #expect(failure == nil)
    }

    @Test(arguments: seeds) func `equal trees when daemons die meanwhile`(_ seed: UInt64) throws {
        let failure = try NameRaceTests.run(seed: seed, steps: 600, restarts: true)
        #expect(failure == nil)
    }

    /// Servers bind a socket by another name and rename it: what it replaces has gone, and the peer has nothing there.
    @Test func `a socket that is moved is nothing to the peer`() throws {
        let bench = try Bench(processes: 1)
        let process = bench.processes[0]
        bench.connect()
        func run(_ verb: Process.Verb) throws {
            #expect(process.publish(verb))
            process.finish()
            try bench.turn()
        }
        func bind(_ name: String) { #expect(mknod(bench.primary + "/" + name, S_IFSOCK | 0o600, 0) == 0) }
        try run(.create("replaced"))
        bind("socket")
        try run(.rename("socket", "replaced"))
        bind("socket")
        try run(.rename("socket", "new"))
        bind("socket")
        try run(.rename("socket", "new"))
        try run(.mkdir("directory"))
        bind("directory/socket")
        try run(.rename("directory", "moved"))
        try run(.unlink("moved/socket"))
        try run(.create("file"))
        #expect(try bench.settle())
        bench.connect()
        #expect(try bench.settle())
        #expect(bench.failure == nil)
        #expect(bench.differences().allSatisfy { $0.hasPrefix("replaced: mode 140600 | -") || $0.hasPrefix("new: mode 140600 | -") })
        #expect(access(bench.secondary + "/moved", F_OK) == 0 && access(bench.secondary + "/file", F_OK) == 0)
    }
}
