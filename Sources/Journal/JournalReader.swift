public import Frame
internal import Platform
public import Primitives

/// A batch read from a journal; its bytes are the reader's buffer, valid until its next call.
public struct JournalBatch {
    public let header: BatchHeader
    /// Header and LZ4 frame, as they go on the wire; the chain has been checked.
    public let bytes: UnsafeRawBufferPointer
}

/// Reads batches in order, from any position on, also while the journal is being written: for replay and for sending
/// again. Belongs to one thread. Nobody may recycle what it has still to read.
public final class JournalReader {
    private let directory: String
    /// The next record wanted.
    public private(set) var position: StreamPosition
    private var scanner: SegmentScanner?
    private var offset: UInt64 = 0
    /// Of the batch before the next one, where known.
    private var chain: UInt64?

    /// `from` is the first record wanted; the first batch is the one that holds it.
    public init(directory: String, from position: StreamPosition) {
        self.directory = directory
        self.position = max(position, StreamPosition(1))
    }

    /// The next batch; nil if it has not been written yet. With `through`, the last position that the writer reported as
    /// written: a batch up to there that can't be read is an error and not the end.
    public func next(through limit: StreamPosition? = nil) throws(JournalError) -> JournalBatch? {
        if let limit, limit < position { return nil }
        while true {
            guard let scanner = try current(limit) else { return nil }
            var found = try scanner.found(at: offset)
            if case .batch = found {} else { found = try scanner.found(at: offset, fresh: true) }
            switch found {
            case .batch(let header, let bytes, let end) where continues(header):
                offset = end
                chain = header.chain
                if header.lastPosition < position { continue }  // on the way to the first one
                position = header.lastPosition.next
                return JournalBatch(header: header, bytes: bytes)
            default:
                let mustBeThere = limit.map { position <= $0 } ?? false
                var isClosed = false
                if case .closed = found { isClosed = true }
                // The closing block may still be on its way when the next segment has begun.
                if isClosed || mustBeThere, try moveOn(scanner) { continue }
                if mustBeThere {
                    throw JournalError(.damaged, segment: scanner.name, at: offset,
                        "position \(position.value) was written, but \(JournalReader.text(found))")
                }
                return nil
            }
        }
    }

    /// Only the next batch continues: what an earlier use of the file left has lower positions or another chain.
    private func continues(_ header: BatchHeader) -> Bool {
        if let chain, header.previousChain != chain { return false }
        return header.firstPosition <= position
    }

    /// The segment that holds, or will hold, `position`.
    private func current(_ limit: StreamPosition?) throws(JournalError) -> SegmentScanner? {
        if let scanner { return scanner }
        var best: SegmentScanner?, lowest: SegmentHeader?
        for candidate in try candidates() {
            if lowest.map({ candidate.header.firstPosition < $0.firstPosition }) ?? true { lowest = candidate.header }
            guard candidate.header.firstPosition <= position else { continue }
            if best.map({ $0.header.firstPosition < candidate.header.firstPosition }) ?? true { best = candidate }
        }
        guard let best else {
            if let lowest {
                throw JournalError(.missing,
                    "position \(position.value) is gone: the journal begins with \(lowest.firstPosition.value)")
            }
            if let limit, position <= limit { throw JournalError(.missing, "position \(position.value) is in no segment") }
            return nil
        }
        enter(best)
        return best
    }

    /// Goes to the segment behind this one, if it is there.
    private func moveOn(_ scanner: SegmentScanner) throws(JournalError) -> Bool {
        for candidate in try candidates() where candidate.header.firstPosition > scanner.header.firstPosition {
            guard candidate.header.firstPosition <= position else { continue }
            if let chain, candidate.header.firstPosition == position, candidate.header.previousChain != chain { continue }
            enter(candidate)
            return true
        }
        return false
    }

    private func enter(_ scanner: SegmentScanner) {
        self.scanner = scanner
        offset = UInt64(SegmentHeader.blockBytes)
        chain = scanner.header.previousChain
    }

    /// All segments with a header. A file may be renamed or removed between listing and opening: it is left out, and the
    /// next look finds it.
    private func candidates() throws(JournalError) -> [SegmentScanner] {
        var scanners: [SegmentScanner] = []
        for bytes in try system({ () throws(SystemError) in try Directory.names(path: directory) }) {
            let name = String(decoding: bytes, as: UTF8.self)
            guard name.hasSuffix(SegmentName.suffix) || name.hasSuffix(SegmentName.suffixPrepared) else { continue }
            if let scanner = try? SegmentScanner(directory: directory, name: name) { scanners.append(scanner) }
        }
        return scanners
    }

    private static func text(_ found: SegmentScanner.Found) -> String {
        switch found {
        case .batch(let header, _, _): "the batch there begins with \(header.firstPosition.value)"
        case .closed: "the segment is closed there"
        case .blank: "nothing is there"
        case .invalid(let error): error.description
        }
    }
}
