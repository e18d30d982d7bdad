/// What a node says about itself: role, data, link and application are separate axes, because they fail separately.
public struct Status: Codable, Hashable, Sendable {
    /// stopped: no daemon. wait: not yet decided. alone: primary without its peer (also *degraded*).
    public enum State: String, Codable, Sendable, CaseIterable {
        case stopped, wait, alone, primary, secondary
    }
    public enum Data: String, Codable, Sendable, CaseIterable {
        case upToDate = "up to date"
        case inconsistent, outdated, suspect
    }
    public enum Link: String, Codable, Sendable, CaseIterable {
        case connected, disconnected
    }
    /// Stream positions: how far this node's records got. On a primary `flushed` and `acked` speak of the peer.
    public struct Positions: Codable, Hashable, Sendable {
        public var appended: UInt64 = 0
        public var flushed: UInt64 = 0
        public var acked: UInt64 = 0
        public var applied: UInt64 = 0
        public init() {}
    }
    /// A first copy or resync.
    public struct Copy: Codable, Hashable, Sendable {
        public var running = false
        public var objects: UInt64 = 0
        public var objectsDone: UInt64 = 0
        public var bytesDone: UInt64 = 0
        public init() {}
    }
    public struct Application: Codable, Hashable, Sendable {
        public var keepers: UInt64 = 0
        public var processes: UInt64 = 0
        public init() {}
    }
    public struct Counters: Codable, Hashable, Sendable {
        public var operations: UInt64 = 0
        public var barriers: UInt64 = 0
        public var batches: UInt64 = 0
        public var fills: UInt64 = 0
        public var repairs: UInt64 = 0
        public var revoked: UInt64 = 0
        public var refused: UInt64 = 0
        /// Changes by programs outside the capture that were noticed; of those that are listed, how many are repaired.
        public var outside: UInt64 = 0
        public var outsideRepaired: UInt64 = 0
        /// Of processes that had ended, on what covered ones touched at that moment: compared, and put down to nobody.
        public var outsideUnattributed: UInt64 = 0
        /// Times at which events were lost, and everything was compared.
        public var watchLost: UInt64 = 0
        /// Openings for writing that were answered with EPERM.
        public var denied: UInt64 = 0
        public init() {}
    }
    /// Who changed something in the tree outside the capture; pid 0: nobody knows, it was found by a pass.
    public struct OutsideWriter: Codable, Hashable, Sendable {
        public var program: String
        public var pid: Int32
        public var path: String
        public var what: String
        /// Of the last time, UTC.
        public var time: String
        public var count: UInt64
        public var repaired: Bool
        public init(program: String, pid: Int32, path: String, what: String, time: String, count: UInt64, repaired: Bool) {
            self.program = program
            self.pid = pid
            self.path = path
            self.what = what
            self.time = time
            self.count = count
            self.repaired = repaired
        }
    }
    /// A call that a program made past the preload library.
    public struct GuardedCall: Codable, Hashable, Sendable {
        public var program: String
        public var call: String
        public var captured: UInt64
        public var refused: UInt64
        public init(program: String, call: String, captured: UInt64, refused: UInt64) {
            self.program = program
            self.call = call
            self.captured = captured
            self.refused = refused
        }
    }
    public struct Root: Codable, Hashable, Sendable {
        public var name: String
        public var path: String
        public init(name: String, path: String) {
            self.name = name
            self.path = path
        }
    }

    public var module: String
    public var node: String
    public var role: String
    public var state = State.stopped
    /// False while the node is on its way to its state.
    public var ready = false
    public var data = Data.inconsistent
    public var link = Link.disconnected
    public var epoch: UInt64 = 0
    public var positions = Positions()
    /// Ring sequences.
    public var drained: UInt64 = 0
    public var released: UInt64 = 0
    public var copy = Copy()
    public var application = Application()
    /// "on"; "off (why)": system calls that do not come through the preload library are not seen; "no application".
    public var `guard` = "no application"
    /// What the guard had to do in the trees; a healthy program never needs it.
    public var guarded: [GuardedCall] = []
    /// "watched"; "not watched (why)": changes by programs outside the capture are not noticed when they happen.
    public var watch = "not watched"
    /// The last of those who made such changes.
    public var outside: [OutsideWriter] = []
    /// Something that they changed is not shipped again yet.
    public var outsideUnrepaired = false
    public var counters = Counters()
    public var roots: [Root] = []
    /// Of a primary: symbolic links that lead to what is neither replicated nor listed; the first of them, "path -> target".
    public var linksOut: UInt64 = 0
    public var linksOutShown: [String] = []
    public var lastError: String?

    public init(module: String, node: String, role: String) {
        self.module = module
        self.node = node
        self.role = role
    }
}
