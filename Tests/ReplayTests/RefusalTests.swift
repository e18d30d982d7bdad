import Glibc
import Platform
import Primitives
import Replay
import Testing

/// Calls that this node's file system refuses, as the primary's may have done (Refusals.swift).
@Suite struct RefusalTests {
    /// f (2) with "0123456789".
    private func stage(in place: String = Scratch.places.last!) throws -> Stage {
        let stage = try Stage(in: place)
        try stage.create(2, "f")
        try stage.write(2, "0123456789")
        return stage
    }

    /// Every file system refuses bytes behind the last offset that there is.
    private let wild = UInt64(Int64.max) - 3

    private func truncate(_ stage: Stage, to size: UInt64) throws {
        try stage.apply(.truncate) {
            $0.object = Script.object(2)
            $0.length = size
        }
    }

    private func allocate(_ stage: Stage, _ offset: UInt64, _ length: UInt64, mode: UInt64 = 0) throws {
        try stage.apply(.allocate) {
            $0.object = Script.object(2)
            $0.offset = offset
            $0.length = length
            $0.argument = mode
        }
    }

    private func pass(_ stage: Stage, records: Int) throws {
        for _ in 0..<records { try stage.apply(.settled) }
    }

    private func refusalAtTheEnd(_ stage: Stage) -> String? {
        do {
            try stage.replayer.finish()
            return nil
        } catch { return "\(error)" }
    }

    @Test(arguments: Scratch.places)
    func `calls that fail on the primary too leave nothing behind once they are compensated`(place: String) throws {
        let stage = try stage(in: place)
        // A file system may be able to hold some of them; the compensation is the same.
        let calls: [() throws -> Void] = [
            { try stage.write(2, "far away", at: wild) },
            { try stage.write(2, "far away", at: 1 << 50) },
            { try truncate(stage, to: 1 << 60) },
            { try allocate(stage, 5, 96 << 40) },
            { try allocate(stage, 1 << 62, 1 << 62) },
            { try allocate(stage, UInt64(Int64.max), UInt64(Int64.max)) },
            { try allocate(stage, 0, 0) },
            { try allocate(stage, 1 << 60, 4096, mode: 16) },
        ]
        for call in calls {
            try call()
            try truncate(stage, to: 10)
        }
        #expect(stage.replayer.counts.refused >= 3)
        let isMade = try stage.replayer.checkpoint(Replayer.Mark(position: StreamPosition(stage.script.position)))
        #expect(isMade)
        try stage.write(2, "!", at: 10)
        #expect(refusalAtTheEnd(stage) == nil)
        #expect(stage.text("f") == "0123456789!")
    }

    @Test func `without compensation a takeover is refused, and says which file and why`() throws {
        let stage = try stage()
        try stage.write(2, "far away", at: wild)
        let text = try #require(refusalAtTheEnd(stage))
        #expect(text.contains("record 6 was refused") && text.contains("/data/f") && text.contains("errno 22"), "\(text)")
        #expect(!stage.replayer.consistent)
    }

    @Test func `a copy does not end with a refused call`() throws {
        let stage = try stage()
        try stage.apply(.copyBegins)
        try stage.apply(.present) {
            $0.object = Script.root
            $0.mode = S_IFDIR | 0o755
        }
        try stage.present(2, "f")
        try stage.write(2, "far away", at: wild)
        #expect(throws: ReplayError.self) { try stage.apply(.copyEnds) }
        #expect(stage.replayer.inconsistency?.contains("/data/f") == true)
    }

    @Test func `the beginning of a copy makes an earlier refusal void`() throws {
        let stage = try stage()
        try stage.write(2, "far away", at: wild)
        try stage.apply(.copyBegins)
        try stage.apply(.present) {
            $0.object = Script.root
            $0.mode = S_IFDIR | 0o755
        }
        try stage.apply(.copyEnds)
        #expect(refusalAtTheEnd(stage) == nil)
    }

    @Test func `only what covers or cuts the range settles it`() throws {
        for (size, isSettled) in [(UInt64(Int64.max), false), (wild + 1, false), (wild, true), (0, true)] {
            let stage = try stage()
            try stage.write(2, "far away", at: wild)
            try truncate(stage, to: size)
            // tmpfs can hold a file of that size.
            if stage.replayer.counts.refused == 1 { #expect((refusalAtTheEnd(stage) == nil) == isSettled, "\(size)") }
        }
    }

    @Test(.enabled(if: geteuid() == 0))
    func `an allocation behind the end says nothing about bytes that are missing`() throws {
        let full = try SmallDisk()
        let stage = try full.stage()
        try full.fill()
        try stage.write(2, String(repeating: "x", count: 8192))
        try allocate(stage, 0, 8192)
        full.empty()
        #expect(stage.replayer.counts.refused == 1 && refusalAtTheEnd(stage) != nil)
    }

    @Test func `with its last name a file's refusals are gone, and it does not come back without its bytes`() throws {
        let stage = try stage()
        try stage.write(2, "far away", at: wild)
        try stage.link(2, "g")
        try stage.name(.unlink, "f")
        try stage.name(.absent, "g")
        #expect(try Directory.names(path: stage.scratch.path + "/.lockstep-test/limbo/data").isEmpty)
        try stage.write(2, "late")
        try stage.replayer.finish()
        #expect(stage.names() == [])
    }

    @Test func `a file that is open without a name is dropped when a call on it is refused`() throws {
        let stage = try stage()
        try stage.name(.unlink, "f")
        try stage.write(2, "far away", at: wild)
        #expect(stage.replayer.counts.purged == 1 && stage.replayer.counts.refused == 1)
        try stage.write(2, "late")
        #expect(refusalAtTheEnd(stage) == nil)
    }

    @Test func `a checkpoint is put off while a refusal is young, so that a restart meets it again`() throws {
        let stage = try stage()
        try stage.checkpoint()
        let before = stage.replayer.mark
        try stage.write(2, "far away", at: wild)
        try stage.checkpoint()
        #expect(stage.replayer.mark == before)
        try stage.restart()
        #expect(stage.replayer.counts.refused == 1)
        try stage.checkpoint()
        #expect(stage.replayer.mark == before)
        try truncate(stage, to: 10)
        try stage.checkpoint()
        #expect(stage.replayer.mark.position == StreamPosition(stage.script.position))
    }

    @Test func `a refusal that nothing puts right makes the data inconsistent, but not before its time`() throws {
        let stage = try stage()
        try stage.write(2, "far away", at: wild)
        try pass(stage, records: 4095)
        try stage.checkpoint()
        #expect(stage.replayer.consistent)
        try pass(stage, records: 1)
        #expect(throws: ReplayError.self) { try stage.checkpoint() }
        #expect(stage.replayer.inconsistency?.contains("/data/f") == true)
    }

    @Test func `more ranges than are kept apart are not forgotten`() throws {
        let stage = try stage()
        for index in 0..<200 { try stage.write(2, "far away", at: wild - UInt64(index % 4)) }
        try truncate(stage, to: wild)
        #expect(stage.replayer.counts.refused >= 200)
        #expect(refusalAtTheEnd(stage) != nil)
    }

    @Test(.enabled(if: geteuid() == 0))
    func `after a full disk a restart takes what was refused, once there is space`() throws {
        let full = try SmallDisk()
        let stage = try full.stage()
        try stage.checkpoint()
        try full.fill()
        let text = String(repeating: "y", count: 100_000)
        try stage.write(2, text)
        #expect(stage.replayer.counts.refused == 1)
        try stage.checkpoint()
        full.empty()
        try stage.restart()
        #expect(stage.replayer.counts.refused == 0)
        try stage.checkpoint()
        #expect(refusalAtTheEnd(stage) == nil)
        #expect(stage.text("f") == text)
    }

    @Test(.enabled(if: geteuid() == 0))
    func `allocation on a full disk gives the same bytes without the space`() throws {
        let full = try SmallDisk()
        let stage = try full.stage()
        try stage.write(2, String(repeating: "z", count: 5000))
        try full.fill()
        try allocate(stage, 0, 1 << 20)
        #expect(stage.replayer.counts.refused == 0 && refusalAtTheEnd(stage) == nil)
        #expect(stage.text("f") == String(repeating: "z", count: 5000) + String(repeating: "\0", count: (1 << 20) - 5000))
    }
}

/// A file system of 1 MiB.
private final class SmallDisk {
    private let scratch: Scratch
    let path: String

    init() throws {
        scratch = Scratch(in: Scratch.places.last!)
        path = scratch.directory("disk")
        try #require(mount("tmpfs", path, "tmpfs", 0, "size=1m") == 0)
    }

    /// Its tree on the small disk, its state not: f (2), empty.
    func stage() throws -> Stage {
        let stage = try Stage(in: path, state: scratch.directory("state"))
        try stage.create(2, "f")
        return stage
    }

    func fill() throws {
        let file = open(path + "/ballast", O_CREAT | O_WRONLY, 0o600)
        defer { close(file) }
        for bytes in [65536, 4096, 1] {
            let block = [UInt8](repeating: 1, count: bytes)
            while write(file, block, bytes) > 0 {}
        }
        try #require(errno == ENOSPC)
    }

    func empty() { unlink(path + "/ballast") }

    deinit { umount2(path, Int32(MNT_DETACH)) }
}
