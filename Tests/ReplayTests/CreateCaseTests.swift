import Glibc
import Platform
import Primitives
import Replay
import Testing

/// Rows @C, @P, @U and @B of the table in Replayer+Names.swift.
@Suite struct CreateCaseTests {
    @Test func `@C1 a create in an unknown directory is an error`() throws {
        let stage = try Stage()
        #expect(throws: ReplayError.self) { try stage.create(2, "f", in: 9) }
        #expect(!stage.replayer.consistent && stage.names().isEmpty)
        #expect(throws: ReplayError.self) { try stage.create(3, "g") }
    }

    @Test func `@C2 a create makes a file with its mode whatever the umask`() throws {
        let stage = try Stage()
        let before = umask(0o077)
        defer { umask(before) }
        try stage.create(2, "f", mode: 0o6666)
        try stage.mkdir(3, "d")
        try stage.symlink(4, "l", to: "../../etc/passwd")
        #expect(stage.mode("f") == 0o6666 && stage.mode("d") == 0o755)
        #expect(stage.names() == ["d", "f", "l"])
    }

    @Test func `@C3 a create of what is there keeps its bytes`() throws {
        let stage = try Stage()
        try stage.create(2, "f")
        try stage.write(2, "kept")
        try stage.create(2, "f", mode: 0o600)
        #expect(stage.text("f") == "kept" && stage.mode("f") == 0o600)
    }

    @Test func `@C4 a create takes the place of another object`() throws {
        let stage = try Stage()
        try stage.create(2, "f")
        try stage.write(2, "old")
        try stage.create(3, "f")
        #expect(stage.text("f") == "" && stage.replayer.counts.repairs == 1)
    }

    @Test func `@C5 a create of an object known elsewhere removes it there`() throws {
        let stage = try Stage()
        try stage.create(2, "f")
        try stage.create(2, "g")
        #expect(stage.names() == ["g"] && stage.replayer.counts.repairs == 1)
    }

    @Test func `@P1 present in an unknown directory is an error`() throws {
        let stage = try Stage()
        #expect(throws: ReplayError.self) { try stage.present(2, "f", in: 9) }
    }

    @Test func `@P2 a root is announced once, as one object, with its mode`() throws {
        let stage = try Stage()
        func announce(_ inode: UInt64, root: UInt32 = 0) throws {
            try stage.apply(.present) {
                $0.object = ObjectID(inode: inode, generation: 7, root: root)
                $0.mode = S_IFDIR | 0o751
            }
        }
        try announce(1)
        var status = stat()
        #expect(stat(stage.root, &status) == 0 && status.st_mode & 0o7777 == 0o751)
        #expect(throws: ReplayError.self) { try announce(2) }
        #expect(throws: ReplayError.self) { try announce(2, root: 7) }
    }

    @Test func `@P3 present makes a file of the recorded size`() throws {
        let stage = try Stage()
        try stage.present(2, "f", mode: 0o640, size: 5)
        #expect(stage.text("f") == "\0\0\0\0\0" && stage.mode("f") == 0o640)
    }

    @Test func `@P4 present corrects mode, size and target`() throws {
        let stage = try Stage()
        try stage.create(2, "f")
        try stage.write(2, "12345678")
        try stage.present(2, "f", mode: 0o400, size: 4)
        #expect(stage.text("f") == "1234" && stage.mode("f") == 0o400)
        try stage.symlink(3, "l", to: "a")
        try stage.present(3, "l", type: S_IFLNK, payload: "b")
        #expect(listing(stage.root)["l"]?.hasSuffix("-> b") == true)
    }

    @Test func `@P5 present takes the place of another object`() throws {
        let stage = try Stage()
        try stage.mkdir(2, "x")
        try stage.create(3, "in", in: 2)
        try stage.present(4, "x")
        #expect(stage.names() == ["x"] && stage.text("x") == "")
    }

    @Test func `@P6 present of a known file gives it one more name`() throws {
        let stage = try Stage()
        try stage.create(2, "f")
        try stage.present(2, "g")
        #expect(stage.names() == ["f", "g"] && stage.inode("f") == stage.inode("g"))
    }

    @Test func `@P7 present of a known directory moves it`() throws {
        let stage = try Stage()
        try stage.mkdir(2, "d")
        try stage.create(3, "in", in: 2)
        try stage.present(2, "e", type: S_IFDIR, mode: 0o755)
        #expect(stage.names() == ["e", "e/in"])
    }

    @Test func `@P8 a removed file comes back from limbo with its bytes and with what was written meanwhile`() throws {
        let stage = try Stage()
        try stage.create(2, "f")
        try stage.write(2, "before")
        try stage.name(.unlink, "f")
        try stage.write(2, "meanwhile", at: 6)
        try stage.present(2, "g", size: 15)
        #expect(stage.names() == ["g"] && stage.text("g") == "beforemeanwhile")
    }

    @Test func `@P9 a file whose bytes are gone comes back empty, for the fills that follow`() throws {
        let stage = try Stage()
        try stage.create(2, "f")
        try stage.name(.unlink, "f")
        try stage.checkpoint()
        try stage.checkpoint()
        try stage.write(2, "ignored")  // its id is still known
        #expect(stage.replayer.counts.ignored == 1 && stage.replayer.counts.purged == 1)
        try stage.present(2, "f", size: 0)
        #expect(stage.names() == ["f"] && stage.text("f") == "")
        try stage.write(2, "anew")
        #expect(stage.text("f") == "anew")
    }

    @Test func `@P10 an object that is of another type now is made anew`() throws {
        let stage = try Stage()
        try stage.mkdir(2, "d")
        try stage.present(2, "f")
        #expect(stage.names() == ["f"] && stage.text("f") == "")
    }

    @Test func `@U1 a removal in an unknown directory is an error`() throws {
        let stage = try Stage()
        #expect(throws: ReplayError.self) { try stage.name(.unlink, "f", in: 9) }
    }

    @Test func `@U2 a removal of nothing does nothing`() throws {
        let stage = try Stage()
        try stage.name(.unlink, "f")
        try stage.name(.rmdir, "d")
        #expect(stage.replayer.counts.repairs == 2 && stage.replayer.consistent)
    }

    @Test func `@U3 a file with two names loses one`() throws {
        let stage = try Stage()
        try stage.create(2, "f")
        try stage.write(2, "x")
        try stage.link(2, "g")
        try stage.name(.unlink, "f")
        #expect(stage.names() == ["g"] && stage.text("g") == "x")
    }

    @Test func `@U4 the last name goes to limbo, which is bounded`() throws {
        let stage = try Stage()
        for index in 0..<UInt64(1100) {
            try stage.create(10 + index, "f")
            try stage.name(.unlink, "f")
        }
        let limbo = try Directory.names(path: stage.scratch.path + "/.lockstep-test/limbo/data")
        #expect(limbo.count == 1024 && stage.replayer.counts.purged == 76 && stage.names().isEmpty)
    }

    @Test func `@U5 an empty directory and a link are removed`() throws {
        let stage = try Stage()
        try stage.mkdir(2, "d")
        try stage.symlink(3, "l", to: "d")
        try stage.name(.rmdir, "d")
        try stage.name(.unlink, "l")
        #expect(stage.names().isEmpty && stage.replayer.counts.repairs == 0)
    }

    @Test func `@U6 a directory goes with all that is in it`() throws {
        let stage = try Stage()
        try stage.mkdir(2, "d")
        try stage.mkdir(3, "e", in: 2)
        try stage.create(4, "f", in: 3)
        try stage.name(.rmdir, "d")
        #expect(stage.names().isEmpty && stage.replayer.counts.repairs == 1)
    }

    @Test func `@B1 and @B2 absent removes what there is`() throws {
        let stage = try Stage()
        try stage.name(.absent, "d", in: 9)
        try stage.name(.absent, "d")
        try stage.mkdir(2, "d")
        try stage.create(3, "f", in: 2)
        try stage.write(3, "x")
        try stage.name(.absent, "d")
        #expect(stage.names().isEmpty)
        try stage.present(3, "f", size: 1)  // from limbo
        #expect(stage.text("f") == "x")
    }

    @Test func `@X a name that somebody else made stops replay`() throws {
        let stage = try Stage()
        close(open(stage.root + "/f", O_CREAT | O_WRONLY, 0o600))
        #expect(throws: ReplayError.self) { try stage.create(2, "f") }
        #expect(!stage.replayer.consistent)
    }

    @Test func `@X a file that somebody else replaced stops replay`() throws {
        let stage = try Stage()
        try stage.create(2, "f")
        for index in 0..<UInt64(200) { try stage.create(10 + index, "other\(index)") }  // its descriptor leaves the cache
        #expect(unlink(stage.root + "/f") == 0)
        close(open(stage.root + "/f", O_CREAT | O_WRONLY, 0o600))
        #expect(throws: ReplayError.self) { try stage.write(2, "x") }
    }

    @Test func `a FIFO is refused with its name`() throws {
        let stage = try Stage()
        #expect(throws: ReplayError.self) { try stage.present(2, "pipe", type: S_IFIFO) }
        #expect(stage.replayer.inconsistency?.contains("/pipe") == true)
    }
}
