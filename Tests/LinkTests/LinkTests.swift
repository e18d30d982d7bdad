import Frame
import Link
import Primitives
import Testing

@Suite struct LinkTests {
    let hello = Hello(module: "shop", node: "a", epoch: Epoch(7), incarnation: Incarnation(high: 1, low: .max),
        roots: ["data", "wal"])
    let welcome = Welcome(node: "b", dataState: .outdated, epoch: Epoch(6), position: StreamPosition(99),
        sequence: SequenceNumber(55), chain: 0xfeed)
    let ack = Ack(epoch: Epoch(7), position: StreamPosition(1), sequence: SequenceNumber(2), chain: 3,
        flushed: StreamPosition(4), applied: StreamPosition(5), dataState: .upToDate)
    let batch = [UInt8](repeating: 9, count: 5000)

    /// One message of each type.
    func conversation() -> [UInt8] {
        var bytes: [UInt8] = []
        LinkMessage.hello(hello).encode(into: &bytes)
        LinkMessage.welcome(welcome).encode(into: &bytes)
        LinkMessage.refused("no: \u{1F512}").encode(into: &bytes)
        batch.withUnsafeBytes { LinkMessage.batch($0).encode(into: &bytes) }
        LinkMessage.ack(ack).encode(into: &bytes)
        LinkMessage.heartbeat(42).encode(into: &bytes)
        LinkMessage.request(kind: 3, body: [1, 2, 3]).encode(into: &bytes)
        return bytes
    }

    /// What messages say, as text that can be compared.
    func text(_ message: LinkMessage) -> String {
        if case .batch(let bytes) = message { return "batch \([UInt8](bytes) == batch ? "as sent" : "changed")" }
        return "\(message)"
    }

    func decode(_ bytes: [UInt8], pieces: (Int) -> Int) throws(LinkError) -> [String] {
        let decoder = LinkDecoder()
        var texts: [String] = [], at = 0
        while at < bytes.count {
            let count = min(pieces(at), bytes.count - at)
            bytes[at..<(at + count)].withUnsafeBytes { decoder.receive($0) }
            at += count
            while let message = try decoder.next() { texts.append(text(message)) }
        }
        return texts
    }

    @Test(arguments: [1, 7, 16, 17, 1000, 100_000])
    func `Messages arrive whole, however the bytes are cut`(pieces: Int) throws {
        let expected = [
            text(.hello(hello)), text(.welcome(welcome)), text(.refused("no: \u{1F512}")), "batch as sent",
            text(.ack(ack)), text(.heartbeat(42)), text(.request(kind: 3, body: [1, 2, 3])),
        ]
        #expect(try decode(conversation(), pieces: { _ in pieces }) == expected)
    }

    @Test func `The sender of a batch may put the header before it by itself`() {
        var whole: [UInt8] = [], header = [UInt8](repeating: 0, count: LinkMessage.headerBytes)
        batch.withUnsafeBytes { LinkMessage.batch($0).encode(into: &whole) }
        header.withUnsafeMutableBytes { LinkMessage.encodeBatchHeader(batchBytes: batch.count, into: $0) }
        #expect(whole == header + batch)
    }

    @Test func `The header's bytes are those of the drawing`() {
        var bytes: [UInt8] = []
        LinkMessage.heartbeat(1).encode(into: &bytes)
        #expect(bytes[..<12] == [0x4c, 0x53, 0x4c, 0x31, 6, 0, 0, 0, 8, 0, 0, 0])
        #expect(bytes[16...] == [1, 0, 0, 0, 0, 0, 0, 0])
    }

    @Test func `The largest batch fits, and many of them pass through one buffer`() throws {
        let decoder = LinkDecoder()
        let body = [UInt8](repeating: 3, count: LinkMessage.bodyBytesMax)
        var header = [UInt8](repeating: 0, count: LinkMessage.headerBytes)
        header.withUnsafeMutableBytes { LinkMessage.encodeBatchHeader(batchBytes: body.count, into: $0) }
        let message = header + body
        var batches = 0, at = 0
        // Pieces that do not divide the message: its end and the next one's start come together.
        let stream = message + message
        while at < stream.count {
            let room = decoder.receiveBuffer()
            #expect(room.count >= 64 << 10)
            let count = min(1_000_003, room.count, stream.count - at)
            stream[at..<(at + count)].withUnsafeBytes { UnsafeMutableRawBufferPointer(rebasing: room[..<count]).copyMemory(from: $0) }
            decoder.received(count)
            at += count
            while case .batch(let bytes)? = try decoder.next() {
                #expect(bytes.count == body.count && bytes.first == 3 && bytes.last == 3)
                batches += 1
            }
        }
        #expect(batches == 2)
        #expect(BatchHeader.batchBytesMax <= LinkMessage.bodyBytesMax)
    }

    @Test func `Every flipped bit outside a batch is found, with its place`() throws {
        var bytes: [UInt8] = []
        for message in [LinkMessage.hello(hello), .welcome(welcome), .ack(ack), .heartbeat(1), .refused("x")] {
            message.encode(into: &bytes)
        }
        for bit in 0..<(bytes.count * 8) {
            var changed = bytes
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            // A body that became longer waits for bytes that never come: then nothing of it is believed either.
            do {
                let texts = try decode(changed, pieces: { _ in changed.count })
                #expect(texts.count < 5, "bit \(bit)")
            } catch {
                #expect(error.byteOffset <= UInt64(bit / 8 + 16), "bit \(bit): \(error)")
            }
        }
    }

    @Test func `A body that is too large is refused before anything is waited for`() throws {
        for (kind, count) in [(4, LinkMessage.bodyBytesMax + 1), (5, LinkMessage.controlBytesMax + 1), (1, Int(UInt32.max))] {
            var bytes: [UInt8] = [0x4c, 0x53, 0x4c, 0x31]
            bytes.appendInteger(UInt16(kind))
            bytes.appendInteger(UInt16(0))
            bytes.appendInteger(UInt32(count))
            bytes.appendInteger(UInt32(0))
            let error = try #require(throws: LinkError.self) { try decode(bytes, pieces: { _ in 16 }) }
            #expect(error.byteOffset == 8)
        }
    }

    @Test func `Another version is refused by name`() throws {
        var hello = hello
        hello.version = 2
        var bytes: [UInt8] = []
        LinkMessage.hello(hello).encode(into: &bytes)
        let error = try #require(throws: LinkError.self) { try decode(bytes, pieces: { _ in 16 }) }
        #expect(error.reason == "the peer speaks version 2 of the link, this node 1")
    }

    @Test func `An error stays until the connection is a new one`() throws {
        let decoder = LinkDecoder()
        [UInt8](repeating: 1, count: 16).withUnsafeBytes { decoder.receive($0) }
        #expect(throws: LinkError.self) { _ = try decoder.next() }
        #expect(throws: LinkError.self) { _ = try decoder.next() }
        decoder.reset()
        var bytes: [UInt8] = []
        LinkMessage.heartbeat(8).encode(into: &bytes)
        bytes.withUnsafeBytes { decoder.receive($0) }
        guard case .heartbeat(8)? = try decoder.next() else { return #expect(Bool(false), "no heartbeat") }
    }

    @Test func `No mutation of a conversation traps`() {
        var state: UInt64 = 11
        func random(_ bound: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % bound
        }
        let bytes = conversation()
        let decoder = LinkDecoder()
        var errors = 0
        for _ in 0..<20_000 {
            var changed = bytes
            for _ in 0...random(4) {
                let at = random(changed.count)
                if random(3) == 0 { changed.removeSubrange(at..<min(changed.count, at + random(40))) } else { changed[at] = UInt8(random(256)) }
                if changed.isEmpty { changed = [0] }
            }
            decoder.reset()
            changed.withUnsafeBytes { decoder.receive($0) }
            do {
                while try decoder.next() != nil {}
            } catch {
                #expect(error.byteOffset <= UInt64(changed.count) + 16)
                errors += 1
            }
        }
        #expect(errors > 10_000)
    }
}
