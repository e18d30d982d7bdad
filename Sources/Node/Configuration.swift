public import Primitives

/// What one daemon is told at its start. Every value comes from the command line; later from the configuration file.
public struct Configuration: Sendable {
    public struct Root: Sendable {
        public var name: String
        /// Canonical and absolute.
        public var path: String
        public init(name: String, path: String) {
            self.name = name
            self.path = path
        }
    }

    /// What becomes of changes by programs outside the capture.
    public enum Watch: String, Sendable, CaseIterable {
        /// Nobody looks: names are compared by `settle`, and what was written by the pass at the next start.
        case off
        /// They are named and repaired.
        case report
        /// Opening for writing is answered with EPERM; what is changed all the same is named and repaired.
        case deny
    }

    /// Journal, table, sockets and this node's record live here.
    public var directory: String
    public var node: String
    public var module: String
    public var role: Role
    public var roots: [Root]
    /// What is not replicated and may be led to by links and mounts: absolute, the same on both nodes.
    public var outside: [String]
    public var listenPort: UInt16
    public var peerPort: UInt16
    /// Ends of paths that are not replicated.
    public var exclusions: [String]
    /// A durability point that is not answered within it fails with EIO.
    public var waitBoundMilliseconds: UInt32
    /// Programs may use io_uring, by liburing's functions.
    public var ioUring: Bool
    public var watch: Watch

    public init(directory: String, node: String, module: String, role: Role, roots: [Root], outside: [String], listenPort: UInt16,
        peerPort: UInt16, exclusions: [String], waitBoundMilliseconds: UInt32, ioUring: Bool, watch: Watch = .off)
    {
        self.directory = directory
        self.node = node
        self.module = module
        self.role = role
        self.roots = roots
        self.outside = outside
        self.listenPort = listenPort
        self.peerPort = peerPort
        self.exclusions = exclusions
        self.waitBoundMilliseconds = waitBoundMilliseconds
        self.ioUring = ioUring
        self.watch = watch
    }

    /// Whether a file, never a directory, is not replicated; the library decides by the same rule.
    public func isExcluded(_ name: [UInt8]) -> Bool {
        exclusions.contains { suffix in
            let suffix = Array(suffix.utf8)
            return suffix.first == 0x2f ? name.elementsEqual(suffix.dropFirst()) : name.suffix(suffix.count).elementsEqual(suffix)
        }
    }
}

/// Bounds of queues and waits, and how they relate.
enum Limits {
    /// A batch is cut at this size even when nobody waits.
    static let batchBytes = 1 << 20
    /// Not even for what must be in one batch together does a batch grow beyond it.
    static let batchBytesMax = 4 << 20
    /// The ring is not drained any further while this much waits to be sent: producers then wait for space.
    static let sendBytesMax = 32 << 20
    /// Batches that were received and not applied.
    static let unappliedBytesMax = 64 << 20
    /// A place that stays reserved is revoked after it.
    static let revokeAfterNanoseconds: UInt64 = 5_000_000
    /// A batch waits so long at most for names in conflict to be looked up.
    static let namesNanoseconds: UInt64 = 50_000_000
    /// New operations are held so long at most for those in their calls, when names must be compared.
    static let holdNanoseconds: UInt64 = 500_000_000
    /// Keepers bring their arenas to a daemon that was started again within it.
    static let announcementNanoseconds: UInt64 = 5_000_000_000
    /// An append that waits for a stopped one takes its lock over after it.
    static let lockBoundMilliseconds: UInt32 = 20
    /// One read of a bulk fill.
    static let fillBytes = 512 << 10
    /// One inline fill.
    static let repairBytes = 512 << 10
    static let heartbeatNanoseconds: UInt64 = 1_000_000_000
    /// Callers that have not said who they are yet.
    static let candidatesMax = 4
    /// A peer that says nothing for this long is lost.
    static let peerSilenceNanoseconds: UInt64 = 5_000_000_000
    /// While bytes wait in an open batch and nobody needs them, they wait at most so long.
    static let lingerNanoseconds: Int64 = 2_000_000
    /// Journal bytes after which the secondary makes its files durable and recycles segments.
    static let checkpointBytes: UInt64 = 64 << 20
    static let copyCheckpointBytes: UInt64 = 256 << 20
    /// A daemon that is dying may hold its directory and its port so long.
    static let lockNanoseconds: UInt64 = 2_000_000_000
    /// Keepers say what they have to a daemon that was started again, well within it.
    static let reannounceNanoseconds: UInt64 = 1_000_000_000
    /// A process that ended still counts as covered: its last changes are heard of a little later.
    static let retiredNanoseconds: UInt64 = 2_000_000_000
    /// Modification times are carried this often.
    static let timesNanoseconds: UInt64 = 5_000_000_000
    /// Files that are mapped writable are looked at this often, between durability points.
    static let mappingsNanoseconds: UInt64 = 2_000_000_000
    /// Objects announced in one go during a first copy, between two looks at the ring.
    static let announcePerTurn = 64
    /// Modification times carried in one go.
    static let timesPerTurn = 256

    static func check() {
        precondition(batchBytes <= batchBytesMax && batchBytesMax + 2 * Record.bytesMax <= 8 << 20, "a full batch holds one more repair")
        precondition(repairBytes <= Record.payloadBytesMax && fillBytes <= Record.payloadBytesMax)
        precondition(heartbeatNanoseconds * 3 <= peerSilenceNanoseconds)
    }
}
