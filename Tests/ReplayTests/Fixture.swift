import Glibc
import Platform
import Primitives
import Replay

/// A scratch directory, removed at the end.
final class Scratch {
    let path: String

    /// File systems to run on: the one of /var/tmp (ext4 on most servers) and tmpfs.
    static let places: [String] = ["/var/tmp", "/dev/shm"].filter { (place: String) in access(place, W_OK) == 0 }

    init(in place: String) {
        var template = Array((place + "/lockstep-replay-XXXXXX").utf8CString)
        precondition(mkdtemp(&template) != nil)
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    func directory(_ name: String) -> String {
        mkdir(path + "/" + name, 0o755)
        return path + "/" + name
    }

    deinit { remove(path) }

    private func remove(_ path: String) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        if status.st_mode & S_IFMT == S_IFDIR {
            chmod(path, 0o700)
            for name in (try? Directory.names(path: path)) ?? [] { remove(path + "/" + String(decoding: name, as: UTF8.self)) }
            rmdir(path)
        } else {
            unlink(path)
        }
    }
}

/// One line per name below `path`: type, mode, links, size or target, digest of the bytes.
func listing(_ path: String, namesOnly: Bool = false) -> [String: String] {
    var lines: [String: String] = [:]
    func visit(_ directory: String, _ prefix: String) {
        for name in ((try? Directory.names(path: directory)) ?? []).map({ String(decoding: $0, as: UTF8.self) }) {
            let full = directory + "/" + name
            var status = stat()
            guard lstat(full, &status) == 0 else { continue }
            let type = status.st_mode & S_IFMT
            var line = type == S_IFDIR ? "d" : type == S_IFLNK ? "l" : "f"
            if !namesOnly {
                if type != S_IFLNK { line += " mode " + String(status.st_mode & 0o7777, radix: 8) }
                line += " owner \(status.st_uid):\(status.st_gid)"
                if type == S_IFREG { line += " links \(status.st_nlink) size \(status.st_size) \(digest(full))" }
                if type == S_IFLNK { line += " -> " + target(full) }
            }
            lines[prefix + name] = line
            if type == S_IFDIR { visit(full, prefix + name + "/") }
        }
    }
    visit(path, "")
    return lines
}

/// The lines that only one of two listings has; empty: the trees are equal.
func differences(_ a: [String: String], _ b: [String: String]) -> [String] {
    Set(a.keys).union(b.keys).sorted().filter { a[$0] != b[$0] }.map { "\($0): \(a[$0] ?? "-") | \(b[$0] ?? "-")" }
}

private func digest(_ path: String) -> String {
    guard let bytes = try? FileDescriptor.reading(path).readAll(bytesMax: 64 << 20) else { return "unreadable" }
    return bytes.withUnsafeBytes { String(Checksum.crc32c($0), radix: 16) }
}

private func target(_ path: String) -> String {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = readlink(path, &buffer, buffer.count)
    return String(decoding: buffer.prefix(max(0, count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

func contents(_ path: String) -> String? {
    guard let bytes = try? FileDescriptor.reading(path).readAll(bytesMax: 64 << 20) else { return nil }
    return String(decoding: bytes, as: UTF8.self)
}

/// Records by hand, for the labelled cases: objects are small numbers.
struct Script {
    static let root = ObjectID(inode: 1, generation: 7, root: 0)
    var position: UInt64 = 0

    static func object(_ inode: UInt64) -> ObjectID { ObjectID(inode: inode, generation: 7, root: 0) }

    mutating func record(_ kind: Record.Kind, _ change: (inout Record) -> Void = { _ in }) -> Record {
        position += 1
        var record = Record(kind)
        record.position = StreamPosition(position)
        record.mode = kind == .mkdir ? 0o755 : 0o644
        record.owner = geteuid()
        record.group = getegid()
        change(&record)
        return record
    }
}

/// A replayer with a script: what the labelled cases are written in.
final class Stage {
    let scratch: Scratch
    let root: String
    let state: String
    var replayer: Replayer
    var script = Script()
    var journal: [(record: Record, payload: [UInt8])] = []

    /// With an empty copy done. On tmpfs if there is one: most cases do not depend on the file system, and flushes are dear.
    init(in place: String = Scratch.places.last!, state elsewhere: String? = nil, copied: Bool = true) throws {
        scratch = Scratch(in: place)
        root = scratch.directory("data")
        state = elsewhere ?? scratch.directory("state")
        replayer = try Replayer(roots: [root], stateDirectory: state, module: "test")
        if copied {
            try apply(.copyBegins)
            try apply(.present) {
                $0.object = Script.root
                $0.mode = S_IFDIR | 0o755
            }
            try apply(.copyEnds)
        }
    }

    /// How many descriptors of this process lead into this stage's directory.
    func openDescriptors() throws -> Int {
        try Directory.names(path: "/proc/self/fd").filter { target("/proc/self/fd/" + String(decoding: $0, as: UTF8.self)).hasPrefix(scratch.path) }.count
    }

    func apply(_ kind: Record.Kind, payload: String = "", _ change: (inout Record) -> Void = { _ in }) throws {
        try take(script.record(kind, change), Array(payload.utf8))
    }

    func take(_ record: Record, _ payload: [UInt8]) throws {
        var record = record
        record.payloadBytes = UInt32(payload.count)
        journal.append((record, payload))
        try payload.withUnsafeBytes { try replayer.apply(record, payload: $0) }
    }

    // The operations in short form. `parent` 1 is the root.
    func create(_ object: UInt64, _ name: String, in parent: UInt64 = 1, mode: UInt32 = 0o644) throws {
        try apply(.create) {
            $0.object = Script.object(object)
            $0.parent = Script.object(parent)
            $0.name = Array(name.utf8)
            $0.mode = mode
        }
    }

    func mkdir(_ object: UInt64, _ name: String, in parent: UInt64 = 1) throws {
        try apply(.mkdir) {
            $0.object = Script.object(object)
            $0.parent = Script.object(parent)
            $0.name = Array(name.utf8)
        }
    }

    func symlink(_ object: UInt64, _ name: String, to target: String) throws {
        try apply(.symlink, payload: target) {
            $0.object = Script.object(object)
            $0.parent = Script.root
            $0.name = Array(name.utf8)
        }
    }

    func write(_ object: UInt64, _ text: String, at offset: UInt64 = 0) throws {
        try apply(.write, payload: text) {
            $0.object = Script.object(object)
            $0.offset = offset
        }
    }

    func present(_ object: UInt64, _ name: String, in parent: UInt64 = 1, type: UInt32 = S_IFREG, mode: UInt32 = 0o644,
        size: UInt64 = 0, payload: String = "") throws
    {
        try apply(.present, payload: payload) {
            $0.object = Script.object(object)
            $0.parent = Script.object(parent)
            $0.name = Array(name.utf8)
            $0.mode = type | mode
            $0.length = size
        }
    }

    func name(_ kind: Record.Kind, _ name: String, in parent: UInt64 = 1) throws {
        try apply(kind) {
            $0.parent = Script.object(parent)
            $0.name = Array(name.utf8)
        }
    }

    func rename(_ name: String, to target: String, in parent: UInt64 = 1, targetIn targetParent: UInt64 = 1, flags: UInt64 = 0)
        throws
    {
        try apply(.rename) {
            $0.parent = Script.object(parent)
            $0.name = Array(name.utf8)
            $0.targetParent = Script.object(targetParent)
            $0.targetName = Array(target.utf8)
            $0.argument = flags
        }
    }

    func link(_ object: UInt64, _ name: String) throws {
        try apply(.link) {
            $0.object = Script.object(object)
            $0.targetParent = Script.root
            $0.targetName = Array(name.utf8)
        }
    }

    func outcome(of position: UInt64, succeeded: Bool, object: UInt64 = 0, mode: UInt32 = 0o644) throws {
        try apply(.outcome) {
            $0.argument = position
            $0.flags = succeeded ? .succeeded : []
            $0.object = object == 0 ? .none : Script.object(object)
            $0.mode = mode
        }
    }

    /// A checkpoint at the last record.
    func checkpoint() throws {
        try replayer.checkpoint(Replayer.Mark(position: StreamPosition(script.position), epoch: Epoch(3), chain: 99))
    }

    /// The process ends and comes back; the journal behind the checkpoint is replayed.
    func restart() throws {
        replayer = try Replayer.recover(roots: [root], stateDirectory: state, module: "test")
        for (record, payload) in journal where replayer.mark.position < record.position {
            try payload.withUnsafeBytes { try replayer.apply(record, payload: $0) }
        }
        try replayer.replayEnded()
    }

    func names() -> [String] { listing(root).keys.sorted() }
    func text(_ name: String) -> String? { contents(root + "/" + name) }
    func mode(_ name: String) -> mode_t {
        var status = stat()
        return lstat(root + "/" + name, &status) == 0 ? status.st_mode & 0o7777 : 0
    }
    func inode(_ name: String) -> UInt64 {
        var status = stat()
        return lstat(root + "/" + name, &status) == 0 ? UInt64(status.st_ino) : 0
    }
}
