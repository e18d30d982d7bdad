import Frame
import Glibc
import Link
import Platform
import Primitives
import Uring

/// One connection to the peer on the data plane's ring: at most one receive and one send are with the kernel at a time.
///
///     queue(...) --> waiting ==swap==> sending --> kernel        kernel --> decoder --> messages
///
/// Closing shuts the socket down; the descriptor and the buffers live on until the kernel has given both back.
final class Connection {
    let descriptor: Int32
    /// Tells completions of this connection from those of an earlier one.
    let number: UInt32
    let opened = Clock.monotonic
    let decoder = LinkDecoder()
    private(set) var isClosing = false
    private(set) var isReceiving = false
    /// The kernel has been asked since then for what the peer says: it was not silent before nobody listened.
    private(set) var listeningSince: UInt64 = 0
    private var isSending = false
    private var waiting: [UInt8] = []
    private var sent = 0
    /// Keeps the bytes in place while the kernel reads them.
    private var lent: UnsafeMutableRawBufferPointer?

    init(descriptor: Int32, number: UInt32) {
        self.descriptor = descriptor
        self.number = number
    }

    /// Bytes that are queued and not yet sent.
    var unsentBytes: Int { waiting.count + (lent.map { $0.count - sent } ?? 0) }
    var isIdle: Bool { !isReceiving && !isSending }

    func queue(_ message: LinkMessage) { message.encode(into: &waiting) }

    func startSending(_ uring: inout Uring, token: UInt64) throws {
        guard !isSending, !isClosing else { return }
        if lent == nil {
            guard !waiting.isEmpty else { return }
            let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: waiting.count, alignment: 64)
            waiting.withUnsafeBytes { bytes.copyMemory(from: $0) }
            waiting.removeAll(keepingCapacity: true)
            lent = bytes
            sent = 0
        }
        let bytes = lent!
        try uring.send(descriptor, from: UnsafeRawPointer(bytes.baseAddress! + sent), count: bytes.count - sent, token: token)
        isSending = true
    }

    /// False: the connection is broken.
    func sendEnded(_ result: Int32) -> Bool {
        isSending = false
        guard result > 0 else { return false }
        sent += Int(result)
        if let bytes = lent, sent == bytes.count {
            bytes.deallocate()
            lent = nil
        }
        return true
    }

    func startReceiving(_ uring: inout Uring, token: UInt64) throws {
        guard !isReceiving, !isClosing else { return }
        let buffer = decoder.receiveBuffer()
        try uring.receive(descriptor, into: buffer.baseAddress!, count: buffer.count, token: token)
        isReceiving = true
        listeningSince = Clock.monotonic
    }

    /// False: the peer closed, or the connection is broken.
    func receiveEnded(_ result: Int32) -> Bool {
        isReceiving = false
        guard result > 0 else { return false }
        decoder.received(Int(result))
        return true
    }

    func close() {
        guard !isClosing else { return }
        isClosing = true
        shutdown(descriptor, Int32(SHUT_RDWR))
    }

    /// The kernel holds nothing of it any more.
    func dispose() {
        precondition(isIdle)
        Glibc.close(descriptor)
        lent?.deallocate()
        lent = nil
    }
}
