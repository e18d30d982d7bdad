import Foundation
import Glibc

@testable import lockstep

/// A directory that looks like a product: the real command line, with doubles of what it starts beside it.
///
///     lockstep          the program under test          lockstepd         Tests/DaemonDouble
///     liblockstep.so    an empty file                   lockstep-keeper   runs its program, uncaptured
struct Product {
    /// Holds the product and everything that a test makes.
    let directory: String
    var path: String { "\(directory)/product" }

    init() throws {
        var template = Array("/tmp/lockstep-command-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw CocoaError(.fileWriteUnknown) }
        directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let files = FileManager.default
        try files.createDirectory(atPath: path, withIntermediateDirectories: true)
        let built = try files.destinationOfSymbolicLink(atPath: "/proc/self/exe").split(separator: "/").dropLast()
        let binaries = "/" + built.joined(separator: "/")
        try files.copyItem(atPath: "\(binaries)/lockstep", toPath: "\(path)/lockstep")
        try files.copyItem(atPath: "\(binaries)/lockstepd-double", toPath: "\(path)/lockstepd")
        try Data().write(to: URL(fileURLWithPath: "\(path)/liblockstep.so"))
        let keeper = "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift\n\"$@\"\n"
        try Data(keeper.utf8).write(to: URL(fileURLWithPath: "\(path)/lockstep-keeper"))
        chmod("\(path)/lockstep-keeper", 0o755)
    }

    /// Ends what a test left running, and removes everything.
    func remove() {
        for entry in (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? [] {
            let sandbox = "\(directory)/\(entry)"
            guard FileManager.default.fileExists(atPath: "\(sandbox)/sandbox.json") else { continue }
            _ = try? shell("lockstep sandbox down '\(sandbox)'")
        }
        // What a test made read-only must go as well.
        _ = try? shell("chmod -R u+rwX '\(directory)'")
        try? FileManager.default.removeItem(atPath: directory)
    }

    /// Runs a line of shell with the product in PATH and DIR as the directory; both outputs in one.
    /// A line that hangs ends with 124 after a minute.
    func shell(_ line: String) throws -> (output: String, code: Int32) {
        let path = "\(directory)/output-\(UInt64.random(in: 0 ... .max))"
        defer { unlink(path) }
        let output = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        let null = open("/dev/null", O_RDONLY | O_CLOEXEC)
        defer {
            close(output)
            close(null)
        }
        // A file, and no pipe: what runs on in the background would keep a pipe open.
        let shell = try Program.start("/usr/bin/env",
            ["-i", "-C", directory, "PATH=\(self.path):/usr/bin:/bin:/usr/sbin:/sbin", "DIR=\(directory)", "TMPDIR=\(directory)",
                "timeout", "60", "/bin/sh", "-c", line],
            standard: [null, output, output], newSession: true)
        var status: Int32 = 0
        while waitpid(shell.pid, &status, 0) < 0 && errno == EINTR {}
        let text = try Data(contentsOf: URL(fileURLWithPath: path))
        return (String(decoding: text, as: UTF8.self), status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f))
    }
}
