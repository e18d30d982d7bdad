import Primitives
import Replication

/// Records that can't be applied yet, because the outcome of a name operation before them is not known.
///
///      tentative record ---------> pending ------- outcome: success -> applied, failure -> dropped
///      record that conflicts ----> queue  --+
///      every record after it ---->          |      first of the queue conflicts with nothing pending any more:
///                                           +----> tentative: pending; else applied; and so on, in order
///
/// A record conflicts if it has a name in common with a pending one, if one removes or replaces what the other uses as
/// a directory or names, or if it is about an object that a pending one may be about to create. Changes of a known
/// object's bytes and attributes go past: they are by object, and commute with every change of names.
struct HeldRecords {
    struct Held {
        var record: Record
        var payload: [UInt8]
        /// Arrived while the record was in the queue.
        var outcome: Record?
        var touched = Touched()
        var bytes: Int { record.bytes + 128 }
        var isUndecided: Bool { record.flags.contains(.tentative) && outcome == nil }
    }

    /// What a record reads and changes, as names and objects.
    struct Touched {
        var names: [NameTable.Name] = []
        /// What gets, loses or may lose a name.
        var objects: [ObjectID] = []
        /// Directories that it needs.
        var directories: [ObjectID] = []
        /// An object comes into being whose id is not known yet.
        var bringsUnknown = false
        /// It needs an object that is not known.
        var needsUnknown = false
        /// What lies below these directories may be removed.
        var trees: [ObjectID] = []
    }

    private(set) var pending: [Held] = []
    private(set) var queue: [Held] = []
    /// The queue is consumed from its front, and moved down now and then.
    private var queueStart = 0
    private(set) var bytes = 0

    var isEmpty: Bool { pending.isEmpty && isQueueEmpty }
    var isQueueEmpty: Bool { queueStart == queue.count }
    var queued: ArraySlice<Held> { queue[queueStart...] }

    func conflictsWithPending(_ touched: Touched, in table: NameTable) -> Bool {
        pending.contains { HeldRecords.conflict($0.touched, touched, in: table) }
    }

    static func conflict(_ a: Touched, _ b: Touched, in table: NameTable) -> Bool {
        if a.bringsUnknown && b.needsUnknown { return true }
        if a.names.contains(where: b.names.contains) { return true }
        if a.objects.contains(where: { b.objects.contains($0) || b.directories.contains($0) }) { return true }
        if a.directories.contains(where: b.objects.contains) { return true }
        for (trees, other) in [(a.trees, b), (b.trees, a)] {
            for tree in trees where (other.directories + other.objects).contains(where: { table.isAncestor(tree, of: $0) }) {
                return true
            }
        }
        return false
    }

    mutating func hold(pending held: Held) {
        bytes += held.bytes
        pending.append(held)
    }

    mutating func hold(queued held: Held) {
        bytes += held.bytes
        queue.append(held)
    }

    /// Takes the pending record of that position out.
    mutating func takePending(_ position: StreamPosition) -> Held? {
        guard let index = pending.firstIndex(where: { $0.record.position == position }) else { return nil }
        let held = pending.remove(at: index)
        bytes -= held.bytes
        return held
    }

    /// Keeps the outcome of a record in the queue; false if there is no such record, or its outcome came before.
    mutating func attach(_ outcome: Record, to position: StreamPosition) -> Bool {
        guard let index = queue[queueStart...].firstIndex(where: { $0.record.position == position && $0.isUndecided })
        else { return false }
        queue[index].outcome = outcome
        return true
    }

    mutating func takeFirstQueued() -> Held? {
        guard queueStart < queue.count else { return nil }
        let held = queue[queueStart]
        queueStart += 1
        if queueStart == queue.count || queueStart > 1024 {
            queue.removeFirst(queueStart)
            queueStart = 0
        }
        bytes -= held.bytes
        return held
    }

    mutating func removeAll() { self = HeldRecords() }
}
