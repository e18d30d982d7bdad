import Primitives
import Replay
import Testing

@Suite struct HeldTests {
    private func tentative(_ stage: Stage, _ kind: Record.Kind, _ name: String, in parent: UInt64 = 1, to target: String = "")
        throws -> UInt64
    {
        try stage.apply(kind) {
            $0.flags = .tentative
            $0.parent = Script.object(parent)
            $0.name = Array(name.utf8)
            if !target.isEmpty {
                $0.targetParent = Script.root
                $0.targetName = Array(target.utf8)
            }
        }
        return stage.script.position
    }

    @Test func `a tentative create happens with its outcome`() throws {
        let stage = try Stage()
        let position = try tentative(stage, .create, "f")
        #expect(stage.names().isEmpty && stage.replayer.heldBytes > 0)
        try stage.outcome(of: position, succeeded: true, object: 2, mode: 0o640)
        #expect(stage.mode("f") == 0o640 && stage.replayer.heldBytes == 0)
    }

    @Test func `a failed one is dropped`() throws {
        let stage = try Stage()
        try stage.create(2, "f")
        let position = try tentative(stage, .unlink, "f")
        try stage.outcome(of: position, succeeded: false)
        #expect(stage.names() == ["f"] && stage.replayer.heldBytes == 0)
    }

    @Test func `what has nothing to do with it goes past`() throws {
        let stage = try Stage()
        try stage.create(2, "f")
        let position = try tentative(stage, .unlink, "f")
        try stage.create(3, "g")
        try stage.write(2, "still written")
        #expect(stage.names() == ["f", "g"] && stage.text("f") == "still written")
        try stage.outcome(of: position, succeeded: true)
        #expect(stage.names() == ["g"])
    }

    @Test func `from the first conflict on, everything waits in order`() throws {
        let stage = try Stage()
        try stage.create(2, "f")
        let first = try tentative(stage, .unlink, "f")
        try stage.create(3, "f")
        try stage.write(3, "new")
        let second = try tentative(stage, .rename, "f", to: "g")
        try stage.create(4, "f")
        #expect(stage.names() == ["f"] && stage.text("f") == "")
        try stage.outcome(of: second, succeeded: true)  // its turn has not come
        #expect(stage.names() == ["f"])
        try stage.outcome(of: first, succeeded: true)
        #expect(stage.names() == ["f", "g"] && stage.text("g") == "new" && stage.text("f") == "")
        #expect(stage.replayer.heldBytes == 0 && stage.replayer.counts.repairs == 0)
    }

    @Test func `the queue stops at the next undecided conflict`() throws {
        let stage = try Stage()
        let first = try tentative(stage, .create, "a")
        let second = try tentative(stage, .rename, "a", to: "b")
        try stage.create(5, "b")
        try stage.outcome(of: first, succeeded: true, object: 2)
        #expect(stage.names() == ["a"])
        try stage.outcome(of: second, succeeded: false)
        #expect(stage.names() == ["a", "b"])
    }

    @Test func `a record on an object that may be about to be made waits`() throws {
        let stage = try Stage()
        let position = try tentative(stage, .create, "f")
        try stage.write(2, "early")
        try stage.outcome(of: position, succeeded: true, object: 2)
        #expect(stage.text("f") == "early")
    }

    @Test func `what lies in a directory that may go waits for it`() throws {
        let stage = try Stage()
        try stage.mkdir(2, "d")
        let position = try tentative(stage, .rmdir, "d")
        try stage.create(3, "f", in: 2)
        #expect(stage.names() == ["d"])
        try stage.outcome(of: position, succeeded: false)
        #expect(stage.names() == ["d", "d/f"])
    }

    @Test func `an outcome for nothing is an error`() throws {
        let stage = try Stage()
        #expect(throws: ReplayError.self) { try stage.outcome(of: 2, succeeded: true) }
    }

    @Test func `held records and outcomes outlive a restart`() throws {
        let stage = try Stage()
        try stage.create(2, "f")
        let first = try tentative(stage, .unlink, "f")
        let second = try tentative(stage, .create, "f")
        try stage.outcome(of: second, succeeded: true, object: 3)
        try stage.checkpoint()
        try stage.restart()
        #expect(stage.replayer.heldBytes > 0 && stage.names() == ["f"])
        try stage.outcome(of: first, succeeded: true)
        try stage.write(3, "new")
        #expect(stage.text("f") == "new" && stage.replayer.heldBytes == 0)
    }

    @Test func `take-over applies what is unresolved, as a kernel would have`() throws {
        let stage = try Stage()
        try stage.create(2, "f")
        try stage.mkdir(3, "d")
        try stage.create(4, "in", in: 3)
        _ = try tentative(stage, .create, "new")
        _ = try tentative(stage, .rmdir, "d")  // not empty: it can't have succeeded
        _ = try tentative(stage, .unlink, "f")
        _ = try tentative(stage, .create, "f")  // behind the unlink
        _ = try tentative(stage, .unlink, "nothing")
        try stage.replayer.finish()
        #expect(stage.names() == ["d", "d/in", "f", "new"])
        // A death before the new role is durable: the table is still there, and all of it is done again.
        try stage.restart()
        try stage.replayer.finish()
        #expect(stage.names() == ["d", "d/in", "f", "new"])
        try Replayer.removeTable(stateDirectory: stage.state)
        let after = try Replayer.recover(roots: [stage.root], stateDirectory: stage.state, module: "test")
        #expect(!after.consistent, "the table is gone: the trees belong to the application")
        #expect(stage.names() == ["d", "d/in", "f", "new"])
    }
}
