import Control
import Glibc
import Platform

/// Two trees, entry by entry: names, types, modes, owners, sizes, content, link targets, and the modification times
/// of files. Access and change times are never carried, and the times of directories are not either.
struct TreeComparison {
    /// A difference that a person can look at.
    struct Difference: Equatable, CustomStringConvertible {
        enum Kind { case type, mode, owner, attributes, target, device, presence, size, time, content }
        /// Relative to the trees; "." is the tree itself.
        var path: String
        var kind: Kind
        var what: String
        var description: String { "\(shownPath(path)): \(what)" }
    }

    /// A piece of a file, aligned to `rangeBytes`, that differs.
    struct Range: Hashable {
        var path: String
        var offset: UInt64
    }

    static let rangeBytes = 4096
    private static let pieceBytes = 1 << 20

    let first: String
    let second: String
    /// Where links lead, on either side: into the same root, at the same place, is the same.
    private let links: (first: RootPaths, second: RootPaths)
    private let root: Int
    /// Paths with these endings are not replicated.
    var excludedSuffixes = Sandbox.excludedSuffixes

    private(set) var differences: [Difference] = []
    private(set) var ranges: [Range] = []
    private(set) var files = 0
    private(set) var bytes: UInt64 = 0

    var equal: Bool { differences.isEmpty }

    /// Two trees that are the only roots of their nodes.
    init(_ first: String, _ second: String) throws(ControlError) {
        try self.init(RootPaths(roots: [first], outside: []), RootPaths(roots: [second], outside: []), root: 0)
    }

    /// One root of two nodes.
    init(_ first: RootPaths, _ second: RootPaths, root: Int) throws(ControlError) {
        self.first = String(decoding: first.path(root: root, rest: []), as: UTF8.self)
        self.second = String(decoding: second.path(root: root, rest: []), as: UTF8.self)
        self.root = root
        links = (first, second)
        try compare(".")
    }

    private mutating func differ(_ path: String, _ kind: Difference.Kind, _ what: String) {
        differences.append(Difference(path: path, kind: kind, what: what))
    }

    private mutating func compare(_ path: String) throws(ControlError) {
        guard let one = try TreeComparison.status("\(first)/\(path)"), let two = try TreeComparison.status("\(second)/\(path)")
        else { return differ(path, .presence, "it vanished while the trees were compared") }
        guard one.st_mode & S_IFMT == two.st_mode & S_IFMT else { return differ(path, .type, "its type differs") }
        if one.st_mode & 0o7777 != two.st_mode & 0o7777, one.st_mode & S_IFMT != S_IFLNK {
            differ(path, .mode, "mode \(octal(one.st_mode)) and \(octal(two.st_mode))")
        }
        if one.st_uid != two.st_uid || one.st_gid != two.st_gid {
            differ(path, .owner, "owner \(one.st_uid):\(one.st_gid) and \(two.st_uid):\(two.st_gid)")
        }
        if try attributes("\(first)/\(path)") != attributes("\(second)/\(path)") {
            differ(path, .attributes, "its extended attributes differ")
        }
        switch one.st_mode & S_IFMT {
        case S_IFDIR: try compareNames(path)
        case S_IFREG: try compareFiles(path, one, two)
        case S_IFLNK:
            let targets = (target("\(first)/\(path)"), target("\(second)/\(path)"))
            if !leadsToTheSame(path, targets.0, targets.1) {
                differ(path, .target, "a link to \(shownPath(targets.0)) and to \(shownPath(targets.1))")
            }
        default: if one.st_rdev != two.st_rdev { differ(path, .device, "its device differs") }
        }
    }

    private mutating func compareNames(_ path: String) throws(ControlError) {
        let one = try entries("\(first)/\(path)"), two = try entries("\(second)/\(path)")
        for name in one.union(two).sorted() {
            let entry = path == "." ? name : "\(path)/\(name)"
            if one.contains(name) && two.contains(name) {
                try compare(entry)
            } else {
                let there = one.contains(name) ? first : second
                differ(entry, .presence, "only in \(there)")
                // Its bytes count too: an empty file or a directory as one range.
                guard let status = try TreeComparison.status("\(there)/\(entry)") else { continue }
                let size = status.st_mode & S_IFMT == S_IFREG ? Int(status.st_size) : 0
                for offset in stride(from: 0, to: max(size, 1), by: TreeComparison.rangeBytes) {
                    ranges.append(Range(path: entry, offset: UInt64(offset)))
                }
            }
        }
    }

    private mutating func compareFiles(_ path: String, _ one: stat, _ two: stat) throws(ControlError) {
        files += 1
        bytes += UInt64(one.st_size)
        if one.st_size != two.st_size { differ(path, .size, "\(one.st_size) and \(two.st_size) bytes") }
        if one.st_mtim.tv_sec != two.st_mtim.tv_sec || one.st_mtim.tv_nsec != two.st_mtim.tv_nsec {
            differ(path, .time, "modified at \(time(one)) and \(time(two))")
        }
        let found = try differingRanges(path, UInt64(max(one.st_size, two.st_size)))
        guard let offset = found.first?.offset else { return }
        ranges += found
        differ(path, .content, "\(found.count) ranges of \(TreeComparison.rangeBytes) bytes, the first at \(offset)")
    }

    private func differingRanges(_ path: String, _ size: UInt64) throws(ControlError) -> [Range] {
        let one = try TreeComparison.openForReading("\(first)/\(path)")
        defer { close(one) }
        let two = try TreeComparison.openForReading("\(second)/\(path)")
        defer { close(two) }
        var found: [Range] = []
        var offset: UInt64 = 0
        while offset < size {
            let (a, b) = (try piece(one, offset, size - offset, path), try piece(two, offset, size - offset, path))
            if a != b {
                for start in stride(from: 0, to: max(a.count, b.count), by: TreeComparison.rangeBytes) {
                    let end = start + TreeComparison.rangeBytes
                    if a.dropFirst(start).prefix(end - start) != b.dropFirst(start).prefix(end - start) {
                        found.append(Range(path: path, offset: offset + UInt64(start)))
                    }
                }
            }
            offset += UInt64(TreeComparison.pieceBytes)
        }
        return found
    }

    // MARK: Reading

    private static func status(_ path: String) throws(ControlError) -> stat? {
        var status = stat()
        if lstat(systemPath(path), &status) == 0 { return status }
        if errno == ENOENT { return nil }
        throw ControlError(.noInput, "\(path): \(reason(errno))")
    }

    private func entries(_ path: String) throws(ControlError) -> Set<String> {
        guard access(systemPath(path), R_OK | X_OK) == 0 else { throw ControlError(.noInput, "\(path): \(reason(errno))") }
        let directory = path.hasSuffix("/.") ? String(path.dropLast(2)) : path
        // What is listed as outside is so on both nodes.
        return Set(names(in: path).filter { name in
            !excludedSuffixes.contains { "/\(name)".hasSuffix($0) } && !links.first.isOutside(Array("\(directory)/\(name)".utf8))
        })
    }

    static func openForReading(_ path: String) throws(ControlError) -> Int32 {
        let descriptor = open(systemPath(path), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        if descriptor < 0 { throw ControlError(.noInput, "\(path): \(reason(errno))") }
        return descriptor
    }

    /// Up to `pieceBytes` from `offset`; fewer at the end of the file only.
    private func piece(_ descriptor: Int32, _ offset: UInt64, _ rest: UInt64, _ path: String) throws(ControlError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Int(min(rest, UInt64(TreeComparison.pieceBytes))))
        var filled = 0
        while filled < bytes.count {
            let count = bytes.withUnsafeMutableBytes {
                pread(descriptor, $0.baseAddress! + filled, $0.count - filled, off_t(offset) + off_t(filled))
            }
            if count < 0 && errno == EINTR { continue }
            if count < 0 { throw ControlError(.noInput, "\(path): \(reason(errno))") }
            if count == 0 { break }
            filled += count
        }
        bytes.removeLast(bytes.count - filled)
        return bytes
    }

    private func attributes(_ path: String) throws(ControlError) -> [ExtendedAttributes.Attribute] {
        let descriptor = open(systemPath(path), 0o10000000 | O_NOFOLLOW | O_CLOEXEC)  // O_PATH, behind _GNU_SOURCE in glibc
        if descriptor < 0 { throw ControlError(.noInput, "\(path): \(reason(errno))") }
        defer { close(descriptor) }
        do throws(SystemError) { return try ExtendedAttributes.all(of: "/proc/self/fd/\(descriptor)") } catch {
            throw ControlError(.noInput, "\(path): \(reason(error.code))")
        }
    }

    private func target(_ path: String) -> String {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink(systemPath(path), &buffer, buffer.count - 1)
        buffer[max(count, 0)] = 0
        return pathText(buffer)
    }

    private func leadsToTheSame(_ path: String, _ one: String, _ two: String) -> Bool {
        let meanings = (meaning(one, path, first, links.first), meaning(two, path, second, links.second))
        if case .root = meanings.0 { return meanings.0 == meanings.1 }
        if case .root = meanings.1 { return false }
        return one == two
    }

    private func meaning(_ target: String, _ path: String, _ tree: String, _ paths: RootPaths) -> RootPaths.Meaning {
        func bytes(_ text: String) -> [UInt8] { systemPath(text).dropLast().map { UInt8(bitPattern: $0) } }
        let directory = path.split(separator: "/").dropLast().joined(separator: "/")
        return paths.meaning(of: bytes(target), in: bytes("\(tree)/\(directory)"), root: root)
    }

    private func octal(_ mode: mode_t) -> String { String(mode & 0o7777, radix: 8) }

    private func time(_ status: stat) -> String {
        let nanoseconds = String(status.st_mtim.tv_nsec)
        return "\(status.st_mtim.tv_sec).\(String(repeating: "0", count: 9 - nanoseconds.count))\(nanoseconds)"
    }
}
