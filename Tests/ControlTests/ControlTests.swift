import CCaptureABI
import CLinux
import Control
import Dispatch
import Glibc
import Synchronization
import Testing

@Suite struct ControlTests {
    private func echo(_ request: ControlRequest) -> ControlReply {
        ControlReply(fields: request.arguments.merging(["verb": request.verb]) { a, _ in a })
    }

    @Test func `A request and its reply arrive unchanged`() throws {
        let directory = TemporaryDirectory()
        let server = try ControlServer(directory: directory.path, handler: echo)
        defer { server.stop() }
        let text = "line\nfeed, \"quotes\", ünïcode, \u{0} and /slashes/"
        let reply = try ControlClient(directory: directory.path).call("settle", ["text": text])
        #expect(reply == ControlReply(fields: ["verb": "settle", "text": text]))
    }

    @Test func `Every field of a status survives the way`() throws {
        let directory = TemporaryDirectory()
        var status = Status(module: "sandbox", node: "a", role: "primary")
        status.state = .alone
        status.data = .upToDate
        status.positions.acked = .max
        status.copy.objects = 5
        status.roots = [.init(name: "data", path: "/somewhere")]
        status.lastError = "none"
        let sent = status
        let server = try ControlServer(directory: directory.path) { _ in ControlReply(status: sent) }
        defer { server.stop() }
        #expect(try ControlClient(directory: directory.path).call("status").status == sent)
    }

    @Test func `A refusal carries its code and its words`() throws {
        let directory = TemporaryDirectory()
        let server = try ControlServer(directory: directory.path) { _ in
            ControlReply(refusing: .refused, "the peer lives")
        }
        defer { server.stop() }
        let reply = try ControlClient(directory: directory.path).call("takeover")
        #expect(!reply.ok)
        #expect(reply.code == .refused)
        #expect(reply.error == "the peer lives")
    }

    @Test func `A path longer than a socket address works`() throws {
        let directory = TemporaryDirectory()
        var path = directory.path
        for _ in 0..<4 {
            path += "/" + String(repeating: "d", count: 60)
            #expect(mkdir(path, 0o700) == 0)
        }
        let server = try ControlServer(directory: path, handler: echo)
        defer { server.stop() }
        #expect(try ControlClient(directory: path).call("status").ok)
    }

    @Test func `The socket is for its owner only, whatever the umask`() throws {
        let directory = TemporaryDirectory()
        let server = try ControlServer(directory: directory.path, handler: echo)
        defer { server.stop() }
        var status = stat()
        #expect(lstat(directory.path + "/control.sock", &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
    }

    @Test func `What other threads make while sockets are made keeps its mode`() throws {
        let directory = TemporaryDirectory()
        let wrong = Mutex(0)
        DispatchQueue.concurrentPerform(iterations: 2) { part in
            for number in 0..<1500 {
                if part == 0 {
                    close(lockstep_unix_listen(directory.path, "socket", Int32(SOCK_STREAM.rawValue)))
                } else {
                    let path = directory.path + "/\(number)"
                    var status = stat()
                    if mkdir(path, 0o700) != 0 || lstat(path, &status) != 0 || status.st_mode & 0o777 != 0o700 { wrong.withLock { $0 += 1 } }
                    rmdir(path)
                }
            }
        }
        #expect(wrong.withLock { $0 } == 0)
    }

    @Test func `A second daemon in the same directory is refused`() throws {
        let directory = TemporaryDirectory()
        let server = try ControlServer(directory: directory.path, handler: echo)
        defer { server.stop() }
        let error = #expect(throws: ControlError.self) {
            try ControlServer(directory: directory.path, handler: self.echo)
        }
        #expect(error?.code == .refused)
        #expect(try ControlClient(directory: directory.path).call("status").ok)
    }

    @Test func `A socket left behind by a killed daemon is replaced`() throws {
        let directory = TemporaryDirectory()
        let left = try Connection.listening(in: directory.path)
        _ = consume left
        let error = #expect(throws: ControlError.self) { try ControlClient(directory: directory.path).call("status") }
        #expect(error?.code == .unavailable)
        let server = try ControlServer(directory: directory.path, handler: echo)
        defer { server.stop() }
        #expect(try ControlClient(directory: directory.path).call("status").ok)
    }

    @Test func `Without a daemon the client says so`() {
        let directory = TemporaryDirectory()
        let error = #expect(throws: ControlError.self) { try ControlClient(directory: directory.path).call("status") }
        #expect(error?.code == .unavailable)
        let missing = #expect(throws: ControlError.self) {
            try ControlClient(directory: directory.path + "/missing").call("status")
        }
        #expect(missing?.code == .noInput)
    }

    @Test func `A daemon that does not answer costs the timeout and no more`() throws {
        let directory = TemporaryDirectory()
        let silent = try Connection.listening(in: directory.path)
        let error = #expect(throws: ControlError.self) {
            try ControlClient(directory: directory.path).call("status", timeout: .milliseconds(50))
        }
        #expect(error?.code == .bound)
        _ = consume silent
    }

    @Test(arguments: ["hello", "{\"verb\":1}", "[]", "", "{\"verb\":\"status\"}"])
    func `Bytes that are no request are answered with a protocol error`(_ line: String) throws {
        let directory = TemporaryDirectory()
        let server = try ControlServer(directory: directory.path, handler: echo)
        defer { server.stop() }
        let connection = try Connection.connected(to: directory.path)
        connection.send(line + "\n")
        #expect(connection.receive().contains("\"code\":76"))
    }

    @Test func `A request longer than the limit is refused unread`() throws {
        let directory = TemporaryDirectory()
        let handled = Mutex(0)
        let server = try ControlServer(directory: directory.path) { _ in
            handled.withLock { $0 += 1 }
            return ControlReply()
        }
        defer { server.stop() }
        let connection = try Connection.connected(to: directory.path)
        connection.send(String(repeating: "x", count: ControlRequest.bytesMax + 5000))
        #expect(connection.receive().contains("\"code\":76"))
        #expect(handled.withLock { $0 } == 0)
    }

    @Test func `One connection more than the limit is told so, and the others go on`() throws {
        let directory = TemporaryDirectory()
        let gate = Gate()
        let server = try ControlServer(directory: directory.path) { _ in
            gate.pass()
            return ControlReply(fields: ["late": "yes"])
        }
        defer { server.stop() }
        var connections: [Int32] = []
        defer { for connection in connections { close(connection) } }
        for _ in 0..<ControlServer.connectionsMax {
            let connection = try Connection.connected(to: directory.path)
            connection.send("{\"verb\":\"wait\",\"arguments\":{}}\n")
            connections.append(connection.release())
        }
        gate.waitUntilInside(ControlServer.connectionsMax)
        let error = try ControlClient(directory: directory.path).call("status")
        #expect(error.code == .bound)
        gate.open()
        for connection in connections {
            #expect(Connection(descriptor: dup(connection)).receive().contains("late"))
        }
    }

    @Test func `The exit codes are those of the capture ABI`() {
        #expect(ExitCode.usage.rawValue == LOCKSTEP_EXIT_USAGE)
        #expect(ExitCode.noInput.rawValue == LOCKSTEP_EXIT_NO_INPUT)
        #expect(ExitCode.unavailable.rawValue == LOCKSTEP_EXIT_UNAVAILABLE)
        #expect(ExitCode.system.rawValue == LOCKSTEP_EXIT_OS)
        #expect(ExitCode.cannotCreate.rawValue == LOCKSTEP_EXIT_CANT_CREATE)
        #expect(ExitCode.bound.rawValue == LOCKSTEP_EXIT_BOUND)
        #expect(ExitCode.protocolError.rawValue == LOCKSTEP_EXIT_PROTOCOL)
        #expect(ExitCode.refused.rawValue == LOCKSTEP_EXIT_REFUSED)
        #expect(ExitCode.configuration.rawValue == LOCKSTEP_EXIT_CONFIG)
        #expect(ExitCode.uncovered.rawValue == LOCKSTEP_EXIT_UNCOVERED)
        #expect(ExitCode.notFound.rawValue == LOCKSTEP_EXIT_NOT_FOUND)
    }
}
