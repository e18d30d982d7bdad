import Glibc

/// Asks the daemon of a node directory one thing at a time, each on a connection of its own.
public struct ControlClient: Sendable {
    public let directory: String

    public init(directory: String) { self.directory = directory }

    /// Sends the request and waits for its reply.
    ///
    /// A refusal by the daemon is a reply with `ok == false`, not an error.
    /// - Throws: `.unavailable` when no daemon answers, `.noInput` when the directory is missing, `.bound` when
    ///   `timeout` passed, `.refused` when the socket belongs to another user, `.protocolError` for foreign bytes.
    public func call(_ verb: String, _ arguments: [String: String] = [:], timeout: Duration = .seconds(10))
        throws(ControlError) -> ControlReply
    {
        let connection = try connected()
        guard connection.peerIsTrusted() else {
            throw ControlError(.refused, "daemon at \(directory): it runs as another user")
        }
        let request = try encode(ControlRequest(verb: verb, arguments: arguments))
        guard request.count <= ControlRequest.bytesMax else {
            throw ControlError(.usage, "request \(verb): longer than \(ControlRequest.bytesMax) bytes")
        }
        do throws(ControlError) {
            // A daemon that turns the connection away answers at once and may be gone before the request is written:
            // its answer says more than the broken pipe does.
            do throws(ControlError) { try connection.writeLine(request, within: timeout) } catch {
                guard error.code == .unavailable else { throw error }
            }
            guard let line = try connection.readLine(bytesMax: ControlReply.bytesMax, within: timeout) else {
                throw ControlError(.unavailable, "it ended the connection without an answer")
            }
            return try decode(ControlReply.self, line)
        } catch {
            throw ControlError(error.code, "daemon at \(directory), \(verb): \(error.message)")
        }
    }

    private func connected() throws(ControlError) -> ControlSocket {
        let opened = try ControlSocket.openDirectory(directory)
        defer { close(opened) }
        let connection = ControlSocket(descriptor: try ControlSocket.make())
        // A full backlog must not hold the caller for ever.
        var limit = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(connection.descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        let descriptor = connection.descriptor
        var result: Int32
        repeat {
            result = ControlSocket.withAddress(in: opened) { connect(descriptor, $0, $1) }
        } while result < 0 && errno == EINTR
        if result == 0 { return connection }
        switch errno {
        case ENOENT, ECONNREFUSED:
            throw ControlError(.unavailable, "daemon at \(directory): not running")
        case EACCES, EPERM:
            throw ControlError(.refused, "daemon at \(directory): this user may not use its control socket")
        case EAGAIN, EINPROGRESS:
            throw ControlError(.bound, "daemon at \(directory): it does not take connections")
        default:
            throw ControlError(.system, "daemon at \(directory): \(reason(errno))")
        }
    }
}
