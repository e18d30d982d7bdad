import CProcess
import Glibc
import Synchronization
internal import Foundation

/// Answers requests on NODE_DIRECTORY/control.sock.
///
///     accept thread ──> connection thread (at most 16) ──> handler ──> one line back
///
/// Only this node's own clients get that far: the socket has mode 0600 from its first moment, and the peer's
/// credentials are checked. A client that is slow to ask or to take its answer loses the connection after
/// `clientBound`; it can't hold a thread, nor make the daemon store more than one bounded line.
public final class ControlServer: Sendable {
    public typealias Handler = @Sendable (ControlRequest) -> ControlReply

    /// Connections served at once; one more is told so and closed.
    public static let connectionsMax = 16
    /// Time for a client to send one request, and again to take its reply.
    public static let clientBound = Duration.seconds(10)

    private struct State {
        var stopped = false
        var connections: Set<Int32> = []
    }

    private let directory: Int32
    private let lock: Int32
    private let listener: Int32
    private let handler: Handler
    private let state = Mutex(State())

    /// Takes the control socket of `directory` and serves it until `stop()`.
    /// - Throws: `.noInput` (no directory), `.cannotCreate` (not writable), `.refused` (a daemon has it already).
    public init(directory path: String, handler: @escaping Handler) throws(ControlError) {
        let directory = try ControlSocket.openDirectory(path)
        var lock: Int32 = -1
        var listener: Int32 = -1
        do throws(ControlError) {
            lock = try ControlServer.takeLock(directory, path)
            // Whoever held the lock is gone: a socket that still lies there is nobody's.
            unlinkat(directory, ControlSocket.name, 0)
            listener = try ControlServer.listen(directory, path)
        } catch {
            if lock >= 0 { close(lock) }
            close(directory)
            throw error
        }
        self.directory = directory
        self.lock = lock
        self.listener = listener
        self.handler = handler
        Thread.detachNewThread { self.acceptConnections() }
    }

    deinit {
        close(listener)
        close(lock)
        close(directory)
    }

    /// Ends all connections and removes the socket. The handlers that run end by themselves.
    public func stop() {
        state.withLock { state in
            guard !state.stopped else { return }
            state.stopped = true
            unlinkat(directory, ControlSocket.name, 0)
            shutdown(listener, Int32(SHUT_RDWR))
            for connection in state.connections { shutdown(connection, Int32(SHUT_RD)) }
        }
    }

    private static func takeLock(_ directory: Int32, _ path: String) throws(ControlError) -> Int32 {
        let lock = openat(directory, "control.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        if lock < 0 { throw ControlError(.cannotCreate, "node directory \(path): \(reason(errno))") }
        if flock(lock, LOCK_EX | LOCK_NB) == 0 { return lock }
        let error = errno
        close(lock)
        throw error == EWOULDBLOCK
            ? ControlError(.refused, "node directory \(path): a daemon is running there already")
            : ControlError(.system, "node directory \(path): \(reason(error))")
    }

    private static func listen(_ directory: Int32, _ path: String) throws(ControlError) -> Int32 {
        let listener = try ControlSocket.make()
        // On Linux bind takes the socket's own mode for the file: it is never open to others, not even for a moment.
        fchmod(listener, 0o600)
        guard ControlSocket.withAddress(in: directory, { bind(listener, $0, $1) }) == 0,
            Glibc.listen(listener, 32) == 0
        else {
            let error = errno
            close(listener)
            throw ControlError(error == EACCES || error == EROFS || error == ENOSPC ? .cannotCreate : .system,
                "control socket in \(path): \(reason(error))")
        }
        return listener
    }

    private func acceptConnections() {
        while true {
            var descriptor: Int32 = -1
            let error = cprocess_accept(listener, &descriptor)
            if state.withLock({ $0.stopped }) {
                if error == 0 { close(descriptor) }
                return
            }
            switch error {
            case 0: admit(descriptor)
            case EMFILE, ENFILE, ENOMEM, ENOBUFS: usleep(10_000)  // out of descriptors: the backlog waits
            default: continue
            }
        }
    }

    private func admit(_ descriptor: Int32) {
        let admitted = state.withLock { state in
            guard !state.stopped, state.connections.count < ControlServer.connectionsMax else { return false }
            state.connections.insert(descriptor)
            return true
        }
        if admitted {
            Thread.detachNewThread { self.serve(descriptor) }
        } else {
            let connection = ControlSocket(descriptor: descriptor)
            let reply = ControlReply(refusing: .bound, "\(ControlServer.connectionsMax) requests are being answered already")
            // A fresh socket takes one short line without waiting.
            try? connection.writeLine(encode(reply), within: .milliseconds(1))
        }
    }

    private func serve(_ descriptor: Int32) {
        let connection = ControlSocket(descriptor: descriptor)
        converse(connection)
        // Forgotten before it is closed: afterwards its number can mean another connection.
        state.withLock { _ = $0.connections.remove(descriptor) }
        _ = consume connection
    }

    private func converse(_ connection: borrowing ControlSocket) {
        guard connection.peerIsTrusted() else {
            try? connection.writeLine(encode(ControlReply(refusing: .refused, "this user may not control the daemon")),
                within: ControlServer.clientBound)
            return
        }
        while true {
            let reply: ControlReply
            do throws(ControlError) {
                guard let line = try connection.readLine(bytesMax: ControlRequest.bytesMax, within: ControlServer.clientBound)
                else { return }
                reply = handler(try decode(ControlRequest.self, line))
            } catch {
                try? connection.writeLine(encode(ControlReply(refusing: error.code, error.message)),
                    within: ControlServer.clientBound)
                return
            }
            do { try connection.writeLine(encode(reply), within: ControlServer.clientBound) } catch { return }
        }
    }
}
