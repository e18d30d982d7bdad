public import Platform

/// What a journal is made with.
public struct JournalConfiguration: Sendable {
    public enum Mode: Sendable {
        /// Each write is durable when it completes: the secondary.
        case flushed
        /// Each write is in the page cache when it completes: the primary. Void after a reboot.
        case buffered
    }

    public static let segmentBytesDefault = 16 << 20
    public static let writesInFlightDefault = 16
    static let segmentBytesMax = 1 << 30

    public var directory: String
    public var mode: Mode
    /// Which module's stream this is.
    public var module: UInt64
    public var bootID: BootID
    /// A multiple of 4 KiB; a batch must fit with one block to spare.
    public var segmentBytes = JournalConfiguration.segmentBytesDefault
    /// A bound that recovery relies on: never make it smaller for a journal that exists.
    public var writesInFlightMax = JournalConfiguration.writesInFlightDefault
    /// Segments kept ready.
    public var segmentsPrepared = 1
    /// Tokens of write requests are `firstToken ..< firstToken + writesInFlightMax`.
    public var firstToken: UInt64 = 0

    public init(directory: String, mode: Mode, module: UInt64, bootID: BootID) {
        self.directory = directory
        self.mode = mode
        self.module = module
        self.bootID = bootID
    }

    public var tokens: Range<UInt64> { firstToken..<(firstToken + UInt64(writesInFlightMax)) }
}
