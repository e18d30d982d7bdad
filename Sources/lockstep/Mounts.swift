import Platform

/// What is mounted where: a bind mount shows one directory under two paths, and in no device number.
struct Mounts {
    struct Place: Equatable {
        var device: String
        /// Within its file system.
        var path: [UInt8]
    }

    private var entries: [(device: String, root: [UInt8], point: [UInt8])] = []

    init() {
        for line in (readSmallFile("/proc/self/mountinfo") ?? []).split(separator: 0x0a) {
            let fields = line.split(separator: 0x20)
            guard fields.count > 4 else { continue }
            entries.append((String(decoding: fields[2], as: UTF8.self), Mounts.unescaped(fields[3]), Mounts.unescaped(fields[4])))
        }
    }

    /// Mount points beneath a path.
    func points(beneath path: String) -> [String] {
        let path = Array(path.utf8)
        let points = entries.map(\.point).filter { $0 != path && RootPaths.isBeneath($0, path) }
        return Set(points.map { String(decoding: $0, as: UTF8.self) }).sorted()
    }

    /// Of a canonical path. The longest mount point counts, of equal ones the last.
    func place(of path: String) -> Place? {
        let path = Array(path.utf8)
        let above = entries.filter { RootPaths.isBeneath(path, $0.point) }
        guard let length = above.map(\.point.count).max(), let entry = above.last(where: { $0.point.count == length }) else { return nil }
        let rest = Array(path.dropFirst(entry.point == [0x2f] ? 0 : length))
        return Place(device: entry.device, path: (entry.root == [0x2f] ? [] : entry.root) + rest)
    }

    func isBeneath(_ inner: String, _ outer: String) -> Bool {
        if RootPaths.isBeneath(Array(inner.utf8), Array(outer.utf8)) { return true }
        guard let inner = place(of: inner), let outer = place(of: outer), inner.device == outer.device else { return false }
        return RootPaths.isBeneath(inner.path, outer.path.isEmpty ? [0x2f] : outer.path)
    }

    /// mountinfo writes blanks and backslashes as three octal digits.
    private static func unescaped(_ field: ArraySlice<UInt8>) -> [UInt8] {
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
        return bytes
    }
}
