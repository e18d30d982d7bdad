import Capture
import Glibc
import Platform
import Primitives
import Replication

/// Files whose bytes are to be read and shipped, whole or in part: those of a first copy, and those of which too much is in doubt
/// for a repair on the spot. One piece of one file is read at a time, by the data plane's io_uring.
///
///     files -> read a piece -> drain the ring up to what was reserved when the read ended -> cut (FillRead) -> ship
///
/// Everything that can be in the bytes is then in the stream before them, and what was still inside its call is cut out:
/// its record says it. Durability points are held until the queue is empty (R2).
final class FillQueue {
    private(set) var bytesShipped: UInt64 = 0
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Limits.fillBytes, alignment: 4096)
    /// The kernel reads into the buffer.
    private(set) var isReading = false

    /// New to the peer: it has zeros everywhere and none of the calls in progress, so holes and what those touch are left out.
    /// In doubt: it has bytes that may be wrong, so all of it is shipped, and calls in progress ship their ranges again.
    /// Outside: as in doubt, but of what nobody was promised anything; only durability points on the file itself wait.
    enum Reason { case new, inDoubt, outside }

    /// `ranges` nil: the whole file; else in order.
    private typealias File = (object: ObjectID, reason: Reason, ranges: [ByteRange]?)
    private var files: [File] = []
    private var next = 0
    private var current: (object: ObjectID, reason: Reason, ranges: [ByteRange]?, descriptor: Int32, offset: UInt64)?
    private var counts: [ObjectID: Int] = [:]
    private var inDoubt = 0
    private var read: FillRead?
    /// What the read gave, and how far the ring must be drained before it may be placed.
    private var result: (count: Int, after: UInt64)?
    /// Not where their names say: an operation that moved them is still to be drained.
    private var missing: [(file: File, since: UInt64)] = []

    deinit {
        if let current { close(current.descriptor) }
        buffer.deallocate()
    }

    var isEmpty: Bool { next == files.count && current == nil && missing.isEmpty && read == nil }

    func append(_ object: ObjectID, _ reason: Reason, _ ranges: [ByteRange]? = nil) {
        files.append((object, reason, ranges.map { MappedRange.merged($0) }))
        counts[object, default: 0] += 1
        if reason == .inDoubt { inDoubt += 1 }
    }

    /// Bytes that the stream says wrongly are still to be shipped.
    var isAnyInDoubt: Bool { inDoubt > 0 }
    func contains(_ object: ObjectID) -> Bool { counts[object] != nil }

    private func forget(_ object: ObjectID, _ reason: Reason) {
        counts[object] = counts[object].flatMap { $0 > 1 ? $0 - 1 : nil }
        if reason == .inDoubt { inDoubt -= 1 }
    }

    /// The stream ended: nothing is owed any more. A read that the kernel has is waited for all the same.
    func removeAll() {
        files = []
        next = 0
        missing = []
        read = nil
        result = nil
        finishFile()
        counts = [:]
        inDoubt = 0
    }

    /// A newer read of the range is in the stream: what is being read now may not follow it.
    func fillShipped(_ object: ObjectID, _ range: ByteRange) { read?.operationAdmitted(on: object, range) }

    func operationAdmitted(on object: ObjectID, _ range: ByteRange) { read?.operationAdmitted(on: object, range) }

    /// A read that the data plane should start: into `buffer`.
    struct ReadRequest {
        var descriptor: Int32
        var offset: UInt64
        var count: Int
    }

    /// One step; small enough that acknowledgements do not wait for it.
    func turn(plane: PrimaryPlane) -> ReadRequest? {
        if isReading { return nil }
        if read != nil {
            place(plane)
            return nil
        }
        if let request = startRead(plane) {
            isReading = true
            return request
        }
        if next == files.count, current == nil { lookForMissing(plane) }
        return nil
    }

    private func startRead(_ plane: PrimaryPlane) -> ReadRequest? {
        while true {
            if current == nil, !openNext(plane) { return nil }
            let (object, reason, ranges, descriptor, offset) = current!
            let wanted = ranges.map { $0.first { $0.upperBound > offset } } ?? .all
            let start = max(offset, wanted?.lowerBound ?? 0)
            let data = reason == .new ? lseek(descriptor, off_t(offset), 3 /* SEEK_DATA */) : off_t(clamping: start)
            guard data >= 0, let wanted else {
                finishFile()
                continue
            }
            let piece = UInt64(Limits.fillBytes)
            let range = ByteRange(UInt64(data), min((UInt64(data) / piece + 1) * piece, wanted.upperBound))
            var cuts = true
            #if LOCKSTEP_FAULTS
            cuts = !Faults.fillsWithoutFloor
            #endif
            read = FillRead(object: object, range: range,
                floor: plane.tracker.floor ?? SequenceNumber(plane.memory.drained), inFlight: reason == .new ? plane.tracker.rangesInFlight(object) : [],
                cutsAtAll: cuts)
            if reason != .new { plane.tracker.fillShipped(object, range) }
            current!.offset = range.upperBound
            return ReadRequest(descriptor: descriptor, offset: range.lowerBound, count: Int(range.count))
        }
    }

    private func openNext(_ plane: PrimaryPlane) -> Bool {
        while next < files.count {
            let (object, reason, ranges) = files[next]
            next += 1
            guard plane.names.contains(object), let path = plane.names.path(of: object) else {
                forget(object, reason)
                continue
            }
            if let descriptor = plane.tree.open(object, path: path.bytes) {
                current = (object, reason, ranges, descriptor, 0)
                return true
            }
            plane.decideRenames(of: object)
            if plane.tree.openRefused == EACCES || plane.tree.openRefused == EPERM {
                plane.refusal = "\(plane.tree.display(object.root, path.bytes)): the daemon may not read it (\(describe(errno: plane.tree.openRefused))), so it can't be copied"
                return false
            }
            missing.append(((object, reason, ranges), Clock.monotonic))
        }
        files.removeAll(keepingCapacity: true)
        next = 0
        return false
    }

    private func lookForMissing(_ plane: PrimaryPlane) {
        guard !missing.isEmpty else { return }
        let overdue = missing.contains { Clock.monotonic - $0.since > 1_000_000_000 }
        // The table and the file system disagree for good: somebody else moved it.
        if overdue { plane.namesInDoubt = true }
        let again = missing
        missing = []
        for entry in again {
            let object = entry.file.object
            guard plane.names.contains(object), let path = plane.names.path(of: object) else {
                forget(object, entry.file.reason)
                continue
            }
            if let found = plane.tree.look(root: path.root.root, path: path.bytes), found.object == object {
                files.append(entry.file)
            } else {
                missing.append(overdue ? (entry.file, Clock.monotonic) : entry)
            }
        }
    }

    private func finishFile() {
        guard let current else { return }
        close(current.descriptor)
        self.current = nil
        forget(current.object, current.reason)
    }

    /// The read has ended: `count` bytes or -errno.
    func readEnded(_ count: Int, plane: PrimaryPlane) {
        isReading = false
        // What was published while the file was read is admitted, and cut out, before the bytes are placed.
        if read != nil { result = (count, plane.memory.reserved) }
    }

    private func place(_ plane: PrimaryPlane) {
        guard let read, let result, let current, plane.memory.drained >= result.after else { return }
        self.read = nil
        self.result = nil
        if result.count < 0 {
            plane.readFailed(read.object, Int32(-result.count))
            finishFile()
            return
        }
        plane.noteTimes(read.object)
        let size = (try? FileStatus.of(current.descriptor).size) ?? 0
        for piece in read.pieces(count: UInt64(result.count)) where plane.names.contains(read.object) {
            let start = Int(piece.lowerBound - read.range.lowerBound)
            var record = Record(.fill)
            record.object = read.object
            record.offset = piece.lowerBound
            record.length = size
            record.argument = read.floor.value
            plane.ship(record, payload: UnsafeRawBufferPointer(rebasing: buffer[start..<(start + Int(piece.count))]),
                about: [read.object])
            plane.counters.fills += 1
            bytesShipped += piece.count
        }
        if UInt64(result.count) < read.range.count { finishFile() }
    }
}
