import Control
import Glibc

/// A program whose input we write and whose output we read.
final class Subprocess: @unchecked Sendable {
    // One thread uses it; only `identity` is looked at by others, and that is a constant.
    let identity: ProcessIdentity
    private let input: Int32
    private var lines: LineReader

    /// What the program writes on standard error is appended to the file `errors`.
    init(_ path: String, _ arguments: [String], errors: String) throws(ControlError) {
        let (childInput, input) = try Subprocess.makePipe()
        let (output, childOutput) = try Subprocess.makePipe()
        let log = open(errors, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        defer { for descriptor in [childInput, childOutput, log] { close(descriptor) } }
        guard log >= 0 else { throw ControlError(.cannotCreate, "\(errors): \(reason(errno))") }
        self.input = input
        lines = LineReader(output)
        // A session of its own: an interrupt from the terminal is the demo's to handle.
        identity = try Program.start(path, arguments, standard: [childInput, childOutput, log], newSession: true)
    }

    deinit {
        close(input)
        close(lines.descriptor)
    }

    /// False when the program is gone.
    func write(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        var written = 0
        while written < bytes.count {
            let count = bytes.withUnsafeBytes { Glibc.write(input, $0.baseAddress! + written, bytes.count - written) }
            if count < 0 && errno == EINTR { continue }
            if count <= 0 { return false }
            written += count
        }
        return true
    }

    /// The next whole line; nil when the program is gone.
    func readLine() -> String? { lines.next() }

    /// Waits for the end; the exit code, or 128 and the signal.
    @discardableResult
    func wait() -> Int32 {
        var status: Int32 = 0
        while waitpid(identity.pid, &status, 0) < 0 {
            if errno != EINTR { return -1 }
        }
        return status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
    }

    private static func makePipe() throws(ControlError) -> (reading: Int32, writing: Int32) {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw ControlError(.system, "pipe: \(reason(errno))") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        return (ends[0], ends[1])
    }
}
