import Glibc

/// A bare socket: for what a well-behaved client or server never does.
struct Connection: ~Copyable {
    let descriptor: Int32

    init(descriptor: Int32) { self.descriptor = descriptor }

    deinit { close(descriptor) }

    consuming func release() -> Int32 {
        let descriptor = dup(descriptor)
        return descriptor
    }

    static func connected(to directory: String) throws -> Connection { try make(directory, connect) }

    static func listening(in directory: String) throws -> Connection {
        let connection = try make(directory, bind)
        guard listen(connection.descriptor, 8) == 0 else { throw SystemError(errno) }
        return connection
    }

    func send(_ text: String) {
        let bytes = Array(text.utf8)
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
            }
            if count <= 0 { return }
            sent += count
        }
    }

    /// All that comes up to the first line feed or the end.
    func receive() -> String {
        var bytes: [UInt8] = []
        var byte: UInt8 = 0
        while recv(descriptor, &byte, 1, 0) == 1, byte != 0x0a { bytes.append(byte) }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func make(_ directory: String,
        _ body: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32) throws -> Connection
    {
        let connection = Connection(descriptor: socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0))
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array((directory + "/control.sock").utf8)) }
        let descriptor = connection.descriptor
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        guard result == 0 else { throw SystemError(errno) }
        return connection
    }
}

struct SystemError: Error {
    var number: Int32
    init(_ number: Int32) { self.number = number }
}
