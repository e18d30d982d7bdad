import Primitives

/// Which files without a name are kept, and for how long. (The files themselves: `OwnTree.limbo`.)
///
/// A removed file is not deleted at once: two name operations that ran at the same time on the primary may be in the
/// stream in the other order, and the name fill that repairs this (design R1) may give the file its name back. Such a
/// fill comes soon. So a file in limbo goes at the second checkpoint after its removal, and earlier, the oldest first,
/// when there are too many or they hold too many bytes. Its id is remembered for much longer: it may be open on the
/// primary for weeks, and what is written to it meanwhile is to be ignored, not to be taken for an error.
struct Limbo {
    struct Bounds {
        var files = 1024
        var bytes: UInt64 = 1 << 30
    }

    let bounds: Bounds
    private var serialOf: [ObjectID: UInt64] = [:]
    private var bytesOf: [ObjectID: UInt64] = [:]
    /// In the order of removal; an entry with an old serial number came back or went.
    private var order: [(object: ObjectID, serial: UInt64)] = []
    private var orderStart = 0
    private var serialNext: UInt64 = 1
    private var serialAtCheckpoint: UInt64 = 1
    private(set) var bytes: UInt64 = 0

    init(bounds: Bounds) { self.bounds = bounds }

    var count: Int { serialOf.count }
    func contains(_ object: ObjectID) -> Bool { serialOf[object] != nil }

    mutating func insert(_ object: ObjectID, bytes: UInt64) {
        remove(object)
        serialOf[object] = serialNext
        bytesOf[object] = bytes
        self.bytes += bytes
        order.append((object, serialNext))
        serialNext += 1
    }

    mutating func remove(_ object: ObjectID) {
        guard serialOf.removeValue(forKey: object) != nil else { return }
        bytes -= bytesOf.removeValue(forKey: object) ?? 0
    }

    /// A file that is open on the primary goes on growing.
    mutating func written(_ object: ObjectID, bytes count: UInt64) {
        guard let before = bytesOf[object] else { return }
        bytesOf[object] = before + count
        bytes += count
    }

    /// The file that must go now, if there are too many.
    mutating func nextBeyondBounds() -> ObjectID? {
        serialOf.count > bounds.files || bytes > bounds.bytes ? first(before: .max) : nil
    }

    /// Called at a checkpoint until it returns nil: files that were here at the checkpoint before.
    mutating func nextOutlived() -> ObjectID? { first(before: serialAtCheckpoint) }

    mutating func checkpointDone() { serialAtCheckpoint = serialNext }

    private mutating func first(before serial: UInt64) -> ObjectID? {
        while orderStart < order.count {
            let entry = order[orderStart]
            if serialOf[entry.object] != entry.serial {
                orderStart += 1
                continue
            }
            if orderStart > 4096 {
                order.removeFirst(orderStart)
                orderStart = 0
            }
            return entry.serial < serial ? entry.object : nil
        }
        order.removeAll(keepingCapacity: true)
        orderStart = 0
        return nil
    }
}

/// The last objects that were removed for good, so that late records on them can be ignored: at least `capacity` of them,
/// a use makes one young again.
struct RemovedObjects {
    let capacity: Int
    private var usedAt: [ObjectID: UInt64] = [:]
    private var clock: UInt64 = 0

    init(capacity: Int) { self.capacity = capacity }

    var all: some Sequence<ObjectID> { usedAt.keys }
    var count: Int { usedAt.count }

    mutating func insert(_ object: ObjectID) {
        clock += 1
        usedAt[object] = clock
        if usedAt.count > capacity * 2 {
            let bound = usedAt.values.sorted()[usedAt.count - capacity]
            usedAt = usedAt.filter { $0.value >= bound }
        }
    }

    mutating func remove(_ object: ObjectID) { usedAt.removeValue(forKey: object) }

    func contains(_ object: ObjectID) -> Bool { usedAt[object] != nil }
}
