internal import CUring
internal import Glibc
public import Platform

// One io_uring: everything that the data-plane thread waits for, in one system call.
//
//   prepare ... prepare -> submitAndWait -> nextCompletion ... nextCompletion -> prepare ...
//
// Every operation completes exactly once, with its token. Memory named in an operation belongs to the kernel until then.

/// A submission and completion queue. May be made on any thread; belongs to the thread of the first submission.
///
/// When it goes out of scope on that thread, what is in flight is cancelled and waited for: lent memory is free then.
public struct Uring: ~Copyable, @unchecked Sendable {
    // SAFETY: Sendable because all its verbs are mutating: one user at a time, whatever the thread.
    private let ring: OpaquePointer
    private let futexWaitAllowed: Bool

    public struct Completion: Equatable, Sendable {
        public var token: UInt64
        /// A count, a descriptor or zero; or a negated errno.
        public var result: Int32
        public var flags: UInt32

        public init(token: UInt64, result: Int32, flags: UInt32) {
            self.token = token
            self.result = result
            self.flags = flags
        }
    }

    /// Room for `entries` operations that are prepared and not yet submitted; any number may be in flight.
    /// `futexWait: false` makes it behave as on a kernel before 6.7.
    public init(entries: Int, futexWait: Bool = true) throws(SystemError) {
        var error: Int32 = 0
        guard let ring = lockstep_uring_create(UInt32(entries), &error) else {
            throw SystemError("set up io_uring", code: -error)
        }
        self.ring = ring
        futexWaitAllowed = futexWait
    }

    deinit { lockstep_uring_destroy(ring) }

    /// Whether `futexWait` works here (kernel 6.7 and later); else a thread has to wait and ring an eventfd.
    public var hasFutexWait: Bool { futexWaitAllowed && lockstep_uring_has_futex_wait(ring) }

    /// Operations whose completion has not been taken yet.
    public var inFlight: Int { Int(lockstep_uring_in_flight(ring)) }

    // MARK: files

    public mutating func write(_ fd: Int32, from bytes: UnsafeRawPointer, count: Int, offset: UInt64, token: UInt64)
        throws(SystemError)
    {
        try prepare("write") { lockstep_uring_write($0, fd, bytes, UInt32(count), offset, token) }
    }

    public mutating func read(_ fd: Int32, into bytes: UnsafeMutableRawPointer, count: Int, offset: UInt64, token: UInt64)
        throws(SystemError)
    {
        try prepare("read") { lockstep_uring_read($0, fd, bytes, UInt32(count), offset, token) }
    }

    /// fdatasync.
    public mutating func flushData(_ fd: Int32, token: UInt64) throws(SystemError) {
        try prepare("fdatasync") { lockstep_uring_fdatasync($0, fd, token) }
    }

    // MARK: sockets

    /// Never raises SIGPIPE; may send less than `count`.
    public mutating func send(_ fd: Int32, from bytes: UnsafeRawPointer, count: Int, token: UInt64) throws(SystemError) {
        try prepare("send") { lockstep_uring_send($0, fd, bytes, UInt32(count), token) }
    }

    /// A result of 0 is the end of the stream.
    public mutating func receive(_ fd: Int32, into bytes: UnsafeMutableRawPointer, count: Int, token: UInt64)
        throws(SystemError)
    {
        try prepare("receive") { lockstep_uring_receive($0, fd, bytes, UInt32(count), token) }
    }

    /// The result is the new descriptor, close-on-exec; it belongs to the caller.
    public mutating func accept(_ fd: Int32, token: UInt64) throws(SystemError) {
        try prepare("accept") { lockstep_uring_accept($0, fd, token) }
    }

    /// `address` is a `sockaddr` and must stay valid until the completion.
    public mutating func connect(_ fd: Int32, to address: UnsafeRawPointer, count: Int, token: UInt64)
        throws(SystemError)
    {
        try prepare("connect") { lockstep_uring_connect($0, fd, address, UInt32(count), token) }
    }

    // MARK: waiting

    /// Completes once, when one of `events` (POLLIN, ...) is there; the result holds the events.
    public mutating func poll(_ fd: Int32, events: Int32, token: UInt64) throws(SystemError) {
        try prepare("poll") { lockstep_uring_poll($0, fd, UInt32(bitPattern: events), token) }
    }

    /// Completes with 0 when the shared futex word is woken, with -EAGAIN at once if it is not `expected`.
    public mutating func futexWait(_ word: UnsafeRawPointer, expected: UInt32, token: UInt64) throws(SystemError) {
        guard hasFutexWait else { throw SystemError("wait for a futex by io_uring", code: EOPNOTSUPP) }
        try prepare("wait for a futex") { lockstep_uring_futex_wait($0, word, expected, token) }
    }

    /// Cancels the operation with token `target`, which then completes (mostly with -ECANCELED). The cancellation has a
    /// completion of its own: not negative, -ENOENT (nothing found) or -EALREADY (it can't be stopped any more).
    public mutating func cancel(_ target: UInt64, token: UInt64) throws(SystemError) {
        try prepare("cancel") { lockstep_uring_cancel($0, target, token) }
    }

    // MARK: submission and completion

    /// Submits what is prepared and returns when `minimum` completions are there, the time has passed or a signal came.
    public mutating func submitAndWait(minimum: Int, timeoutNanoseconds: Int64? = nil) throws(SystemError) {
        try checked(lockstep_uring_submit_and_wait(ring, UInt32(minimum), timeoutNanoseconds ?? -1), "submit to io_uring")
    }

    public mutating func nextCompletion() -> Completion? {
        var completion = lockstep_completion()
        guard lockstep_uring_next(ring, &completion) else { return nil }
        return Completion(token: completion.token, result: completion.result, flags: completion.flags)
    }

    /// A full queue is submitted first, without waiting.
    private mutating func prepare(_ operation: String, _ body: (OpaquePointer) -> Int32) throws(SystemError) {
        var result = body(ring)
        if result == -EBUSY {
            try submitAndWait(minimum: 0)
            result = body(ring)
        }
        try checked(result, "prepare \(operation)")
    }
}
