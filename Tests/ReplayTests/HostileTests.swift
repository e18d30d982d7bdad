import Glibc
import Primitives
import Replay
import Testing

/// A peer that sends what it likes, and a tree in which somebody put traps: nothing outside the root is ever touched.
@Suite struct HostileTests {
    /// With a file outside that must stay as it is.
    private func stage(in place: String = Scratch.places[0]) throws -> (Stage, outside: String) {
        let stage = try Stage(in: place)
        let outside = stage.scratch.directory("outside")
        let descriptor = open(outside + "/secret", O_CREAT | O_WRONLY, 0o644)
        #expect(Glibc.write(descriptor, "safe", 4) == 4)
        close(descriptor)
        return (stage, outside)
    }

    @Test(arguments: ["..", ".", "", "../outside/secret", "/etc/x", "a/b", "a\0b", String(repeating: "n", count: 256)])
    func `a name that is no name is refused in every kind of record`(name: String) throws {
        for kind in [Record.Kind.create, .mkdir, .symlink, .unlink, .rmdir, .absent, .present, .rename, .link] {
            let (stage, outside) = try stage(in: Scratch.places.last!)
            try stage.create(2, "f")
            #expect(throws: ReplayError.self, "\(kind)") {
                try stage.apply(kind, payload: kind == .symlink ? "x" : "") {
                    $0.object = Script.object(kind == .link ? 2 : 3)
                    $0.parent = Script.root
                    $0.name = kind == .link ? [] : kind == .rename ? Array("f".utf8) : Array(name.utf8)
                    $0.targetParent = Script.root
                    $0.targetName = Array(name.utf8)
                    $0.mode = S_IFREG | 0o644
                }
            }
            #expect(stage.names() == ["f"] && contents(outside + "/secret") == "safe")
        }
    }

    @Test func `a symbolic link in the place of a directory leads nowhere`() throws {
        let (stage, outside) = try stage()
        try stage.mkdir(2, "d")
        try stage.create(3, "secret", in: 2)
        try stage.checkpoint()
        stage.replayer = try Replayer.recover(roots: [stage.root], stateDirectory: stage.state, module: "test")
        // Now the directory is replaced by a link to the outside: a file of that name is there too.
        #expect(rename(stage.root + "/d", stage.root + "/moved") == 0 && symlink(outside, stage.root + "/d") == 0)
        #expect(throws: ReplayError.self) { try stage.write(3, "overwritten") }
        #expect(contents(outside + "/secret") == "safe")
        for act in [
            { try stage.create(9, "new", in: 2) }, { try stage.name(.unlink, "secret", in: 2) },
            { try stage.rename("secret", to: "x", in: 2) },
        ] as [() throws -> Void] {
            stage.replayer = try Replayer.recover(roots: [stage.root], stateDirectory: stage.state, module: "test")
            #expect(unlink(stage.root + "/d") == 0 || rmdir(stage.root + "/d") == 0 || errno == ENOTEMPTY)
            _ = rename(stage.root + "/d", stage.root + "/moved")
            #expect(symlink(outside, stage.root + "/d") == 0)
            #expect(throws: ReplayError.self) { try act() }
            #expect(listing(outside).keys.sorted() == ["secret"] && contents(outside + "/secret") == "safe")
        }
    }

    @Test func `a symbolic link in the place of a file is not written through`() throws {
        let (stage, outside) = try stage()
        try stage.create(2, "f")
        try stage.checkpoint()
        for kind in [Record.Kind.write, .truncate, .chmod, .times, .chown] {
            stage.replayer = try Replayer.recover(roots: [stage.root], stateDirectory: stage.state, module: "test")
            #expect(rename(stage.root + "/f", stage.root + "/g") == 0 && symlink(outside + "/secret", stage.root + "/f") == 0)
            let before = listing(outside)
            _ = try? stage.apply(kind, payload: kind == .write ? "x" : "") {
                $0.object = Script.object(2)
                $0.mode = 0o777
                $0.owner = 99
                $0.group = 99
                $0.modificationTime = 5
            }
            #expect(listing(outside) == before, "\(kind)")
            var status = stat()
            #expect(stat(outside + "/secret", &status) == 0 && status.st_mtim.tv_sec > 5)
        }
    }

    @Test func `a FIFO in the place of a file does not hold up replay`() throws {
        let (stage, _) = try stage()
        try stage.create(2, "f")
        try stage.checkpoint()
        stage.replayer = try Replayer.recover(roots: [stage.root], stateDirectory: stage.state, module: "test")
        #expect(unlink(stage.root + "/f") == 0 && mkfifo(stage.root + "/f", 0o600) == 0)
        #expect(throws: ReplayError.self) { try stage.write(2, "x") }
    }

    @Test func `objects of roots that do not exist, roots as names, directories as files`() throws {
        let foreign = ObjectID(inode: 5, generation: 1, root: 77)
        let acts: [(Stage) throws -> Void] = [
            { stage in try stage.apply(.create) { $0.object = foreign; $0.parent = foreign; $0.name = [0x61] } },
            { stage in try stage.apply(.create) { $0.object = Script.root; $0.parent = Script.root; $0.name = [0x61] } },
            { stage in try stage.present(1, "a", type: S_IFDIR) },
            { stage in try stage.link(1, "a"); try stage.apply(.copyEnds); try stage.apply(.settled) },
            { stage in try stage.write(1, "bytes for a directory") },
            { stage in try stage.apply(.create) { $0.parent = Script.root; $0.name = [0x61] } },
        ]
        for (index, act) in acts.enumerated() {
            let (stage, _) = try stage()
            #expect(throws: ReplayError.self, "\(index)") { try act(stage) }
        }
    }

    /// Records with random kinds, objects, names and numbers: errors, never a trap, never outside.
    @Test(arguments: [1, 2, UInt64.random(in: 0 ... .max)])
    func `random records`(seed: UInt64) throws {
        var random = SplitMix(seed)
        let (stage, outside) = try stage(in: Scratch.places.last!)  // tmpfs: each refusal costs a copy, which flushes
        var refused = 0
        for round in 0..<4_000 {
            let kinds = Record.Kind.allCases.filter { $0 != .copyBegins || round % 97 == 0 }
            let names = ["a", "b", "c", "..", "", "x/y"].map { Array($0.utf8) }
            do {
                try stage.apply(kinds[random.next(kinds.count)], payload: random.chance(50) ? "" : "payload") {
                    $0.object = random.chance(5) ? .none : Script.object(UInt64(1 + random.next(8)))
                    $0.parent = random.chance(5) ? .none : Script.object(UInt64(1 + random.next(8)))
                    $0.targetParent = Script.object(UInt64(1 + random.next(8)))
                    $0.name = names[random.next(random.chance(95) ? 3 : 6)]
                    $0.targetName = names[random.next(random.chance(95) ? 3 : 6)]
                    $0.offset = UInt64(random.next(1 << 20))
                    $0.length = random.chance(5) ? UInt64(Int64.max) : UInt64(random.next(1 << 20))
                    $0.argument = UInt64(random.next(40))
                    $0.mode = [S_IFDIR, S_IFREG, S_IFLNK, S_IFIFO][random.next(4)] | UInt32(random.next(0o10000))
                    $0.flags = Record.Flags(rawValue: UInt16(random.chance(10) ? random.next(4) : 0))
                }
            } catch {
                refused += 1
                try stage.apply(.copyBegins)
                try stage.apply(.present) {
                    $0.object = Script.root
                    $0.mode = S_IFDIR | 0o755
                }
            }
        }
        #expect(refused > 0, "seed \(seed)")
        #expect(listing(outside).keys.sorted() == ["secret"] && contents(outside + "/secret") == "safe", "seed \(seed)")
        #expect(Set(listing(stage.scratch.path, namesOnly: true).keys.filter { !$0.contains("/") })
            == ["data", "state", "outside", ".lockstep-test"])
    }
}
