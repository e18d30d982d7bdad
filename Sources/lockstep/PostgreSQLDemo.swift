import Control

/// PostgreSQL as Debian packages it, with eight clients of pgbench: its transaction and, in the same one, a row that
/// names client and number.
///
///     pgbench ── socket ──> postgres under `sandbox run`, as user postgres if the demo is root's
///        └──> own log, a line for each transaction whose COMMIT has returned
final class PostgreSQLDemo: DemoApplication {
    static let name = "postgresql"
    private static let clients = 8
    private let directory: String
    private let programs: PostgreSQLPrograms
    private var server: PostgreSQLServer?
    private var pgbench: Pgbench?
    /// Holds the lock that every transaction shares, while the load pauses.
    private var pauser: Subprocess?
    /// How many transactions each client was told are committed.
    private var acknowledged: [Int: Int] = [:]

    static func checkInstalled() throws(ControlError) { _ = try PostgreSQLPrograms() }

    init(directory: String) throws(ControlError) {
        self.directory = directory
        programs = try PostgreSQLPrograms()
    }

    let load = "pgbench with \(clients) clients writes into PostgreSQL"
    let writesUnasked = true

    func start(in sandbox: Sandbox) throws(ControlError) {
        let server = try PostgreSQLServer(programs, directory: directory, sandbox: sandbox)
        self.server = server
        try server.initialise()
        try server.start()
        try Pgbench.initialise(server)
        pgbench = try Pgbench(server, clients: PostgreSQLDemo.clients, log: "\(directory)/acknowledged.log")
    }

    var troubles: [String] { pgbench?.troubles ?? [] }

    /// Each transaction takes a lock that it shares with the others; who gets it alone knows that none is under way.
    func pause() throws(ControlError) {
        guard let server else { return }
        // What a checkpoint has begun it would go on writing.
        _ = try server.query("CHECKPOINT")
        let pauser = try server.client("psql", ["-XqAt"])
        guard pauser.write("SET statement_timeout = '60s';\nSELECT pg_advisory_lock(\(Pgbench.lock));\n\\echo alone\n") else {
            throw server.failed("psql", code: pauser.wait())
        }
        while let line = pauser.readLine() {
            if line == "alone" {
                self.pauser = pauser
                return
            }
        }
        throw server.failed("the pause", code: pauser.wait())
    }

    func resume() {
        _ = pauser?.write("\\q\n")
        pauser?.wait()
        pauser = nil
    }

    func expectEnd() {
        server?.rememberSharedMemory()
        pgbench?.expectEnd()
    }

    func waitUntilEnded() throws(ControlError) -> Int {
        server?.removeSharedMemory()
        acknowledged = try pgbench?.waitUntilEnded() ?? [:]
        return acknowledged.values.reduce(0, +)
    }

    func open(in sandbox: Sandbox) throws(ControlError) {
        let server = try PostgreSQLServer(programs, directory: directory, sandbox: sandbox)
        self.server = server
        try server.start()
    }

    func countLost() throws(ControlError) -> Int {
        guard let server else { return 0 }
        var missing = acknowledged.values.reduce(0, +)
        for line in try server.query(Pgbench.found) {
            let fields = line.split(separator: "|").compactMap { Int($0) }
            if fields.count == 2, fields[1] <= acknowledged[fields[0]] ?? 0 { missing -= 1 }
        }
        return missing
    }

    /// pg_amcheck of every relation, and whether the transactions are whole.
    func checkIntegrity() throws(ControlError) -> String {
        guard let server else { return "the server does not run" }
        let checker = try server.client("pg_amcheck", ["--install-missing", "--heapallindexed", "--jobs=2"], database: ["--database=postgres"])
        var found: [String] = []
        while let line = checker.readLine() { found.append(line) }
        let code = checker.wait()
        if code != 0 { found.append("pg_amcheck: code \(code): \(lastLine(of: server.errors) ?? "no message")") }
        let sums = try server.query(Pgbench.sums).first ?? ""
        let parts = Set(sums.split(separator: "|"))
        if parts.count != 1 { found.append("sums of accounts, tellers, branches and history differ: \(sums)") }
        return found.isEmpty ? "ok" : found.joined(separator: "; ")
    }
}
