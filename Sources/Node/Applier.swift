import Frame
import Glibc
import Journal
import Platform
import Primitives
import Replay
import Replication
import Synchronization
import Watch

/// The secondary's second thread: takes batches that the journal has made durable and applies them to the files.
/// Nothing here is on the path of an acknowledgement.
///
///     data plane --batches (bounded)--> applier --> Replayer --> files
///                <--applied, copyEnded, checkpointed, failed--
final class Applier: Sendable {
    enum Order: Sendable {
        case batch([UInt8])
        /// Somebody else changed the trees.
        case outside([OutsideChange])
        /// Where the files stand.
        case mark(@Sendable (WatchList.Mark) -> Void)
        /// Nothing more will come: decide what is undecided, make everything durable, and answer with `finished`.
        case finish
    }

    enum Report: Sendable {
        case applied
        case copyEnded(StreamPosition)
        /// Files and table are durable up to here: the journal below is not needed any more.
        case checkpointed(StreamPosition)
        /// nil: the data is consistent.
        case finished(inconsistent: String?)
        case failed(String)
        /// What others changed: the objects to be shipped again, under a number for the request.
        case outside(token: UInt64, objects: [ObjectID], elsewhere: [OutsideChange], nanoseconds: UInt64)
        /// The primary has shipped all of that request.
        case repaired(token: UInt64)
    }

    private let orders = Mailbox<Order>(capacity: 1 << 20)
    private let report: @Sendable (Report) -> Void
    private let appliedPosition: Atomic<UInt64>
    private let waitingBytes = Atomic<Int>(0)

    /// Everything up to here is in the files.
    var applied: StreamPosition { StreamPosition(appliedPosition.load(ordering: .acquiring)) }
    /// Bytes of batches that were handed over and not applied.
    var unappliedBytes: Int { waitingBytes.load(ordering: .relaxed) }

    /// `work` belongs to the thread from here on.
    init(work: ApplierWork, report: @escaping @Sendable (Report) -> Void) {
        self.report = report
        appliedPosition = Atomic(work.position.value)
        nonisolated(unsafe) let owned = work
        startThread("applier") { self.run(owned) }
    }

    func post(batch: [UInt8]) {
        waitingBytes.add(batch.count, ordering: .relaxed)
        precondition(orders.post(.batch(batch)), "the data plane bounds the bytes, and so the number of batches")
    }

    func post(outside changes: [OutsideChange]) { precondition(orders.post(.outside(changes)), "one at a time") }

    func mark(_ answer: @escaping @Sendable (WatchList.Mark) -> Void) { precondition(orders.post(.mark(answer)), "the lister asks, one at a time") }

    func finish() { precondition(orders.post(.finish)) }

    private func run(_ work: ApplierWork) {
        while true {
            orders.wait(milliseconds: -1)
            for order in orders.take() {
                do {
                    switch order {
                    case .batch(let bytes):
                        defer {
                            appliedPosition.store(work.position.value, ordering: .releasing)
                            waitingBytes.subtract(bytes.count, ordering: .relaxed)
                        }
                        let ended = try work.apply(bytes)
                        for token in work.takeRepaired() { report(.repaired(token: token)) }
                        if let ended {
                            report(.checkpointed(work.replayer.mark.position))
                            report(.copyEnded(ended))
                        } else if work.wantsCheckpoint, try work.checkpoint() {
                            report(.checkpointed(work.position))
                        }
                    case .outside(let changes):
                        let start = Clock.monotonic
                        let (token, objects, elsewhere) = try work.outside(changes)
                        report(.outside(token: token, objects: objects, elsewhere: elsewhere, nanoseconds: Clock.monotonic - start))
                    case .mark(let answer): answer(WatchList.Mark(position: work.position, chain: work.chain))
                    case .finish:
                        let inconsistent = try work.finish()
                        report(.finished(inconsistent: inconsistent))
                    }
                } catch {
                    // The thread goes on: a copy that begins anew puts everything right.
                    report(.failed("\(error)"))
                }
            }
            report(.applied)
        }
    }
}

/// What the applier's thread owns.
final class ApplierWork {
    let replayer: Replayer
    private(set) var epoch: Epoch
    private(set) var position: StreamPosition
    private(set) var chain: UInt64
    /// Bytes applied since the last checkpoint.
    private(set) var journalBytes: UInt64 = 0
    private let decoder = FrameDecoder()
    private var records: [UInt8] = []
    /// A record did not fit: nothing is applied until a copy begins.
    private var hasFailed = false
    /// Objects that were asked for again, by the number of the request.
    private var asked: [UInt64: [ObjectID]] = [:]
    private var lastToken: UInt64 = 0
    private var repaired: [UInt64] = []
    private let log: Log

    init(replayer: Replayer, epoch: Epoch, position: StreamPosition, chain: UInt64, log: Log) {
        self.replayer = replayer
        self.epoch = epoch
        self.position = position
        self.chain = chain
        self.log = log
    }

    /// Applies one batch; returns the position of a copy's end if one is in it.
    func apply(_ batch: [UInt8]) throws -> StreamPosition? {
        var failure: NodeError?
        let header = try batch.withUnsafeBytes { try decoder.decode($0, into: &records) }
        var copyEnded: StreamPosition?
        try records.withUnsafeBytes { bytes in
            var offset = 0
            var expected = header.firstPosition
            while offset < bytes.count {
                let record = try Record(parsing: bytes.bytes, at: offset)
                guard record.position == expected else {
                    throw NodeError(76, "record at byte \(offset) is at position \(record.position.value), not \(expected.value)")
                }
                expected = expected.next
                let payload = UnsafeRawBufferPointer(rebasing: bytes[(offset + record.payloadOffset)..<(offset + record.bytes)])
                offset += record.bytes
                // A copy's end is a checkpoint in the middle of its batch.
                if record.position <= position { continue }
                if record.kind == .copyBegins {
                    hasFailed = false
                    asked = [:]
                }
                if hasFailed { continue }
                let wasCopying = replayer.copying
                do { try replayer.apply(record, payload: payload) } catch {
                    hasFailed = true
                    failure = NodeError(1, "record \(record.position.value) (\(record.kind)): \(error)")
                    continue
                }
                if record.kind == .settled, let objects = asked.removeValue(forKey: record.argument) {
                    replayer.isWhole(objects)
                    repaired.append(record.argument)
                }
                // Held records and names that are owed put it off.
                if wasCopying, !replayer.copying { copyEnded = record.position }
            }
        }
        epoch = header.epoch
        position = header.lastPosition
        chain = header.chain
        journalBytes += UInt64(batch.count)
        if let failure { throw failure }
        if copyEnded != nil { try checkpoint() }
        return copyEnded
    }

    func takeRepaired() -> [UInt64] {
        defer { repaired = [] }
        return repaired
    }

    /// Somebody else changed the trees: names are brought back, and what must come from the primary again is found. `elsewhere`: what
    /// was done by names outside, and is about a file of the trees.
    func outside(_ changes: [OutsideChange]) throws -> (token: UInt64, objects: [ObjectID], elsewhere: [OutsideChange]) {
        lastToken += 1
        guard !hasFailed, replayer.isMendable else { return (lastToken, [], []) }
        let owners = replayer.objectsByOwnFile()
        func owner(_ change: OutsideChange) -> ObjectID? {
            guard let file = change.object, let root = change.roots.first else { return nil }
            return owners[replayer.ownKey(root: root, inode: file.inode, generation: file.generation)]
        }
        var objects = Set(changes.compactMap(owner))
        if changes.contains(where: { !$0.what.isDisjoint(with: .names) }) {
            do { objects.formUnion(try mendNames()) } catch {
                hasFailed = true
                replayer.giveUp("names that others changed can't be brought back: \(error)")
                throw error
            }
        }
        if !objects.isEmpty { asked[lastToken] = Array(objects) }
        return (lastToken, Array(objects), changes.filter { $0.isElsewhere && owner($0) != nil })
    }

    private func mendNames() throws -> [ObjectID] {
        for _ in 1..<ApplierWork.mendAttempts {
            if let made = try? replayer.mendNames() { return made }
            usleep(20_000)
        }
        return try replayer.mendNames()
    }

    /// Whoever goes on changing names may be in the way of one.
    private static let mendAttempts = 5

    /// The journal's size is bounded by it. During a copy the table grows with what was copied: not so often.
    var wantsCheckpoint: Bool {
        replayer.consistent ? journalBytes > Limits.checkpointBytes : replayer.copying && !hasFailed && journalBytes > Limits.copyCheckpointBytes
    }

    /// False: put off, and the journal is still needed.
    @discardableResult
    func checkpoint() throws -> Bool {
        guard try replayer.checkpoint(Replayer.Mark(position: position, epoch: epoch, chain: chain)) else { return false }
        journalBytes = 0
        return true
    }

    /// For a takeover: what is inconsistent, or nil. From here on the trees belong to the application.
    func finish() throws -> String? {
        if let inconsistency = replayer.inconsistency { return inconsistency }
        try replayer.finish()
        return nil
    }
}
