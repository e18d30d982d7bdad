import Control
import Glibc
import Platform

/// Looks for what leads out of the roots of a node: symbolic links, mounts, second names of files.
///
/// Their targets would be written on the primary and be missing on the secondary, and nobody would notice (G3).
struct TreeCheck {
    private let roots: [String]
    private let paths: RootPaths

    init(roots: [String], outside: [String]) {
        self.roots = roots
        paths = RootPaths(roots: roots, outside: outside)
    }

    /// One line for each finding, in order of the paths.
    func run() throws(ControlError) -> [String] {
        var findings: [String] = []
        for number in roots.indices { findings += try run(root: number) }
        return findings.sorted()
    }

    private func run(root number: Int) throws(ControlError) -> [String] {
        let root = roots[number]
        let mounts = Mounts().points(beneath: root)
        var findings = mounts.filter { !paths.isOutside(Array($0.utf8)) }.map { "\(shownPath($0)): a mount point" }
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
                case S_IFDIR where paths.isOutside(bytes(path)): break
                case S_IFDIR: pending.append(path)
                case S_IFLNK: if let finding = link(path, in: directory, root: number) { findings.append(finding) }
                case S_IFREG where status.st_nlink > 1:
                    links[UInt64(status.st_ino), default: (path, UInt64(status.st_nlink), 0)].seen += 1
                default: break
                }
            }
        }
        for link in links.values where link.seen < link.count {
            findings.append("\(shownPath(link.path)): a file with \(link.count) names, \(link.count - link.seen) of them outside")
        }
        return findings
    }

    private func link(_ path: String, in directory: String, root: Int) -> String? {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink(systemPath(path), &buffer, buffer.count - 1)
        guard count > 0 else { return "\(shownPath(path)): a symbolic link that can't be read" }
        buffer[count] = 0
        let target = pathText(buffer)
        guard paths.meaning(of: bytes(target), in: bytes(directory), root: root) == .out else { return nil }
        return "\(shownPath(path)) -> \(shownPath(target)): a symbolic link"
    }

    private func bytes(_ text: String) -> [UInt8] { systemPath(text).dropLast().map { UInt8(bitPattern: $0) } }
}
