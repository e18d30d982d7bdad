import Capture
import Glibc
import Platform
import Primitives
import Replication

/// The first copy of existing trees, while the application goes on writing.
///
///     copyBegins -> announce every object, parents first -> fill every file -> times -> copyEnds
///                          (name fills)                     (bulk fills, R3)
///
/// The table of names is exactly that of the stream's position, so announcing needs no scan and races with nothing: an
/// operation on an object that the peer does not know yet announces it first. One file is read at a time, through the
/// data plane's ring, one piece after the other; the pieces of a read that operations touched are left out.
final class FirstCopy {
    private(set) var objects: UInt64 = 0
    private(set) var objectsDone: UInt64 = 0
    private(set) var bytesDone: UInt64 = 0
    /// copyEnds was shipped here: waiters need the peer from then on.
    private(set) var ended: StreamPosition?
    /// copyBegins was shipped here.
    let began: StreamPosition

    private var announced: Set<ObjectID>
    private let order: [ObjectID]
    private var next = 0
    private var files: [ObjectID] = []
    private var nextFile = 0
    private var timesOf: [ObjectID] = []
    private var nextTimes = 0
    /// Objects that were not where their names say: an operation that moved them is still to be drained.
    private var missing: [ObjectID] = []
    private var missingSince: UInt64?

    private struct Reading {
        var descriptor: Int32
        var read: FillRead
        /// What the read gave, once it ended, and how far the ring must be drained before it may be placed.
        var result: Int?
        var placeAfter: UInt64 = 0
    }
    private var current: (object: ObjectID, descriptor: Int32, offset: UInt64)?
    private var reading: Reading?
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Limits.fillBytes, alignment: 4096)

    init(plane: PrimaryPlane) {
        var order: [ObjectID] = []
        plane.names.forEachName { _, object, _ in order.append(object) }
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

    deinit {
        if let current { close(current.descriptor) }
        buffer.deallocate()
    }

    func isAnnounced(_ object: ObjectID) -> Bool { announced.contains(object) }
    /// A record of its creation was shipped: it needs neither announcement nor fill.
    func noteAnnounced(_ object: ObjectID) { announced.insert(object) }

    func operationAdmitted(on object: ObjectID, _ range: ByteRange) {
        reading?.read.operationAdmitted(on: object, range)
    }

    /// Tells the peer of `object` and what it lies in. False: it is not where its names say, or has none.
    @discardableResult
    func announce(_ object: ObjectID, plane: PrimaryPlane) -> Bool {
        if announced.contains(object) { return true }
        guard let key = plane.names.names(of: object).first, announce(key.parent, plane: plane) else { return false }
        guard plane.shipPresent(object, nil) else {
            missing.append(object)
            if missingSince == nil { missingSince = Clock.monotonic }
            return false
        }
        announced.insert(object)
        objectsDone += 1
        timesOf.append(object)
        if plane.names.kind(of: object) == .file { files.append(object) }
        return true
    }

    /// A read that the data plane should start: into `buffer`.
    struct ReadRequest {
        var descriptor: Int32
        var offset: UInt64
        var count: Int
    }

    /// One step; small enough that acknowledgements do not wait for it.
    func turn(plane: PrimaryPlane) throws -> ReadRequest? {
        if ended != nil { return nil }
        if reading != nil {
            place(plane)
            return nil
        }
        if next < order.count {
            var budget = Limits.announcePerTurn
            while next < order.count && budget > 0 {
                announce(order[next], plane: plane)
                next += 1
                budget -= 1
            }
            return nil
        }
        if let request = startRead(plane) { return request }
        if reading != nil || nextFile < files.count || current != nil { return nil }
        if !missing.isEmpty {
            try lookForMissing(plane)
            return nil
        }
        if nextTimes < timesOf.count {
            for object in timesOf[nextTimes..<min(nextTimes + Limits.announcePerTurn, timesOf.count)] { plane.shipTimes(of: object) }
            nextTimes += Limits.announcePerTurn
            return nil
        }
        ended = plane.ship(Record(.copyEnds), about: [])
        plane.copyEnded(at: ended!)
        return nil
    }

    private func lookForMissing(_ plane: PrimaryPlane) throws {
        let again = missing
        missing = []
        for object in again where plane.names.contains(object) { announce(object, plane: plane) }
        if missing.isEmpty {
            missingSince = nil
        } else if let since = missingSince, Clock.monotonic - since > 1_000_000_000 {
            missingSince = nil
            _ = try plane.passOfNames()
        }
    }

    private func startRead(_ plane: PrimaryPlane) -> ReadRequest? {
        while true {
            if current == nil {
                guard nextFile < files.count else { return nil }
                let object = files[nextFile]
                guard plane.names.contains(object), let path = plane.names.path(of: object) else {
                    nextFile += 1
                    continue
                }
                guard let descriptor = plane.tree.open(object, path: path.bytes) else {
                    // It has just been moved: as the table follows, its announcement is looked at again.
                    announced.remove(object)
                    objectsDone -= 1
                    missing.append(object)
                    if missingSince == nil { missingSince = Clock.monotonic }
                    nextFile += 1
                    continue
                }
                nextFile += 1
                current = (object, descriptor, 0)
            }
            let (object, descriptor, offset) = current!
            // Holes are zeros on both sides already.
            let data = lseek(descriptor, off_t(offset), 3 /* SEEK_DATA */)
            guard data >= 0 else {
                finishFile()
                continue
            }
            var range = ByteRange(offset: UInt64(data), count: UInt64(Limits.fillBytes))
            // Reads end at multiples of the piece, so that a file's pieces do not depend on its holes.
            range.upperBound = min(range.upperBound, (UInt64(data) / UInt64(Limits.fillBytes) + 1) * UInt64(Limits.fillBytes))
            var cuts = true
            #if LOCKSTEP_FAULTS
            cuts = !Faults.fillsWithoutFloor
            #endif
            reading = Reading(descriptor: descriptor, read: FillRead(object: object, range: range,
                floor: plane.tracker.floor ?? SequenceNumber(plane.memory.drained), inFlight: plane.tracker.rangesInFlight(object),
                cutsAtAll: cuts))
            current!.offset = range.upperBound
            return ReadRequest(descriptor: descriptor, offset: range.lowerBound, count: Int(range.count))
        }
    }

    private func finishFile() {
        if let current { close(current.descriptor) }
        current = nil
    }

    /// The read has ended: `result` bytes or -errno.
    func readEnded(_ result: Int, plane: PrimaryPlane) {
        reading?.result = result
        // What was published while the file was read is admitted, and cut out, before the bytes are placed.
        reading?.placeAfter = plane.memory.reserved
    }

    private func place(_ plane: PrimaryPlane) {
        guard let ended = reading, let result = ended.result, plane.memory.drained >= ended.placeAfter else { return }
        reading = nil
        if result < 0 {
            plane.log.info("reading object \(ended.read.object.inode) for the copy: \(describe(errno: Int32(-result))); this node's data is suspect")
            plane.dataIsSuspect = true
            finishFile()
            return
        }
        let size = (try? FileStatus.of(ended.descriptor).size) ?? 0
        for piece in ended.read.pieces(count: UInt64(result)) where plane.names.contains(ended.read.object) {
            let start = Int(piece.lowerBound - ended.read.range.lowerBound)
            var record = Record(.fill)
            record.object = ended.read.object
            record.offset = piece.lowerBound
            record.length = size
            record.argument = ended.read.floor.value
            plane.ship(record, payload: UnsafeRawBufferPointer(rebasing: buffer[start..<(start + Int(piece.count))]),
                about: [ended.read.object])
            plane.counters.fills += 1
            bytesDone += piece.count
        }
        if UInt64(result) < ended.read.range.count { finishFile() }
    }
}
