internal import Glibc

/// Page-aligned memory with one owner: what direct I/O and the kernel's asynchronous operations need.
///
/// Untouched pages cost address space only. Everything in it is zero at first.
public final class PageBuffer {
    public static let pageBytes = 4096
    public let bytes: UnsafeMutableRawBufferPointer

    /// At least `count` bytes, rounded up to pages.
    public init(count: Int) {
        precondition(count > 0)
        let rounded = (count + PageBuffer.pageBytes - 1) / PageBuffer.pageBytes * PageBuffer.pageBytes
        // SAFETY: a private mapping of our own; unmapped in deinit, when nobody can hold this object any more.
        let memory = mmap(nil, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        precondition(memory != nil && memory != MAP_FAILED, "out of memory")
        bytes = UnsafeMutableRawBufferPointer(start: memory, count: rounded)
    }

    deinit { munmap(bytes.baseAddress, bytes.count) }

    public var count: Int { bytes.count }
    public var baseAddress: UnsafeMutableRawPointer { bytes.baseAddress! }
}
