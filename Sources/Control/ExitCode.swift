/// Why a command ended, as the number that it exits with: the list of `CCaptureABI.h`, which the manual pages repeat.
/// `ControlReply.code` carries the same numbers, so that a refusal by the daemon reaches the shell unchanged.
public struct ExitCode: RawRepresentable, Hashable, Codable, Sendable {
    public var rawValue: Int32
    public init(rawValue: Int32) { self.rawValue = rawValue }

    public static let success = ExitCode(rawValue: 0)
    /// The answer is no: trees differ, something was lost.
    public static let failure = ExitCode(rawValue: 1)
    /// An audit: the guard is needed for some of it.
    public static let coveredWithGuard = ExitCode(rawValue: 3)
    /// An audit: there was nothing to judge.
    public static let nothingSeen = ExitCode(rawValue: 4)
    public static let usage = ExitCode(rawValue: 64)
    /// A directory is missing.
    public static let noInput = ExitCode(rawValue: 66)
    /// The daemon is not running.
    public static let unavailable = ExitCode(rawValue: 69)
    /// The system refused something: a port that is taken, say.
    public static let system = ExitCode(rawValue: 71)
    /// A directory can't be made or written.
    public static let cannotCreate = ExitCode(rawValue: 73)
    /// A bound expired: trying again may help.
    public static let bound = ExitCode(rawValue: 75)
    /// The other side speaks something else: wrong version, broken message.
    public static let protocolError = ExitCode(rawValue: 76)
    /// The state forbids it.
    public static let refused = ExitCode(rawValue: 77)
    /// Links or mounts lead out of the tree.
    public static let configuration = ExitCode(rawValue: 78)
    public static let uncovered = ExitCode(rawValue: 126)
    public static let notFound = ExitCode(rawValue: 127)
}

/// A failure as an operator sees it: what failed, on what, why, and the number to exit with.
public struct ControlError: Error, Hashable, CustomStringConvertible {
    public var code: ExitCode
    public var message: String
    public init(_ code: ExitCode, _ message: String) {
        self.code = code
        self.message = message
    }
    public var description: String { message }
}
