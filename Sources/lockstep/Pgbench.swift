import Control
internal import Foundation

/// pgbench on its own tables, and what it logged as committed. It is not captured: its log survives the node's death.
final class Pgbench {
    /// The number of the lock that every transaction shares.
    static let lock = 1

    private let process: Subprocess
    private let errors: String
    private let log: String
    private var isEndExpected = false
    private var troublesBefore: [String] = []

    /// pgbench's own transaction ("TPC-B, sort of"), and a row that tells which one it was.
    private static let script = """
        \\set n :n + 1
        \\set aid random(1, 100000)
        \\set bid 1
        \\set tid random(1, 10)
        \\set delta random(-5000, 5000)
        BEGIN;
        SELECT pg_advisory_xact_lock_shared(\(lock));
        UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
        SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
        UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
        UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
        INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
        INSERT INTO commits VALUES (:client_id, :n, repeat(md5(:client_id || '/' || :n), 8));
        END;

        """

    /// Client and number of every row whose content is as it was written.
    static let found = "SELECT client, n FROM commits WHERE text = repeat(md5(client || '/' || n), 8)"
    static let sums = """
        SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers), \
        (SELECT sum(bbalance) FROM pgbench_branches), (SELECT sum(delta) FROM pgbench_history)
        """

    static func initialise(_ server: PostgreSQLServer) throws(ControlError) {
        let pgbench = try server.client("pgbench", ["--initialize", "--quiet"], database: ["postgres"])
        while pgbench.readLine() != nil {}
        let code = pgbench.wait()
        guard code == 0 else { throw server.failed("pgbench --initialize", code: code) }
        _ = try server.query("CREATE TABLE commits (client integer, n integer, text text, PRIMARY KEY (client, n))")
    }

    /// Starts it; `log` is the prefix of the names of its logs, one for each of its threads.
    init(_ server: PostgreSQLServer, clients: Int, log: String) throws(ControlError) {
        self.log = log
        errors = "\(log).errors"
        let script = "\(log).script"
        do { try Pgbench.script.write(toFile: script, atomically: false, encoding: .utf8) } catch {
            throw ControlError(.cannotCreate, "\(script): \(error.localizedDescription)")
        }
        process = try server.client("pgbench", ["--no-vacuum", "--client=\(clients)", "--jobs=2", "--time=100000", "--define=n=0",
            "--log", "--log-prefix=\(log)", "--file=\(script)"], database: ["postgres"], errors: errors)
    }

    /// pgbench says so when a client gives up, and goes on with the others.
    var troubles: [String] {
        if isEndExpected { return troublesBefore }
        if let line = lastLine(of: errors) { return ["pgbench: \(line)"] }
        return process.identity.isAlive ? [] : ["pgbench ended"]
    }

    func expectEnd() {
        troublesBefore = troubles
        isEndExpected = true
    }

    /// Waits until it has noticed that its server is gone; how many transactions it logged for each client.
    ///
    /// The log's columns: client, transaction of that client, latency, script, time (pgbench(1)).
    func waitUntilEnded() throws(ControlError) -> [Int: Int] {
        while process.readLine() != nil {}
        process.wait()
        let prefix = log.split(separator: "/").last.map { "\($0)." } ?? ""
        let directory = String(log.dropLast(prefix.count))
        var counts: [Int: Int] = [:]
        for name in names(in: directory) where name.hasPrefix(prefix) && name != "\(prefix)errors" && name != "\(prefix)script" {
            for line in String(decoding: readSmallFile("\(directory)/\(name)") ?? [], as: UTF8.self).split(separator: "\n") {
                let fields = line.split(separator: " ").prefix(2).compactMap { Int($0) }
                guard fields.count == 2, fields[1] == counts[fields[0], default: 0] + 1 else {
                    throw ControlError(.protocolError, "\(name): not a line of pgbench's log, or one out of order: \(line)")
                }
                counts[fields[0]] = fields[1]
            }
        }
        return counts
    }
}
