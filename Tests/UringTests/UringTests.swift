import CLinux
import Glibc
import Platform
import Testing
import Uring

@Suite struct UringTests {
    @Test func `What is written is read back, and made durable`() throws {
        var uring = try Uring(entries: 8)
        var template = Array("/tmp/lockstep-test-XXXXXX".utf8CString)
        let file = FileDescriptor(owning: mkstemp(&template))
        unlink(template)
        let written = PageBuffer(count: 4096), read = PageBuffer(count: 4096)
        written.bytes.initializeMemory(as: UInt8.self, repeating: 7)
        try uring.write(file.raw, from: written.baseAddress, count: 4096, offset: 8192, token: 1)
        try uring.submitAndWait(minimum: 1)
        #expect(next(&uring) == .init(token: 1, result: 4096, flags: 0))
        try uring.flushData(file.raw, token: 2)
        try uring.submitAndWait(minimum: 1)
        #expect(next(&uring)?.result == 0)
        try uring.read(file.raw, into: read.baseAddress, count: 4096, offset: 8192, token: 3)
        try uring.submitAndWait(minimum: 1)
        #expect(next(&uring) == .init(token: 3, result: 4096, flags: 0))
        #expect(memcmp(written.baseAddress, read.baseAddress, 4096) == 0)
        #expect(next(&uring) == nil)
        let inFlight = uring.inFlight
        #expect(inFlight == 0)
    }

    @Test func `More operations than the queue has entries all complete`() throws {
        var uring = try Uring(entries: 4)
        let file = try FileDescriptor.open("/dev/zero", O_RDONLY)
        let buffer = PageBuffer(count: 4096)
        var tokens: Set<UInt64> = []
        for token in 0..<200 as Range<UInt64> {
            try uring.read(file.raw, into: buffer.baseAddress, count: 8, offset: 0, token: token)
        }
        while tokens.count < 200 {
            try uring.submitAndWait(minimum: 1)
            while let completion = uring.nextCompletion() {
                #expect(completion.result == 8)
                tokens.insert(completion.token)
            }
        }
        let inFlight = uring.inFlight
        #expect(inFlight == 0)
    }

    @Test func `A wait ends at its time-out, or at once when none is wanted`() throws {
        var uring = try Uring(entries: 4)
        let start = Clock.monotonic
        try uring.submitAndWait(minimum: 1, timeoutNanoseconds: 20_000_000)
        #expect(Clock.monotonic - start >= 20_000_000)
        try uring.submitAndWait(minimum: 0)
        try uring.submitAndWait(minimum: 1, timeoutNanoseconds: 0)
        #expect(next(&uring) == nil)
    }

    @Test func `Two sockets connect, and bytes pass both ways`() throws {
        var uring = try Uring(entries: 8)
        let listener = FileDescriptor(owning: socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0))
        let caller = FileDescriptor(owning: socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var count = socklen_t(MemoryLayout<sockaddr_in>.size)
        let size = Int(count)
        withUnsafeMutableBytes(of: &address) { bytes in
            let pointer = bytes.assumingMemoryBound(to: sockaddr.self).baseAddress!
            #expect(bind(listener.raw, pointer, count) == 0 && listen(listener.raw, 1) == 0)
            #expect(getsockname(listener.raw, pointer, &count) == 0)
        }
        let lent = PageBuffer(count: 64)
        withUnsafeBytes(of: address) { lent.bytes.copyMemory(from: $0) }
        try uring.accept(listener.raw, token: 1)
        try uring.connect(caller.raw, to: lent.baseAddress, count: size, token: 2)
        try uring.submitAndWait(minimum: 2)
        var accepted: Int32 = -1
        while let completion = uring.nextCompletion() {
            if completion.token == 1 { accepted = completion.result } else { #expect(completion.result == 0) }
        }
        #expect(accepted >= 0 && fcntl(accepted, F_GETFD) == FD_CLOEXEC)
        let called = FileDescriptor(owning: accepted)
        let sent = PageBuffer(count: 64), received = PageBuffer(count: 64)
        sent.bytes.storeBytes(of: 0x1234, as: UInt64.self)
        try uring.poll(called.raw, events: Int32(POLLIN), token: 3)
        try uring.send(caller.raw, from: sent.baseAddress, count: 8, token: 4)
        try uring.submitAndWait(minimum: 2)
        while let completion = uring.nextCompletion() {
            #expect(completion.result == (completion.token == 3 ? Int32(POLLIN) : 8))
        }
        try uring.receive(called.raw, into: received.baseAddress, count: 64, token: 5)
        try uring.submitAndWait(minimum: 1)
        #expect(next(&uring)?.result == 8)
        #expect(received.bytes.load(as: UInt64.self) == 0x1234)
        // The other end is gone: an error, and no SIGPIPE.
        try called.close()
        var results: [Int32] = []
        for token in 6..<9 as Range<UInt64> {
            try uring.send(caller.raw, from: sent.baseAddress, count: 8, token: token)
            try uring.submitAndWait(minimum: 1)
            results.append(uring.nextCompletion()?.result ?? 0)
        }
        #expect(results.contains(-EPIPE) || results.contains(-ECONNRESET))
    }

    @Test func `A futex wait ends by a wake, a changed word and a cancellation`() throws {
        var uring = try Uring(entries: 8)
        guard uring.hasFutexWait else { return }
        let word = PageBuffer(count: 4)
        word.bytes.storeBytes(of: 5, as: UInt32.self)
        try uring.futexWait(word.baseAddress, expected: 4, token: 1)
        try uring.submitAndWait(minimum: 1)
        #expect(next(&uring) == .init(token: 1, result: -EAGAIN, flags: 0))
        try uring.futexWait(word.baseAddress, expected: 5, token: 2)
        try uring.submitAndWait(minimum: 0)
        #expect(next(&uring) == nil)
        // FUTEX_WAKE of a shared word, as a producer in another process does it.
        #expect(lockstep_futex_wake(word.baseAddress, 1) == 1)
        try uring.submitAndWait(minimum: 1)
        #expect(next(&uring) == .init(token: 2, result: 0, flags: 0))
        try uring.futexWait(word.baseAddress, expected: 5, token: 3)
        try uring.cancel(3, token: 4)
        try uring.submitAndWait(minimum: 2)
        var results: [UInt64: Int32] = [:]
        while let completion = uring.nextCompletion() { results[completion.token] = completion.result }
        #expect(results[3] == -ECANCELED)
        #expect(results[4].map { $0 >= 0 } == true)
    }

    @Test func `On a kernel without the futex operation it says so`() throws {
        var uring = try Uring(entries: 8, futexWait: false)
        let hasFutexWait = uring.hasFutexWait
        #expect(!hasFutexWait)
        let word = PageBuffer(count: 4)
        #expect(throws: SystemError.self) { try uring.futexWait(word.baseAddress, expected: 0, token: 1) }
    }

    @Test func `A ring that goes takes its operations along`() throws {
        let ends = try #require(FileDescriptor.pair())
        let buffer = PageBuffer(count: 64)
        do {
            var uring = try Uring(entries: 8)
            try uring.receive(ends[0], into: buffer.baseAddress, count: 64, token: 1)
            try uring.submitAndWait(minimum: 0)
            let inFlight = uring.inFlight
            #expect(inFlight == 1)
            try uring.receive(ends[0], into: buffer.baseAddress, count: 64, token: 2)  // prepared, never submitted
        }
        // The lent memory is free: what comes now stays in the socket.
        #expect(Glibc.send(ends[1], "x", 1, 0) == 1)
        #expect(buffer.bytes[0] == 0)
        var byte: UInt8 = 0
        #expect(recv(ends[0], &byte, 1, Int32(0x40) /* MSG_DONTWAIT */) == 1)
        for end in ends { close(end) }
    }
}

/// `#expect` can't look into a value that is not copyable.
func next(_ uring: inout Uring) -> Uring.Completion? { uring.nextCompletion() }

extension FileDescriptor {
    static func pair() -> [Int32]? {
        var ends: [Int32] = [0, 0]
        return socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0 ? ends : nil
    }
}
