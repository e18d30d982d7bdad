import Glibc
import Platform
import Primitives
import Replication

/// The first copy of existing trees, while the application goes on writing.
///
///     copyBegins -> announce every object, parents first -> fill every file -> times -> copyEnds
///                          (name fills)                      (FillQueue)
///
/// The table of names is exactly that of the stream's position, so announcing needs no scan and races with nothing: an
/// operation on an object that the peer does not know yet announces it first.
final class FirstCopy {
    let objects: UInt64
    private(set) var objectsDone: UInt64 = 0
    /// copyEnds was shipped here: waiters need the peer from then on.
    private(set) var ended: StreamPosition?
    /// copyBegins was shipped here.
    let began: StreamPosition

    private var announced: Set<ObjectID>
    private let order: [(name: NameTable.Name, object: ObjectID)]
    private var next = 0
    private var timesOf: [ObjectID] = []
    private var nextTimes = 0
    /// Objects that were not where their names say: an operation that moved them is still to be drained.
    private var missing: Set<ObjectID> = []
    private var missingSince: UInt64?
    private var allIsTold = false

    init(plane: PrimaryPlane) {
        var order: [(name: NameTable.Name, object: ObjectID)] = []
        plane.names.forEachName { name, object, _ in order.append((name, object)) }
        self.order = order
        objects = UInt64(order.count)
        announced = Set(plane.tree.roots.map(\.object))
        var record = Record(.copyBegins)
        record.argument = UInt64(order.count)
        began = plane.ship(record, about: [])
        for root in plane.tree.roots {
            plane.shipRoot(root)
            timesOf.append(root.object)
        }
    }

    func isAnnounced(_ object: ObjectID) -> Bool { announced.contains(object) }
    /// A record of its creation was shipped: it needs neither announcement nor fill.
    func noteAnnounced(_ object: ObjectID) { announced.insert(object) }

    /// Tells the peer of `object` and what it lies in. False: it is not where its names say, or has none.
    @discardableResult
    func announce(_ object: ObjectID, plane: PrimaryPlane) -> Bool {
        if announced.contains(object) { return true }
        guard let key = plane.names.names(of: object).first else { return false }
        // What lies in a directory that can't be announced yet is looked at again with it.
        guard announce(key.parent, plane: plane), plane.shipPresent(object, nil) else {
            missing.insert(object)
            if missingSince == nil { missingSince = Clock.monotonic }
            return false
        }
        announced.insert(object)
        objectsDone += 1
        timesOf.append(object)
        if plane.names.kind(of: object) == .file { plane.fills.append(object, .new) }
        // A name that came while the copy ran is not in `order`.
        for name in plane.names.names(of: object).dropFirst() { tell(name, of: object, plane) }
        return true
    }

    /// One step; small enough that acknowledgements do not wait for it.
    func turn(plane: PrimaryPlane) {
        if ended != nil {
            sayAllIsTold(plane)
            return
        }
        if next < order.count {
            let end = min(next + Limits.announcePerTurn, order.count)
            while next < end {
                let (name, object) = order[next]
                if !announced.contains(object) {
                    announce(object, plane: plane)
                } else if plane.names.names(of: object).count > 1, plane.names.lookup(name.parent, name.name) == object {
                    // A further name of a file.
                    tell(name, of: object, plane)
                }
                next += 1
            }
        } else if !plane.fills.isEmpty {
            return
        } else if !missing.isEmpty {
            lookForMissing(plane)
        } else if nextTimes < timesOf.count {
            let end = min(nextTimes + Limits.announcePerTurn, timesOf.count)
            for object in timesOf[nextTimes..<end] { plane.shipTimes(of: object) }
            nextTimes = end
        } else if !plane.owesRepairs && plane.refusal == nil {
            ended = plane.ship(Record(.copyEnds), about: [])
            plane.copyEnded(at: ended!)
        }
    }

    /// Names in conflict may be told after the end; when none is any more, what the peer still waits for was forgotten.
    private func sayAllIsTold(_ plane: PrimaryPlane) {
        guard !allIsTold, plane.tracker.unsettled.isEmpty, !plane.owesRepairs else { return }
        allIsTold = true
        plane.ship(Record(.settled), about: [])
    }

    /// A further name of a file that was told; one that can't be told now is looked up when it can.
    private func tell(_ name: NameTable.Name, of object: ObjectID, _ plane: PrimaryPlane) {
        if !announce(name.parent, plane: plane) || !plane.shipPresent(object, nil, at: name) { plane.lookUpAgain([name]) }
    }

    private func lookForMissing(_ plane: PrimaryPlane) {
        let again = missing
        missing = []
        for object in again where plane.names.contains(object) { announce(object, plane: plane) }
        if missing.isEmpty {
            missingSince = nil
        } else if let since = missingSince, Clock.monotonic - since > 1_000_000_000 {
            missingSince = nil
            plane.namesInDoubt = true
        }
    }
}
