import Foundation
import Glibc
import Primitives
import Replication
import Testing
@testable import Replay

/// Somebody else changes the trees between two records (Replayer+Mend.swift).
@Suite struct MendTests {
    private func stage() throws -> Stage {
        let stage = try Stage()
        try stage.mkdir(2, "d")
        try stage.create(3, "f")
        try stage.create(4, "g", in: 2)
        try stage.write(3, "three")
        try stage.write(4, "four")
        return stage
    }

    @Test func `nothing was changed: nothing is made, and all is as before`() throws {
        let stage = try stage()
        #expect(try stage.replayer.mendNames().isEmpty)
        #expect(stage.text("f") == "three" && stage.text("d/g") == "four")
        try stage.write(3, "THREE")
        #expect(stage.text("f") == "THREE")
    }

    @Test func `what was renamed comes back with its bytes, what nobody knows goes`() throws {
        let stage = try stage()
        #expect(rename(stage.root + "/d", stage.root + "/moved") == 0 && rename(stage.root + "/f", stage.root + "/moved/f") == 0)
        try Data("stranger".utf8).write(to: URL(fileURLWithPath: stage.root + "/stranger"))
        #expect(mkdir(stage.root + "/strange", 0o755) == 0)
        try Data("stranger".utf8).write(to: URL(fileURLWithPath: stage.root + "/strange/r"))
        #expect(try stage.replayer.mendNames().isEmpty)
        #expect(stage.text("f") == "three" && stage.text("d/g") == "four")
        #expect(try FileManager.default.contentsOfDirectory(atPath: stage.root).sorted() == ["d", "f"])
    }

    @Test func `what was removed or replaced is made anew, and is lost until the primary has shipped it`() throws {
        let stage = try stage()
        #expect(unlink(stage.root + "/d/g") == 0)
        try Data("another".utf8).write(to: URL(fileURLWithPath: stage.root + "/new"))
        #expect(rename(stage.root + "/new", stage.root + "/f") == 0)
        let made = try stage.replayer.mendNames()
        #expect(Set(made) == [Script.object(3), Script.object(4)])
        #expect(stage.text("f") == "" && stage.text("d/g") == "")
        #expect(stage.replayer.lostFiles == 2)
        #expect(throws: ReplayError.self) { try stage.replayer.finish() }
        #expect(stage.replayer.lostFiles == 2)
    }

    @Test func `what was shipped again is whole`() throws {
        let stage = try stage()
        #expect(unlink(stage.root + "/f") == 0)
        let made = try stage.replayer.mendNames()
        try stage.write(3, "three again")
        stage.replayer.isWhole(made)
        #expect(stage.replayer.lostFiles == 0 && stage.text("f") == "three again")
        try stage.replayer.finish()
    }

    @Test func `an own file is found by inode and generation, not by inode alone`() throws {
        let stage = try stage()
        var status = stat()
        #expect(stat(stage.root + "/f", &status) == 0)
        let owners = stage.replayer.objectsByOwnFile()
        let found = owners.filter { $0.value == Script.object(3) }.map(\.key)
        #expect(found.count == 1 && found.first?.inode == UInt64(status.st_ino))
        if let key = found.first {
            #expect(owners[stage.replayer.ownKey(root: 0, inode: key.inode, generation: key.generation)] == Script.object(3))
            #expect(owners[stage.replayer.ownKey(root: 0, inode: key.inode, generation: key.generation &+ 1)] == nil)
        }
    }
}
