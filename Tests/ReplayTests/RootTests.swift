import Glibc
import Platform
import Primitives
import Replay
import Testing

/// Several roots, and links from one into the other: what a link points to is another path on each node.
@Suite struct RootTests {
    private let scratch = Scratch(in: Scratch.places.last!)
    private let replayer: Replayer
    private static let second = ObjectID(inode: 1, generation: 7, root: 1)

    init() throws {
        replayer = try Replayer(roots: [scratch.directory("data"), scratch.directory("wal")], stateDirectory: scratch.directory("state"), module: "test")
        try apply(.copyBegins)
        for root in [Script.root, RootTests.second] {
            try apply(.present) {
                $0.object = root
                $0.mode = S_IFDIR | 0o755
            }
        }
        try apply(.copyEnds)
    }

    private func apply(_ kind: Record.Kind, payload: String = "", _ change: (inout Record) -> Void = { _ in }) throws {
        var script = Script(position: next.value)
        var record = script.record(kind, change)
        next.value = script.position
        record.payloadBytes = UInt32(payload.utf8.count)
        try Array(payload.utf8).withUnsafeBytes { try replayer.apply(record, payload: $0) }
    }

    private final class Next { var value: UInt64 = 0 }
    private let next = Next()

    private func symlink(_ object: UInt64, _ name: String, root: UInt64, _ text: String) throws {
        try apply(.symlink, payload: text) {
            $0.object = Script.object(object)
            $0.parent = Script.root
            $0.name = Array(name.utf8)
            $0.argument = root
        }
    }

    private func target(_ name: String) -> String? {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink(scratch.path + "/data/" + name, &buffer, buffer.count)
        return count < 0 ? nil : String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    @Test func `a link into a root points to this node's path of that root`() throws {
        try symlink(2, "pg_wal", root: 2, "")
        try symlink(3, "spc", root: 1, "/pg_tblspc//16384")
        try symlink(4, "as-is", root: 0, "/elsewhere")
        #expect(target("pg_wal") == scratch.path + "/wal")
        #expect(target("spc") == scratch.path + "/data/pg_tblspc//16384")
        #expect(target("as-is") == "/elsewhere")
    }

    @Test func `a name fill of a link that is right changes nothing, of another one replaces it`() throws {
        func present(root: UInt64, _ text: String) throws {
            try apply(.present, payload: text) {
                $0.object = Script.object(2)
                $0.parent = Script.root
                $0.name = Array("l".utf8)
                $0.mode = S_IFLNK | 0o777
                $0.argument = root
            }
        }
        func inode() -> UInt64 {
            var status = stat()
            return lstat(scratch.path + "/data/l", &status) == 0 ? UInt64(status.st_ino) : 0
        }
        try symlink(2, "l", root: 2, "/x")
        let made = inode()
        try present(root: 2, "/x")
        #expect(inode() == made && target("l") == scratch.path + "/wal/x")
        try present(root: 2, "/y")
        #expect(target("l") == scratch.path + "/wal/y")
        try present(root: 0, "z")
        #expect(target("l") == "z")
    }

    @Test func `a tentative link into a root itself is made at a takeover`() throws {
        try apply(.symlink) {
            $0.flags = .tentative
            $0.parent = Script.root
            $0.name = Array("l".utf8)
            $0.argument = 2
        }
        #expect(target("l") == nil)
        try replayer.finish()
        #expect(target("l") == scratch.path + "/wal")
    }

    @Test(arguments: [(UInt64(3), "/x"), (UInt64.max, ""), (UInt64(1), "x"), (UInt64(2), "x/../..")])
    func `a link into no root of this node stops replay`(_ root: UInt64, _ text: String) throws {
        #expect(throws: ReplayError.self) { try symlink(2, "l", root: root, text) }
        #expect(!replayer.consistent && target("l") == nil)
    }

    @Test func `each root has its own space for what has no name`() throws {
        for (object, parent) in [(UInt64(5), Script.root), (UInt64(6), RootTests.second)] {
            try apply(.create) {
                $0.object = ObjectID(inode: object, generation: 7, root: parent.root)
                $0.parent = parent
                $0.name = Array("f".utf8)
            }
            try apply(.unlink) {
                $0.parent = parent
                $0.name = Array("f".utf8)
            }
        }
        for name in ["data", "wal"] { #expect(try Directory.names(path: scratch.path + "/.lockstep-test/limbo/" + name).count == 1) }
    }
}
