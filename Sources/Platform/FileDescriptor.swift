internal import CLinux
internal import Glibc

/// Owns one descriptor: closed by `close()`, or when it goes out of scope.
///
/// Loops until everything is read or written; an interrupted call goes on. An error names operation and path.
public struct FileDescriptor: ~Copyable, Sendable {
    /// For the kernel and for C; the owner keeps it open.
    public private(set) var raw: Int32
    /// For messages only.
    public let path: String

    /// Takes over `raw`.
    public init(owning raw: Int32, path: String = "") {
        self.raw = raw
        self.path = path
    }

    deinit {
        if raw >= 0 { _ = Glibc.close(raw) }
    }

    /// Closes and reports what `close` says; on Linux the descriptor is gone in any case.
    public consuming func close() throws(SystemError) {
        let raw = self.raw
        self.raw = -1
        if Glibc.close(raw) < 0 && errno != EINTR { throw SystemError.current("close", path) }
    }

    /// Gives the descriptor away.
    public consuming func release() -> Int32 {
        let raw = self.raw
        self.raw = -1
        return raw
    }

    // MARK: opening

    /// `open` with close-on-exec; `flags` are O_*.
    public static func open(_ path: String, _ flags: Int32, mode: UInt32 = 0o600) throws(SystemError) -> FileDescriptor {
        try open(at: AT_FDCWD, path, flags, mode: mode)
    }

    public static func open(at directory: Int32, _ path: String, _ flags: Int32, mode: UInt32 = 0o600)
        throws(SystemError) -> FileDescriptor
    {
        while true {
            let raw = Glibc.openat(directory, path, flags | O_CLOEXEC, mode)
            if raw >= 0 { return FileDescriptor(owning: raw, path: path) }
            if errno != EINTR { throw SystemError.current("open", path) }
        }
    }

    public static func reading(_ path: String) throws(SystemError) -> FileDescriptor { try open(path, O_RDONLY) }

    public static func directory(_ path: String) throws(SystemError) -> FileDescriptor {
        try open(path, O_RDONLY | O_DIRECTORY)
    }

    /// For writing so that each write is durable when it returns; `isDirect` says whether the page cache is bypassed
    /// (then pointer, count and offset must be multiples of 4 KiB).
    public static func flushed(_ path: String, isDirect: inout Bool) throws(SystemError) -> FileDescriptor {
        let raw = try checked(lockstep_open_flushed(AT_FDCWD, path, 0, 0, &isDirect), "open for flushed writes", path)
        return FileDescriptor(owning: raw, path: path)
    }

    // MARK: bytes

    /// Reads until `buffer` is full or the file ends; the result is the number of bytes.
    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(SystemError) -> Int {
        var done = 0
        while done < buffer.count {
            let count = Glibc.pread(raw, buffer.baseAddress! + done, buffer.count - done, off_t(offset) + off_t(done))
            if count == 0 { break }
            if count > 0 {
                done += count
            } else if errno != EINTR {
                throw SystemError.current("read", path)
            }
        }
        return done
    }

    /// Writes all of `buffer`.
    public func write(_ buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(SystemError) {
        var done = 0
        while done < buffer.count {
            let count = Glibc.pwrite(raw, buffer.baseAddress! + done, buffer.count - done, off_t(offset) + off_t(done))
            if count >= 0 {
                done += count
            } else if errno != EINTR {
                throw SystemError.current("write", path)
            }
        }
    }

    /// From the start to the end, in any case at most `bytesMax`: a larger file is EFBIG.
    public func readAll(bytesMax: Int) throws(SystemError) -> [UInt8] {
        let size = try status().size
        guard size <= UInt64(bytesMax) else { throw SystemError("read", path, code: EFBIG) }
        var bytes = [UInt8](repeating: 0, count: Int(size))
        var failure: SystemError?
        bytes.withUnsafeMutableBytes { buffer in
            do throws(SystemError) {
                let count = try read(into: buffer, at: 0)
                if count < buffer.count { failure = SystemError("read", path, code: ENODATA) }
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return bytes
    }

    public func status() throws(SystemError) -> FileStatus { try FileStatus.of(raw, path: path) }

    public func truncate(to bytes: UInt64) throws(SystemError) {
        if ftruncate(raw, off_t(bytes)) < 0 { throw SystemError.current("truncate", path) }
    }

    /// Failing once means that durability is in doubt: never call it again for the same data.
    public func flush() throws(SystemError) {
        if fsync(raw) < 0 { throw SystemError.current("fsync", path) }
    }
}

extension FileDescriptor {
    /// Reserves the space of the first `bytes` bytes and makes the file that large; it reads as zeros.
    public func allocate(_ bytes: Int) throws(SystemError) {
        let result = lockstep_fallocate(raw, 0, 0, Int64(bytes))
        if result == -EOPNOTSUPP { return try truncate(to: UInt64(bytes)) }
        try checked(result, "allocate", path)
    }
}
