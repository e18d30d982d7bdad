public import Primitives

/// What the primary knows of one captured operation, from its intent until nothing can depend on it any more.
public struct TrackedOperation: Sendable {
    public var sequence: SequenceNumber
    public var kind: Record.Kind
    /// Where the intent lies: given back once the operation is settled and its batch is in the journal.
    public var arena: UInt32
    public var index: UInt32
    public var blocks: UInt64
    public var object: ObjectID
    /// Bytes that it may change; empty for operations on names and attributes.
    public var range: ByteRange
    /// Its record leaves them as they are (space that is reserved).
    public var keepsBytes: Bool
    public var names: [NameTable.Name]
    /// renameat2's flags, mkdir's mode, the type of what is linked: what an outcome needs.
    public var argument: UInt64
    public var predictedOffset: Bool
    /// Of its record in the stream; none when it was not shipped.
    public var position: StreamPosition
    public var payload: [UInt8]
    /// A rename of a directory: two of them depend on each other without a common name.
    public var movesDirectory: Bool
    /// Directories that it needs: those of its names, and of what it links.
    public var directories: [ObjectID]
    /// A directory that it takes the name away from.
    public var removes: ObjectID
    /// A link of what was outside the trees: told whole, by its name.
    public var enters: Bool
    /// Of a change of one extended attribute.
    public var attribute: [UInt8] = []

    public fileprivate(set) var isSettled = false
    /// `reserved` when it was done: what has a lower sequence number may have run at the same time.
    fileprivate var doneReserved: UInt64 = .max
    /// Bytes to be read and shipped again when it is settled: something else touched them at the same time.
    fileprivate var repairRange: ByteRange?
    fileprivate var repairNames = false
    /// Operations on the same names at the same time: of those that changed nothing nobody need look again.
    fileprivate var conflicts: [SequenceNumber] = []
    fileprivate var changedNothing = false
    /// Names of those that had been settled before, and took place in another order perhaps.
    fileprivate var namesOfOthers: [NameTable.Name] = []
    fileprivate var repairSize = false
    fileprivate var repairAttributes = false
    /// Names that were made in a directory while its default access control list changed.
    fileprivate var namesToLookAt: [NameTable.Name] = []
    fileprivate var isAttribute: Bool { kind == .chmod || kind == .chown || isExtendedAttribute }
    public var isExtendedAttribute: Bool { kind == .setAttribute || kind == .removeAttribute }
    fileprivate var isToldWhenSettled: Bool { kind == .fill || isExtendedAttribute }

    public init(sequence: SequenceNumber, kind: Record.Kind, arena: UInt32, index: UInt32, blocks: UInt64,
        object: ObjectID = .none, range: ByteRange = ByteRange(0, 0), keepsBytes: Bool = false, names: [NameTable.Name] = [],
        argument: UInt64 = 0, predictedOffset: Bool = false, position: StreamPosition = .none, payload: [UInt8] = [],
        movesDirectory: Bool = false, directories: [ObjectID] = [], removes: ObjectID = .none, enters: Bool = false)
    {
        self.sequence = sequence
        self.kind = kind
        self.arena = arena
        self.index = index
        self.blocks = blocks
        self.object = object
        self.range = range
        self.keepsBytes = keepsBytes
        self.names = names
        self.argument = argument
        self.predictedOffset = predictedOffset
        self.position = position
        self.payload = payload
        self.movesDirectory = movesDirectory
        self.directories = directories
        self.removes = removes
        self.enters = enters
    }
}

/// What must follow when an operation is settled.
public struct Settlement: Equatable, Sendable {
    /// Ranges to be read from the file now and shipped as fills, before any later durability point is acknowledged.
    public var repairRanges: [ByteRange] = []
    /// The file's size may differ from what the stream says.
    public var repairsSize = false
    /// Names to be looked up now and shipped as name fills.
    public var repairNames: [NameTable.Name] = []
    public var repairAttributes = false
    public init() {}
    public var isEmpty: Bool { repairRanges.isEmpty && !repairsSize && repairNames.isEmpty && !repairAttributes }
}

/// Finds operations whose system calls may have run in another order than their intents, and says what to ship again
/// (rules R1 and R2).
///
/// Intents lie in one total order, system calls run without any lock. Two calls that touch the same bytes or the same
/// name at the same time may therefore end in the other order than their records on the secondary say:
///
///      intent 5  ----[ write A ]--------------------- done(reserved 7)
///      intent 6  ---------[ write B ]--- done                              5's reserved (7) > 6: they overlapped
///
/// They are not prevented: when both are settled, the bytes are read from the file and shipped as a fill. No barrier
/// waits for a stopped process: while its caller is unanswered, its operation may be present or absent.
public struct OperationTracker: Sendable {
    public private(set) var operations: [SequenceNumber: TrackedOperation] = [:]
    /// In order of their sequence numbers.
    public private(set) var unsettled: [SequenceNumber] = []
    /// Some are told of only when they are settled: changes whose bytes were not seen (kind `fill`) are read then, extended
    /// attributes shipped if the call succeeded.
    public var awaitsSettlement: Bool { awaited > 0 }
    private var awaited = 0
    private var movingDirectories = 0
    private var byObject: [ObjectID: [SequenceNumber]] = [:]
    private var byName: [NameTable.Name: [SequenceNumber]] = [:]
    private var byAttributes: [ObjectID: [SequenceNumber]] = [:]
    private var byRemoved: [ObjectID: [SequenceNumber]] = [:]
    /// Settled, kept while an operation with a lower number than their `doneReserved` may still be drained.
    private var lingering: [SequenceNumber] = []

    public init() {}

    public var isEmpty: Bool { operations.isEmpty }

    /// Takes in an operation in the order of the ring. Overlaps with operations that may run at the same time are noted.
    public mutating func admit(_ operation: TrackedOperation) {
        var operation = operation
        if !operation.range.isEmpty {
            for other in byObject[operation.object] ?? [] {
                guard var earlier = operations[other], earlier.range.overlaps(operation.range),
                    earlier.doneReserved > operation.sequence.value
                else { continue }
                let both = ByteRange(max(earlier.range.lowerBound, operation.range.lowerBound),
                    min(earlier.range.upperBound, operation.range.upperBound))
                // A write and a truncation: the size depends on their order too.
                let changesSize = operation.kind != .write || earlier.kind != .write
                operation.repairRange = operation.repairRange.map { $0.union(both) } ?? both
                operation.repairSize = operation.repairSize || changesSize
                if !earlier.isSettled {
                    earlier.repairRange = earlier.repairRange.map { $0.union(both) } ?? both
                    earlier.repairSize = earlier.repairSize || changesSize
                    operations[other] = earlier
                }
            }
            byObject[operation.object, default: []].append(operation.sequence)
        }
        if operation.isAttribute {
            for other in byAttributes[operation.object] ?? [] {
                guard var earlier = operations[other], earlier.doneReserved > operation.sequence.value else { continue }
                operation.repairAttributes = true
                if !earlier.isSettled {
                    earlier.repairAttributes = true
                    operations[other] = earlier
                }
            }
            byAttributes[operation.object, default: []].append(operation.sequence)
            if operation.isExtendedAttribute { noteInheritance(&operation) }
        }
        for key in operation.names {
            for other in byName[key] ?? [] {
                guard let earlier = operations[other], earlier.doneReserved > operation.sequence.value else { continue }
                operation.conflicts.append(other)
                if !earlier.isSettled {
                    operations[other]?.conflicts.append(operation.sequence)
                } else if !earlier.changedNothing {
                    operation.namesOfOthers += earlier.names.filter { !operation.names.contains($0) }
                }
            }
            byName[key, default: []].append(operation.sequence)
            // What is made in a directory inherits from its default access control list.
            if (byAttributes[key.parent] ?? []).contains(where: { other in
                operations[other].map { $0.isExtendedAttribute && $0.doneReserved > operation.sequence.value } ?? false
            }) { operation.repairNames = true }
        }
        // What was moved out of a directory just before it was removed is removed with it there, if its record comes later.
        for directory in operation.directories {
            if (byRemoved[directory] ?? []).contains(where: { operations[$0].map { $0.doneReserved > operation.sequence.value } ?? false }) {
                operation.repairNames = true
            }
        }
        if !operation.removes.isNone { byRemoved[operation.removes, default: []].append(operation.sequence) }
        if operation.movesDirectory {
            for (other, candidate) in operations
            where candidate.movesDirectory && candidate.doneReserved > operation.sequence.value && !candidate.changedNothing {
                operation.repairNames = true
                if !candidate.isSettled {
                    operations[other]?.repairNames = true
                } else {
                    operation.namesOfOthers += candidate.names.filter { !operation.names.contains($0) }
                }
            }
        }
        operations[operation.sequence] = operation
        unsettled.append(operation.sequence)
        if operation.isToldWhenSettled { awaited += 1 }
        if operation.movesDirectory { movingDirectories += 1 }
    }

    /// The other way round: names that may have been made before or after the change of their directory.
    private func noteInheritance(_ operation: inout TrackedOperation) {
        for other in operations.values where other.doneReserved > operation.sequence.value {
            operation.namesToLookAt += other.names.filter { $0.parent == operation.object }
        }
    }

    /// The position at which the operation's record was shipped.
    public mutating func shipped(_ sequence: SequenceNumber, at position: StreamPosition) {
        operations[sequence]?.position = position
    }

    /// The system call has returned: `value` at least 0 or -errno, at `actualOffset`; `contended`: its offset is in doubt.
    public mutating func settle(_ sequence: SequenceNumber, value: Int64, actualOffset: UInt64, doneReserved: UInt64,
        contended: Bool) -> Settlement
    {
        guard let operation = markSettled(sequence, doneReserved: doneReserved, changedNothing: value < 0 && value != -5 /* EIO */)
        else { return Settlement() }
        var settlement = collisions(of: operation)
        switch operation.kind {
        case .write:
            if contended {
                settlement.repairRanges = [.all]
                settlement.repairsSize = true
                touched(sequence, .all)
            } else if value < 0 || UInt64(value) < operation.range.count {
                settlement.repairRanges.append(operation.range)
                settlement.repairsSize = true
            }
            if !contended, operation.predictedOffset, value > 0, actualOffset != operation.range.lowerBound {
                let actual = ByteRange(offset: actualOffset, count: UInt64(value))
                settlement.repairRanges.append(operation.range)
                settlement.repairRanges.append(actual)
                settlement.repairsSize = true
                touched(sequence, operation.range.union(actual))
            }
        case .fill:
            settlement.repairRanges.append(operation.range)
            settlement.repairsSize = settlement.repairsSize || value < 0 || operation.range.upperBound == .max
        case .truncate, .allocate:
            if value < 0 {
                settlement.repairRanges.append(operation.range)
                settlement.repairsSize = true
            }
        case .chmod, .chown, .setAttribute, .removeAttribute:
            if value < 0 { settlement.repairAttributes = true }
        default: break
        }
        return settlement
    }

    /// The process is gone and never said how its call ended: what it may have touched is read again.
    public mutating func settleDead(_ sequence: SequenceNumber, doneReserved: UInt64) -> Settlement {
        guard let operation = markSettled(sequence, doneReserved: doneReserved) else { return Settlement() }
        var settlement = collisions(of: operation)
        switch operation.kind {
        case .write where operation.predictedOffset:
            // Where an append really went is not known.
            settlement.repairRanges = [.all]
            settlement.repairsSize = true
            touched(sequence, .all)
        case .write, .truncate, .allocate, .fill:
            settlement.repairRanges.append(operation.range)
            settlement.repairsSize = true
        case .chmod, .chown, .setAttribute, .removeAttribute: settlement.repairAttributes = true
        default: break
        }
        return settlement
    }

    /// A fill of `range` is being shipped: what is inside its call right now and may overwrite it ships it again later.
    public mutating func fillShipped(_ object: ObjectID, _ range: ByteRange) {
        for sequence in byObject[object] ?? [] {
            guard var operation = operations[sequence], !operation.isSettled, operation.range.overlaps(range) else { continue }
            operation.repairRange = operation.repairRange.map { $0.union(operation.range) } ?? operation.range
            operations[sequence] = operation
        }
    }

    /// A name fill of `name` is being shipped: what is inside its call on that name has it looked up again when it ends.
    public mutating func nameFillShipped(_ name: NameTable.Name) {
        for sequence in byName[name] ?? [] where operations[sequence]?.isSettled == false {
            operations[sequence]?.repairNames = true
        }
    }

    /// The same for all names in the directories that `isTold` names: what is inside its call there is not in what is told.
    public mutating func nameFillShipped(in isTold: (ObjectID) -> Bool) {
        for sequence in unsettled where operations[sequence]?.names.contains(where: { isTold($0.parent) }) == true {
            operations[sequence]?.repairNames = true
        }
    }

    /// Whether one of the directories that calls are moving right now is such.
    public func movesDirectory(where isSuch: (ObjectID) -> Bool) -> Bool {
        movingDirectories > 0 && unsettled.contains { sequence in
            operations[sequence].map { $0.movesDirectory && isSuch($0.object) } ?? false
        }
    }

    /// Mode and owner of `object` are being shipped: the same for them.
    public mutating func attributesShipped(_ object: ObjectID) {
        for sequence in byAttributes[object] ?? [] where operations[sequence]?.isSettled == false {
            operations[sequence]?.repairAttributes = true
        }
    }

    /// A new stream begins: the records of what is inside its call now are not part of it, so all of it is looked at
    /// again when it is settled.
    public mutating func restart() {
        for sequence in unsettled {
            guard var operation = operations[sequence] else { continue }
            operation.position = .none
            operation.repairNames = !operation.names.isEmpty
            if !operation.range.isEmpty {
                operation.repairRange = operation.range
                operation.repairSize = true
            }
            operation.repairAttributes = operation.isAttribute
            operations[sequence] = operation
        }
    }

    /// Ranges of `object` whose bytes the records of calls now in progress tell: a bulk fill leaves them out (R3).
    public func rangesInFlight(_ object: ObjectID) -> [ByteRange] {
        (byObject[object] ?? []).compactMap { operations[$0] }.filter { !$0.isSettled && !$0.keepsBytes }.map(\.range)
    }

    /// The lowest sequence number whose call is not known to be done: a fill's read floor.
    public var floor: SequenceNumber? { unsettled.first }

    /// Everything below `drained` has been admitted: forgets settled operations that nothing admitted later can overlap.
    public mutating func forget(drained: UInt64) {
        guard !lingering.isEmpty else { return }
        lingering.removeAll { sequence in
            guard let operation = operations[sequence], operation.doneReserved <= drained else { return false }
            operations[sequence] = nil
            if !operation.range.isEmpty { OperationTracker.remove(sequence, from: &byObject, operation.object) }
            if operation.isAttribute { OperationTracker.remove(sequence, from: &byAttributes, operation.object) }
            for key in operation.names { OperationTracker.remove(sequence, from: &byName, key) }
            if !operation.removes.isNone { OperationTracker.remove(sequence, from: &byRemoved, operation.removes) }
            return true
        }
    }

    private mutating func markSettled(_ sequence: SequenceNumber, doneReserved: UInt64, changedNothing: Bool = false) -> TrackedOperation? {
        guard var operation = operations[sequence], !operation.isSettled else { return nil }
        operation.isSettled = true
        operation.changedNothing = changedNothing
        if operation.isToldWhenSettled { awaited -= 1 }
        if operation.movesDirectory { movingDirectories -= 1 }
        operation.doneReserved = doneReserved
        operations[sequence] = operation
        if let index = unsettled.firstIndex(of: sequence) { unsettled.remove(at: index) }
        lingering.append(sequence)
        return operation
    }

    /// What it really may have changed: later operations overlap with that.
    private mutating func touched(_ sequence: SequenceNumber, _ range: ByteRange) { operations[sequence]?.range = range }

    private func collisions(of operation: TrackedOperation) -> Settlement {
        var settlement = Settlement()
        if let range = operation.repairRange {
            settlement.repairRanges.append(range)
            settlement.repairsSize = operation.repairSize || operation.kind != .write || range.upperBound == .max
        }
        if operation.repairAttributes { settlement.repairAttributes = true }
        let isInConflict = operation.conflicts.contains { operations[$0].map { !$0.changedNothing } ?? true }
        if !operation.changedNothing, operation.repairNames || isInConflict { settlement.repairNames = operation.names + operation.namesOfOthers }
        settlement.repairNames += operation.namesToLookAt
        return settlement
    }

    private static func remove<Key>(_ sequence: SequenceNumber, from index: inout [Key: [SequenceNumber]], _ key: Key) {
        guard var list = index[key] else { return }
        list.removeAll { $0 == sequence }
        index[key] = list.isEmpty ? nil : list
    }
}

extension ByteRange {
    /// The smallest range that holds both.
    public func union(_ other: ByteRange) -> ByteRange {
        ByteRange(min(lowerBound, other.lowerBound), max(upperBound, other.upperBound))
    }
}
