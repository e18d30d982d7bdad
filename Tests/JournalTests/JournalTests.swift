import Frame
import Glibc
import Journal
import Platform
import Primitives
import Testing

@Suite struct JournalTests {
    @Test(arguments: [JournalConfiguration.Mode.flushed, .buffered], ["/tmp", "/dev/shm"])
    func `What was appended is recovered and read again`(mode: JournalConfiguration.Mode, parent: String) throws {
        let fixture = JournalFixture(in: parent, mode: mode)
        let journal = try fixture.open()
        var batches: [[UInt8]] = []
        for size in [1, 100, 4000, 3900, 20_000, 50_000, 7, 59_000, 9_000, 4096] {
            batches.append(try fixture.append(journal, rawBytes: size))
        }
        #expect(journal.written == fixture.places.last)
        #expect(journal.closedSegmentCount >= 2)
        let recovery = try fixture.recover()
        #expect(recovery.last == fixture.places.last)
        #expect(recovery.batchCount == batches.count)
        #expect(recovery.stop == nil)
        #expect(recovery.module == 77 && recovery.bootID == BootID(high: 1, low: 2))
        #expect(try Journal.bootID(directory: fixture.path) == BootID(high: 1, low: 2))
        // From each position: the batch that holds it, and all after it.
        for position in 1...UInt64(batches.count * 3) {
            let reader = JournalReader(directory: fixture.path, from: StreamPosition(position))
            for index in (Int(position - 1) / 3)..<batches.count {
                let batch = try #require(try reader.next(through: fixture.places.last?.position))
                #expect([UInt8](batch.bytes) == batches[index])
            }
            #expect(try reader.next() == nil)
        }
    }

    @Test func `A journal goes on where it ended, also after names were lost`() throws {
        let fixture = JournalFixture(mode: .flushed)
        for round in 0..<4 {
            let journal = try fixture.open()
            for _ in 0..<6 { try fixture.append(journal, rawBytes: 15_000) }
            // Without prepareNext nothing is renamed: the segments in use are still called prepared.
            #expect(fixture.names.contains { $0.hasSuffix(".prepared") })
            if round == 1 { try journal.pool.prepareNext() }
        }
        let recovery = try fixture.recover()
        #expect(recovery.last == fixture.places.last)
        #expect(recovery.batchCount == 24)
        #expect(recovery.stop == nil)
        _ = try fixture.open()
        #expect(try fixture.recover().segments.allSatisfy { $0.name == "\(Hex.string($0.header.firstPosition.value)).segment" && $0.isClosed })
    }

    @Test func `The distribution's lz4 decodes a closed segment`() throws {
        let fixture = JournalFixture(mode: .flushed)
        let journal = try fixture.open()
        let decoder = FrameDecoder()
        var expected: [UInt8] = []
        // The last block's gap goes through 0 ... 12 bytes: the padding frame of 8 must always fit.
        for size in (3900..<4000).reversed() where journal.closedSegmentCount == 0 {
            let batch = try fixture.append(journal, rawBytes: size)
            if journal.closedSegmentCount == 0 { expected += try decoder.decode(batch).records }
        }
        try journal.pool.prepareNext()
        let segment = fixture.path + "/0000000000000001.segment"
        #expect(system("lz4 -dc '\(segment)' > '\(fixture.path)/decoded'") == 0)
        #expect(fixture.contents("decoded") == expected)
        #expect(!expected.isEmpty)
    }

    @Test func `Every gap between a batch and its block's end is padded`() throws {
        let fixture = JournalFixture(in: "/dev/shm", segmentBytes: 1 << 20)
        let journal = try fixture.open()
        var gaps: Set<Int> = []
        for size in 3900..<4000 {
            let count = try fixture.append(journal, rawBytes: size).count
            gaps.insert((4096 - count % 4096) % 4096)
        }
        #expect(gaps.isSuperset(of: 0...12))
        #expect(try fixture.recover().last == fixture.places.last)
    }

    @Test func `Written moves only over writes that all have completed`() throws {
        let fixture = JournalFixture()
        let journal = try fixture.open()
        var requests: [WriteRequest] = []
        for _ in 0..<3 { requests += try fixture.requests(journal, fixture.batch(rawBytes: 10)) }
        #expect(!journal.hasRoom)
        #expect(Set(requests.map(\.token)).count == 3 && requests.allSatisfy { (1000..<1004).contains($0.token) })
        #expect(journal.appended == fixture.places[2] && journal.written == nil)
        #expect(try journal.completed(requests[2].token, result: fixture.carryOut(requests[2])) == nil)
        #expect(try journal.completed(requests[0].token, result: fixture.carryOut(requests[0])) == fixture.places[0])
        #expect(journal.hasRoom)
        #expect(try journal.completed(requests[1].token, result: fixture.carryOut(requests[1])) == fixture.places[2])
        #expect(journal.inFlightCount == 0)
    }

    @Test(arguments: [-EIO, 4096] as [Int32])
    func `A write that failed or came short ends the journal for good`(result: Int32) throws {
        let fixture = JournalFixture()
        let journal = try fixture.open()
        let requests = try fixture.requests(journal, fixture.batch(rawBytes: 10))
        let error = try #require(throws: JournalError.self) { try journal.completed(requests[0].token, result: result) }
        #expect(error.kind == .system(SystemError(result < 0 ? "write" : "write all of a batch to", "\(fixture.path)/\(fixture.names[0])", code: EIO)))
        #expect(throws: JournalError.self) { try fixture.write(journal, fixture.batch(rawBytes: 10)) }
        #expect(journal.written == nil)
    }

    @Test func `A batch that does not follow is refused, and nothing is written`() throws {
        let fixture = JournalFixture()
        let journal = try fixture.open()
        try fixture.append(journal, rawBytes: 10)
        let skipped = fixture.batch(rawBytes: 10), after = fixture.batch(rawBytes: 10)
        let place = journal.appended
        for wrong in [after, Array(after.dropLast()), [UInt8](repeating: 0, count: 200)] {
            let error = try #require(throws: JournalError.self) { try fixture.write(journal, wrong) }
            #expect(error.kind == .discontinuous)
        }
        #expect(journal.appended == place && journal.inFlightCount == 0)
        try fixture.write(journal, skipped)
        try fixture.write(journal, after)
        let large = fixture.batch(rawBytes: 64 << 10)
        let error = try #require(throws: JournalError.self) { try fixture.write(journal, large) }
        #expect(error.kind == .tooLarge)
    }

    @Test(arguments: [JournalConfiguration.Mode.flushed, .buffered])
    func `Segments that nobody needs are used again, and the journal stays bounded`(mode: JournalConfiguration.Mode) throws {
        let fixture = JournalFixture(mode: mode)
        let journal = try fixture.open()
        var reused = false
        var inodes: Set<UInt64> = []
        for _ in 0..<100 {
            try fixture.append(journal, rawBytes: 25_000)
            if let written = journal.written { journal.recycle(below: StreamPosition(written.position.value - 3)) }
            try journal.pool.prepareNext()
            #expect(journal.bytesInUse <= 5 * 64 << 10)
            #expect(fixture.names.count * 64 << 10 == Int(journal.bytesInUse))
            for name in fixture.names {
                if !inodes.insert(try FileStatus.of(at: AT_FDCWD, fixture.path + "/" + name).inode).inserted { reused = true }
            }
        }
        #expect(reused)
        #expect(inodes.count < 25)
        let recovery = try fixture.recover()
        #expect(recovery.last == fixture.places.last)
        #expect(recovery.stop == nil)
        // The start is gone, and that is said.
        let reader = JournalReader(directory: fixture.path, from: StreamPosition(1))
        let error = try #require(throws: JournalError.self) { try reader.next() }
        #expect(error.kind == .missing)
    }

    @Test func `Nothing is recycled before it is written`() throws {
        let fixture = JournalFixture()
        let journal = try fixture.open()
        let first = try fixture.requests(journal, fixture.batch(rawBytes: 50_000))
        let second = try fixture.requests(journal, fixture.batch(rawBytes: 50_000))
        #expect(second.count == 2 && journal.closedSegmentCount == 1)
        journal.recycle(below: StreamPosition(1000))
        #expect(journal.closedSegmentCount == 1)
        for request in first + second { try journal.completed(request.token, result: fixture.carryOut(request)) }
        journal.recycle(below: StreamPosition(1000))
        #expect(journal.closedSegmentCount == 0)
        #expect(try fixture.recover().last == fixture.places.last)
    }

    @Test func `A reader follows the writer`() throws {
        let fixture = JournalFixture()
        let journal = try fixture.open()
        let reader = JournalReader(directory: fixture.path, from: StreamPosition(1))
        #expect(try reader.next() == nil)
        for round in 0..<60 {
            let batch = try fixture.append(journal, rawBytes: 9_000)
            if round % 7 == 0 { try journal.pool.prepareNext() }
            let read = try #require(try reader.next(through: journal.written?.position))
            #expect([UInt8](read.bytes) == batch)
            #expect(try reader.next(through: journal.written?.position) == nil)
            #expect(try reader.next() == nil)
        }
    }

    @Test func `A reader says when what was written can't be read`() throws {
        let fixture = JournalFixture()
        let journal = try fixture.open()
        for _ in 0..<3 { try fixture.append(journal, rawBytes: 100) }
        fixture.poke(fixture.names[0], at: 8192 + 150, [0xff, 0xfe, 0xfd])
        let reader = JournalReader(directory: fixture.path, from: StreamPosition(1))
        #expect(try reader.next(through: StreamPosition(9)) != nil)
        let error = try #require(throws: JournalError.self) { try reader.next(through: StreamPosition(9)) }
        #expect(error.kind == .damaged && error.byteOffset == 8192)
    }

    @Test func `Erasing leaves an empty journal that begins anywhere`() throws {
        let fixture = JournalFixture()
        try fixture.append(try fixture.open(), rawBytes: 100)
        try Journal.erase(directory: fixture.path)
        #expect(fixture.names.isEmpty)
        fixture.next = StreamPosition(5000)
        fixture.chain = 12345
        fixture.epoch = Epoch(9)
        try fixture.append(try fixture.open(), rawBytes: 100)
        #expect(try fixture.recover().last == fixture.places.last)
    }

    @Test func `Preparing on another thread leaves nothing to the appender`() throws {
        let fixture = JournalFixture(mode: .flushed, segmentBytes: 1 << 20)
        let journal = try fixture.open()
        #expect(!journal.pool.needsPreparation)
        for _ in 0..<8 {
            try fixture.append(journal, rawBytes: 700_000)
            #expect(journal.pool.needsPreparation)
            let pool = journal.pool, done = Mailbox<Bool>(capacity: 1)
            startThread("prepare") { _ = done.post((try? pool.prepareNext()) ?? false) }
            done.wait(milliseconds: -1)
            #expect(done.take() == [true])
            #expect(!pool.needsPreparation)
        }
        #expect(try fixture.recover().last == fixture.places.last)
    }
}
