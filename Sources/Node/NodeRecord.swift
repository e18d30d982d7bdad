import Platform
import Primitives
import Synchronization

/// What a node must know of itself after any crash: its epoch, the state of its data, and whether it holds the alone
/// permit. One small text file in the node's directory, replaced durably before what it says takes effect.
///
///     lockstep node 1
///     role primary
///     epoch 3
///     data up to date
///     alone 4711            (only while this node acknowledges alone: the peer is outdated at that position, I4)
///     copy 815              (the last copy onto this node began after that position)
struct NodeRecord: Equatable, Sendable {
    var role: Role
    var epoch = Epoch(0)
    var data: DataState
    /// The peer is outdated at this position: durability points are released without it.
    var alone: StreamPosition?
    /// A copy onto this node began after this position: only a journal that reaches beyond it can be consistent.
    var copyAfter: StreamPosition?

    static func path(in directory: String) -> String { directory + "/record" }

    /// Nil when the node has none yet.
    static func load(from directory: String) throws -> NodeRecord? {
        guard let bytes = try DurableFile.read(path: path(in: directory), bytesMax: 4096) else { return nil }
        func damaged(_ what: String) -> NodeError {
            NodeError(76, "\(path(in: directory)) is damaged: \(what); the node's data must be copied again from its peer")
        }
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
        guard lines.first == "lockstep node 1" else { throw damaged("unknown first line") }
        var role: Role?
        var epoch: Epoch?
        var data: DataState?
        var alone: StreamPosition?
        var copyAfter: StreamPosition?
        for line in lines.dropFirst() {
            let word = line.prefix { $0 != " " }
            let rest = String(line.dropFirst(word.count + 1))
            switch word {
            case "role": role = Role(rawValue: rest)
            case "epoch": epoch = UInt64(rest).map(Epoch.init)
            case "data": data = DataState(rawValue: rest)
            case "copy": copyAfter = UInt64(rest).map { StreamPosition($0) }
            case "alone": alone = UInt64(rest).map { StreamPosition($0) }
            default: throw damaged("'\(line)'")
            }
        }
        guard let role, let epoch, let data else { throw damaged("role, epoch or data is missing") }
        return NodeRecord(role: role, epoch: epoch, data: data, alone: alone, copyAfter: copyAfter)
    }

    /// Returns when it is durable.
    func store(in directory: String) throws {
        var text = "lockstep node 1\nrole \(role.rawValue)\nepoch \(epoch.value)\ndata \(data.rawValue)\n"
        if let alone { text += "alone \(alone.value)\n" }
        if let copyAfter { text += "copy \(copyAfter.value)\n" }
        try DurableFile.replace(path: NodeRecord.path(in: directory), contents: Array(text.utf8))
    }
}

extension NodeRecord {
    /// What the trees hold is void until the copy that follows ends.
    mutating func copyBegins(epoch: Epoch, after position: StreamPosition) {
        self.epoch = epoch
        data = .inconsistent
        copyAfter = position
    }
}

/// The node's record, shared by its threads: a change is durable when `update` returns.
final class NodeState: Sendable {
    private let directory: String
    private let current: Mutex<NodeRecord>

    init(_ record: NodeRecord, directory: String) throws {
        self.directory = directory
        current = Mutex(record)
        try record.store(in: directory)
    }

    var record: NodeRecord { current.withLock { $0 } }

    func update(_ change: (inout NodeRecord) -> Void) throws {
        try current.withLock { record in
            var changed = record
            change(&changed)
            if changed == record { return }
            try changed.store(in: directory)
            record = changed
        }
    }
}

/// Why a node can't start or go on, with the exit code of the manual.
public struct NodeError: Error, CustomStringConvertible {
    public var code: Int32
    public var description: String
    public init(_ code: Int32, _ description: String) {
        self.code = code
        self.description = description
    }
}
