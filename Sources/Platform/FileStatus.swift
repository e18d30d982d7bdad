internal import CLinux
internal import Glibc

/// What `statx` says about a file.
public struct FileStatus: Equatable, Sendable {
    public var device: UInt64
    public var inode: UInt64
    public var size: UInt64
    /// With the file type.
    public var mode: UInt32
    public var links: UInt32
    public var owner: UInt32
    public var group: UInt32
    /// Nanoseconds since 1970.
    public var modificationTime: Int64
    public var specialDevice: UInt64
    /// The root of a mount: what lies below it is another file system.
    public var isMountRoot: Bool

    public var isDirectory: Bool { mode & S_IFMT == S_IFDIR }
    public var isRegular: Bool { mode & S_IFMT == S_IFREG }
    public var isSymbolicLink: Bool { mode & S_IFMT == S_IFLNK }

    /// Of an open descriptor, O_PATH too.
    public static func of(_ descriptor: Int32, path: String = "") throws(SystemError) -> FileStatus {
        try of(at: descriptor, "", flags: LOCKSTEP_AT_EMPTY_PATH, shown: path)
    }

    /// Of a name; a symbolic link is not followed.
    public static func of(at directory: Int32, _ path: String) throws(SystemError) -> FileStatus {
        try of(at: directory, path, flags: AT_SYMLINK_NOFOLLOW, shown: path)
    }

    private static func of(at directory: Int32, _ path: String, flags: Int32, shown: String) throws(SystemError)
        -> FileStatus
    {
        var found = lockstep_status()
        try checked(lockstep_statx(directory, path, flags, UInt32(LOCKSTEP_STATUS_ALL), &found), "stat", shown)
        return FileStatus(device: found.device, inode: found.inode, size: found.size, mode: found.mode,
            links: found.links, owner: found.owner, group: found.group, modificationTime: found.modified_nanoseconds,
            specialDevice: found.special_device, isMountRoot: found.mount_root != 0)
    }
}

extension FileStatus {
    /// The generation of an open file (design R4); 0 on tmpfs.
    public static func generation(of descriptor: Int32, path: String = "") throws(SystemError) -> UInt32 {
        var generation: UInt32 = 0
        try checked(lockstep_generation_of_descriptor(descriptor, &generation), "get the generation of", path)
        return generation
    }

    /// The generation of what a name means; a symbolic link is not followed.
    public static func generation(at directory: Int32, _ path: String) throws(SystemError) -> UInt32 {
        var generation: UInt32 = 0
        try checked(lockstep_generation(directory, path, &generation), "get the generation of", path)
        return generation
    }
}
