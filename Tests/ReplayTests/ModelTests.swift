import Glibc
import Platform
import Primitives
import Replay
import Testing

/// Random operations on a primary's tree, replayed on a mirror. A seed reproduces a run.
@Suite struct ModelTests {
    static let runs: [(place: String, seed: UInt64)] = Scratch.places.flatMap { place in
        (place == "/dev/shm" ? [1, 2, 3, 4] : [1]).map { (place, $0) } + [(place, UInt64.random(in: 0 ... .max))]
    }

    private func begin(_ scratch: Scratch, _ seed: UInt64, tentativePercent: Int) throws -> (ModelPrimary, Replayer) {
        let primary = ModelPrimary(root: scratch.directory("primary"), seed: seed, from: 3, tentativePercent: tentativePercent)
        let replayer = try Replayer(roots: [scratch.directory("data")], stateDirectory: scratch.directory("state"), module: "m")
        var script = Script()
        let root = primary.object("")
        for record in [
            script.record(.copyBegins),
            script.record(.present) {
                $0.object = root
                $0.mode = S_IFDIR | 0o755
            },
            script.record(.copyEnds),
        ] { try replayer.apply(record, payload: UnsafeRawBufferPointer(start: nil, count: 0)) }
        return (primary, replayer)
    }

    private func apply(_ entries: ArraySlice<ModelPrimary.Entry>, to replayer: Replayer) throws {
        for entry in entries { try entry.payload.withUnsafeBytes { try replayer.apply(entry.record, payload: $0) } }
    }

    @Test(arguments: runs)
    func `the mirror is equal`(run: (place: String, seed: UInt64)) throws {
        let scratch = Scratch(in: run.place)
        let (begun, replayer) = try begin(scratch, run.seed, tentativePercent: 40)
        var primary = begun
        defer { primary.end() }
        for _ in 0..<2_000 { primary.step() }
        primary.settle()
        try apply(primary.journal[...], to: replayer)
        #expect(differences(listing(scratch.path + "/data"), listing(scratch.path + "/primary")).prefix(4) == [], "seed \(run.seed)")
        #expect(replayer.heldBytes == 0 && replayer.owedNames == 0 && replayer.counts.repairs == 0, "seed \(run.seed)")
    }

    /// The process ends anywhere, the trees being ahead of the last checkpoint by any number of operations.
    @Test(arguments: runs)
    func `recovery brings the names back to the checkpoint and replay brings equality`(run: (place: String, seed: UInt64))
        throws
    {
        let scratch = Scratch(in: run.place)
        let data = scratch.path + "/data", state = scratch.path + "/state"
        var (primary, replayer) = try begin(scratch, run.seed, tentativePercent: 25)
        defer { primary.end() }
        var random = SplitMix(run.seed &+ 77)
        var applied = 0
        var namesAtCheckpoint = listing(data, namesOnly: true)
        var restarts = 0, lost = 0
        for _ in 0..<900 {
            primary.step()
            try apply(primary.journal[applied...], to: replayer)
            applied = primary.journal.count
            if random.chance(4) {
                try replayer.checkpoint(Replayer.Mark(position: StreamPosition(3 + UInt64(applied)), epoch: Epoch(1), chain: 5))
                namesAtCheckpoint = listing(data, namesOnly: true)
            }
            if random.chance(6) {
                restarts += 1
                let before = listing(data)
                replayer = try Replayer.recover(roots: [data], stateDirectory: state, module: "m")
                try #require(replayer.consistent, "seed \(run.seed)")
                #expect(differences(listing(data, namesOnly: true), namesAtCheckpoint).prefix(4) == [], "seed \(run.seed)")
                if random.chance(30) {  // and again, before anything is replayed
                    replayer = try Replayer.recover(roots: [data], stateDirectory: state, module: "m")
                    #expect(differences(listing(data, namesOnly: true), namesAtCheckpoint).prefix(4) == [], "seed \(run.seed)")
                }
                let from = Int(replayer.mark.position.value) - 3
                if random.chance(30), from < applied {  // and a second crash on the way
                    let upTo = from + random.next(applied - from)
                    try apply(primary.journal[from..<upTo], to: replayer)
                    replayer = try Replayer.recover(roots: [data], stateDirectory: state, module: "m")
                    #expect(differences(listing(data, namesOnly: true), namesAtCheckpoint).prefix(4) == [], "seed \(run.seed)")
                }
                lost += replayer.lostFiles
                try apply(primary.journal[from..<applied], to: replayer)
                try replayer.replayEnded()
                try #require(differences(listing(data), before).prefix(4) == [], "seed \(run.seed), after operation \(primary.operations)")
            }
        }
        primary.settle()
        try apply(primary.journal[applied...], to: replayer)
        #expect(differences(listing(data), listing(scratch.path + "/primary")).prefix(4) == [], "seed \(run.seed)")
        #expect(restarts > 20)
        try replayer.finish()
        #expect(differences(listing(data), listing(scratch.path + "/primary")).prefix(4) == [], "seed \(run.seed)")
        #expect(try Directory.names(path: scratch.path + "/.lockstep-m/limbo/data").isEmpty)
        print("recovery: seed \(run.seed), \(restarts) restarts, \(lost) placeholders")
    }
}
