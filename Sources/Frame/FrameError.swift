/// What is wrong with the bytes of a batch, and where.
public struct FrameError: Error, Equatable, Sendable, CustomStringConvertible {
    public enum Kind: Equatable, Sendable {
        /// Fewer bytes than the header announces: more may come.
        case short
        /// A batch of another version of Lockstep.
        case version
        /// Torn, stale, rotten or foreign.
        case invalid
    }
    public var kind: Kind
    /// From the start of the batch.
    public var byteOffset: Int
    public var reason: String

    public init(_ kind: Kind, at byteOffset: Int, _ reason: String) {
        self.kind = kind
        self.byteOffset = byteOffset
        self.reason = reason
    }

    public var description: String { "batch, byte \(byteOffset): \(reason)" }
}
