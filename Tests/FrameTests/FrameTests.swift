import Frame
import Glibc
import Primitives
import Testing

/// Numbers that are the same in every run.
struct Numbers: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {  // splitmix64
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

@Suite struct FrameTests {
    func header() -> BatchHeader {
        var header = BatchHeader()
        header.flags = .bulk
        header.epoch = Epoch(3)
        header.firstPosition = StreamPosition(100)
        header.lastPosition = StreamPosition(104)
        header.firstSequence = SequenceNumber(70)
        header.lastSequence = SequenceNumber(74)
        header.previousChain = 0x0123_4567_89ab_cdef
        header.time = 1_700_000_000_000_000_000
        return header
    }

    func records(_ count: Int, seed: UInt64, compressible: Bool) -> [UInt8] {
        var numbers = Numbers(state: seed)
        var bytes = [UInt8](repeating: 0, count: (count + 7) / 8 * 8)
        bytes.withUnsafeMutableBytes { bytes in
            for word in bytes.bindMemory(to: UInt64.self).indices where !compressible || word % 8 == 0 {
                bytes.storeBytes(of: numbers.next(), toByteOffset: word * 8, as: UInt64.self)
            }
        }
        bytes.removeLast(bytes.count - count)
        return bytes
    }

    @Test(arguments: [1, 128, 4096, 65_536, 262_144, 262_145, 1 << 20, 8 << 20], [true, false])
    func `A batch decodes to the records and the header it was made of`(count: Int, compressible: Bool) throws {
        let encoder = FrameEncoder(), decoder = FrameDecoder()
        let raw = records(count, seed: 1, compressible: compressible)
        var header = header()
        let batch = encoder.encode(records: raw, header: &header)
        #expect(batch.count == header.batchBytes)
        #expect(batch.count <= FrameEncoder.batchBytesMax(rawBytes: count))
        #expect(header.rawBytes == count)
        let decoded = try decoder.decode(batch)
        #expect(decoded.header == header)
        #expect(decoded.records.count == count && memcmp(decoded.records, raw, count) == 0)
    }

    @Test func `The header's bytes are those of the drawing`() {
        var header = header()
        let batch = FrameEncoder().encode(records: [7], header: &header)
        func integer(_ offset: Int, _ count: Int) -> UInt64 {
            batch[offset..<(offset + count)].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        #expect(integer(0, 4) == 0x184D_2A50)
        #expect(integer(4, 4) == 96)
        #expect(Array(batch[8..<12]) == Array("LSB1".utf8))
        #expect(integer(12, 2) == 1)
        #expect(integer(14, 2) == 1)
        #expect(integer(16, 8) == 3)
        #expect(integer(24, 8) == 100)
        #expect(integer(32, 8) == 104)
        #expect(integer(40, 8) == 70)
        #expect(integer(48, 8) == 74)
        #expect(integer(56, 8) == 0x0123_4567_89ab_cdef)
        #expect(integer(64, 8) == header.chain)
        #expect(integer(72, 4) == 5)
        #expect(integer(76, 4) == UInt64(batch.count - 104))
        #expect(integer(80, 4) == 1)
        #expect(integer(88, 8) == 1_700_000_000_000_000_000)
        #expect(integer(104, 4) == 0x184D_2204)
    }

    @Test func `A batch of version 1 stays what it was`() throws {
        // Whoever changes the format changes the version, and adds a fixture.
        var header = header()
        let batch = FrameEncoder().encode(records: Array("one record".utf8), header: &header)
        #expect(batch.count == 141)
        #expect(header.chain == FrameTests.fixtureChain)
    }
    static let fixtureChain: UInt64 = 12_675_360_011_499_232_372

    @Test func `Both halves of the chain change with any part of the batch`() {
        var first = header()
        let encoder = FrameEncoder()
        _ = encoder.encode(records: [1, 2, 3], header: &first)
        var others: [BatchHeader] = []
        for change in 0..<4 {
            var header = header()
            if change == 0 { header.previousChain += 1 }
            if change == 1 { header.epoch = Epoch(4) }
            if change == 2 { header.time += 1 }
            _ = encoder.encode(records: change == 3 ? [1, 2, 4] : [1, 2, 3], header: &header)
            others.append(header)
        }
        for other in others {
            #expect(other.chain >> 32 != first.chain >> 32)
            #expect(UInt32(truncatingIfNeeded: other.chain) != UInt32(truncatingIfNeeded: first.chain))
            // Two CRCs with different seeds would all differ by the same amount.
            #expect((other.chain ^ first.chain) >> 32 != (other.chain ^ first.chain) & 0xffff_ffff)
        }
    }

    @Test func `Every cut batch is short or invalid`() throws {
        var header = header()
        let batch = FrameEncoder().encode(records: records(600, seed: 2, compressible: false), header: &header)
        let decoder = FrameDecoder()
        for count in 0..<batch.count {
            let error = try #require(throws: FrameError.self) { try decoder.decode(Array(batch[..<count])) }
            #expect(error.kind == .short, "\(count) bytes")
        }
    }

    @Test func `Every flipped bit is found`() throws {
        var header = header()
        let batch = FrameEncoder().encode(records: records(600, seed: 3, compressible: true), header: &header)
        let decoder = FrameDecoder()
        for bit in 0..<(batch.count * 8) {
            var changed = batch
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: FrameError.self, "bit \(bit)") { try decoder.decode(changed) }
        }
    }

    @Test func `A forged header with a right checksum is refused by its numbers`() throws {
        var header = header()
        let batch = FrameEncoder().encode(records: records(600, seed: 4, compressible: true), header: &header)
        // (offset, bytes, value): each is written into an otherwise right header, whose checksum is made right again.
        let forgeries: [(Int, Int, UInt64)] = [
            (4, 4, 97), (12, 2, 2), (14, 2, 2), (24, 8, 0), (24, 8, 105), (32, 8, .max), (40, 8, 99), (72, 4, 0),
            (72, 4, 6), (76, 4, 0xffff_ffff), (76, 4, UInt64(BatchHeader.batchBytesMax)), (80, 4, 0),
            (80, 4, 0xffff_ffff), (80, 4, UInt64(BatchHeader.rawBytesMax) + 1), (84, 4, 1), (96, 4, 1),
        ]
        for (offset, bytes, value) in forgeries {
            var forged = batch
            for index in 0..<bytes { forged[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * UInt64(index))) }
            let crc = crc32c(forged[..<100])
            for index in 0..<4 { forged[100 + index] = UInt8(truncatingIfNeeded: crc >> (8 * UInt32(index))) }
            let error = try #require(throws: FrameError.self) {
                try forged.withUnsafeBytes { bytes throws(FrameError) in try BatchHeader(parsing: bytes) }
            }
            #expect(error.kind == (offset == 12 ? .version : .invalid), "\(offset): \(error)")
            #expect(error.byteOffset > 0 && error.byteOffset < 104)
        }
    }

    @Test func `No mutation of a batch is decoded to other records`() {
        var numbers = Numbers(state: 5)
        let encoder = FrameEncoder(), decoder = FrameDecoder()
        var header = header()
        let raw = records(5_000, seed: 6, compressible: true)
        let batch = encoder.encode(records: raw, header: &header)
        var refused = 0
        for _ in 0..<5_000 {
            var changed = batch
            for _ in 0..<Int.random(in: 1...4, using: &numbers) {
                let at = Int.random(in: 0..<changed.count, using: &numbers)
                switch Int.random(in: 0..<4, using: &numbers) {
                case 0: changed[at] = UInt8.random(in: 0...255, using: &numbers)
                case 1: changed.removeLast(min(changed.count - 1, Int.random(in: 1...64, using: &numbers)))
                case 2: changed.insert(UInt8.random(in: 0...255, using: &numbers), at: at)
                default: changed.replaceSubrange(at..., with: changed[at...].reversed())
                }
            }
            do {
                let decoded = try decoder.decode(changed)
                #expect(decoded.records == raw && changed.starts(with: batch))
            } catch {
                refused += 1
            }
        }
        #expect(refused > 4_000)
    }

    @Test func `An LZ4 frame that lies about itself is refused although the chain is right`() throws {
        // A peer that computes chains as we do, over a frame that is cut, too long, of another size or no frame at all.
        let raw = records(3_000, seed: 7, compressible: true)
        var honest = header()
        let batch = FrameEncoder().encode(records: raw, header: &honest)
        let frame = Array(batch[104...])
        var flipped = frame
        flipped[frame.count / 2] ^= 0x10
        let forgeries: [([UInt8], Int)] = [
            (frame, raw.count + 1), (frame, raw.count - 1), (Array(frame.dropLast()), raw.count), (frame + [0], raw.count),
            (frame + frame, raw.count), (flipped, raw.count), ([UInt8](repeating: 0, count: 40), raw.count), ([], raw.count),
            ([0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4], raw.count),
        ]
        for (index, (frame, rawBytes)) in forgeries.enumerated() {
            let forged = FrameEncoder.forge(frame: frame, rawBytes: rawBytes, header: honest)
            let error = try #require(throws: FrameError.self, "forgery \(index)") { try FrameDecoder().decode(forged) }
            #expect(error.byteOffset >= 104, "forgery \(index): \(error)")
        }
    }
}

/// By bits: nothing of the product's code.
func crc32c(_ bytes: some Sequence<UInt8>) -> UInt32 {
    var crc = UInt32.max
    for byte in bytes {
        crc ^= UInt32(byte)
        for _ in 0..<8 { crc = crc >> 1 ^ (crc & 1 == 1 ? 0x82f6_3b78 : 0) }
    }
    return ~crc
}
