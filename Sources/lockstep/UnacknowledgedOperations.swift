import Capture
import Control
import Frame
import Journal
import Platform
import Primitives

/// What the operations touch that were captured and that the secondary's journal does not hold with their results: after
/// the death of a primary the two trees may differ there and nowhere else (G2).
///
///     secondary's journal  ──────────────┐ its end: what lies before it was acknowledged, or may have been
///     primary's journal    ──────────────┼──────────┐ (1) records beyond it
///     order ring                         │    (2) ──┼──────┐ operations that were in no batch yet
///     arenas               (3) ─ ─ ─ ─ ─ ┴ ─ ─ ─ ─ ─┴ ─ ─ ─┘ calls that had not returned, or not with the expected result
///
/// and (4) operations on names that the secondary's journal holds without their outcome. A journal of a killed process
/// is whole up to its last write: the page cache has it.
///
/// Repairs of overlapping writes that the primary had made and not yet written to its journal leave no trace: a program
/// whose writes overlap may show differences that nothing here explains.
struct UnacknowledgedOperations {
    /// A name in a directory of the primary.
    struct Name: Hashable {
        var parent: ObjectID
        var name: [UInt8]
    }

    /// Of one file or directory of the primary.
    struct Touched {
        var ranges: [ByteRange] = []
        /// The largest size that an operation may have given it.
        var sizeMax: UInt64 = 0
        /// Mode or owner.
        var attributes = false

        mutating func add(_ range: ByteRange, _ size: UInt64) {
            ranges.append(range)
            sizeMax = max(sizeMax, size)
        }
    }

    private(set) var objects: [ObjectID: Touched] = [:]
    /// What these mean, and everything that is reached through them, may differ.
    private(set) var names: Set<Name> = []
    private(set) var count = 0

    init() {}

    /// Both nodes' journal directories, the secondary's after its takeover, which ended at `takenOverAt`; `memory` nil if
    /// nobody ran under the capture.
    init(primaryJournal: String, secondaryJournal: String, takenOverAt: StreamPosition, memory: CaptureView?)
        throws(ControlError)
    {
        do {
            let reached = try Reached(journal: secondaryJournal)
            // With less of it than was applied, operations would pass for unacknowledged that were not.
            guard reached.place?.position ?? .none == takenOverAt else {
                throw ControlError(.protocolError, "the secondary's journal ends at \(reached.place?.position.value ?? 0), "
                    + "its takeover at \(takenOverAt.value)")
            }
            for record in reached.unresolved.values { add(record) }
            try addRecords(of: primaryJournal, beyond: reached)
            for operation in memory?.operations() ?? [] {
                add(operation, isReached: operation.sequence.map { $0 <= reached.sequence } ?? true)
            }
        } catch let error as ControlError {
            throw error
        } catch {
            throw ControlError(.protocolError, "what was not acknowledged can't be told: \(error)")
        }
    }

    // MARK: Journals

    /// What a secondary has.
    private struct Reached {
        var place: JournalPlace?
        /// Operations up to this number of the ring are there, as far as they were to be shipped.
        var sequence: UInt64 = 0
        /// Operations on names that were shipped while their calls ran, without an outcome.
        var unresolved: [UInt64: Record] = [:]

        init(journal: String) throws {
            let recovery = try Journal.recover(directory: journal)
            place = recovery.last
            guard let first = recovery.segments.first?.header.firstPosition else { return }
            try UnacknowledgedOperations.read(journal, from: first, through: recovery.last?.position) { header, record in
                guard let record else {
                    // What the header says of its last number is no more than a bound; the records tell.
                    sequence = max(sequence, max(header.firstSequence.value, 1) - 1)
                    return
                }
                switch record.kind {
                case .copyBegins:
                    // Another stream: its ring may count anew.
                    sequence = max(header.firstSequence.value, 1) - 1
                    unresolved = [:]
                case .outcome: unresolved[record.argument] = nil
                default:
                    sequence = max(sequence, record.sequence.value)
                    if record.flags.contains(.tentative) { unresolved[record.position.value] = record }
                }
            }
        }
    }

    private mutating func addRecords(of journal: String, beyond reached: Reached) throws {
        let from = reached.place?.position.next ?? StreamPosition(1)
        try UnacknowledgedOperations.read(journal, from: from, through: nil) { header, record in
            guard let record else {
                // The first batch must be the one that the secondary lacks, and not that of another stream.
                if header.firstPosition == from, let place = reached.place, header.previousChain != place.chain {
                    throw ControlError(.protocolError, "the primary's journal does not continue the secondary's at \(from.value)")
                }
                return
            }
            if record.position >= from { add(record) }
        }
    }

    /// Calls `body` for each batch, without a record, and then for each of its records.
    private static func read(_ journal: String, from: StreamPosition, through: StreamPosition?,
        _ body: (BatchHeader, Record?) throws -> Void) throws
    {
        let reader = JournalReader(directory: journal, from: from)
        let decoder = FrameDecoder()
        var records: [UInt8] = []
        while let batch = try reader.next(through: through) {
            let header = try decoder.decode(batch.bytes, into: &records)
            try body(header, nil)
            var offset = 0
            while offset < records.count {
                let record = try Record(parsing: records.span.bytes, at: offset)
                try body(header, record)
                offset += record.bytes
            }
        }
    }

    // MARK: What each one touches

    mutating func add(_ record: Record) {
        count += 1
        switch record.kind {
        case .write, .fill: touch(record.object, ByteRange(offset: record.offset, count: UInt64(record.payloadBytes)))
        case .truncate: truncate(record.object, record.length)
        case .allocate: allocate(record.object, record.offset, record.length, mode: record.argument)
        case .chmod, .chown, .setAttribute, .removeAttribute: objects[record.object, default: Touched()].attributes = true
        case .present:
            objects[record.object, default: Touched()].attributes = true
            if !record.name.isEmpty { names.insert(Name(parent: record.parent, name: record.name)) }
        case .create, .mkdir, .symlink, .mknod, .unlink, .rmdir, .absent:
            names.insert(Name(parent: record.parent, name: record.name))
        case .rename:
            names.insert(Name(parent: record.parent, name: record.name))
            names.insert(Name(parent: record.targetParent, name: record.targetName))
        case .link: names.insert(Name(parent: record.targetParent, name: record.targetName))
        // An outcome's operation lies beyond the end as well, or has no outcome before it. Times are not compared.
        case .outcome, .times, .copyBegins, .copyEnds, .settled: break
        }
    }

    /// `isReached`: its record is in the secondary's journal, or was not to be shipped.
    mutating func add(_ operation: CaptureView.Operation, isReached: Bool) {
        let intent = operation.intent, result = intent.result
        let isUnexpected: Bool
        switch intent.kind {
        case .barrier, .times: return
        case .create where intent.isNameless: return
        case .write, .submit:
            isUnexpected = result.contended || result.value < Int64(intent.payload.count)
                || (intent.flags.contains(.predicted) && result.actualOffset != intent.offset)
        case .changed: isUnexpected = true  // its bytes are read after it
        case .allocate where intent.shiftsBytes: isUnexpected = true
        default: isUnexpected = result.value < 0
        }
        if isReached && operation.isDone && !isUnexpected { return }
        count += 1
        switch intent.kind {
        case .write, .submit:
            if result.contended || (intent.flags.contains(.predicted) && !operation.isDone) {
                // Where it went is not known.
                touch(intent.object, .all)
            } else {
                touch(intent.object, ByteRange(offset: intent.offset, count: UInt64(intent.payload.count)))
                if operation.isDone, result.value > 0, intent.flags.contains(.predicted) {
                    touch(intent.object, ByteRange(offset: result.actualOffset, count: UInt64(result.value)))
                }
            }
        case .changed: touch(intent.object, ByteRange(offset: intent.offset, count: intent.length))
        case .truncate: truncate(intent.object, intent.length)
        case .allocate: allocate(intent.object, intent.offset, intent.length, mode: intent.argument)
        case .chmod, .chown, .setAttribute, .removeAttribute: objects[intent.object, default: Touched()].attributes = true
        case .create, .mkdir, .symlink, .mknod, .unlink, .rmdir:
            names.insert(Name(parent: intent.parent, name: intent.name))
        case .rename:
            names.insert(Name(parent: intent.parent, name: intent.name))
            names.insert(Name(parent: intent.targetParent, name: intent.targetName))
        case .link: names.insert(Name(parent: intent.targetParent, name: intent.targetName))
        case .barrier, .times: break
        }
    }

    /// `size`: the largest that it may have given the file, if that is not where the range ends.
    private mutating func touch(_ object: ObjectID, _ range: ByteRange, size: UInt64? = nil) {
        objects[object, default: Touched()].add(range, size ?? range.upperBound)
    }

    private mutating func truncate(_ object: ObjectID, _ size: UInt64) { touch(object, ByteRange(size, .max), size: size) }

    /// With a mode that moves bytes everything behind the offset changes (fallocate(2): collapse 8, insert 32).
    private mutating func allocate(_ object: ObjectID, _ offset: UInt64, _ length: UInt64, mode: UInt64) {
        touch(object, mode & (8 | 32) != 0 ? ByteRange(offset, .max) : ByteRange(offset: offset, count: length))
    }
}
