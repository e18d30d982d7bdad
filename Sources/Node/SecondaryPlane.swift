import Frame
import Glibc
import Journal
import Link
import Platform
import Primitives

/// The secondary's side of the data plane: a batch is verified, written to the journal with one flushed write, and
/// acknowledged; everything else happens on the applier's thread.
///
///     batch --verify chain--> journal (O_DIRECT|O_DSYNC) --completed--> ack, applier
final class SecondaryPlane {
    /// Of the last batch received, and of the last one that is durable in the journal.
    private(set) var received: Mark
    private(set) var flushed: Mark
    private(set) var epoch: Epoch
    var dataState: DataState
    /// What others changed in this node's trees.
    var suspects = Suspects()
    /// Nothing of an earlier life is in doubt.
    var isRepairable = true
    let applier: Applier
    private let log: Log
    /// Written, in order, until their writes complete.
    private var writing: [(mark: Mark, batch: [UInt8])] = []
    private var needsAck = false
    private var lastAckedApplied = StreamPosition.none
    private(set) var batches: UInt64 = 0

    /// A place in the stream, as a batch header names it.
    struct Mark: Equatable {
        var position: StreamPosition
        var sequence: SequenceNumber
        var chain: UInt64
    }

    init(mark: Mark, epoch: Epoch, dataState: DataState, applier: Applier, log: Log) {
        received = mark
        flushed = mark
        self.epoch = epoch
        self.dataState = dataState
        self.applier = applier
        self.log = log
    }

    /// Batches that were verified and whose journal write has not completed.
    var isWriting: Bool { !writing.isEmpty }
    var unappliedBytes: Int { applier.unappliedBytes + writing.reduce(0) { $0 + $1.batch.count } }

    func begin(epoch: Epoch) {
        self.epoch = epoch
        // What the old connection brought and the journal does not have yet is still written; the new one continues there.
        needsAck = false
    }

    /// Checks a batch against what was received before; the journal gets it next.
    func receive(_ bytes: UnsafeRawBufferPointer) throws {
        let header = try BatchHeader(verifying: bytes)
        guard header.epoch == epoch else {
            throw NodeError(76, "batch of epoch \(header.epoch.value) in a connection of epoch \(epoch.value)")
        }
        guard header.previousChain == received.chain, header.firstPosition == received.position.next, bytes.count == header.batchBytes else {
            throw NodeError(76, "batch \(header.firstPosition.value) to \(header.lastPosition.value) does not follow \(received.position.value)")
        }
        received = Mark(position: header.lastPosition, sequence: max(received.sequence, header.lastSequence), chain: header.chain)
        writing.append((received, Array(bytes)))
        batches += 1
        #if LOCKSTEP_FAULTS
        // Planted fault: the peer is told before the journal has the batch.
        if Faults.acknowledgesEarly {
            flushed = received
            needsAck = true
        }
        #endif
    }

    /// Batches up to `position` are durable in the journal.
    func journaled(through position: StreamPosition) {
        while let (mark, batch) = writing.first, mark.position <= position {
            writing.removeFirst()
            flushed = mark
            needsAck = true
            applier.post(batch: batch)
        }
    }

    /// What is to be said to the primary now: one acknowledgement for everything since the last.
    func ack(evenIfNothingNew: Bool = false) -> Ack? {
        let applied = applier.applied
        guard needsAck || evenIfNothingNew || applied != lastAckedApplied else { return nil }
        needsAck = false
        lastAckedApplied = applied
        return Ack(epoch: epoch, position: flushed.position, sequence: flushed.sequence, chain: flushed.chain,
            flushed: flushed.position, applied: applied, dataState: dataState)
    }
}
