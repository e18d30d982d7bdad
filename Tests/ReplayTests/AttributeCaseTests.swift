import Glibc
import Platform
import Primitives
import Replay
import Testing

@Suite struct AttributeCaseTests {
    /// linux/posix_acl_xattr.h: version 2, then tag, permissions and id of owner, user 12345, group, mask, others.
    private static let accessList: [UInt8] = [
        2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 7, 0, 57, 48, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255,
        16, 0, 5, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
    ]

    private func set(_ stage: Stage, _ object: UInt64, _ name: String, _ value: [UInt8] = Array("v".utf8)) throws {
        let record = stage.script.record(.setAttribute) {
            $0.object = Script.object(object)
            $0.name = Array(name.utf8)
            $0.payloadBytes = UInt32(value.count)
        }
        try stage.take(record, value)
    }

    private func remove(_ stage: Stage, _ object: UInt64, _ name: String) throws {
        try stage.apply(.removeAttribute) {
            $0.object = Script.object(object)
            $0.name = Array(name.utf8)
        }
    }

    private func attributes(_ stage: Stage, _ path: String) throws -> [String] {
        try ExtendedAttributes.names(of: stage.root + "/" + path).map { String(decoding: $0, as: UTF8.self) }
    }

    @Test func `@A1 to @A4 set, removed, and all of them, twice each`() throws {
        let stage = try Stage()
        try stage.create(2, "f")
        for _ in 0..<2 {  // a restart runs through all of it again
            for _ in 0..<2 { try set(stage, 2, "user.one") }
            try set(stage, 2, "user.with/a slash", [])
            #expect(try attributes(stage, "f") == ["user.one", "user.with/a slash"])
            for _ in 0..<2 { try remove(stage, 2, "user.one") }
            #expect(try attributes(stage, "f") == ["user.with/a slash"])
            try set(stage, 2, "system.posix_acl_access", AttributeCaseTests.accessList)
            #expect(stage.mode("f") == 0o650)
            for _ in 0..<2 { try remove(stage, 2, "") }
            #expect(try attributes(stage, "f") == [])
        }
    }

    @Test func `@A5 what was there and what was inherited is gone before what follows`() throws {
        let stage = try Stage()
        try stage.mkdir(3, "d")
        try set(stage, 3, "system.posix_acl_default", AttributeCaseTests.accessList)
        try stage.present(4, "inherits", in: 3)
        #expect(try attributes(stage, "d/inherits") == [])
        #expect(stage.mode("d/inherits") == 0o644)
        try set(stage, 4, "user.old")
        try stage.present(4, "inherits", in: 3)
        #expect(try attributes(stage, "d/inherits") == [])
        // A creation inherits as on the primary.
        try stage.create(5, "made", in: 3, mode: 0o640)
        #expect(try attributes(stage, "d/made") == ["system.posix_acl_access"])
        #expect(stage.mode("d/made") == 0o640)
    }

    @Test(.enabled(if: geteuid() == 0)) func `@A6 on a symbolic link, not on what it points to`() throws {
        let stage = try Stage()
        try stage.create(2, "f")
        try stage.symlink(3, "l", to: "f")
        try set(stage, 3, "trusted.k")
        #expect(try attributes(stage, "f") == [])
        try remove(stage, 3, "trusted.k")
    }

    @Test func `@A8 without room for it, the attributes are in doubt until they are told anew`() throws {
        let stage = try Stage(in: Scratch.places[0])  // ext4 has one block for all of a file's
        try stage.create(2, "f")
        try set(stage, 2, "user.one", [UInt8](repeating: 1, count: 60000))
        #expect(stage.replayer.counts.refused == 1)
        try remove(stage, 2, "")
        try set(stage, 2, "user.one")
        try stage.checkpoint()
        #expect(try attributes(stage, "f") == ["user.one"])
    }

    @Test func `@A7 of a file that was removed, it is ignored`() throws {
        let stage = try Stage()
        try stage.create(2, "f")
        try stage.name(.unlink, "f")
        for _ in 0..<3 { try stage.checkpoint() }
        try set(stage, 2, "user.late")
        try remove(stage, 2, "")
        #expect(stage.replayer.counts.ignored == 2)
    }
}
