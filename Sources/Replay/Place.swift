import CLinux
import Glibc
import Platform

/// One name in an open directory, and what can be done to it.
///
/// A name is a single component: the kernel looks it up in that directory and nowhere else, and no symbolic link is
/// followed. So nothing that the peer sends, and nothing that somebody puts into the tree, can lead out of it.
struct Place {
    let directory: Int32
    let name: [CChar]

    init(_ directory: Int32, _ name: [UInt8]) {
        // Names are checked where records enter (`Replayer.perform`); this is the last fence.
        precondition(!name.isEmpty && !name.contains(0) && !name.contains(0x2f) && name != [0x2e] && name != [0x2e, 0x2e])
        self.directory = directory
        self.name = name.map { CChar(bitPattern: $0) } + [0]
    }

    /// For messages.
    var shown: String { String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self) }

    private static let beneath = UInt64(
        LOCKSTEP_RESOLVE_BENEATH | LOCKSTEP_RESOLVE_NO_SYMLINKS | LOCKSTEP_RESOLVE_NO_MAGICLINKS | LOCKSTEP_RESOLVE_NO_XDEV)

    /// Opens a relative path of any number of components below `directory`; never through a symbolic link, never out.
    static func open(_ directory: Int32, path: [UInt8], _ flags: Int32) throws(SystemError) -> Int32 {
        let bytes = path.map { CChar(bitPattern: $0) } + [0]
        // O_NONBLOCK: a FIFO that somebody put there must not hold up replay.
        return try checked(lockstep_openat2(directory, bytes, UInt64(flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), 0, beneath),
            "open", String(decoding: path, as: UTF8.self))
    }

    func open(_ flags: Int32) throws(SystemError) -> Int32 {
        try checked(
            lockstep_openat2(directory, name, UInt64(flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), 0, Place.beneath),
            "open", shown)
    }

    /// The object itself, a symbolic link too, without opening it for anything.
    func openPath() throws(SystemError) -> Int32 {
        try checked(lockstep_openat2(directory, name, UInt64(Int32(LOCKSTEP_O_PATH) | O_NOFOLLOW | O_CLOEXEC), 0, Place.beneath),
            "find", shown)
    }

    /// A new empty file, for its owner alone until mode and owner are set.
    func createFile() throws(SystemError) -> Int32 {
        try checked(
            lockstep_openat2(directory, name, UInt64(O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC), 0o600, Place.beneath),
            "create", shown)
    }

    func makeDirectory() throws(SystemError) { try result(mkdirat(directory, name, 0o700), "make directory") }

    func makeSymbolicLink(_ target: [UInt8]) throws(SystemError) {
        try result(symlinkat(target.map { CChar(bitPattern: $0) } + [0], directory, name), "make symbolic link")
    }

    func unlink() throws(SystemError) { try result(unlinkat(directory, name, 0), "unlink") }

    func removeDirectory() throws(SystemError) { try result(unlinkat(directory, name, AT_REMOVEDIR), "remove directory") }

    func rename(to target: Place, flags: UInt32 = 0) throws(SystemError) {
        try checked(lockstep_renameat2(directory, name, target.directory, target.name, flags), "rename to \(target.shown)", shown)
    }

    func link(to target: Place) throws(SystemError) {
        try result(linkat(directory, name, target.directory, target.name, 0), "link to \(target.shown)")
    }

    func setOwner(_ owner: UInt32, _ group: UInt32) throws(SystemError) {
        try result(fchownat(directory, name, owner, group, AT_SYMLINK_NOFOLLOW), "change the owner of")
    }

    /// Of a file or directory that is known to be no symbolic link: fchmodat(2) follows one.
    func setMode(_ mode: UInt32) throws(SystemError) { try result(fchmodat(directory, name, mode, 0), "change the mode of") }

    func setModificationTime(_ nanoseconds: Int64) throws(SystemError) {
        let times = Place.times(nanoseconds)
        try result(utimensat(directory, name, times, AT_SYMLINK_NOFOLLOW), "set the time of")
    }

    /// Access time left alone (UTIME_OMIT), modification time as given; also before 1970.
    static func times(_ nanoseconds: Int64) -> [timespec] {
        let omit = (1 << 30) - 2
        let second: Int64 = 1_000_000_000
        let seconds = nanoseconds >= 0 ? nanoseconds / second : -((second - 1 - nanoseconds) / second)
        return [timespec(tv_sec: 0, tv_nsec: omit), timespec(tv_sec: Int(seconds), tv_nsec: Int(nanoseconds - seconds * second))]
    }

    /// Not by `Platform.FileStatus`: a name is bytes here, and not always a String.
    func status() throws(SystemError) -> lockstep_status {
        var found = lockstep_status()
        try checked(lockstep_statx(directory, name, AT_SYMLINK_NOFOLLOW, UInt32(LOCKSTEP_STATUS_ALL), &found), "stat", shown)
        return found
    }

    func generation() throws(SystemError) -> UInt32 {
        var generation: UInt32 = 0
        try checked(lockstep_generation(directory, name, &generation), "get the generation of", shown)
        return generation
    }

    /// The target of a symbolic link.
    func target() throws(SystemError) -> [UInt8] {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlinkat(directory, name, &buffer, buffer.count)
        if count < 0 { throw SystemError.current("read symbolic link", shown) }
        return buffer.prefix(count).map { UInt8(bitPattern: $0) }
    }

    private func result(_ result: Int32, _ operation: String) throws(SystemError) {
        if result < 0 { throw SystemError.current(operation, shown) }
    }
}
