internal import Frame
internal import Glibc
internal import Platform
public import Primitives

// The journal does no I/O where it appends: it says what is to be written, the owner submits it, and says what came back.
//
//   append(batch) -> [WriteRequest] -> io_uring -> completed(token, result) -> written place
//
//   slot (page-aligned buffer), one per write in flight:
//      | header block, if it is the segment's first | batch | padding frame |       one write, a multiple of 4 KiB
//
// Writes may complete in any order; `written` is the place up to which all of them have.

/// A write that the owner submits.
public struct WriteRequest {
    public let fileDescriptor: Int32
    /// Page-aligned; belongs to the journal, valid until `completed`.
    public let bytes: UnsafeRawPointer
    public let count: Int
    public let offset: UInt64
    public let token: UInt64
}

/// The one or two writes of an append: of the closing block of the old segment, and of the batch.
public struct WriteRequests: Sequence, IteratorProtocol {
    private var closing: WriteRequest?
    private var batch: WriteRequest?

    init(closing: WriteRequest?, batch: WriteRequest) {
        self.closing = closing
        self.batch = batch
    }

    public mutating func next() -> WriteRequest? {
        if let request = closing {
            closing = nil
            return request
        }
        defer { batch = nil }
        return batch
    }
}

/// The writing end of a journal. Belongs to one thread.
public final class Journal {
    public let configuration: JournalConfiguration
    /// Makes segments ready: call its `prepareNext()` on another thread when `needsPreparation`.
    public let pool: SegmentPool

    /// Handed out in write requests up to here; nil in a journal that is still empty.
    public private(set) var appended: JournalPlace?
    /// Written up to here: durable in mode `.flushed`.
    public private(set) var written: JournalPlace?

    private struct Slot {
        let buffer: PageBuffer
        var count = 0
        var place: JournalPlace?
        /// Set on the first write of a segment.
        var first: StreamPosition?
        var file: SegmentFile?
        var isDone = false
    }
    private struct Closed {
        var file: SegmentFile
        var last: StreamPosition
    }
    private var slots: [Slot]
    /// Last used first: warm memory.
    private var free: [Int]
    /// Slots in flight, oldest first.
    private var inFlight: [Int] = []
    private var active: SegmentFile?
    private var offset: UInt64 = 0
    private var closed: [Closed] = []
    private var failure: JournalError?

    /// Continues where `recovery` ended, in a new segment; what recovery found of no use is removed. Does I/O: at start-up.
    public init(_ configuration: JournalConfiguration, continuing recovery: JournalRecovery) throws(JournalError) {
        let block = SegmentHeader.blockBytes
        precondition(configuration.segmentBytes % block == 0 && configuration.segmentBytes >= 4 * block
            && configuration.segmentBytes <= JournalConfiguration.segmentBytesMax && configuration.writesInFlightMax >= 2)
        if let module = recovery.module, module != configuration.module {
            throw JournalError(.foreign, segment: recovery.segments[0].name, at: 16, "the journal belongs to another module")
        }
        self.configuration = configuration
        pool = SegmentPool(configuration)
        let slotBytes = block + SegmentScanner.paddedBytes(min(configuration.segmentBytes, BatchHeader.batchBytesMax))
        slots = (0..<configuration.writesInFlightMax).map { _ in Slot(buffer: PageBuffer(count: slotBytes)) }
        free = Array((0..<configuration.writesInFlightMax).reversed())
        inFlight.reserveCapacity(configuration.writesInFlightMax)
        appended = recovery.last
        written = recovery.last
        closed = try system { () throws(SystemError) in try Journal.tidy(configuration, recovery) }
            .map { Closed(file: $0.0, last: $0.1) }
        try pool.prepareNext()
    }

    /// Whether `append` has room now; else completions must come first.
    public var hasRoom: Bool { free.count >= 2 }

    /// Writes handed out and not completed.
    public var inFlightCount: Int { inFlight.count }

    // MARK: appending

    /// Takes a copy of `batch` (header and LZ4 frame, verified by the caller), which must follow the one before.
    /// Precondition: `hasRoom`.
    public func append(_ batch: UnsafeRawBufferPointer) throws(JournalError) -> WriteRequests {
        if let failure { throw failure }
        precondition(hasRoom, "no room: writes in flight must complete first")
        let header: BatchHeader
        do throws(FrameError) { header = try BatchHeader(parsing: batch) } catch {
            throw JournalError(.discontinuous, error.description)
        }
        guard batch.count == header.batchBytes else {
            throw JournalError(.discontinuous, "\(batch.count) bytes, the batch has \(header.batchBytes)")
        }
        if let appended, !appended.isContinued(by: header) {
            throw JournalError(.discontinuous,
                "batch \(header.firstPosition.value), epoch \(header.epoch.value) does not follow \(appended.position.value), epoch \(appended.epoch.value)")
        }
        let padded = SegmentScanner.paddedBytes(batch.count)
        guard padded + SegmentHeader.blockBytes <= configuration.segmentBytes else {
            throw JournalError(.tooLarge, "a batch of \(batch.count) bytes in segments of \(configuration.segmentBytes)")
        }

        var closing: WriteRequest?
        if active != nil, offset + UInt64(padded) > UInt64(configuration.segmentBytes) { closing = close() }
        let isFirst = active == nil
        let file: SegmentFile
        if let active { file = active } else { file = try pool.take() }
        active = file

        let slot = free.removeLast()
        let buffer = slots[slot].buffer.bytes
        var used = 0
        if isFirst {
            SegmentHeader(module: configuration.module, epoch: header.epoch, firstPosition: header.firstPosition,
                previousChain: header.previousChain, bootID: configuration.bootID,
                segmentBytes: UInt64(configuration.segmentBytes)
            ).encode(into: buffer)
            used = SegmentHeader.blockBytes
        }
        (buffer.baseAddress! + used).copyMemory(from: batch.baseAddress!, byteCount: batch.count)
        if padded > batch.count {
            let padding = UnsafeMutableRawBufferPointer(rebasing: buffer[(used + batch.count)..<(used + padded)])
            padding.initializeMemory(as: UInt8.self, repeating: 0)
            padding.storeBytes(of: SegmentHeader.magicPadding.littleEndian, as: UInt32.self)
            padding.storeBytes(of: UInt32(padding.count - 8).littleEndian, toByteOffset: 4, as: UInt32.self)
        }
        used += padded
        let place = JournalPlace(after: header, following: appended)
        appended = place
        slots[slot].first = isFirst ? header.firstPosition : nil
        let request = self.request(slot, file, used, at: offset, place)
        offset += UInt64(used)
        return WriteRequests(closing: closing, batch: request)
    }

    /// The active segment takes no more; nil if it is full to the last block.
    private func close() -> WriteRequest? {
        guard let file = active, let appended else { return nil }
        active = nil
        closed.append(Closed(file: file, last: appended.position))
        let start = offset
        offset = 0
        let rest = UInt64(configuration.segmentBytes) - start
        if rest == 0 { return nil }
        let slot = free.removeLast()
        Journal.encodeClosing(rest: rest, into: slots[slot].buffer.bytes)
        slots[slot].first = nil
        return request(slot, file, SegmentHeader.blockBytes, at: start, appended)
    }

    private func request(_ slot: Int, _ file: SegmentFile, _ count: Int, at offset: UInt64, _ place: JournalPlace)
        -> WriteRequest
    {
        slots[slot].count = count
        slots[slot].place = place
        slots[slot].file = file
        slots[slot].isDone = false
        inFlight.append(slot)
        return WriteRequest(fileDescriptor: file.descriptor.raw, bytes: UnsafeRawPointer(slots[slot].buffer.baseAddress),
            count: count, offset: offset, token: configuration.firstToken + UInt64(slot))
    }

    static func encodeClosing(rest: UInt64, into bytes: UnsafeMutableRawBufferPointer) {
        bytes.baseAddress!.initializeMemory(as: UInt8.self, repeating: 0, count: SegmentHeader.blockBytes)
        bytes.storeBytes(of: SegmentHeader.magicPadding.littleEndian, as: UInt32.self)
        bytes.storeBytes(of: UInt32(rest - 8).littleEndian, toByteOffset: 4, as: UInt32.self)
    }

    // MARK: completion

    /// The kernel's answer to the write with `token`. The result is `written`, which may not have moved: an older write is
    /// still in flight. An error is final: durability is in doubt, the owner stops the node.
    @discardableResult
    public func completed(_ token: UInt64, result: Int32) throws(JournalError) -> JournalPlace? {
        if let failure { throw failure }
        precondition(configuration.tokens.contains(token), "token \(token) is not of this journal")
        let slot = Int(token - configuration.firstToken)
        guard let file = slots[slot].file, !slots[slot].isDone else { preconditionFailure("token \(token) completed twice") }
        guard Int(result) == slots[slot].count else {
            let reason = result < 0
                ? SystemError("write", configuration.directory + "/" + file.name, code: -result)
                : SystemError("write all of a batch to", configuration.directory + "/" + file.name, code: EIO)
            failure = JournalError(reason)
            throw JournalError(reason)
        }
        slots[slot].isDone = true
        if let position = slots[slot].first { pool.activated(file, at: position) }
        var done = 0
        while done < inFlight.count, slots[inFlight[done]].isDone {
            let slot = inFlight[done]
            written = slots[slot].place
            slots[slot].file = nil
            free.append(slot)
            done += 1
        }
        if done > 0 { inFlight.removeFirst(done) }
        return written
    }

    // MARK: room

    /// Segments of which nobody needs anything from `position` on upwards are used again or removed, by the pool.
    public func recycle(below position: StreamPosition) {
        // What is not written yet is never given away, whatever the caller says.
        let limit = min(position, (written?.position.next ?? .none))
        while let first = closed.first, first.last < limit, !slots.contains(where: { $0.file === first.file }) {
            pool.retire(first.file)
            closed.removeFirst()
        }
    }

    /// Segments that take no more batches and have not been recycled.
    public var closedSegmentCount: Int { closed.count }

    /// What the journal takes on disk: closed, active, prepared.
    public var bytesInUse: UInt64 {
        UInt64(closed.count + (active == nil ? 0 : 1) + pool.fileCount) * UInt64(configuration.segmentBytes)
    }
}
