import CLinux
import Glibc
import Platform
import Primitives

/// The replicated roots of this node, as files: finds objects by path, reads them, walks them. Names are bytes, not
/// text: a file name need not be UTF-8.
final class Tree {
    struct Root {
        var name: String
        var path: String
        var device: UInt64
        var descriptor: Int32
        var object: ObjectID
    }

    struct Entry {
        var parent: ObjectID
        var name: [UInt8]
        var object: ObjectID
        /// With the file type.
        var mode: UInt32
        /// Of a walk with times.
        var size: UInt64 = 0
        var changed: Int64 = 0
    }

    let roots: [Root]
    /// Where symbolic links lead.
    let paths: RootPaths
    /// Why the last `open` failed, 0 if it did not, or found something else.
    private(set) var openRefused: Int32 = 0
    private let configuration: Configuration
    private static let noFollow = AT_SYMLINK_NOFOLLOW
    /// linux/fcntl.h: behind _GNU_SOURCE in glibc.
    private static let emptyPath: Int32 = 0x1000
    private static let pathOnly: Int32 = 0o10000000

    init(_ configuration: Configuration) throws {
        self.configuration = configuration
        var roots: [Root] = []
        for (index, root) in configuration.roots.enumerated() {
            let descriptor = Glibc.open(root.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            guard descriptor >= 0 else { throw NodeError(66, "\(root.path): \(describe(errno: errno))") }
            guard access(root.path, W_OK) == 0 else { throw NodeError(73, "\(root.path): \(describe(errno: errno))") }
            let status = try FileStatus.of(descriptor, path: root.path)
            let generation: UInt32
            do { generation = try FileStatus.generation(of: descriptor, path: root.path) } catch {
                throw NodeError(78, "\(root.path): its file system has no inode generations (overlayfs?): \(error)")
            }
            roots.append(Root(name: root.name, path: root.path, device: status.device, descriptor: descriptor,
                object: ObjectID(inode: status.inode, generation: generation, root: UInt32(index))))
        }
        self.roots = roots
        paths = RootPaths(roots: roots.map(\.path), outside: configuration.outside)
    }

    deinit { for root in roots { close(root.descriptor) } }

    // MARK: One object

    /// A file that was found where its names say, and is the object meant.
    struct Found {
        var object: ObjectID
        var status: lockstep_status
    }

    /// What `path` (relative to its root; empty: the root itself) means now; nil: nothing.
    func look(root: UInt32, path: [UInt8]) -> Found? {
        guard Int(root) < roots.count else { return nil }
        let descriptor = openPath(root: root, path: path)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        return identify(descriptor, root: root)
    }

    /// What a name means now. `elsewhere`: the directory is not where the table has it, so nothing is known of what is in it.
    enum Meaning {
        case elsewhere, nothing
        case found(Found)
        var object: ObjectID? { if case .found(let found) = self { found.object } else { nil } }
    }

    /// `path` is that of `directory`.
    func look(in directory: ObjectID, path: [UInt8], name: [UInt8]) -> Meaning {
        let parent = openPath(root: directory.root, path: path)
        guard parent >= 0 else { return .elsewhere }
        defer { close(parent) }
        guard identify(parent, root: directory.root)?.object == directory else { return .elsewhere }
        let text = (name + [0]).map { CChar(bitPattern: $0) }
        let descriptor = lockstep_openat2(parent, text, UInt64(UInt32(bitPattern: Tree.pathOnly | O_NOFOLLOW | O_CLOEXEC)), 0,
            UInt64(LOCKSTEP_RESOLVE_BENEATH))
        guard descriptor >= 0 else { return .nothing }
        defer { close(descriptor) }
        guard let found = identify(descriptor, root: directory.root) else { return .nothing }
        // FIFOs, sockets and devices are not replicated, whoever made them.
        return [S_IFREG, S_IFDIR, S_IFLNK].contains(found.status.mode & S_IFMT) ? .found(found) : .nothing
    }

    private func identify(_ descriptor: Int32, root: UInt32) -> Found? {
        var status = lockstep_status()
        var generation: UInt32 = 0
        guard lockstep_statx(descriptor, "", Tree.emptyPath, UInt32(LOCKSTEP_STATUS_ALL), &status) == 0,
            lockstep_generation(descriptor, "", &generation) == 0
        else { return nil }
        // A socket, a FIFO or a device: to the peer its name means nothing.
        guard [S_IFREG, S_IFDIR, S_IFLNK].contains(status.mode & S_IFMT) else { return nil }
        return Found(object: ObjectID(inode: status.inode, generation: generation, root: root), status: status)
    }

    private func openPath(root: UInt32, path: [UInt8]) -> Int32 {
        resolve(root: root, path: path, flags: Tree.pathOnly | O_NOFOLLOW | O_CLOEXEC)
    }

    private func resolve(root: UInt32, path: [UInt8], flags: Int32) -> Int32 {
        guard Int(root) < roots.count else { return -ENOENT }
        return (path.isEmpty ? [0x2e, 0] : path + [0]).withUnsafeBufferPointer { bytes in
            bytes.withMemoryRebound(to: CChar.self) { text in
                lockstep_openat2(roots[Int(root)].descriptor, text.baseAddress, UInt64(UInt32(bitPattern: flags)), 0,
                    UInt64(LOCKSTEP_RESOLVE_NO_SYMLINKS | LOCKSTEP_RESOLVE_BENEATH))
            }
        }
    }

    /// Opens a regular file for reading if it still is `object`; the caller closes. The daemon's own locks are none, so
    /// closing it drops nobody's.
    func open(_ object: ObjectID, path: [UInt8]) -> Int32? {
        let descriptor = resolve(root: object.root, path: path, flags: O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)
        openRefused = descriptor < 0 ? -descriptor : 0
        guard descriptor >= 0 else { return nil }
        if let found = identify(descriptor, root: object.root), found.object == object { return descriptor }
        close(descriptor)
        return nil
    }

    /// For a message.
    func display(_ root: UInt32, _ path: [UInt8]) -> String {
        (Int(root) < roots.count ? roots[Int(root)].path : "?") + "/" + String(decoding: path, as: UTF8.self)
    }

    func target(root: UInt32, path: [UInt8]) -> [UInt8]? {
        let descriptor = openPath(root: root, path: path)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlinkat(descriptor, "", &buffer, buffer.count)
        return count >= 0 ? buffer.prefix(count).map { UInt8(bitPattern: $0) } : nil
    }

    /// Extended attributes, access control lists among them; nil if `object` is not there any more.
    func attributes(of object: ObjectID, path: [UInt8]) throws -> [ExtendedAttributes.Attribute]? {
        let descriptor = openPath(root: object.root, path: path)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        guard identify(descriptor, root: object.root)?.object == object else { return nil }
        return try ExtendedAttributes.all(of: "/proc/self/fd/\(descriptor)")
    }

    // MARK: All names

    /// Calls `found` for everything that is replicated, parents first. What can't be replicated is named in `skipped`.
    func walk(withTimes: Bool = false, found: (Entry) -> Void, skipped: (String) -> Void) throws {
        for root in roots {
            let descriptor = openat(root.descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            guard descriptor >= 0 else { throw NodeError(66, "\(root.path): \(describe(errno: errno))") }
            try walk(directory: descriptor, object: root.object, device: root.device, path: root.path, withTimes: withTimes, found: found,
                skipped: skipped)
        }
    }

    private func walk(directory: Int32, object: ObjectID, device: UInt64, path: String, withTimes: Bool, found: (Entry) -> Void,
        skipped: (String) -> Void) throws
    {
        guard let stream = fdopendir(directory) else {
            close(directory)
            throw NodeError(71, "\(path): \(describe(errno: errno))")
        }
        defer { closedir(stream) }
        var names: [[UInt8]] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                Array(UnsafeRawBufferPointer(start: pointer, count: strlen(UnsafeRawPointer(pointer).assumingMemoryBound(to: CChar.self))))
            }
            if name == [0x2e] || name == [0x2e, 0x2e] || (isOwn(name) && roots.contains { $0.object == object }) { continue }
            names.append(name)
        }
        for name in names {
            let text = (name + [0]).map { CChar(bitPattern: $0) }
            var status = lockstep_status()
            var generation: UInt32 = 0
            let mask = UInt32(withTimes ? LOCKSTEP_STATUS_CHANGED : LOCKSTEP_STATUS_NO_TIMES)
            var result = lockstep_statx(directory, text, Tree.noFollow, mask, &status)
            if result == 0 { result = lockstep_generation(directory, text, &generation) }
            if result == -ENOENT { continue }  // removed meanwhile
            let whole = path + "/" + String(decoding: name, as: UTF8.self)
            guard result == 0 else { throw NodeError(71, "\(whole): \(describe(errno: -result))") }
            if status.mode & S_IFMT != S_IFDIR && configuration.isExcluded(name) { continue }
            let child = ObjectID(inode: status.inode, generation: generation, root: object.root)
            switch status.mode & S_IFMT {
            case S_IFREG, S_IFLNK:
                found(Entry(parent: object, name: name, object: child, mode: status.mode, size: status.size, changed: status.changed_nanoseconds))
            case S_IFDIR:
                if status.device != device || status.mount_root != 0 {
                    if paths.isOutside(Array(whole.utf8)) { continue }
                    throw NodeError(78, "\(whole) is a mount: data under it would not be replicated; unmount it or make it a root")
                }
                found(Entry(parent: object, name: name, object: child, mode: status.mode))
                let descriptor = openat(directory, text, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                if descriptor < 0 {
                    if errno == ENOENT { continue }
                    throw NodeError(73, "\(whole): \(describe(errno: errno))")
                }
                try walk(directory: descriptor, object: child, device: device, path: whole, withTimes: withTimes, found: found, skipped: skipped)
            default:
                skipped(whole)
            }
        }
    }

    /// Lockstep's own directory, which lies inside the root only where the root is a mount point.
    private func isOwn(_ name: [UInt8]) -> Bool { name == Array(".lockstep-\(configuration.module)".utf8) }
}

/// An error number in words.
func describe(errno code: Int32) -> String {
    let text = lockstep_error_text(code).map { String(cString: $0) } ?? "error"
    return "\(text) (errno \(code))"
}
