import Frame
import Glibc
import Journal
import Platform
import Primitives

/// Makes batches that follow each other, and carries out write requests.
final class JournalFixture {
    let path: String
    var configuration: JournalConfiguration
    let encoder = FrameEncoder()
    var next = StreamPosition(1)
    var chain: UInt64 = 0
    var epoch = Epoch(1)
    /// Every place that was appended, in order.
    var places: [JournalPlace] = []
    private var state: UInt64

    init(in parent: String = "/tmp", mode: JournalConfiguration.Mode = .buffered, segmentBytes: Int = 64 << 10, seed: UInt64 = 1) {
        var template = Array("\(parent)/lockstep-test-XXXXXX".utf8CString)
        path = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
        configuration = JournalConfiguration(directory: path, mode: mode, module: 77, bootID: BootID(high: 1, low: 2))
        configuration.segmentBytes = segmentBytes
        configuration.writesInFlightMax = 4
        configuration.firstToken = 1000
        state = seed
    }

    deinit {
        for name in names { remove(path + "/" + name) }
        rmdir(path)
    }

    var names: [String] {
        ((try? Directory.names(path: path)) ?? []).map { String(decoding: $0, as: UTF8.self) }.sorted()
    }

    func random(_ bound: Int) -> Int {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int(state >> 33) % bound
    }

    func open() throws(JournalError) -> Journal { try Journal(configuration, continuing: recover()) }

    func recover() throws(JournalError) -> JournalRecovery {
        try Journal.recover(directory: path, writesInFlightMax: configuration.writesInFlightMax)
    }

    /// A batch of `count` records with `rawBytes` incompressible bytes.
    func batch(rawBytes: Int, count: Int = 3) -> [UInt8] {
        var header = BatchHeader()
        header.epoch = epoch
        header.firstPosition = next
        header.lastPosition = StreamPosition(next.value + UInt64(count) - 1)
        header.lastSequence = SequenceNumber(header.lastPosition.value * 10)
        header.firstSequence = SequenceNumber(header.firstPosition.value * 10)
        header.previousChain = chain
        header.time = 5
        let raw = (0..<rawBytes).map { _ in UInt8(truncatingIfNeeded: random(256)) }
        let bytes = encoder.encode(records: raw, header: &header)
        next = header.lastPosition.next
        chain = header.chain
        places.append(JournalPlace(epoch: epoch, position: header.lastPosition, sequence: header.lastSequence, chain: chain, time: 5))
        return bytes
    }

    /// Appends one batch and carries out its writes at once.
    @discardableResult
    func append(_ journal: Journal, rawBytes: Int, count: Int = 3) throws(JournalError) -> [UInt8] {
        let bytes = batch(rawBytes: rawBytes, count: count)
        try write(journal, bytes)
        return bytes
    }

    func write(_ journal: Journal, _ bytes: [UInt8]) throws(JournalError) {
        for request in try requests(journal, bytes) { try journal.completed(request.token, result: carryOut(request)) }
    }

    func requests(_ journal: Journal, _ bytes: [UInt8]) throws(JournalError) -> [WriteRequest] {
        let result = bytes.withUnsafeBytes { bytes in
            Result<[WriteRequest], JournalError> { () throws(JournalError) in Array(try journal.append(bytes)) }
        }
        return try result.get()
    }

    func carryOut(_ request: WriteRequest) -> Int32 {
        precondition(UInt(bitPattern: request.bytes) % 4096 == 0 && request.count % 4096 == 0 && request.offset % 4096 == 0)
        let count = pwrite(request.fileDescriptor, request.bytes, request.count, off_t(request.offset))
        return count < 0 ? -errno : Int32(count)
    }

    /// Changes a file in place, for damage.
    func poke(_ name: String, at offset: Int, _ bytes: [UInt8]) {
        let raw = Glibc.open(path + "/" + name, O_WRONLY)
        precondition(raw >= 0 && bytes.withUnsafeBytes { pwrite(raw, $0.baseAddress, $0.count, off_t(offset)) } == bytes.count)
        close(raw)
    }

    func contents(_ name: String) -> [UInt8] {
        (try? FileDescriptor.reading(path + "/" + name).readAll(bytesMax: 1 << 30)) ?? []
    }
}
