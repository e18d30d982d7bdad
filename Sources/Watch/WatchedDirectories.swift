import CLinux
import Glibc

/// The directories whose files `deny` is asked about.
enum WatchedDirectories {
    /// Marks a directory and all below it. One that can't be opened any more is gone.
    static func mark(_ queue: Int32, below directory: Int32) {
        _ = lockstep_deny_mark(queue, directory)
        let own = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard own >= 0 else { return }
        guard let stream = fdopendir(own) else {
            close(own)
            return
        }
        var names: [[CChar]] = []
        while let entry = readdir(stream) {
            guard entry.pointee.d_type == UInt8(DT_DIR) || entry.pointee.d_type == UInt8(DT_UNKNOWN) else { continue }
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                let text = UnsafeRawPointer(pointer).assumingMemoryBound(to: CChar.self)
                return Array(UnsafeBufferPointer(start: text, count: strlen(text)))
            }
            if name != [0x2e] && name != [0x2e, 0x2e] { names.append(name + [0]) }
        }
        closedir(stream)
        for name in names {
            let child = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
            guard child >= 0 else { continue }
            defer { close(child) }
            // A mount below a root is none of ours.
            var status = lockstep_status()
            guard lockstep_statx(child, "", Int32(LOCKSTEP_AT_EMPTY_PATH), UInt32(LOCKSTEP_STATUS_NO_TIMES), &status) == 0, status.mount_root == 0 else { continue }
            mark(queue, below: child)
        }
    }
}
