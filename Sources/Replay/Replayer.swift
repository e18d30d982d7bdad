// Applies the stream of records to this node's own trees. One thread owns a replayer.
//
//      record --> held? --yes--> pending, queue (HeldRecords) --outcome--+
//                   |no                                                  |
//                   v                                                    v
//      names (Replayer+Names): table of labelled cases     data, attributes (Replayer+Data): by object, absolute
//                   |                                                    |
//                   +---> NameTable: object -> names       own: object -> own inode, generation
//
// Idempotent restart (rule R6)
//
//   checkpoint(P):  syncfs of every root, then the table (names, own identities, held records) replaces the old one.
//   recover():      brings the NAMES of the trees back to exactly what the table says, to P (Recovery.swift);
//                   the caller then applies P+1 ... to the END of its journal, and calls `replayEnded`.
//
//   Names are exact, so name operations find what they found the first time. Bytes and attributes may be ahead of P, and
//   need not be brought back: each record says what a range, a size, a mode becomes, not how it changes, so running
//   through all of them again ends in the same state, if it does run to the end. This is why a file's intermediate
//   states are never shown, why a promotion needs the end of the journal, and why the two fallocate modes that shift
//   bytes (collapse, insert) are refused: applied twice, they shift twice.
//
//   A known file that is gone (removed for good after P) gets an empty placeholder marked lost; the records after P
//   remove it again. If one is left when replay has ended, the data is inconsistent.

import CLinux
import Glibc
public import Platform
public import Primitives
import Replication

public final class Replayer {
    /// What happened that a status should show; each has a reason to be rare.
    public struct Counts: Equatable, Sendable {
        public var applied: UInt64 = 0
        /// On files that have no name left here, and on files that the running copy did not reach yet.
        public var ignored: UInt64 = 0
        /// Names that meant something else than the record takes for granted, and were put right.
        public var repairs: UInt64 = 0
        /// Owners that only root may set.
        public var ownersRefused: UInt64 = 0
        /// Attributes of security modules, and those that only root may set.
        public var attributesRefused: UInt64 = 0
        /// Files whose bytes were dropped from limbo.
        public var purged: UInt64 = 0
        /// Calls that this node's file system refused, as the primary's may have done.
        public var refused: UInt64 = 0
    }

    /// What belongs to a position in the stream: kept in the table for the caller.
    public struct Mark: Equatable, Sendable {
        public var position: StreamPosition
        public var epoch: Epoch
        public var chain: UInt64
        public init(position: StreamPosition = .none, epoch: Epoch = Epoch(0), chain: UInt64 = 0) {
            self.position = position
            self.epoch = epoch
            self.chain = chain
        }
    }

    /// The file of this node that an object is.
    struct OwnFile {
        var inode: UInt64
        var generation: UInt32
        /// Permissions, as recorded.
        var mode: UInt16
        /// Number of the first root on the same device.
        var device: UInt8
        /// In limbo: the number of the root whose limbo it is.
        var limbo: UInt8?
        /// An empty placeholder (see above).
        var isLost = false
    }

    let stateDirectory: String
    let trees: [OwnTree]
    let paths: RootPaths
    let mayChown: Bool
    var table = NameTable(roots: [])
    var own: [ObjectID: OwnFile] = [:]
    var cache = DescriptorCache(capacity: 128)
    var limbo: Limbo
    var removed: RemovedObjects
    var held = HeldRecords()
    /// Names whose meaning a name fill or the running copy still has to say (Replayer+Names.swift).
    var owed: Set<NameTable.Name> = []
    /// What this node's file system refused, and nothing has put right yet.
    var refusals = Refusals()
    var syntheticNext: UInt64 = 1
    /// Of the record that is being applied, for errors.
    var position = StreamPosition.none
    public internal(set) var counts = Counts()
    /// Of the last checkpoint. Epoch and chain are carried over into a checkpoint that `copyBegins` or `copyEnds` makes.
    public internal(set) var mark = Mark()
    /// Between `copyBegins` and `copyEnds`.
    public internal(set) var copying = false
    /// `copyEnds` has come, and a name is still owed.
    var isEnding = false
    /// Why the data is not consistent; nil: it is.
    public internal(set) var inconsistency: String? = "no copy was ever completed here"
    /// The error that stopped replay; only `copyBegins` starts it again.
    var failure: ReplayError?
    var retired = false

    /// The trees hold a consistent point, or will when the journal is replayed to its end.
    public var consistent: Bool { inconsistency == nil }

    /// Starts with nothing known: only `copyBegins` can follow. After a restart use `recover`.
    /// - Parameters:
    ///   - roots: absolute paths of existing directories, in the order that both nodes agreed on
    ///   - module: names the space beside each root, `.lockstep-MODULE`
    public init(roots: [String], stateDirectory: String, module: String) throws(SystemError) {
        precondition(roots.count <= 8 && !roots.isEmpty)
        try DurableFile.makeDirectories(path: stateDirectory)
        self.stateDirectory = stateDirectory
        var trees: [OwnTree] = []
        for (number, path) in roots.enumerated() {
            trees.append(try OwnTree(path: path, number: number, module: module))
        }
        self.trees = trees
        paths = RootPaths(roots: roots, outside: [])
        mayChown = geteuid() == 0
        limbo = Limbo(bounds: Limbo.Bounds())
        removed = RemovedObjects(capacity: 131_072)
    }

    // MARK: applying

    /// Applies a record, or holds it. Positions rise from call to call.
    ///
    /// After an error nothing further is applied, and the data is inconsistent. The first record of all is `copyBegins`;
    /// then each root is announced by a `present` without parent and name (object, mode, owner, group of the root).
    public func apply(_ record: Record, payload: UnsafeRawBufferPointer) throws(ReplayError) {
        precondition(!retired, "the trees belong to the application")
        precondition(payload.count == Int(record.payloadBytes))
        if let failure, record.kind != .copyBegins { throw .stopped(failure.description) }
        do throws(ReplayError) {
            try take(record, payload)
        } catch {
            failure = error
            inconsistency = error.description
            throw error
        }
    }

    /// Names that wait for a name fill.
    public var owedNames: Int { owed.count }

    /// Bytes of records that wait for an outcome.
    public var heldBytes: Int { held.bytes }

    /// Placeholders that recovery made and replay did not remove yet.
    public var lostFiles: Int { own.values.reduce(0) { $0 + ($1.isLost ? 1 : 0) } }

    /// The journal was replayed to its end after `recover`: is everything there?
    public func replayEnded() throws(ReplayError) {
        let lost = own.filter { $0.value.isLost }.keys
        guard !lost.isEmpty else { return }
        let shown = lost.prefix(5).map(shown).joined(separator: ", ")
        let error = ReplayError.inconsistent("\(lost.count) files lost their content: \(shown)", at: position)
        failure = error
        inconsistency = error.description
        throw error
    }

    /// Nothing that was refused here is in doubt, at least not since `records` records.
    func requireNoRefusals(forRecords records: UInt64 = 0, at end: StreamPosition) throws(ReplayError) {
        guard let oldest = refusals.oldest, records == 0 || oldest.position.value + records <= end.value else { return }
        throw .inconsistent("record \(oldest.position.value) was refused and nothing has put it right: "
            + "\(shown(oldest.object)): \(SystemError("change", "its bytes", code: oldest.code))", at: end)
    }

    /// Take-over: what is unresolved counts as done (design R2), what waits is applied, limbo is emptied, everything is
    /// flushed. The table stays, for a death before the new role is durable; once it is, and before an application may
    /// write, `removeTable` must follow: a recovery by an old table would take the application's files away.
    public func finish() throws(ReplayError) {
        precondition(!retired)
        if let failure { throw .stopped(failure.description) }
        guard consistent else { throw .stopped(inconsistency ?? "") }
        try replayEnded()
        do throws(ReplayError) {
            for entry in held.pending.sorted(by: { $0.record.position < $1.record.position }) {
                _ = held.takePending(entry.record.position)
                try performSpeculatively(entry)
            }
            while let entry = held.takeFirstQueued() {
                if entry.isUndecided { try performSpeculatively(entry) } else { try performDecided(entry) }
            }
            try requireNoRefusals(at: position)
            cache.removeAll()
            do throws(SystemError) {
                for tree in trees {
                    try tree.emptyLimbo()
                    try tree.flush()
                }
            } catch {
                throw ReplayError.refused(error, at: position)
            }
        } catch {
            failure = error
            inconsistency = error.description
            throw error
        }
        retired = true
    }

    // MARK: holding

    private func take(_ record: Record, _ payload: UnsafeRawBufferPointer) throws(ReplayError) {
        position = record.position
        if record.kind == .outcome {
            try decide(record)
            return
        }
        if record.kind == .copyBegins {
            failure = nil
            try copyBegins(record)
            counts.applied += 1
            return
        }
        let isTentative = record.flags.contains(.tentative)
        // The common case costs two comparisons.
        if held.isEmpty && !isTentative {
            try perform(record, payload)
            return
        }
        let touched = touched(by: record)
        let conflicts = !held.isQueueEmpty || held.conflictsWithPending(touched, in: table)
        if conflicts {
            held.hold(queued: HeldRecords.Held(record: record, payload: Array(payload), touched: touched))
        } else if isTentative {
            held.hold(pending: HeldRecords.Held(record: record, payload: Array(payload), touched: touched))
        } else {
            try perform(record, payload)
        }
    }

    private func decide(_ outcome: Record) throws(ReplayError) {
        let decided = StreamPosition(outcome.argument)
        guard var entry = held.takePending(decided) else {
            guard held.attach(outcome, to: decided) else {
                throw .inconsistent("an outcome for record \(decided.value), which is not waiting for one", at: position)
            }
            return
        }
        entry.outcome = outcome
        try performDecided(entry)
        try drainQueue()
    }

    private func drainQueue() throws(ReplayError) {
        while var first = held.queued.first {
            // What it means may have changed while it waited.
            first.touched = touched(by: first.record)
            if held.conflictsWithPending(first.touched, in: table) { return }
            _ = held.takeFirstQueued()
            if first.isUndecided { held.hold(pending: first) } else { try performDecided(first) }
        }
    }

    private func performDecided(_ entry: HeldRecords.Held) throws(ReplayError) {
        var record = entry.record
        if let outcome = entry.outcome {
            guard outcome.flags.contains(.succeeded) else { return }
            record.flags.remove(.tentative)
            if record.kind == .create || record.kind == .mkdir || record.kind == .symlink || record.kind == .mknod {
                record.object = outcome.object.isNone ? syntheticObject(beside: record.parent) : outcome.object
                record.mode = outcome.mode
                record.owner = outcome.owner
                record.group = outcome.group
            }
        }
        position = record.position
        try withBytes(entry.payload) { bytes throws(ReplayError) in try perform(record, bytes) }
    }

    private func performSpeculatively(_ entry: HeldRecords.Held) throws(ReplayError) {
        var record = entry.record
        guard wouldSucceed(record) else { return }
        if record.object.isNone { record.object = syntheticObject(beside: record.parent) }
        position = record.position
        try withBytes(entry.payload) { bytes throws(ReplayError) in try perform(record, bytes) }
    }

    /// For an object whose id on the primary nobody will ever learn: no kernel hands out such an inode number.
    private func syntheticObject(beside parent: ObjectID) -> ObjectID {
        defer { syntheticNext += 1 }
        return ObjectID(inode: 1 << 63 | syntheticNext, generation: .max, root: parent.root)
    }

    private func withBytes(
        _ payload: [UInt8], _ body: (UnsafeRawBufferPointer) throws(ReplayError) -> Void
    ) throws(ReplayError) {
        var failure: ReplayError?
        payload.withUnsafeBytes { bytes in
            do throws(ReplayError) { try body(bytes) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    // MARK: one record

    private func perform(_ record: Record, _ payload: UnsafeRawBufferPointer) throws(ReplayError) {
        guard record.kind == .settled || record.kind == .copyEnds || copying || consistent else {
            throw .inconsistent("no copy has begun: \(inconsistency ?? "")", at: position)
        }
        try checkNames(of: record)
        if try concernsRemovedDirectory(record) {
            counts.ignored += 1
            return
        }
        do throws(ReplayError) {
            try route(record, payload)
        } catch {
            guard !mayChown, case .refused(let reason, _) = error, reason.code == EACCES || reason.code == EPERM else { throw error }
            try widened(for: record) { () throws(ReplayError) in try route(record, payload) }
        }
        counts.applied += 1
        if isEnding, owed.isEmpty { try endCopy(allIsTold: false) }
    }

    private func route(_ record: Record, _ payload: UnsafeRawBufferPointer) throws(ReplayError) {
        switch record.kind {
        case .write: try write(record, payload)
        case .fill: try fill(record, payload)
        case .truncate: try truncate(record)
        case .allocate: try allocate(record)
        case .chmod: try changeMode(record)
        case .chown: try changeOwner(record)
        case .times: try changeTimes(record)
        case .setAttribute: try setAttribute(record, payload)
        case .removeAttribute: try removeAttribute(record)
        case .create, .mkdir, .symlink: try create(record, payload)
        case .present: try present(record, payload)
        case .absent: try absent(record)
        case .unlink, .rmdir: try removeName(record)
        case .rename: try rename(record)
        case .link: try link(record)
        case .mknod: throw .unsupported("a FIFO, socket or device (\(shown(record.parent, record.name)))", at: position)
        case .copyEnds: try copyEnds()
        case .settled: if isEnding, record.argument == 0 { try endCopy(allIsTold: true) }
        case .outcome, .copyBegins: preconditionFailure("decided before")
        }
    }

    /// Names come from the peer: none may lead out of its directory, or into the space that is ours.
    private func checkNames(of record: Record) throws(ReplayError) {
        func check(_ parent: ObjectID, _ name: [UInt8], isNeeded: Bool) throws(ReplayError) {
            if name.isEmpty && !isNeeded { return }
            guard !name.isEmpty, name.count <= Record.nameBytesMax, !name.contains(0), !name.contains(0x2f),
                name != [0x2e], name != [0x2e, 0x2e]
            else { throw .inconsistent("impossible name \(String(decoding: name, as: UTF8.self))", at: position) }
            if Int(parent.root) < trees.count, table.isRoot(parent), trees[Int(parent.root)].reservedName == name {
                throw .inconsistent("a record uses the name \(String(decoding: name, as: UTF8.self))", at: position)
            }
        }
        switch record.kind {
        case .create, .mkdir, .symlink, .mknod, .unlink, .rmdir, .absent:
            try check(record.parent, record.name, isNeeded: true)
        case .present: try check(record.parent, record.name, isNeeded: !record.parent.isNone)
        case .rename:
            try check(record.parent, record.name, isNeeded: true)
            try check(record.targetParent, record.targetName, isNeeded: true)
        case .link: try check(record.targetParent, record.targetName, isNeeded: true)
        case .write, .fill, .truncate, .allocate, .chmod, .chown, .times, .setAttribute, .removeAttribute, .outcome,
            .copyBegins, .copyEnds, .settled:
            break
        }
    }

    // MARK: words for messages

    func shown(_ object: ObjectID) -> String {
        guard let path = table.path(of: object) else {
            return "object \(object.inode).\(object.generation) of root \(object.root)"
        }
        let root = Int(path.root.root) < trees.count ? trees[Int(path.root.root)].path : "?"
        return path.bytes.isEmpty ? root : root + "/" + String(decoding: path.bytes, as: UTF8.self)
    }

    func shown(_ parent: ObjectID, _ name: [UInt8]) -> String {
        shown(parent) + "/" + String(decoding: name, as: UTF8.self)
    }
}
