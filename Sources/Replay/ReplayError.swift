public import Platform
public import Primitives

/// Why a record could not be applied. Whatever it is, this node's data is `inconsistent` from then on.
public enum ReplayError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The file system refused. With ENOSPC or EDQUOT a restart after space was made goes on where this ended.
    case refused(SystemError, at: StreamPosition)
    /// Stream and trees disagree: only a full copy helps.
    case inconsistent(String, at: StreamPosition)
    /// What this version does not replay.
    case unsupported(String, at: StreamPosition)
    /// An earlier record failed, and nothing is applied behind it.
    case stopped(String)

    public var description: String {
        switch self {
        case .refused(let error, let position): "record \(position.value): \(error)"
        case .inconsistent(let reason, let position): "record \(position.value): \(reason)"
        case .unsupported(let what, let position): "record \(position.value): \(what) is not replayed by this version"
        case .stopped(let reason): "replay stopped earlier: \(reason)"
        }
    }
}
