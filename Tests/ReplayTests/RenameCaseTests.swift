import Glibc
import Primitives
import Replay
import Testing

/// Rows @R and @L of the table in Replayer+Names.swift.
@Suite struct RenameCaseTests {
    /// f (object 2, "two"), g (3, "three"), d (4, a directory with one file 5).
    private func stage() throws -> Stage {
        let stage = try Stage()
        try stage.create(2, "f")
        try stage.write(2, "two")
        try stage.create(3, "g")
        try stage.write(3, "three")
        try stage.mkdir(4, "d")
        try stage.create(5, "in", in: 4)
        return stage
    }

    @Test func `@R1 an unknown directory is an error`() throws {
        let stage = try stage()
        #expect(throws: ReplayError.self) { try stage.rename("f", to: "x", targetIn: 9) }
    }

    @Test func `@R2 a rename that is done already is ignored`() throws {
        let stage = try stage()
        try stage.apply(.rename) {
            $0.object = Script.object(3)
            $0.parent = Script.root
            $0.name = Array("gone".utf8)
            $0.targetParent = Script.root
            $0.targetName = Array("g".utf8)
        }
        #expect(stage.text("g") == "three" && stage.replayer.counts.repairs == 1 && stage.replayer.owedNames == 0)
    }

    @Test func `@R3 a rename of nothing leaves the target to a name fill`() throws {
        let stage = try stage()
        try stage.rename("gone", to: "g")
        #expect(stage.text("g") == "three" && stage.replayer.owedNames == 1)
        try stage.present(2, "g", size: 3)
        #expect(stage.text("g") == "two" && stage.replayer.owedNames == 0)
    }

    @Test func `@R3 what was owed to a directory goes with it`() throws {
        let stage = try stage()
        try stage.mkdir(6, "e")
        try stage.rename("gone", to: "x", targetIn: 6)
        #expect(stage.replayer.owedNames == 1)
        try stage.name(.rmdir, "e")
        #expect(stage.replayer.owedNames == 0)
    }

    @Test func `@R4 an exchange with nothing leaves both names to name fills`() throws {
        let stage = try stage()
        try stage.rename("gone", to: "g", flags: 2)
        #expect(stage.replayer.owedNames == 2)
        try stage.present(3, "gone", size: 5)
        try stage.name(.absent, "g")
        #expect(stage.replayer.owedNames == 0 && stage.names() == ["d", "d/in", "f", "gone"])
    }

    @Test func `@R5 files and directories move`() throws {
        let stage = try stage()
        try stage.rename("f", to: "x", targetIn: 4)
        try stage.rename("d", to: "e")
        try stage.write(2, "TWO")
        #expect(stage.names() == ["e", "e/in", "e/x", "g"] && stage.text("e/x") == "TWO")
    }

    @Test func `@R6 the target is replaced`() throws {
        let stage = try stage()
        try stage.rename("f", to: "g")
        #expect(stage.text("g") == "two" && stage.names() == ["d", "d/in", "g"])
        try stage.mkdir(6, "empty")
        try stage.rename("d", to: "empty")
        #expect(stage.names() == ["empty", "empty/in", "g"] && stage.replayer.counts.repairs == 0)
    }

    @Test func `@R7 two names of one file stay`() throws {
        let stage = try stage()
        try stage.link(2, "h")
        try stage.rename("f", to: "h")
        #expect(stage.names() == ["d", "d/in", "f", "g", "h"])
    }

    @Test func `@R8 NOREPLACE that replaces is counted`() throws {
        let stage = try stage()
        try stage.rename("f", to: "g", flags: 1)
        #expect(stage.text("g") == "two" && stage.replayer.counts.repairs == 1)
    }

    @Test func `@R9 EXCHANGE swaps file and directory`() throws {
        let stage = try stage()
        try stage.rename("f", to: "d", flags: 2)
        #expect(stage.text("d") == "two" && stage.names() == ["d", "f", "f/in", "g"])
    }

    @Test func `@R10 a directory never comes to lie in itself`() throws {
        let stage = try stage()
        try stage.mkdir(6, "e", in: 4)
        try stage.rename("d", to: "x", targetIn: 6)
        #expect(stage.replayer.owedNames == 2)
        #expect(stage.names() == ["d", "d/e", "d/in", "f", "g"])
    }

    @Test func `other flags are refused`() throws {
        let stage = try stage()
        #expect(throws: ReplayError.self) { try stage.rename("f", to: "x", flags: 4) }
    }

    @Test func `@L1 to @L6 link`() throws {
        let stage = try stage()
        try stage.link(2, "h")  // @L3
        #expect(stage.inode("h") == stage.inode("f"))
        try stage.link(2, "h")  // @L4
        try stage.link(2, "g")  // @L5
        #expect(stage.text("g") == "two" && stage.replayer.counts.repairs == 1)
        try stage.link(77, "later")  // @L2
        #expect(stage.replayer.owedNames == 1)
        try stage.link(3, "back")  // @L6: object 3 lost its name by @L5
        #expect(stage.text("back") == "three")
        #expect(throws: ReplayError.self) {  // @L1
            try stage.apply(.link) {
                $0.object = Script.object(2)
                $0.targetParent = Script.object(9)
                $0.targetName = [0x78]
            }
        }
    }
}
