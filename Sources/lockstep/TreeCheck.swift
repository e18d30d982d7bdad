import Control
import Glibc

/// Looks for what leads out of a tree: symbolic links, mounts, second names of files.
///
/// Their targets would be written on the primary and be missing on the secondary, and nobody would notice (G3).
struct TreeCheck {
    let root: String

    init(_ root: String) { self.root = root }

    /// One line for each finding, in order of the paths.
    func run() throws(ControlError) -> [String] {
        var findings = mounts().map { "\($0): a mount point" }
        var links: [UInt64: (path: String, count: UInt64, seen: UInt64)] = [:]
        var pending = [root]
        while let directory = pending.popLast() {
            errno = 0
            guard access(systemPath(directory), R_OK | X_OK) == 0 else { throw ControlError(.noInput, "\(directory): \(reason(errno))") }
            for name in names(in: directory) {
                let path = "\(directory)/\(name)"
                var status = stat()
                guard lstat(systemPath(path), &status) == 0 else { continue }
                switch status.st_mode & S_IFMT {
                case S_IFDIR: pending.append(path)
                case S_IFLNK: if let finding = link(path, in: directory) { findings.append(finding) }
                case S_IFREG where status.st_nlink > 1:
                    links[UInt64(status.st_ino), default: (path, UInt64(status.st_nlink), 0)].seen += 1
                default: break
                }
            }
        }
        for link in links.values where link.seen < link.count {
            findings.append("\(shownPath(link.path)): a file with \(link.count) names, \(link.count - link.seen) of them outside")
        }
        return findings.sorted()
    }

    private func link(_ path: String, in directory: String) -> String? {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink(systemPath(path), &buffer, buffer.count - 1)
        guard count > 0 else { return "\(shownPath(path)): a symbolic link that can't be read" }
        buffer[count] = 0
        let target = pathText(buffer)
        // The other node has the tree at another place: an absolute link means this node's tree there.
        if target.hasPrefix("/") { return "\(shownPath(path)) -> \(shownPath(target)): a symbolic link with an absolute target" }
        let resolved = resolve("\(directory)/\(target)")
        return isInside(resolved) ? nil : "\(shownPath(path)) -> \(shownPath(target)): a symbolic link"
    }

    /// Where a path leads. What doesn't exist is judged by its words, beneath the part that does.
    private func resolve(_ path: String) -> String {
        var existing = path
        var rest: [Substring] = []
        while true {
            if let resolved = realpath(systemPath(existing), nil) {
                defer { free(resolved) }
                var parts = pathText(resolved).split(separator: "/")
                for part in rest.reversed() {
                    if part == ".." { _ = parts.popLast() } else if part != "." { parts.append(part) }
                }
                return "/" + parts.joined(separator: "/")
            }
            guard let slash = existing.lastIndex(of: "/") else { return path }
            rest.append(existing[existing.index(after: slash)...])
            existing = String(existing[..<slash])
            if existing.isEmpty { existing = "/" }
        }
    }

    private func isInside(_ path: String) -> Bool { path == root || path.hasPrefix(root + "/") }

    /// Mount points beneath the root, from /proc/self/mountinfo: a bind mount shows in no device number.
    private func mounts() -> [String] {
        let lines = (readSmallFile("/proc/self/mountinfo") ?? []).split(separator: 0x0a)
        let points = lines.compactMap { line -> String? in
            let fields = line.split(separator: 0x20)
            return fields.count > 4 ? unescaped(fields[4]) : nil
        }
        return Set(points.filter { $0.hasPrefix(root + "/") }).sorted()
    }

    /// mountinfo writes blanks and backslashes as three octal digits.
    private func unescaped(_ field: ArraySlice<UInt8>) -> String {
        var bytes: [UInt8] = []
        var rest = field
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "\\"), rest.count >= 3,
                let value = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8)
            {
                bytes.append(value)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
