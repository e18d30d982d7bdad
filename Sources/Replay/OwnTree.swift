import CLinux
import Glibc
import Platform

/// One replicated root on this node, and the space beside it for what has no name in it.
///
///      /srv/pg/data                                 the root
///      /srv/pg/.lockstep-MODULE/limbo/data/         files without a name, called by their object id
///      /srv/pg/.lockstep-MODULE/before-copy/data/   what the root held when the last full copy began
///
/// The root's own name tells it from other roots that lie beside it, of this node or, in a sandbox, of the other.
/// The space must be on the root's file system, since everything moves there by rename. Where the root is a mount point
/// it lies inside, under a name that no record may use and no scan sees.
final class OwnTree {
    let path: String
    let number: Int
    let descriptor: Int32
    let limbo: Int32
    /// st_dev; the number of the first root with the same one stands for it in the table.
    let device: UInt64
    let inode: UInt64
    let generation: UInt32
    /// The space's name, if it lies inside the root.
    let reservedName: [UInt8]?
    private let space: String
    /// The root's own name.
    private let own: String
    private var aside: String { space + "/before-copy" }

    init(path: String, number: Int, module: String) throws(SystemError) {
        self.path = path
        self.number = number
        let root = try FileDescriptor.directory(path)
        let status = try root.status()
        device = status.device
        inode = status.inode
        generation = try FileStatus.generation(of: root.raw, path: path)
        let name = ".lockstep-" + module
        let slash = path.lastIndex(of: "/") ?? path.startIndex
        let parent = slash == path.startIndex ? "/" : String(path[..<slash])
        let beside = try FileDescriptor.directory(parent)
        let parentDevice = try beside.status().device
        let isInside = status.isMountRoot || parentDevice != device || path == "/"
        reservedName = isInside ? Array(name.utf8) : nil
        space = (isInside ? path : parent) + "/" + name
        own = path == "/" ? "root" : String(path[path.index(after: slash)...])
        let limboPath = space + "/limbo/\(own)"
        try DurableFile.makeDirectories(path: limboPath)
        try DurableFile.makeDirectories(path: space + "/before-copy")
        limbo = try FileDescriptor.directory(limboPath).release()
        descriptor = root.release()
    }

    deinit {
        close(descriptor)
        close(limbo)
    }

    /// The first half of moving the content aside: what was put there for an earlier copy is deleted.
    func dropAside() throws(SystemError) {
        let directory = try FileDescriptor.directory(aside)
        let name = Array(own.utf8)
        if try Scan.names(in: directory.raw).contains(name) {
            try OwnTree.removeAll(Place(directory.raw, name))
        }
    }

    /// The second half: one rename per entry of the root. It may be repeated after a crash.
    func moveAside() throws(SystemError) {
        try DurableFile.makeDirectories(path: aside + "/" + own)
        let directory = try FileDescriptor.directory(aside + "/" + own)
        for name in try Scan.names(in: descriptor) where name != reservedName {
            try Place(descriptor, name).rename(to: Place(directory.raw, name))
        }
        for name in try Scan.names(in: limbo) { try Place(limbo, name).unlink() }
    }

    func emptyLimbo() throws(SystemError) {
        for name in try Scan.names(in: limbo) { try OwnTree.removeAll(Place(limbo, name)) }
    }

    func flush() throws(SystemError) { try checked(lockstep_syncfs(descriptor), "syncfs", path) }

    /// Removes whatever the place holds, directories with all that is in them.
    static func removeAll(_ place: Place) throws(SystemError) {
        guard try place.status().mode & S_IFMT == S_IFDIR else {
            try place.unlink()
            return
        }
        if geteuid() != 0 { try place.setMode(0o700) }
        let directory = FileDescriptor(owning: try place.open(O_RDONLY | O_DIRECTORY), path: place.shown)
        for name in try Scan.names(in: directory.raw) { try removeAll(Place(directory.raw, name)) }
        try place.removeDirectory()
    }
}

/// Reading directories by descriptor.
enum Scan {
    static func names(in directory: Int32) throws(SystemError) -> [[UInt8]] {
        // A descriptor of its own: the stream's position belongs to it, and closedir closes it.
        let own = try checked(lockstep_openat2(directory, ".", UInt64(O_RDONLY | O_DIRECTORY | O_CLOEXEC), 0, 0), "open directory")
        guard let stream = fdopendir(own) else {
            close(own)
            throw SystemError.current("open directory")
        }
        defer { closedir(stream) }
        var names: [[UInt8]] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else {
                if errno != 0 { throw SystemError.current("read directory") }
                return names
            }
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in [UInt8](bytes.prefix { $0 != 0 }) }
            if name != [0x2e] && name != [0x2e, 0x2e] { names.append(name) }
        }
    }
}
