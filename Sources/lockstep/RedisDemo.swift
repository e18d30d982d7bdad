import Control
import Glibc

/// Redis with an append-only file that is flushed before every answer.
///
///     client thread ── SET commit:CLIENT:N TEXT ──> redis-server under `sandbox run`
///           │  <────────────────── +OK ──┘
///           └──> own log, outside of the trees
final class RedisDemo: DemoApplication {
    static let name = "redis"
    private static let clients = 8
    private let directory: String
    private let clientLoad: ClientLoad
    private var sandbox: Sandbox?
    private var server: Subprocess?

    static func checkInstalled() throws(ControlError) {
        for program in ["redis-server", "redis-check-aof"] where !Program.isInstalled(program) {
            throw ControlError(.notFound, "\(program): it is not installed; apt-get install redis-server")
        }
    }

    init(directory: String) throws(ControlError) {
        self.directory = directory
        clientLoad = try ClientLoad(log: "\(directory)/acknowledged.log")
    }

    let load = "\(clients) clients write into Redis"
    // A rewrite of the append-only file goes on when nobody asks for anything.
    let writesUnasked = true

    func start(in sandbox: Sandbox) throws(ControlError) {
        try open(in: sandbox)
        for client in 1...RedisDemo.clients {
            guard let connection = RedisConnection(socketPath) else { throw noAnswer() }
            clientLoad.start(client, connection)
        }
    }

    var troubles: [String] { clientLoad.troubles }
    func pause() { clientLoad.pause() }
    func resume() { clientLoad.resume() }
    func expectEnd() { clientLoad.expectEnd() }

    func waitUntilEnded() -> Int {
        clientLoad.waitUntilEnded()
        return clientLoad.acknowledged.count
    }

    /// Starts the server, on whatever lies in the tree. It rewrites its file whenever that has doubled.
    func open(in sandbox: Sandbox) throws(ControlError) {
        self.sandbox = sandbox
        let data = "\(sandbox.tree(sandbox.primary))/redis"
        let maker = try RedisDemo.captured(["mkdir", "-p", data], in: sandbox, errors: errors)
        guard maker.wait() == 0 else { throw noAnswer() }
        let server = try RedisDemo.captured(["redis-server", "--port", "0", "--unixsocket", socketPath, "--dir", data,
            "--appendonly", "yes", "--appendfsync", "always", "--save", "", "--auto-aof-rewrite-min-size", "1mb",
            "--logfile", log], in: sandbox, errors: errors)
        self.server = server
        let deadline = ContinuousClock.now + .seconds(60)
        while true {
            if let connection = RedisConnection(socketPath), connection.ask("PING") == "+PONG" { return }
            guard server.identity.isAlive, ContinuousClock.now < deadline else { throw noAnswer() }
            usleep(10_000)
        }
    }

    func countLost() throws(ControlError) -> Int {
        guard let connection = RedisConnection(socketPath) else { throw noAnswer() }
        return clientLoad.acknowledged.count { commit, text in connection.get(RedisConnection.key(commit)) != text }
    }

    func checkIntegrity() throws(ControlError) -> String {
        guard let sandbox else { return "the server does not run" }
        let manifest = "\(sandbox.tree(sandbox.primary))/redis/appendonlydir/appendonly.aof.manifest"
        let checker = try RedisDemo.captured(["redis-check-aof", manifest], in: sandbox, errors: errors)
        var last = "it says nothing"
        while let line = checker.readLine() { last = line }
        let code = checker.wait()
        return code == 0 && last == "All AOF files and manifest are valid" ? "ok" : "redis-check-aof: code \(code): \(last)"
    }

    private var socketPath: String { "\(directory)/redis.socket" }
    private var log: String { "\(directory)/redis.log" }
    private var errors: String { "\(directory)/redis.errors" }

    private func noAnswer() -> ControlError {
        ControlError(.bound, "Redis does not answer: \(lastLine(of: errors) ?? lastLine(of: log) ?? "it left no message")")
    }
}

/// A connection to Redis; one thread uses it. Requests are inline commands (its protocol, "Inline commands").
final class RedisConnection: LoadClient, @unchecked Sendable {
    private let descriptor: Int32
    private var lines: LineReader

    /// Nil when nobody listens.
    init?(_ path: String) {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        lines = LineReader(descriptor)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard descriptor >= 0, bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return nil }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        // A server that neither answers nor dies must not hold the demo for ever.
        var bound = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &bound, socklen_t(MemoryLayout<timeval>.size))
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        guard result == 0 else { return nil }
    }

    deinit { close(descriptor) }

    static func key(_ commit: ClientLoad.Commit) -> String { "commit:\(commit.client):\(commit.number)" }

    /// The first line of the answer; nil when the server is gone.
    func ask(_ request: String) -> String? {
        let bytes = Array("\(request)\r\n".utf8)
        guard send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count, let line = lines.next() else { return nil }
        return String(line.dropLast(line.hasSuffix("\r") ? 1 : 0))
    }

    /// The value of a key that holds one line.
    func get(_ key: String) -> String? {
        guard let head = ask("GET \(key)"), head.hasPrefix("$"), head != "$-1", let line = lines.next() else { return nil }
        return line.hasSuffix("\r") ? String(line.dropLast()) : line
    }

    func write(_ commit: ClientLoad.Commit, _ text: String) -> String? {
        guard let answer = ask("SET \(RedisConnection.key(commit)) \(text)") else { return "its server is gone" }
        return answer == "+OK" ? nil : "it answered \(answer)"
    }

    func lastWords() -> String { "connection closed" }
}
