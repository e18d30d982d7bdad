internal import ArgumentParser
import Control
import Glibc

/// `lockstep audit`: by which routes a program changes files, and whether each of them is captured.
///
/// The observer takes this process's place, and at the end this command takes the observer's, with the evidence.
struct Audit: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a program, and say by which routes it changes files and whether each is captured.",
        discussion: "Nothing is replicated, and no node is needed. Exits with 0: covered; 3: covered with the guard; 1: refused; "
            + "4: nothing seen; 75: incomplete; 126, 127: the program can't be started.")

    @Option(help: "A directory that counts as the tree; may be given again. Without: all files but those in /dev, /proc, /run and /sys.")
    var root: [String] = []

    @Flag(help: "One line of JSON instead of text.")
    var json = false

    @Option(help: "Write the report into this file instead of standard output.")
    var output: String?

    @Option(help: .hidden)
    var evidence: Int32?

    @Argument(parsing: .postTerminator, help: "The program and its arguments, after --.")
    var command: [String] = []

    func validate() throws {
        if evidence == nil && command.isEmpty {
            throw ValidationError("no program: lockstep audit [--root DIR]... -- PROGRAM [ARGUMENT ...]")
        }
    }

    func run() throws {
        if let evidence { return try report(evidence) }
        var arguments = ["--library", try Program.path(of: Program.library), "--reporter", try Program.path(of: Program.lockstep)]
        for directory in root { arguments += ["--root", try canonical(directory)] }
        for suffix in Sandbox.excludedSuffixes { arguments.append("--exclude=\(suffix)") }
        if json { arguments.append("--json") }
        if let output {
            // Before anything runs: a report that can't be written is of no use.
            close(try open(output))
            arguments += ["--output", output]
        }
        try Program.become(try Program.path(of: Program.observer), arguments + ["--"] + command)
    }

    private func canonical(_ directory: String) throws(ControlError) -> String {
        guard let resolved = realpath(directory, nil) else { throw ControlError(.noInput, "\(directory): \(reason(errno))") }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    private func open(_ path: String) throws(ControlError) -> Int32 {
        let descriptor = Glibc.open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw ControlError(.cannotCreate, "\(path): \(reason(errno))") }
        return descriptor
    }

    private func report(_ descriptor: Int32) throws {
        guard let bytes = readSmallFile("/proc/self/fd/\(descriptor)") else {
            throw ControlError(.usage, "evidence: \(reason(errno))")
        }
        let report = AuditReport(try AuditEvidence(parsing: bytes))
        let text = json ? try report.json() : "\(report)"
        if let output {
            let file = try open(output)
            defer { close(file) }
            guard dup2(file, 1) == 1 else { throw ControlError(.system, "\(output): \(reason(errno))") }
        }
        Terminal.say(text)
        if report.verdict.exitCode != .success { throw ControlError(report.verdict.exitCode, "") }
    }
}
