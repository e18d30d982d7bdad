import Frame
import Glibc
import Journal
import Platform
import Primitives
import Testing

/// The rows of the table in `JournalRecovery.swift`.
@Suite struct RecoveryTests {
    /// Three segments, all renamed, and the places in them: 64 KiB hold three batches of this size.
    func journal(_ fixture: JournalFixture, batches: Int = 8) throws {
        let journal = try fixture.open()
        for _ in 0..<batches {
            try fixture.append(journal, rawBytes: 15_000)
            try journal.pool.prepareNext()
        }
    }

    let batchBytes = 16_384  // with padding
    let first = "0000000000000001.segment", second = "000000000000000a.segment", third = "0000000000000013.segment"

    @Test func `A: what an earlier use of a segment left is no part of the journal`() throws {
        let fixture = JournalFixture()
        let journal = try fixture.open()
        for _ in 0..<20 {
            try fixture.append(journal, rawBytes: 15_000)
            journal.recycle(below: try #require(journal.written).position)
            try journal.pool.prepareNext()
            let recovery = try fixture.recover()
            #expect(recovery.last == fixture.places.last && recovery.stop == nil)
        }
        #expect(fixture.names.count <= 3)
    }

    @Test func `B: a torn tail ends the journal, with its place, and writing goes on behind it`() throws {
        let fixture = JournalFixture()
        try journal(fixture)
        fixture.poke(third, at: 4096 + batchBytes + 500, [1, 2, 3, 4, 5])
        let recovery = try fixture.recover()
        #expect(recovery.last == fixture.places[6])
        #expect(recovery.stop?.segment == third)
        #expect(recovery.stop?.byteOffset == UInt64(4096 + batchBytes + 64))
        // The lost batch is made again.
        fixture.places.removeLast()
        (fixture.next, fixture.chain) = (fixture.places[6].position.next, fixture.places[6].chain)
        let again = try fixture.open()
        for _ in 0..<8 { try fixture.append(again, rawBytes: 15_000) }
        #expect(try fixture.recover().last == fixture.places.last)
        #expect(try fixture.recover().stop == nil)
        let reader = JournalReader(directory: fixture.path, from: StreamPosition(1))
        var count = 0
        while try reader.next() != nil { count += 1 }
        #expect(count == 15)
    }

    @Test func `B: a write that was lost while later ones of the same crash were not`() throws {
        let fixture = JournalFixture()
        let journal = try fixture.open()
        try fixture.append(journal, rawBytes: 100)
        var requests: [WriteRequest] = []
        for _ in 0..<3 { requests += try fixture.requests(journal, fixture.batch(rawBytes: 100)) }
        for request in requests[1...] { #expect(fixture.carryOut(request) > 0) }
        let recovery = try fixture.recover()
        #expect(recovery.last == fixture.places[0])
        #expect(recovery.stop?.byteOffset == 8192)
        #expect(recovery.stop?.reason == "nothing was written here, but behind it")
    }

    @Test func `C: damage with more behind it than was ever in flight is no torn tail`() throws {
        let fixture = JournalFixture()
        try journal(fixture)
        fixture.poke(first, at: 4096 + batchBytes + 500, [1, 2, 3, 4, 5])
        let error = try #require(throws: JournalError.self) { try fixture.recover() }
        #expect(error.kind == .damaged && error.segment == first && error.byteOffset == UInt64(4096 + batchBytes))
    }

    @Test func `D: a closing block that was lost loses nothing`() throws {
        let fixture = JournalFixture()
        try journal(fixture)
        fixture.poke(first, at: 4096 + 3 * batchBytes, [UInt8](repeating: 0, count: 4096))
        let recovery = try fixture.recover()
        #expect(recovery.last == fixture.places.last && recovery.stop == nil)
        #expect(recovery.segments.map(\.isClosed) == [false, true, false])
        // Opening closes it.
        _ = try fixture.open()
        #expect(try fixture.recover().segments.map(\.isClosed) == [true, true, true])
    }

    @Test func `E: a segment that is gone is named`() throws {
        let fixture = JournalFixture()
        try journal(fixture)
        #expect(unlink(fixture.path + "/" + second) == 0)
        let error = try #require(throws: JournalError.self) { try fixture.recover() }
        #expect(error.kind == .missing && error.segment == third)
        #expect(error.description.contains("follows \(first), which ends with position 9"))
    }

    @Test func `F: foreign files, other versions, other modules and wrong sizes are named`() throws {
        func error(_ change: (JournalFixture) -> Void) throws -> JournalError {
            let fixture = JournalFixture()
            try journal(fixture)
            change(fixture)
            return try #require(throws: JournalError.self) { try fixture.recover() }
        }
        let foreign = try error { #expect(rename("\($0.path)/\(third)", "\($0.path)/notes.txt") == 0) }
        #expect(foreign.kind == .foreign && foreign.segment == "notes.txt")
        let renamed = try error { #expect(rename("\($0.path)/\(third)", "\($0.path)/0000000000000014.segment") == 0) }
        #expect(renamed.kind == .foreign && renamed.byteOffset == 32)
        let text = try error { $0.poke(third, at: 0, [UInt8](repeating: 0x20, count: 4096)) }
        #expect(text.kind == .foreign && text.segment == third)
        let blank = try error { $0.poke(third, at: 0, [UInt8](repeating: 0, count: 4096)) }
        #expect(blank.kind == .damaged && blank.segment == third)
        let cut = try error { #expect(truncate("\($0.path)/\(third)", 40_000) == 0) }
        #expect(cut.kind == .damaged && cut.byteOffset == 64)
        let empty = try error { #expect(truncate("\($0.path)/\(third)", 0) == 0) }
        #expect(empty.kind == .foreign)
        let directory = try error { #expect(unlink("\($0.path)/\(third)") == 0 && mkdir("\($0.path)/\(third)", 0o700) == 0) }
        #expect(directory.kind == .foreign && directory.reason == "this is no regular file")
        let version = try error { fixture in
            var header = Array(fixture.contents(third)[..<76])
            header[12] = 2
            let crc = header.withUnsafeBytes { Checksum.crc32c($0) }
            header.appendInteger(crc)
            fixture.poke(third, at: 0, header)
        }
        #expect(version.kind == .version && version.segment == third && version.byteOffset == 12)
        let fixture = JournalFixture()
        try journal(fixture)
        fixture.configuration.module = 78
        #expect(throws: JournalError.self) { try fixture.open() }
    }

    @Test func `Unfinished and unused files go when the journal is opened`() throws {
        let fixture = JournalFixture()
        try journal(fixture)
        for name in ["x.new", "y.recycled", "z.prepared"] {
            close(open(fixture.path + "/" + name, O_CREAT | O_WRONLY, 0o600))
            truncate(fixture.path + "/" + name, 64 << 10)
        }
        _ = try fixture.open()
        #expect(!fixture.names.contains { ["x.new", "y.recycled", "z.prepared"].contains($0) })
        #expect(try fixture.recover().last == fixture.places.last)
    }

    /// Whatever the bytes are: an error, or a place that this journal really had.
    @Test func `No mutation makes recovery trap or believe in what was never written`() throws {
        let fixture = JournalFixture(in: "/dev/shm", segmentBytes: 32 << 10, seed: 4242)
        let journal = try fixture.open()
        for size in [10, 5_000, 300, 9_000, 700, 12_000, 40, 8_000] {
            try fixture.append(journal, rawBytes: size)
            try journal.pool.prepareNext()
        }
        let segments = fixture.names.filter { $0.hasSuffix(".segment") }
        let images = Dictionary(uniqueKeysWithValues: segments.map { ($0, fixture.contents($0)) })
        let places = Set(fixture.places.map(\.chain))
        #expect(segments.count >= 2)
        var errors = 0, shorter = 0, complete = 0
        for _ in 0..<20_000 {
            let name = segments[fixture.random(segments.count)], image = images[name] ?? []
            var at = fixture.random(image.count)
            // Half of them where the structure is: the first bytes of a block.
            if fixture.random(2) == 0 { at = at / 4096 * 4096 + fixture.random(120) }
            var bytes = Array(image[at..<min(image.count, at + 1 + fixture.random(fixture.random(8) == 0 ? 9_000 : 8))])
            switch fixture.random(4) {
            case 0: for index in 0..<min(64, bytes.count) { bytes[index] = UInt8(fixture.random(256)) }
            case 1: bytes = [UInt8](repeating: 0, count: bytes.count)
            case 2:
                let from = fixture.random(image.count / 4096) * 4096
                bytes = Array(image[from..<min(image.count, from + bytes.count)])
                if at + bytes.count > image.count { bytes.removeLast(at + bytes.count - image.count) }
            default: bytes[0] ^= 1 << UInt8(fixture.random(8))
            }
            fixture.poke(name, at: at, bytes)
            do {
                let recovery = try fixture.recover()
                if let last = recovery.last {
                    #expect(places.contains(last.chain))
                    if last == fixture.places.last { complete += 1 } else { shorter += 1 }
                } else {
                    shorter += 1
                }
            } catch {
                #expect(segments.contains(error.segment))
                errors += 1
            }
            fixture.poke(name, at: at, Array(image[at..<(at + bytes.count)]))
        }
        #expect(try fixture.recover().last == fixture.places.last)
        // Each outcome happens often, so the test looks at all of them.
        #expect(errors > 1_000 && shorter > 1_000 && complete > 1_000, "\(errors) \(shorter) \(complete)")
    }
}
