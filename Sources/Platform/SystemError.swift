internal import Glibc

/// A system call that the world refused: what was tried, on what, and the kernel's reason.
public struct SystemError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What was tried, as a verb: "open", "write", "connect to".
    public var operation: String
    /// A path or address; empty where there is none.
    public var path: String
    /// The errno, positive.
    public var code: Int32

    public init(_ operation: String, _ path: String = "", code: Int32) {
        self.operation = operation
        self.path = path
        self.code = code
    }

    /// From the global errno: read it before anything else is called.
    public static func current(_ operation: String, _ path: String = "") -> SystemError {
        SystemError(operation, path, code: errno)
    }

    public var description: String {
        let subject = path.isEmpty ? operation : "\(operation) \(path)"
        return "cannot \(subject): \(SystemError.text(code)) (errno \(code))"
    }

    // glibc's strerror keeps unknown numbers in thread-local memory: safe from any thread.
    static func text(_ code: Int32) -> String { strerror(code).map { String(cString: $0) } ?? "unknown error" }
}

/// The result of a CLinux function, or the error that it stands for.
@discardableResult
public func checked(_ result: Int32, _ operation: String, _ path: String = "") throws(SystemError) -> Int32 {
    if result < 0 { throw SystemError(operation, path, code: -result) }
    return result
}
