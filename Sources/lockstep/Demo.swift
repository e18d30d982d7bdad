internal import ArgumentParser
import Control

/// `lockstep demo`: shows the one promise, on this machine, with a real database.
struct Demo: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Kill a database's node under load, take over, and look every acknowledged commit up.",
        discussion: "Exits with 0 only if nothing was lost, both trees were equal, what differs after the kill "
            + "belongs to operations that were not acknowledged, and the database found itself sound.")

    static var applications: [any DemoApplication.Type] { [SQLiteDemo.self, PostgreSQLDemo.self, RedisDemo.self] }
    private static var names: String { applications.map { $0.name }.joined(separator: ", ") }

    @Option(help: "The database: \(names).") var app = "sqlite"
    @Flag(help: "One line of JSON on standard output instead of text.") var json = false
    @Option(help: "How long the load runs, in seconds.") var seconds = 5
    @Flag(help: "Keep the sandbox's directory.") var keep = false

    private var type: (any DemoApplication.Type)? { Demo.applications.first { $0.name == app } }

    func validate() throws {
        guard type != nil else {
            throw ValidationError("unknown application \(app): there is \(Demo.names)")
        }
        guard (1...3600).contains(seconds) else { throw ValidationError("--seconds must be from 1 to 3600") }
    }

    func run() throws {
        guard let type else { return }
        let report = try DemoRun.run(type, seconds: seconds, keep: keep)
        if !json { for difference in report.unexplained.prefix(100) { Terminal.note("unexplained: \(difference)") } }
        Terminal.say(json ? try jsonLine(report) : "\(report)")
        if !report.passed { throw ControlError(.failure, "") }
    }
}
