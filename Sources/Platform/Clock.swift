internal import Glibc

/// The kernel's clocks, in nanoseconds.
public enum Clock {
    /// Since boot, not counting suspension: for intervals on this node.
    public static var monotonic: UInt64 { read(CLOCK_MONOTONIC) }
    /// Since boot, counting suspension: what leases are measured by.
    public static var boottime: UInt64 { read(CLOCK_BOOTTIME) }
    /// Since 1970: for people and batch headers; it jumps.
    public static var realtime: UInt64 { read(CLOCK_REALTIME) }

    private static func read(_ clock: clockid_t) -> UInt64 {
        var time = timespec()
        precondition(clock_gettime(clock, &time) == 0, "the kernel has no clock \(clock)")
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}

/// What distinguishes one boot of this server from the next: the primary's journal is void in another one (R5).
public struct BootID: Hashable, Sendable {
    public var high: UInt64
    public var low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    public static func current() throws(SystemError) -> BootID {
        let path = "/proc/sys/kernel/random/boot_id"
        // A file of /proc has no size.
        let file = try FileDescriptor.reading(path)
        var text = [UInt8](repeating: 0, count: 64)
        var count = 0, failure: SystemError?
        text.withUnsafeMutableBytes { buffer in
            do throws(SystemError) { count = try file.read(into: buffer, at: 0) } catch { failure = error }
        }
        if let failure { throw failure }
        let digits = String(decoding: text[..<count].filter { $0 != 0x2d && $0 > 0x20 }, as: UTF8.self)
        guard digits.utf8.count == 32, let high = UInt64(digits.prefix(16), radix: 16),
            let low = UInt64(digits.suffix(16), radix: 16)
        else { throw SystemError("understand", path, code: EINVAL) }
        return BootID(high: high, low: low)
    }
}
