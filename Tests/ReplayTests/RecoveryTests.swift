import Glibc
import Platform
import Primitives
import Replay
import Testing

/// Rule R6: what a restart finds, and what it makes of it.
@Suite struct RecoveryTests {
    /// a (2, "aa"), b (3, "bb"), d (4) with d/in (5, "in"); checkpointed.
    private func stage(in place: String = Scratch.places[0]) throws -> Stage {
        let stage = try Stage(in: place)
        try stage.create(2, "a")
        try stage.write(2, "aa")
        try stage.create(3, "b")
        try stage.write(3, "bb")
        try stage.mkdir(4, "d")
        try stage.create(5, "in", in: 4)
        try stage.write(5, "in")
        try stage.checkpoint()
        return stage
    }

    private func recover(_ stage: Stage) throws {
        stage.replayer = try Replayer.recover(roots: [stage.root], stateDirectory: stage.state, module: "test")
    }

    @Test func `the mark of the checkpoint comes back`() throws {
        let stage = try stage()
        try recover(stage)
        #expect(stage.replayer.mark == Replayer.Mark(position: StreamPosition(10), epoch: Epoch(3), chain: 99))
        #expect(stage.replayer.consistent)
        try stage.replayer.replayEnded()
    }

    @Test(arguments: Scratch.places)
    func `swapped names, nested moves and removed directories go back`(place: String) throws {
        let stage = try stage(in: place)
        try stage.rename("a", to: "t")
        try stage.rename("b", to: "a")
        try stage.rename("t", to: "b")
        try stage.mkdir(6, "new")
        try stage.rename("d", to: "d", targetIn: 6)
        try stage.rename("in", to: "in", in: 4, targetIn: 6)
        try stage.name(.rmdir, "d", in: 6)
        try stage.create(7, "extra", in: 6)
        try recover(stage)
        #expect(stage.names() == ["a", "b", "d", "d/in"])
        #expect(stage.text("a") == "aa" && stage.text("b") == "bb" && stage.text("d/in") == "in")
        try stage.restart()
        #expect(stage.names() == ["a", "b", "new", "new/extra", "new/in"] && stage.text("a") == "bb")
    }

    @Test func `a removed file comes back from limbo, one that was dropped as a placeholder`() throws {
        let stage = try stage()
        try stage.name(.unlink, "a")
        try recover(stage)
        #expect(stage.text("a") == "aa" && stage.replayer.lostFiles == 0)
        try stage.name(.unlink, "b")
        for name in try Directory.names(path: stage.scratch.path + "/.lockstep-test/limbo/data") {
            #expect(unlink(stage.scratch.path + "/.lockstep-test/limbo/data/" + String(decoding: name, as: UTF8.self)) == 0)
        }
        try recover(stage)
        #expect(stage.text("b") == "" && stage.replayer.lostFiles == 1)
        try stage.restart()  // the journal removes it again
        #expect(stage.names() == ["d", "d/in"] && stage.replayer.lostFiles == 0)
    }

    @Test func `a placeholder that replay does not remove makes the data inconsistent, by name`() throws {
        let stage = try stage()
        #expect(unlink(stage.root + "/a") == 0)
        try recover(stage)
        try stage.checkpoint()  // which does not forget that it is one
        try recover(stage)
        #expect(throws: ReplayError.self) { try stage.replayer.replayEnded() }
        #expect(!stage.replayer.consistent && stage.replayer.inconsistency?.contains("data/a") == true)
        #expect(throws: ReplayError.self) { try stage.replayer.finish() }
    }

    @Test func `a file that somebody else made is removed, one put in the place of a known one too`() throws {
        let stage = try stage()
        close(open(stage.root + "/foreign", O_CREAT | O_WRONLY, 0o600))
        #expect(rename(stage.root + "/a", stage.root + "/d/a") == 0)
        #expect(symlink("/etc/passwd", stage.root + "/a") == 0)
        try recover(stage)
        #expect(stage.names() == ["a", "b", "d", "d/in"] && stage.text("a") == "aa")
    }

    @Test func `no table, a damaged table or another root: inconsistent, and nothing is touched`() throws {
        let stage = try stage()
        let table = stage.state + "/table"
        let bytes = try FileDescriptor.reading(table).readAll(bytesMax: 1 << 20)
        var random = SplitMix(5)
        for round in 0..<300 {
            var damaged = bytes
            if round % 3 == 0 {
                damaged = Array(bytes.prefix(random.next(bytes.count)))
            } else {
                damaged[random.next(bytes.count)] ^= UInt8(1 + random.next(255))
            }
            try DurableFile.replace(path: table, contents: damaged)
            try recover(stage)
            #expect(!stage.replayer.consistent)
        }
        #expect(unlink(table) == 0)
        try recover(stage)
        #expect(!stage.replayer.consistent && stage.names() == ["a", "b", "d", "d/in"])
        try DurableFile.replace(path: table, contents: bytes)
        #expect(rename(stage.root, stage.root + "-moved") == 0 && mkdir(stage.root, 0o755) == 0)
        close(open(stage.root + "/kept", O_CREAT | O_WRONLY, 0o600))
        try recover(stage)
        #expect(!stage.replayer.consistent && stage.names() == ["kept"])
    }

    /// A valid checksum over nonsense: what a faulty writer, not a faulty disk, would leave.
    @Test func `a table of nonsense with a valid checksum is an error, never a trap`() throws {
        let stage = try stage()
        let table = stage.state + "/table"
        let bytes = try FileDescriptor.reading(table).readAll(bytesMax: 1 << 20)
        var random = SplitMix(6)
        for _ in 0..<300 {
            var damaged = Array(bytes.dropLast(4))
            for _ in 0...random.next(3) { damaged[48 + random.next(damaged.count - 48)] = UInt8(random.next(256)) }
            damaged.appendInteger(damaged.withUnsafeBytes { Checksum.crc32c($0) })
            try DurableFile.replace(path: table, contents: damaged)
            // It may be refused, or be a possible table whose files are all lost; both are answers.
            if let replayer = try? Replayer.recover(roots: [stage.root], stateDirectory: stage.state, module: "test"),
                replayer.consistent { _ = try? replayer.replayEnded() }
        }
        #expect(Bool(access(stage.root, F_OK) == 0))
    }

    // MARK: copies

    @Test func `a copy moves what was there aside, and is consistent at its end only`() throws {
        let stage = try stage()
        try stage.apply(.copyBegins)
        #expect(!stage.replayer.consistent && stage.names().isEmpty)
        #expect(contents(stage.scratch.path + "/.lockstep-test/before-copy/data/a") == "aa")
        try stage.apply(.present) {
            $0.object = Script.root
            $0.mode = S_IFDIR | 0o755
        }
        try stage.write(50, "not copied yet")
        try stage.present(50, "x", size: 4)
        try stage.apply(.fill, payload: "fill") {
            $0.object = Script.object(50)
            $0.length = 4
        }
        #expect(throws: ReplayError.self) { try stage.replayer.finish() }
        try stage.apply(.copyEnds)
        #expect(stage.replayer.consistent && stage.text("x") == "fill")
        try recover(stage)
        #expect(stage.replayer.consistent && stage.names() == ["x"])
        #expect(stage.replayer.mark.position == StreamPosition(stage.script.position))
        try stage.apply(.copyBegins)  // the next one drops what the first one kept
        #expect(access(stage.scratch.path + "/.lockstep-test/before-copy/data/a", F_OK) != 0)
        #expect(contents(stage.scratch.path + "/.lockstep-test/before-copy/data/x") == "fill")
    }

    @Test func `a copy goes on after a restart, and stays inconsistent until its end`() throws {
        let stage = try stage()
        try stage.apply(.copyBegins)
        try stage.apply(.present) {
            $0.object = Script.root
            $0.mode = S_IFDIR | 0o755
        }
        try stage.present(50, "x")
        try stage.restart()
        #expect(!stage.replayer.consistent && stage.replayer.copying && stage.names() == ["x"])
        try stage.checkpoint()
        try stage.present(51, "y")
        try stage.restart()
        #expect(stage.names() == ["x", "y"])
        try stage.apply(.copyEnds)
        #expect(stage.replayer.consistent)
    }

    @Test func `a crash while the old content is moved aside loses none of it`() throws {
        let stage = try stage()
        try stage.apply(.copyBegins)
        // As it was between the two tables: the first one says "moving aside", and a part is still in the root.
        let table = stage.state + "/table"
        var bytes = try FileDescriptor.reading(table).readAll(bytesMax: 1 << 20)
        bytes[12] |= 4
        bytes.removeLast(4)
        bytes.appendInteger(bytes.withUnsafeBytes { Checksum.crc32c($0) })
        try DurableFile.replace(path: table, contents: bytes)
        let aside = stage.scratch.path + "/.lockstep-test/before-copy/data"
        #expect(rename(aside + "/a", stage.root + "/a") == 0)
        try recover(stage)
        #expect(stage.names().isEmpty && contents(aside + "/a") == "aa" && contents(aside + "/b") == "bb")
    }

    @Test func `a copy without its root does not end`() throws {
        let stage = try Stage(copied: false)
        try stage.apply(.copyBegins)
        #expect(throws: ReplayError.self) { try stage.apply(.copyEnds) }
    }

    /// A copy of an empty root, which owes the name g when its end comes.
    private func owing() throws -> Stage {
        let stage = try Stage(copied: false)
        try stage.apply(.copyBegins)
        try stage.apply(.present) {
            $0.object = Script.root
            $0.mode = S_IFDIR | 0o755
        }
        try stage.rename("not copied", to: "g")
        try stage.apply(.copyEnds)
        return stage
    }

    @Test func `a copy that owes a name ends when it is told, and not before`() throws {
        let stage = try owing()
        #expect(stage.replayer.copying && !stage.replayer.consistent)
        #expect(try !stage.replayer.checkpoint(Replayer.Mark(position: StreamPosition(stage.script.position))))
        try stage.name(.absent, "g")
        #expect(!stage.replayer.copying && stage.replayer.consistent)
    }

    @Test func `a name that was forgotten is an error when all is told`() throws {
        let stage = try owing()
        #expect(throws: ReplayError.self) { try stage.apply(.settled) }
    }

    @Test func `what is owed in a directory goes with it`() throws {
        let stage = try Stage()
        try stage.mkdir(2, "d")
        try stage.rename("not there", to: "g", targetIn: 2)
        #expect(stage.replayer.owedNames == 1)
        try stage.name(.rmdir, "d")
        #expect(stage.replayer.owedNames == 0)
    }

    @Test func `before the first copy nothing is applied`() throws {
        let stage = try Stage(copied: false)
        #expect(throws: ReplayError.self) { try stage.create(2, "f") }
        #expect(!stage.replayer.consistent && stage.names().isEmpty)
    }
}
