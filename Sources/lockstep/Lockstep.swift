internal import ArgumentParser
import Control
import Glibc

/// The command line: arguments in, one clear line and a documented exit code out.
@main
struct Lockstep: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lockstep",
        abstract: "Keeps the files of one server's databases identical on a second server, write by write.",
        version: "0.1.0",
        subcommands: [Run.self, Audit.self, ShowStatus.self, SandboxCommand.self, Demo.self])

    static func main() {
        // A reader that went away is an error of the write, not a signal that leaves a command half done.
        signal(SIGPIPE, SIG_IGN)
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch let error as ControlError {
            if !error.message.isEmpty { Terminal.note("lockstep: \(error.message)") }
            Glibc.exit(error.code.rawValue)
        } catch {
            exit(withError: error)
        }
    }
}
