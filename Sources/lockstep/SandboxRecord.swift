import Control
import Glibc

/// What a sandbox knows about itself between two commands: DIR/sandbox.json, replaced as a whole.
struct SandboxRecord: Codable {
    struct Node: Codable {
        var port: UInt16
        /// The daemon started last; it may be dead.
        var daemon: ProcessIdentity?
    }

    var version = 1
    var module = "sandbox"
    /// "a" or "b".
    var primary = "a"
    var waitBoundSeconds: Int?
    /// Of `up --io-uring`; nil: no.
    var ioUring: Bool?
    /// As `up --root` said; nil: one, DIR/NODE/data.
    var roots: [Sandbox.Root]?
    /// Of `up --outside`.
    var outside: [String]?
    /// Of `up --watch`; nil: report.
    var watch: String?
    var nodes: [String: Node] = ["a": Node(port: 0), "b": Node(port: 0)]

    static let name = "sandbox.json"

    static func load(_ directory: String) throws(ControlError) -> SandboxRecord? {
        let path = "\(directory)/\(name)"
        guard let bytes = readSmallFile(path) else {
            if errno == ENOENT || errno == ENOTDIR { return nil }
            throw ControlError(.noInput, "\(path): \(reason(errno))")
        }
        let record = try fromJSON(SandboxRecord.self, bytes, path)
        guard record.version == 1, ["a", "b"].contains(record.primary), record.nodes["a"] != nil, record.nodes["b"] != nil
        else { throw ControlError(.protocolError, "\(path): not a sandbox of this version") }
        return record
    }

    func save(_ directory: String) throws(ControlError) {
        let path = "\(directory)/\(SandboxRecord.name)"
        let bytes = Array(try jsonLine(self).utf8) + [0x0a]
        let descriptor = open(path + ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw ControlError(.cannotCreate, "\(path): \(reason(errno))") }
        defer { close(descriptor) }
        // A name that means an empty file after a power loss would make the trees look like a stranger's.
        guard write(descriptor, bytes, bytes.count) == bytes.count, fsync(descriptor) == 0,
            rename(path + ".new", path) == 0
        else { throw ControlError(.cannotCreate, "\(path): \(reason(errno))") }
    }
}
