import Foundation
import Glibc
import Platform
import Primitives
import Replay
import Testing

@Suite struct DataTests {
    private func stage(in place: String = Scratch.places[0]) throws -> Stage {
        let stage = try Stage(in: place)
        try stage.create(2, "f")
        return stage
    }

    @Test func `writes land at their offsets, holes read as zeros`() throws {
        let stage = try stage()
        try stage.write(2, "world", at: 6)
        try stage.write(2, "hello")
        #expect(stage.text("f") == "hello\0world")
    }

    @Test func `a fill never makes a file longer than it was when it was read`() throws {
        let stage = try stage()
        func fill(_ text: String, at offset: UInt64, size: UInt64) throws {
            try stage.apply(.fill, payload: text) {
                $0.object = Script.object(2)
                $0.offset = offset
                $0.length = size
            }
        }
        try fill("abcdef", at: 0, size: 4)
        #expect(stage.text("f") == "abcd")
        try fill("xx", at: 9, size: 4)
        #expect(stage.text("f") == "abcd")
        try fill("Z", at: 1, size: 10)
        #expect(stage.text("f") == "aZcd")
    }

    @Test func `a fill for an unknown object is ignored, a write to one is an error`() throws {
        let stage = try stage()
        try stage.apply(.fill, payload: "x") {
            $0.object = Script.object(99)
            $0.length = 1
        }
        #expect(stage.replayer.counts.ignored == 1)
        #expect(throws: ReplayError.self) { try stage.write(99, "x") }
    }

    @Test(arguments: Scratch.places)
    func `allocation gives the same bytes on every file system`(place: String) throws {
        let stage = try stage(in: place)
        func allocate(_ mode: UInt64, _ offset: UInt64, _ length: UInt64) throws {
            try stage.apply(.allocate) {
                $0.object = Script.object(2)
                $0.offset = offset
                $0.length = length
                $0.argument = mode
            }
        }
        try stage.write(2, "0123456789")
        try allocate(1, 0, 4096)  // keep size
        #expect(stage.text("f") == "0123456789")
        try allocate(3, 2, 3)  // punch hole
        #expect(stage.text("f") == "01\0\0\056789")
        try allocate(16, 8, 4)  // zero range: not on tmpfs
        #expect(stage.text("f") == "01\0\0\0567\0\0\0\0")
        try allocate(17, 0, 100)  // zero range, keep size
        #expect(stage.text("f") == String(repeating: "\0", count: 12))
        try allocate(0, 0, 20)
        #expect(stage.text("f") == String(repeating: "\0", count: 20))
        #expect(throws: ReplayError.self) { try allocate(8, 0, 4096) }  // collapse
    }

    @Test func `mode, owner, times and attributes`() throws {
        let stage = try stage()
        try stage.apply(.chmod) {
            $0.object = Script.object(2)
            $0.mode = 0o4711
        }
        try stage.apply(.times) {
            $0.object = Script.object(2)
            $0.modificationTime = 1_234_567_890_123_456_789
        }
        try stage.apply(.setAttribute, payload: "v") {
            $0.object = Script.object(2)
            $0.name = Array("user.k".utf8)
        }
        try stage.apply(.removeAttribute) {
            $0.object = Script.object(2)
            $0.name = Array("user.k".utf8)
        }
        try stage.apply(.removeAttribute) {
            $0.object = Script.object(2)
            $0.name = Array("user.never".utf8)
        }
        #expect(stage.mode("f") == 0o4711)
        var status = stat()
        #expect(stat(stage.root + "/f", &status) == 0)
        #expect(status.st_mtim.tv_sec == 1_234_567_890 && status.st_mtim.tv_nsec == 123_456_789)
        if geteuid() == 0 {
            try stage.apply(.chown) {
                $0.object = Script.object(2)
                $0.owner = 1234
                $0.group = .max
            }
            #expect(stat(stage.root + "/f", &status) == 0 && status.st_uid == 1234 && status.st_gid == 0)
        }
    }

    @Test func `more files than descriptors in the cache`() throws {
        let stage = try Stage()
        for index in 0..<UInt64(300) { try stage.create(10 + index, "f\(index)") }
        for index in 0..<UInt64(300) { try stage.write(10 + index, "\(index)") }
        for index in 0..<UInt64(300) { #expect(stage.text("f\(index)") == "\(index)") }
        // Of this stage's own: other tests run at the same time.
        let descriptors = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").filter {
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)"))?.hasPrefix(stage.root) ?? false
        }
        #expect(descriptors.count > 100 && descriptors.count < 200)
    }

    /// What replay does for an unprivileged owner, whose own directories may shut him out.
    @Test(.enabled(if: geteuid() == 0))
    func `without privilege directories are opened up for a moment`() async {
        await #expect(processExitsWith: .success) {
            let stage = try Stage(copied: false)
            #expect(chown(stage.scratch.path, 65534, 65534) == 0 && chown(stage.root, 65534, 65534) == 0)
            #expect(chown(stage.state, 65534, 65534) == 0 && chown(stage.scratch.path + "/.lockstep-test", 65534, 65534) == 0)
            for name in ["/limbo", "/limbo/data", "/before-copy"] {
                #expect(chown(stage.scratch.path + "/.lockstep-test" + name, 65534, 65534) == 0)
            }
            #expect(setgid(65534) == 0 && setuid(65534) == 0)
            stage.replayer = try Replayer(roots: [stage.root], stateDirectory: stage.state, module: "test")
            try stage.apply(.copyBegins)
            try stage.apply(.present) {
                $0.object = Script.root
                $0.mode = S_IFDIR | 0o755
            }
            try stage.apply(.copyEnds)
            try stage.mkdir(2, "d")
            try stage.create(3, "f", in: 2, mode: 0o444)
            try stage.apply(.chmod) {
                $0.object = Script.object(2)
                $0.mode = 0o100
            }
            try stage.checkpoint()
            try stage.create(4, "g", in: 2)
            try stage.restart()
            try stage.write(3, "read-only")
            try stage.apply(.chown) {
                $0.object = Script.object(3)
                $0.owner = 0
                $0.group = 0
            }
            #expect(stage.mode("d") == 0o100 && stage.replayer.counts.ownersRefused == 1)
            #expect(chmod(stage.root + "/d", 0o700) == 0)
            #expect(stage.text("d/f") == "read-only" && stage.mode("d/f") == 0o444)
            #expect(stage.names() == ["d", "d/f", "d/g"])
        }
    }
}
