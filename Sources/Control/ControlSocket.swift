import CProcess
import Glibc
internal import Foundation

/// One end of a control connection: lines with a bound on their length and on their time, and the socket's address.
///
/// A node directory's path may be longer than `sun_path` (107 bytes); so the socket is reached through the opened
/// directory, as `/proc/self/fd/N/control.sock`, which is always short.
struct ControlSocket: ~Copyable {
    let descriptor: Int32

    static let name = "control.sock"

    init(descriptor: Int32) { self.descriptor = descriptor }

    deinit { close(descriptor) }

    /// Opens a node directory; the caller closes it.
    static func openDirectory(_ path: String) throws(ControlError) -> Int32 {
        let directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if directory >= 0 { return directory }
        let code: ExitCode = errno == ENOENT || errno == ENOTDIR ? .noInput : .system
        throw ControlError(code, "node directory \(path): \(reason(errno))")
    }

    static func make() throws(ControlError) -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        if descriptor < 0 { throw ControlError(.system, "control socket: \(reason(errno))") }
        return descriptor
    }

    /// Calls `body` (bind or connect) with the address of the socket in `directory`.
    static func withAddress(in directory: Int32, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let path = Array("/proc/self/fd/\(directory)/\(name)".utf8)
        withUnsafeMutableBytes(of: &address.sun_path) { bytes in
            precondition(path.count < bytes.count)
            bytes.copyBytes(from: path)
        }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
    }

    /// The other end runs as this user or as root; root itself talks to everybody.
    func peerIsTrusted() -> Bool {
        var user: UInt32 = 0
        var pid: pid_t = 0
        guard cprocess_peer(descriptor, &user, &pid) == 0 else { return false }
        return user == geteuid() || user == 0 || geteuid() == 0
    }

    /// Reads up to the next line feed. Nil at the end of the stream. What follows the line feed is a breach of the
    /// protocol: each side speaks in turn.
    func readLine(bytesMax: Int, within bound: Duration) throws(ControlError) -> [UInt8]? {
        let deadline = ContinuousClock.now + bound
        var line: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 4096)
        while true {
            try wait(for: POLLIN, until: deadline)
            let count = recv(descriptor, &piece, piece.count, Int32(MSG_DONTWAIT))
            if count < 0 {
                if errno == EINTR || errno == EAGAIN { continue }
                throw ControlError(.unavailable, "control connection: \(reason(errno))")
            }
            if count == 0 {
                if line.isEmpty { return nil }
                throw ControlError(.unavailable, "control connection: ended in the middle of a line")
            }
            line.append(contentsOf: piece[..<count])
            if let end = line.firstIndex(of: 0x0a) {
                guard end == line.count - 1 else {
                    throw ControlError(.protocolError, "control connection: bytes after the end of the line")
                }
                line.removeLast()
                if line.count > bytesMax { break }
                return line
            }
            if line.count > bytesMax { break }
        }
        throw ControlError(.protocolError, "control connection: a line is longer than \(bytesMax) bytes")
    }

    func writeLine(_ line: [UInt8], within bound: Duration) throws(ControlError) {
        let deadline = ContinuousClock.now + bound
        let bytes = line + [0x0a]
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                send(descriptor, $0.baseAddress! + sent, bytes.count - sent,
                    Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
            }
            if count >= 0 {
                sent += count
            } else if errno == EAGAIN {
                try wait(for: POLLOUT, until: deadline)
            } else if errno != EINTR {
                throw ControlError(.unavailable, "control connection: \(reason(errno))")
            }
        }
    }

    private func wait(for events: Int32, until deadline: ContinuousClock.Instant) throws(ControlError) {
        while true {
            let left = ContinuousClock.now.duration(to: deadline)
            let milliseconds = left.components.seconds * 1000 + left.components.attoseconds / 1_000_000_000_000_000
            if left <= .zero { throw ControlError(.bound, "control connection: no answer within the bound") }
            var entry = pollfd(fd: descriptor, events: Int16(events), revents: 0)
            let count = poll(&entry, 1, Int32(clamping: max(1, milliseconds)))
            if count > 0 { return }
            if count < 0 && errno != EINTR { throw ControlError(.system, "control connection: \(reason(errno))") }
        }
    }
}

/// The system's words for an errno value.
func reason(_ error: Int32) -> String { String(cString: strerror(error)) }

/// JSON of one message, on one line.
func encode(_ value: some Encodable) throws(ControlError) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    do { return Array(try encoder.encode(value)) } catch {
        throw ControlError(.protocolError, "control message: \(error)")
    }
}

func decode<Value: Decodable>(_ type: Value.Type, _ bytes: [UInt8]) throws(ControlError) -> Value {
    do { return try JSONDecoder().decode(type, from: Data(bytes)) } catch {
        throw ControlError(.protocolError, "control message: not a \(type): \(String(decoding: bytes.prefix(80), as: UTF8.self))")
    }
}
