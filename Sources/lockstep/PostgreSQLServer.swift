import Control
import Glibc

/// The programs of the newest PostgreSQL that is installed as Debian does it.
struct PostgreSQLPrograms {
    let directory: String

    /// - Throws: `.notFound`, with the package's name.
    init() throws(ControlError) {
        let parent = "/usr/lib/postgresql"
        let versions = names(in: parent).compactMap { Int($0) }.sorted(by: >)
        let found = versions.map { "\(parent)/\($0)/bin" }.first { directory in
            ["initdb", "postgres", "psql", "pgbench", "pg_amcheck"].allSatisfy { access("\(directory)/\($0)", X_OK) == 0 }
        }
        guard let found else {
            throw ControlError(.notFound, "PostgreSQL 14 or later: it is not installed; apt-get install postgresql-15")
        }
        directory = found
    }
}

/// A PostgreSQL server on the primary of a sandbox: captured, reached through a socket outside of the trees.
final class PostgreSQLServer {
    private let programs: PostgreSQLPrograms
    private let sandbox: Sandbox
    private let data: String
    private let sockets: String
    /// What server and clients complain about.
    let errors: String
    private var server: Subprocess?
    private var memory: (segment: Int32?, files: [String]) = (nil, [])

    init(_ programs: PostgreSQLPrograms, directory: String, sandbox: Sandbox) throws(ControlError) {
        self.programs = programs
        self.sandbox = sandbox
        data = "\(sandbox.tree(sandbox.primary))/postgresql"
        sockets = "\(directory)/sockets-\(sandbox.primary)"
        errors = "\(directory)/postgresql.log"
        mkdir(sockets, 0o700)
        guard geteuid() == 0 else { return }
        // The server's user must get to its files and sockets.
        guard let user = getpwnam(Self.user) else { throw ControlError(.notFound, "no user \(Self.user): PostgreSQL's package makes one") }
        guard chmod(directory, 0o711) == 0, chown(sockets, user.pointee.pw_uid, user.pointee.pw_gid) == 0 else {
            throw ControlError(.cannotCreate, "\(sockets): \(reason(errno))")
        }
    }

    deinit { removeSharedMemory() }

    // MARK: The server

    /// PostgreSQL refuses to be root.
    private static let user = "postgres"
    private var asUser: [String] {
        geteuid() == 0 ? ["setpriv", "--reuid=\(Self.user)", "--regid=\(Self.user)", "--init-groups", "--"] : []
    }

    func initialise() throws(ControlError) {
        if geteuid() == 0 {
            try runCaptured(["install", "--directory", "--owner=\(Self.user)", "--group=\(Self.user)", "--mode=700", data])
        }
        try runCaptured(asUser + ["\(programs.directory)/initdb", "--pgdata=\(data)", "--username=postgres", "--auth=trust",
            "--encoding=UTF8", "--locale=C"])
    }

    private func runCaptured(_ command: [String]) throws(ControlError) {
        let process = try PostgreSQLDemo.captured(command, in: sandbox, errors: errors)
        while process.readLine() != nil {}
        let code = process.wait()
        guard code == 0 else { throw failed(command[0], code: code) }
    }

    /// Returns when it answers.
    func start() throws(ControlError) {
        // It names a process of the other server, which is dead. Here that number may be anybody's.
        try runCaptured(["rm", "--force", "\(data)/postmaster.pid"])
        let server = try PostgreSQLDemo.captured(asUser + ["\(programs.directory)/postgres", "-D", data, "-c", "listen_addresses=",
            "-c", "unix_socket_directories=\(sockets)", "-c", "cluster_name=lockstep"], in: sandbox, errors: errors)
        self.server = server
        let deadline = ContinuousClock.now + .seconds(120)
        while true {
            let asked = try client("psql", ["-XqAtc", "SELECT 'here'"], errors: "/dev/null")
            let answer = asked.readLine()
            asked.wait()
            if answer == "here" { return }
            guard server.identity.isAlive else { throw failed("postgres", code: server.wait()) }
            guard ContinuousClock.now < deadline else {
                throw ControlError(.bound, "PostgreSQL does not answer: \(lastLine(of: errors) ?? "no message")")
            }
            usleep(20_000)
        }
    }

    func failed(_ what: String, code: Int32) -> ControlError {
        ControlError(code == 0 ? .failure : Control.ExitCode(rawValue: code), "\(what): code \(code): \(lastLine(of: errors) ?? "it left no message")")
    }

    // MARK: Clients

    /// A client program, not captured.
    func client(_ program: String, _ arguments: [String], database: [String] = ["postgres"], errors: String? = nil)
        throws(ControlError) -> Subprocess
    {
        try Subprocess("\(programs.directory)/\(program)", ["--host=\(sockets)", "--username=postgres"] + arguments + database,
            errors: errors ?? self.errors)
    }

    /// The lines of the answer, its columns separated by "|".
    func query(_ statement: String) throws(ControlError) -> [String] {
        let psql = try client("psql", ["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", statement])
        var lines: [String] = []
        while let line = psql.readLine() { lines.append(line) }
        let code = psql.wait()
        guard code == 0 else { throw failed(String(statement.prefix(60)), code: code) }
        return lines
    }

    // MARK: What SIGKILL leaves behind

    /// A killed server's shared memory stays: a System V segment, named in the last line but one of postmaster.pid, and
    /// files in /dev/shm. Only a server on the same directory would remove them.
    func rememberSharedMemory() {
        let lines = String(decoding: readSmallFile("\(data)/postmaster.pid") ?? [], as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count > 6, let postmaster = Int32(lines[0]).flatMap({ ProcessIdentity(of: $0) }) else { return }
        var files: Set<String> = []
        for process in [postmaster] + ProcessSurvey().descendants(of: [postmaster]) {
            let maps = String(decoding: readSmallFile("/proc/\(process.pid)/maps") ?? [], as: UTF8.self)
            for line in maps.split(separator: "\n") {
                guard let start = line.firstRange(of: "/dev/shm/PostgreSQL.")?.lowerBound, !line.hasSuffix(" (deleted)") else { continue }
                files.insert(String(line[start...]))
            }
        }
        memory = (lines[6].split(separator: " ").last.flatMap { Int32($0) }, files.sorted())
    }

    func removeSharedMemory() {
        if let segment = memory.segment { shmctl(segment, IPC_RMID, nil) }
        for file in memory.files { unlink(file) }
        memory = (nil, [])
    }
}
