import Glibc
import Platform

/// One line a message, on standard error, in the order in which things happened.
public struct Log: Sendable {
    private let node: String
    public init(node: String) { self.node = node }

    public func info(_ message: String) {
        let line = "lockstepd \(node): \(message)\n"
        line.utf8CString.withUnsafeBytes { bytes in _ = write(2, bytes.baseAddress, bytes.count - 1) }
    }
}
