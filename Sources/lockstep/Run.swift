internal import ArgumentParser
import Control
import Glibc

/// `lockstep run`: a program under the capture of a node. The keeper takes this process's place.
struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a program with its file operations captured.",
        discussion: "Exits as the program does; 69 when the daemon is not running, 126 when the program can't be covered, "
            + "127 when there is no such program. It never runs a program uncovered.")

    @Option(help: "The node's directory, as given to lockstepd.")
    var nodeDirectory: String

    @Argument(parsing: .postTerminator, help: "The program and its arguments, after --.")
    var command: [String] = []

    func validate() throws {
        if command.isEmpty { throw ValidationError("no program: lockstep run --node-directory DIR -- PROGRAM [ARGUMENT ...]") }
    }

    func run() throws {
        try Run.becomeKeeper(nodeDirectory: nodeDirectory, command: command)
    }

    static func becomeKeeper(nodeDirectory: String, command: [String]) throws(ControlError) -> Never {
        guard let resolved = realpath(nodeDirectory, nil) else {
            throw ControlError(.noInput, "node directory \(nodeDirectory): \(reason(errno))")
        }
        defer { free(resolved) }
        let directory = String(cString: resolved)
        setenv(ProcessSurvey.mark, directory, 1)
        let keeper = try Program.path(of: Program.keeper)
        try Program.become(keeper,
            ["--node-directory", directory, "--library", try Program.path(of: Program.library), "--"] + command)
    }
}
