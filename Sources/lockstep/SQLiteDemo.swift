import Control

/// SQLite, write-ahead log and full synchronisation: every client is a shell, and the database is a file.
final class SQLiteDemo: DemoApplication {
    static let name = "sqlite"
    private static let clients = 4
    private let directory: String
    private let clientLoad: ClientLoad
    private var sandbox: Sandbox?

    static func checkInstalled() throws(ControlError) {
        guard Program.isInstalled("sqlite3") else {
            throw ControlError(.notFound, "sqlite3: it is not installed; apt-get install sqlite3")
        }
    }

    init(directory: String) throws(ControlError) {
        self.directory = directory
        clientLoad = try ClientLoad(log: "\(directory)/acknowledged.log")
    }

    let load = "\(clients) SQLite clients write"
    let writesUnasked = false

    func start(in sandbox: Sandbox) throws(ControlError) {
        self.sandbox = sandbox
        _ = try query("PRAGMA journal_mode=WAL; CREATE TABLE commits(client INTEGER, n INTEGER, text TEXT, PRIMARY KEY(client, n));")
        for client in 1...SQLiteDemo.clients {
            let errors = "\(directory)/client-\(client).log"
            clientLoad.start(client, Client(shell: try shell(errors: errors), errors: errors))
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

    func open(in sandbox: Sandbox) throws(ControlError) {
        self.sandbox = sandbox
        _ = try query("SELECT count(*) FROM commits;")
    }

    func countLost() throws(ControlError) -> Int {
        var missing = clientLoad.acknowledged
        for line in try query("SELECT client, n, text FROM commits;") {
            let fields = line.split(separator: "|", maxSplits: 2).map(String.init)
            guard fields.count == 3, let client = Int(fields[0]), let number = Int(fields[1]) else { continue }
            let commit = ClientLoad.Commit(client: client, number: number)
            if missing[commit] == fields[2] { missing[commit] = nil }
        }
        return missing.count
    }

    func checkIntegrity() throws(ControlError) -> String {
        try query("PRAGMA integrity_check;").joined(separator: ", ")
    }

    // MARK: Its shell

    private struct Client: LoadClient {
        let shell: Subprocess
        let errors: String

        /// The shell answers once the INSERT's transaction has been committed.
        func write(_ commit: ClientLoad.Commit, _ text: String) -> String? {
            let (client, number) = (commit.client, commit.number)
            let options = number == 1 ? ".bail on\n.timeout 60000\nPRAGMA synchronous=FULL;\n" : ""
            let asked = shell.write("\(options)INSERT INTO commits VALUES(\(client), \(number), '\(text)');\nSELECT 'ok \(client) \(number)';\n")
            guard asked, let answer = shell.readLine() else { return "its shell ended" }
            return answer == "ok \(client) \(number)" ? nil : "it answered \(answer)"
        }

        func lastWords() -> String { "code \(shell.wait()): \(lastLine(of: errors) ?? "it left no message")" }
    }

    private func shell(errors: String) throws(ControlError) -> Subprocess {
        guard let sandbox else { preconditionFailure("the demo starts before it asks") }
        return try SQLiteDemo.captured(["sqlite3", "-batch", "-init", "/dev/null", "\(sandbox.tree(sandbox.primary))/demo.db"],
            in: sandbox, errors: errors)
    }

    /// One shell, one script; its lines of output.
    private func query(_ script: String) throws(ControlError) -> [String] {
        let shell = try shell(errors: "\(directory)/query.log")
        guard shell.write(".bail on\n.timeout 60000\n\(script)\n.print end of script\n.exit\n") else {
            throw failed(script, code: shell.wait())
        }
        var lines: [String] = []
        while let line = shell.readLine() { lines.append(line) }
        let code = shell.wait()
        guard code == 0, lines.popLast() == "end of script" else { throw failed(script, code: code) }
        return lines
    }

    private func failed(_ script: String, code: Int32) -> ControlError {
        let last = lastLine(of: "\(directory)/query.log") ?? "it left no message"
        return ControlError(code == 0 ? .failure : Control.ExitCode(rawValue: code), "sqlite3: \(script.prefix(60)): code \(code): \(last)")
    }
}
