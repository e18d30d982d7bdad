internal import Platform
internal import Primitives

extension LinkMessage {
    /// Appends header and body to `buffer`, whose memory the caller uses again.
    public func encode(into buffer: inout [UInt8]) {
        let start = buffer.count
        let kind: Kind
        buffer.append(contentsOf: repeatElement(0, count: LinkMessage.headerBytes))
        switch self {
        case .hello(let hello):
            kind = .hello
            buffer.appendInteger(hello.version)
            buffer.appendInteger(hello.epoch.value)
            buffer.appendInteger(hello.incarnation.high)
            buffer.appendInteger(hello.incarnation.low)
            buffer.appendInteger(UInt16(hello.roots.count))
            for text in [hello.module, hello.node] + hello.roots { LinkMessage.append(text, to: &buffer) }
        case .welcome(let welcome):
            kind = .welcome
            buffer.appendInteger(welcome.version)
            buffer.appendInteger(welcome.dataState.linkCode)
            buffer.appendInteger(welcome.epoch.value)
            buffer.appendInteger(welcome.position.value)
            buffer.appendInteger(welcome.sequence.value)
            buffer.appendInteger(welcome.chain)
            LinkMessage.append(welcome.node, to: &buffer)
        case .refused(let text):
            kind = .refused
            buffer.append(contentsOf: text.utf8.prefix(LinkMessage.controlBytesMax))
        case .batch(let bytes):
            kind = .batch
            precondition(bytes.count <= LinkMessage.bodyBytesMax)
            buffer.append(contentsOf: bytes)
        case .ack(let ack):
            kind = .ack
            for word in [ack.epoch.value, ack.position.value, ack.sequence.value, ack.chain, ack.flushed.value,
                ack.applied.value]
            {
                buffer.appendInteger(word)
            }
            buffer.appendInteger(ack.dataState.linkCode)
        case .heartbeat(let counter):
            kind = .heartbeat
            buffer.appendInteger(counter)
        case .request(let number, let body):
            kind = .request
            precondition(body.count < LinkMessage.controlBytesMax)
            buffer.appendInteger(number)
            buffer.append(contentsOf: body)
        }
        buffer.withUnsafeMutableBytes { bytes in
            LinkMessage.finish(UnsafeMutableRawBufferPointer(rebasing: bytes[start...]), kind)
        }
    }

    /// The header of a batch of `batchBytes` bytes, for a sender that puts the batch itself behind it.
    public static func encodeBatchHeader(batchBytes: Int, into bytes: UnsafeMutableRawBufferPointer) {
        precondition(batchBytes <= bodyBytesMax && bytes.count >= headerBytes)
        finish(UnsafeMutableRawBufferPointer(rebasing: bytes[..<headerBytes]), .batch, bodyBytes: batchBytes)
    }

    /// Writes the header over the first 16 bytes of a message.
    private static func finish(_ message: UnsafeMutableRawBufferPointer, _ kind: Kind, bodyBytes: Int? = nil) {
        message.storeBytes(of: magic.littleEndian, toByteOffset: 0, as: UInt32.self)
        message.storeBytes(of: kind.rawValue.littleEndian, toByteOffset: 4, as: UInt16.self)
        message.storeBytes(of: 0, toByteOffset: 6, as: UInt16.self)
        let count = UInt32(bodyBytes ?? message.count - headerBytes)
        message.storeBytes(of: count.littleEndian, toByteOffset: 8, as: UInt32.self)
        message.storeBytes(of: checksum(UnsafeRawBufferPointer(message), kind).littleEndian, toByteOffset: 12,
            as: UInt32.self)
    }

    /// Over the header's first 12 bytes; a batch has a chain of its own, every other body is covered too.
    static func checksum(_ message: UnsafeRawBufferPointer, _ kind: Kind) -> UInt32 {
        let header = Checksum.crc32c(UnsafeRawBufferPointer(rebasing: message[..<12]))
        if kind == .batch { return header }
        return Checksum.crc32c(UnsafeRawBufferPointer(rebasing: message[headerBytes...]), continuing: header)
    }

    /// A text longer than 1024 bytes is cut: names come from configuration, which is bounded before.
    private static func append(_ text: String, to buffer: inout [UInt8]) {
        let bytes = Array(text.utf8.prefix(1024))
        buffer.appendInteger(UInt16(bytes.count))
        buffer.append(contentsOf: bytes)
    }
}
