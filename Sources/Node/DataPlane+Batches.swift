import Capture
import Frame
import Journal
import Link
import Platform
import Primitives
import Replication
import Uring

/// Batches on their way out: frame, journal, link.
extension DataPlane {
    func cutIfDue(_ primary: PrimaryPlane) throws {
        guard !primary.batch.isEmpty else {
            batchOpened = nil
            return
        }
        let now = Clock.monotonic
        let opened = batchOpened ?? now
        batchOpened = opened
        let lingered = Int64(now - opened) >= Limits.lingerNanoseconds
        guard journal.hasRoom, primary.wantsCut || (lingered && primary.mayCut) else { return }
        batchOpened = nil
        let batch = primary.takeBatch()
        var header = BatchHeader()
        header.epoch = epoch
        header.firstPosition = batch.first
        header.lastPosition = batch.last
        // Both 0: it holds records of the daemon only.
        if batch.sequenceBelow > cutBelow {
            header.firstSequence = SequenceNumber(cutBelow)
            header.lastSequence = SequenceNumber(batch.sequenceBelow - 1)
        }
        header.previousChain = chain
        header.time = Clock.realtime
        encoder.encode(batch.records, header: &header, into: &encoded)
        chain = header.chain
        cutPosition = header.lastPosition
        cutBelow = max(cutBelow, batch.sequenceBelow)
        encoded.withUnsafeBytes { connection?.queue(.batch($0)) }
        try appendToJournal(header, sequenceBelow: batch.sequenceBelow)
        primary.recycle(batch)
    }

    func appendToJournal(_ header: BatchHeader, sequenceBelow: UInt64) throws {
        journaling.append((header.lastPosition, sequenceBelow))
        try encoded.withUnsafeBytes { try submit(journal.append($0)) }
    }

    func submit(_ requests: WriteRequests) throws {
        for request in requests {
            try uring.write(request.fileDescriptor, from: request.bytes, count: request.count, offset: request.offset,
                token: Token.journal.with(request.token))
        }
        if journal.pool.needsPreparation { _ = segments.post(journal.pool) }
    }

    func journaled(_ result: Int32, token: UInt64) throws {
        if let old = oldJournals.firstIndex(where: { $0.configuration.tokens.contains(token) }) {
            _ = try? oldJournals[old].completed(token, result: result)
            if oldJournals[old].inFlightCount == 0 { oldJournals.remove(at: old) }
            return
        }
        // An error is final: durability is in doubt, the node stops.
        guard let written = try journal.completed(token, result: result)?.position else { return }
        if let primary {
            while let first = journaling.first, first.position <= written {
                journaling.removeFirst()
                primary.journaled(below: first.sequenceBelow)
            }
            // The primary's own journal serves a restarted daemon only: what the peer has is not needed in it.
            if let acked = peerAck?.position { journal.recycle(below: acked) }
        } else {
            secondary?.journaled(through: written)
        }
        if journal.pool.needsPreparation { _ = segments.post(journal.pool) }
    }

    /// A new stream begins on this primary: what its journal holds of the old one is void.
    func restartJournal() throws {
        var configuration = journal.configuration
        configuration.firstToken += UInt64(configuration.writesInFlightMax)
        configuration.mode = .buffered
        if journal.inFlightCount > 0 { oldJournals.append(journal) }
        for entry in journaling { primary?.journaled(below: entry.sequenceBelow) }
        journaling = []
        current.set(nil)
        try Journal.erase(directory: configuration.directory)
        journal = try Journal(configuration, continuing: Journal.recover(directory: configuration.directory))
        current.set(journal.pool)
    }
}
