internal import Platform
internal import Primitives

// Received bytes become messages. The kernel writes straight into the buffer; a batch is handed on as a slice of it.
//
//      0        taken       filled              count
//      | done     | message... |  receiveBuffer() |
//
// The unfinished message is moved to the front only when the room behind it gets short, and only in receiveBuffer().

/// The receiving end of a connection. Foreign bytes: everything is checked, an error ends the connection. Belongs to one
/// thread.
public final class LinkDecoder {
    private let buffer: PageBuffer
    private var taken = 0
    private var filled = 0
    /// Of the byte at `taken`, from the start of the connection.
    private var offset: UInt64 = 0
    private var failure: LinkError?

    /// Room that is wanted for a receive: less makes many small ones.
    private static let receiveBytesMin = 64 << 10

    public init() {
        buffer = PageBuffer(count: LinkMessage.headerBytes + LinkMessage.bodyBytesMax + 1 << 20)
    }

    /// A new connection: what is left of the old one goes.
    public func reset() {
        taken = 0
        filled = 0
        offset = 0
        failure = nil
    }

    /// Where the next bytes belong: lend it to the kernel, then say `received(_:)`. The place stays the same until then.
    /// Slices of earlier batches are void from here on.
    public func receiveBuffer() -> UnsafeMutableRawBufferPointer {
        if taken == filled {
            taken = 0
            filled = 0
        } else if buffer.count - filled < max(LinkDecoder.receiveBytesMin, missing) {
            memmoveToFront()
        }
        return UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[filled...])
    }

    /// `count` bytes were written to the start of the receive buffer.
    public func received(_ count: Int) {
        precondition(count >= 0 && count <= buffer.count - filled)
        filled += count
    }

    /// The same for tests and plain sockets: copies `bytes`, which must fit.
    public func receive(_ bytes: UnsafeRawBufferPointer) {
        receiveBuffer().copyMemory(from: bytes)
        received(bytes.count)
    }

    /// The next whole message, or nil: receive more. After an error it throws the same again.
    public func next() throws(LinkError) -> LinkMessage? {
        if let failure { throw failure }
        do {
            return try parse()
        } catch {
            failure = error
            throw error
        }
    }

    private func parse() throws(LinkError) -> LinkMessage? {
        guard let (kind, bodyBytes) = try header() else { return nil }
        let count = LinkMessage.headerBytes + bodyBytes
        guard filled - taken >= count else { return nil }
        let message = UnsafeRawBufferPointer(rebasing: buffer.bytes[taken..<(taken + count)])
        if kind != .batch {
            let found = UInt32(littleEndian: message.loadUnaligned(fromByteOffset: 12, as: UInt32.self))
            guard LinkMessage.checksum(message, kind) == found else { throw error(12, "the checksum is wrong") }
        }
        let parsed = try body(kind, UnsafeRawBufferPointer(rebasing: message[LinkMessage.headerBytes...]))
        taken += count
        offset += UInt64(count)
        return parsed
    }

    /// Kind and size of the message at `taken`, checked, if its header is there.
    private func header() throws(LinkError) -> (LinkMessage.Kind, Int)? {
        guard filled - taken >= LinkMessage.headerBytes else { return nil }
        let bytes = UnsafeRawBufferPointer(rebasing: buffer.bytes[taken..<(taken + LinkMessage.headerBytes)])
        func integer<T: FixedWidthInteger & BitwiseCopyable>(_ at: Int, _ type: T.Type) -> T {
            T(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: type))
        }
        guard integer(0, UInt32.self) == LinkMessage.magic else { throw error(0, "no message begins here") }
        guard let kind = LinkMessage.Kind(rawValue: integer(4, UInt16.self)) else {
            throw error(4, "unknown type \(integer(4, UInt16.self))")
        }
        guard integer(6, UInt16.self) == 0 else { throw error(6, "unknown flags \(integer(6, UInt16.self))") }
        let count = Int(integer(8, UInt32.self))
        let countMax = kind == .batch ? LinkMessage.bodyBytesMax : LinkMessage.controlBytesMax
        guard count <= countMax else { throw error(8, "a body of \(count) bytes, at most \(countMax) are allowed") }
        // A batch's checksum covers the header only: it is checked before megabytes are waited for.
        if kind == .batch {
            guard LinkMessage.checksum(bytes, kind) == integer(12, UInt32.self) else {
                throw error(12, "the checksum is wrong")
            }
        }
        return (kind, count)
    }

    private func body(_ kind: LinkMessage.Kind, _ bytes: UnsafeRawBufferPointer) throws(LinkError) -> LinkMessage {
        var parser = BodyParser(bytes, offset: offset + UInt64(LinkMessage.headerBytes))
        switch kind {
        case .batch: return .batch(bytes)
        case .refused: return .refused(String(decoding: bytes, as: UTF8.self))
        case .hello:
            let hello = try parser.hello()
            try parser.end()
            return .hello(hello)
        case .welcome:
            let welcome = try parser.welcome()
            try parser.end()
            return .welcome(welcome)
        case .ack:
            let ack = try parser.ack()
            try parser.end()
            return .ack(ack)
        case .heartbeat:
            let counter = try parser.integer(UInt64.self)
            try parser.end()
            return .heartbeat(counter)
        case .request:
            let number = try parser.integer(UInt16.self)
            return .request(kind: number, body: parser.rest())
        }
    }

    /// Bytes of the unfinished message that are still to come.
    private var missing: Int {
        guard failure == nil, let header = try? header() else { return 0 }
        return LinkMessage.headerBytes + header.1 - (filled - taken)
    }

    private func memmoveToFront() {
        let rest = UnsafeRawBufferPointer(rebasing: buffer.bytes[taken..<filled])
        buffer.bytes.copyMemory(from: rest)
        filled -= taken
        taken = 0
    }

    private func error(_ at: Int, _ reason: String) -> LinkError { LinkError(at: offset + UInt64(at), reason) }
}
