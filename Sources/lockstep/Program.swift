import CProcess
import Control
import Glibc

/// The programs and the library that lie beside this one: one flat directory, found through /proc/self/exe, so that a
/// product can be moved as a whole and never picks up parts of another.
enum Program {
    static let lockstep = "lockstep"
    static let daemon = "lockstepd"
    static let keeper = "lockstep-keeper"
    static let observer = "lockstep-observer"
    static let library = "liblockstep.so"

    static func path(of name: String) throws(ControlError) -> String {
        guard let own = realpath("/proc/self/exe", nil) else {
            throw ControlError(.system, "/proc/self/exe: \(reason(errno))")
        }
        defer { free(own) }
        let directory = String(cString: own).split(separator: "/").dropLast().joined(separator: "/")
        let path = "/\(directory)/\(name)"
        guard access(path, name == library ? R_OK : X_OK) == 0 else {
            throw ControlError(.notFound, "\(path): \(reason(errno)); tools/build makes it")
        }
        return path
    }

    /// Looks a command up as a shell does.
    static func isInstalled(_ command: String) -> Bool {
        let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin"
        return path.split(separator: ":").contains { access("\($0)/\(command)", X_OK) == 0 }
    }

    /// Becomes another program; returns only by an error.
    static func become(_ path: String, _ arguments: [String]) throws(ControlError) -> Never {
        // The program to come expects the signals as it would find them anywhere.
        signal(SIGPIPE, SIG_DFL)
        withStrings([path] + arguments) { _ = execv(path, $0) }
        throw ControlError(errno == ENOENT ? .notFound : .system, "\(path): \(reason(errno))")
    }

    /// Starts a program with these three descriptors and nothing else of ours.
    static func start(_ path: String, _ arguments: [String], standard: [Int32], newSession: Bool) throws(ControlError)
        -> ProcessIdentity
    {
        precondition(standard.count == 3)
        var pid: pid_t = 0
        let error = withStrings([path] + arguments) {
            cprocess_spawn(path, $0, environ, standard, newSession ? 1 : 0, &pid)
        }
        guard error == 0 else {
            throw ControlError(error == ENOENT ? .notFound : .system, "\(path): \(reason(error))")
        }
        // A child that ended already is still there for its parent to look at.
        guard let entry = ProcessEntry(pid: pid) else { throw ControlError(.system, "\(path): it vanished") }
        return entry.identity
    }

    private static func withStrings<Result>(_ strings: [String],
        _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result) -> Result
    {
        var pointers = strings.map { strdup($0) } + [nil]
        defer { for pointer in pointers { free(pointer) } }
        return pointers.withUnsafeMutableBufferPointer { body($0.baseAddress!) }
    }
}
