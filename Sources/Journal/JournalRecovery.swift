internal import Frame
public import Platform
public import Primitives

// Recovery reads forward and believes nothing it can't check. What ends the journal, and what is an error:
//
//   @A  a blank block, or a batch of an earlier use of the file          the end, clean
//   @B  an invalid batch, fewer than `writesInFlightMax` valid ones after it   the end, torn: writes of the crash
//   @C  the same, but as many or more after it                           damaged: no crash explains it
//   @D  no closing block, but the next segment continues the chain       goes on: only that write was lost
//   @E  closed, and the next segment begins elsewhere                    missing
//   @F  an unknown file, a wrong size, another version                   foreign, damaged, version

/// Where a stream stands: its last record, and what proves it.
public struct JournalPlace: Equatable, Sendable {
    public var epoch: Epoch
    public var position: StreamPosition
    /// The highest ring sequence so far in the batches seen; 0 if they hold records of the daemon only.
    public var sequence: SequenceNumber
    public var chain: UInt64
    /// When the batch was made, nanoseconds since 1970.
    public var time: UInt64

    public init(epoch: Epoch, position: StreamPosition, sequence: SequenceNumber, chain: UInt64, time: UInt64 = 0) {
        self.epoch = epoch
        self.position = position
        self.sequence = sequence
        self.chain = chain
        self.time = time
    }

    init(after header: BatchHeader, following previous: JournalPlace?) {
        self.init(epoch: header.epoch, position: header.lastPosition,
            sequence: max(header.lastSequence, previous?.sequence ?? .none), chain: header.chain, time: header.time)
    }

    /// Whether a batch continues here.
    func isContinued(by header: BatchHeader) -> Bool {
        header.firstPosition == position.next && header.previousChain == chain && header.epoch >= epoch
    }
}

/// What a journal directory holds: the result of `Journal.recover`. Nothing has been changed.
public struct JournalRecovery: Equatable, Sendable {
    public struct Segment: Equatable, Sendable {
        /// As it is called now: `.prepared` if its rename was lost.
        public var name: String
        public var header: SegmentHeader
        /// Of its last valid batch.
        public var lastPosition: StreamPosition
        /// Behind its last valid batch and padding.
        public var end: UInt64
        public var isClosed: Bool
    }

    /// Why reading stopped before the end of what was written.
    public struct Stop: Equatable, Sendable {
        public var segment: String
        public var byteOffset: UInt64
        public var reason: String
    }

    /// In order, each with at least one batch.
    public var segments: [Segment] = []
    public var batchCount = 0
    /// The last valid batch; nil in an empty journal.
    public var last: JournalPlace?
    /// Nil after a clean end.
    public var stop: Stop?
    /// Files that opening the journal removes: unfinished, empty, or beyond the stop.
    public var leftovers: [String] = []

    /// Of the newest segment.
    public var module: UInt64? { segments.last?.header.module }
    public var bootID: BootID? { segments.last?.header.bootID }
}

extension Journal {
    /// Reads the journal in `directory` up to its last valid batch. `writesInFlightMax` is that of the writer.
    public static func recover(directory: String, writesInFlightMax: Int = JournalConfiguration.writesInFlightDefault)
        throws(JournalError) -> JournalRecovery
    {
        var recovery = JournalRecovery()
        let scanners = try Journal.scanners(directory: directory, leftovers: &recovery.leftovers)
        let decoder = FrameDecoder()
        for (index, scanner) in scanners.enumerated() {
            if let last = recovery.last, let before = recovery.segments.last, !scanner.continues(last) {
                // @E: whoever closed the segment before wrote on right behind it.
                let reason = "follows \(before.name), which ends with position \(last.position.value)"
                throw JournalError(.missing, segment: scanner.name, at: 32, reason)
            }
            if let first = recovery.segments.first, scanner.header.module != first.header.module {
                throw JournalError(.foreign, segment: scanner.name, at: 16, "the segment belongs to another module")
            }
            let ending = try recovery.read(scanner, decoder)
            if case .closed = ending { continue }
            // @D
            if index + 1 < scanners.count, let last = recovery.last, scanners[index + 1].continues(last) { continue }
            let rest = scanners[(index + 1)...]
            let end = recovery.segments.last { $0.name == scanner.name }?.end ?? UInt64(SegmentHeader.blockBytes)
            let beyond = try Journal.batchesBeyond(recovery.last, scanner, from: end, then: Array(rest))
            if case .invalid(let error) = ending {
                recovery.stop = .init(segment: scanner.name, byteOffset: end + UInt64(error.byteOffset), reason: error.reason)
            } else if !rest.isEmpty || beyond > 0 {
                recovery.stop = .init(segment: scanner.name, byteOffset: end, reason: "nothing was written here, but behind it")
            }
            if beyond >= writesInFlightMax {  // @C
                throw JournalError(.damaged, segment: scanner.name, at: end,
                    "\(recovery.stop?.reason ?? ""); \(beyond) valid batches follow: this is no torn write")
            }
            recovery.leftovers += rest.map(\.name)
            break
        }
        return recovery
    }

    /// The segments of `directory` by their first position, all headers checked.
    private static func scanners(directory: String, leftovers: inout [String]) throws(JournalError) -> [SegmentScanner] {
        var scanners: [SegmentScanner] = []
        let names = try system { () throws(SystemError) in try Directory.names(path: directory) }
        for bytes in names {
            let name = String(decoding: bytes, as: UTF8.self)
            if SegmentName.suffixesUnfinished.contains(where: name.hasSuffix) {
                leftovers.append(name)
                continue
            }
            let position = SegmentName.position(of: name)
            guard position != nil || name.hasSuffix(SegmentName.suffixPrepared) else {  // @F
                throw JournalError(.foreign, segment: name, "this file is not of a journal")
            }
            guard let scanner = try SegmentScanner(directory: directory, name: name) else {
                // Blank: prepared and not used. A used one is renamed only after its first write.
                guard position == nil else { throw JournalError(.damaged, segment: name, "the segment header is blank") }
                leftovers.append(name)
                continue
            }
            guard position == nil || position == scanner.header.firstPosition else {
                throw JournalError(.foreign, segment: name, at: 32,
                    "the segment begins at position \(scanner.header.firstPosition.value)")
            }
            scanners.append(scanner)
        }
        scanners.sort { $0.header.firstPosition < $1.header.firstPosition }
        for (a, b) in zip(scanners, scanners.dropFirst()) where a.header.firstPosition == b.header.firstPosition {
            throw JournalError(.damaged, segment: b.name, at: 32, "\(a.name) begins at the same position")
        }
        return scanners
    }

    /// Valid batches that a writer put behind the place where reading stopped: how many writes of it are lost before them
    /// can't be told, but no writer has more than its bound in flight.
    private static func batchesBeyond(_ last: JournalPlace?, _ scanner: SegmentScanner, from: UInt64,
        then rest: [SegmentScanner]) throws(JournalError) -> Int
    {
        var count = 0
        func scan(_ scanner: SegmentScanner, _ start: UInt64) throws(JournalError) {
            var offset = start
            while offset < scanner.header.segmentBytes {
                switch try scanner.found(at: offset) {
                case .closed: return
                case .batch(let header, _, let end)
                where header.firstPosition > (last?.position ?? .none) && header.epoch >= (last?.epoch ?? Epoch(0)):
                    count += 1
                    offset = end
                default: offset += UInt64(SegmentHeader.blockBytes)
                }
            }
        }
        try scan(scanner, from)
        for scanner in rest { try scan(scanner, UInt64(SegmentHeader.blockBytes)) }
        return count
    }
}

extension SegmentScanner {
    func continues(_ place: JournalPlace) -> Bool {
        header.firstPosition == place.position.next && header.previousChain == place.chain && header.epoch >= place.epoch
    }
}

extension JournalRecovery {
    /// Takes in the valid batches of one segment; the result is what ended them.
    fileprivate mutating func read(_ scanner: SegmentScanner, _ decoder: FrameDecoder)
        throws(JournalError) -> SegmentScanner.Found
    {
        var segment: Segment?
        defer {
            if let segment { segments.append(segment) } else { leftovers.append(scanner.name) }
        }
        var place = JournalPlace(epoch: scanner.header.epoch,
            position: StreamPosition(scanner.header.firstPosition.value - 1), sequence: last?.sequence ?? .none,
            chain: scanner.header.previousChain)
        var offset = UInt64(SegmentHeader.blockBytes)
        while true {
            let found = try scanner.found(at: offset)
            switch found {
            case .batch(let header, let bytes, let end):
                guard place.isContinued(by: header) else {
                    if header.lastPosition <= place.position { return .blank }  // @A
                    return .invalid(FrameError(.invalid, at: 24,
                        "the batch begins at \(header.firstPosition.value), epoch \(header.epoch.value); it does not continue \(place.position.value), epoch \(place.epoch.value)"))
                }
                do throws(FrameError) {
                    _ = try decoder.decode(borrowing: bytes)
                } catch {
                    return .invalid(error)
                }
                place = JournalPlace(after: header, following: place)
                last = place
                batchCount += 1
                offset = end
                segment = Segment(name: scanner.name, header: scanner.header, lastPosition: place.position, end: end,
                    isClosed: false)
            case .closed:
                segment?.isClosed = true
                return found
            case .invalid(let error) where error.kind == .version:
                throw JournalError(.version, segment: scanner.name, at: offset + 12, error.reason)
            case .blank, .invalid:
                return found
            }
        }
    }
}
