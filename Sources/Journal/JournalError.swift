public import Platform

/// Why a journal can't be used or written, and where.
public struct JournalError: Error, Equatable, Sendable, CustomStringConvertible {
    public enum Kind: Equatable, Sendable {
        /// The system refused a call; in doubt after a write: stop the node, never try again.
        case system(SystemError)
        /// More is invalid than writes that were in flight at a crash can explain.
        case damaged
        /// A segment or batch of another version of Lockstep.
        case version
        /// A file that is no segment, or a segment of something else.
        case foreign
        /// A segment between two others is gone, or the position asked for has been recycled.
        case missing
        /// The batch does not follow the one before it: nothing was written.
        case discontinuous
        /// The batch does not fit a segment: nothing was written.
        case tooLarge
    }
    public var kind: Kind
    /// File name of the segment; empty where none is concerned.
    public var segment: String
    public var byteOffset: UInt64
    public var reason: String

    public init(_ kind: Kind, segment: String = "", at byteOffset: UInt64 = 0, _ reason: String) {
        self.kind = kind
        self.segment = segment
        self.byteOffset = byteOffset
        self.reason = reason
    }

    init(_ error: SystemError) { self.init(.system(error), error.description) }

    public var description: String {
        segment.isEmpty ? "journal: \(reason)" : "journal, \(segment), byte \(byteOffset): \(reason)"
    }
}

/// Runs system calls inside journal code.
func system<R: ~Copyable>(_ body: () throws(SystemError) -> R) throws(JournalError) -> R {
    do throws(SystemError) { return try body() } catch { throw JournalError(error) }
}
