internal import Glibc

/// Small files that are whole or as before, whatever happens: state, identities, checkpoints.
///
///   path.new  written, fsynced  ->  renamed to path  ->  directory fsynced
public enum DurableFile {
    /// Replaces `path` by `contents`. When it throws after the rename, which of the two survives a power loss is unknown:
    /// the caller stops the node. An fsync is never tried again: the kernel reports a lost write once.
    public static func replace(path: String, contents: [UInt8]) throws(SystemError) {
        let temporary = path + ".new"
        let file = try FileDescriptor.open(temporary, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
        var failure: SystemError?
        contents.withUnsafeBytes { bytes in
            do throws(SystemError) { try file.write(bytes, at: 0) } catch { failure = error }
        }
        if let failure { throw failure }
        try file.flush()
        try file.close()
        if Glibc.rename(temporary, path) < 0 { throw SystemError.current("rename \(temporary) to", path) }
        try flushDirectory(containing: path)
    }

    /// The whole file, or nil if there is none.
    public static func read(path: String, bytesMax: Int = 16 << 20) throws(SystemError) -> [UInt8]? {
        do throws(SystemError) {
            return try FileDescriptor.reading(path).readAll(bytesMax: bytesMax)
        } catch {
            if error.code == ENOENT { return nil }
            throw error
        }
    }

    /// Makes names durable that were created, renamed or removed next to `path`.
    public static func flushDirectory(containing path: String) throws(SystemError) {
        let slash = path.lastIndex(of: "/")
        let parent = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        try FileDescriptor.directory(parent).flush()
    }

    /// Makes the directory `path` and its missing parents, each durable in its own parent.
    public static func makeDirectories(path: String, mode: UInt32 = 0o700) throws(SystemError) {
        if mkdir(path, mode) == 0 {
            try flushDirectory(containing: path)
            return
        }
        if errno == EEXIST { return }
        guard errno == ENOENT, let slash = path.lastIndex(of: "/"), slash != path.startIndex else {
            throw SystemError.current("make directory", path)
        }
        try makeDirectories(path: String(path[..<slash]), mode: mode)
        if mkdir(path, mode) < 0 && errno != EEXIST { throw SystemError.current("make directory", path) }
        try flushDirectory(containing: path)
    }
}
