import Control
import Glibc
import Platform
import Primitives

/// The difference that a kill leaves behind: what the primary did and had not yet been told is durable, and what the
/// secondary had received and the primary's caller had not yet been told.
///
/// Each byte that differs must belong to such an operation, and so must each name, type, mode, owner and link. Times of
/// modification are carried at a settle, and are not looked at here.
struct DemoTail {
    /// Ranges of 4 KiB that differ.
    private(set) var ranges: [TreeComparison.Range]
    /// Ranges, and differences of another kind, that no unacknowledged operation accounts for.
    private(set) var unexplained: [TreeComparison.Difference] = []

    private let primaryTree: String
    private let secondaryTree: String
    private let operations: UnacknowledgedOperations

    /// Compares the trees of a dead primary and of the node that took over, before anything opened either.
    init(primaryTree: String, secondaryTree: String, operations: UnacknowledgedOperations) throws(ControlError) {
        self.primaryTree = primaryTree
        self.secondaryTree = secondaryTree
        self.operations = operations
        let comparison = try TreeComparison(primaryTree, secondaryTree)
        ranges = comparison.ranges
        try explain(comparison)
    }

    private mutating func explain(_ comparison: TreeComparison) throws(ControlError) {
        var byPath: [String: [UInt64]] = [:]
        for range in comparison.ranges { byPath[range.path, default: []].append(range.offset) }
        for difference in comparison.differences {
            if try isNameTouched(difference.path) { continue }
            switch difference.kind {
            case .time: break
            // Told by its content: a size that differs makes ranges that differ.
            case .size where byPath[difference.path] != nil: break
            case .mode, .owner, .attributes:
                if try touched(difference.path)?.attributes != true { unexplained.append(difference) }
            case .content:
                let offsets = byPath[difference.path] ?? []
                for offset in try unexplained(of: difference.path, offsets) {
                    unexplained.append(.init(path: difference.path, kind: .content, what: "4 KiB at \(offset)"))
                }
            // It is there or not as a whole; every one of its ranges counts.
            case .presence:
                for _ in byPath[difference.path] ?? [0] { unexplained.append(difference) }
            case .type, .target, .device, .size: unexplained.append(difference)
            }
        }
    }

    // MARK: Names

    /// The name itself or one on the way to it.
    private func isNameTouched(_ path: String) throws(ControlError) -> Bool {
        if operations.names.isEmpty || path == "." { return false }
        var directory = primaryTree
        for part in path.split(separator: "/") {
            guard let parent = try object(directory) else { return false }
            if operations.names.contains(.init(parent: parent, name: Array(part.utf8))) { return true }
            directory += "/\(part)"
        }
        return false
    }

    private func touched(_ path: String) throws(ControlError) -> UnacknowledgedOperations.Touched? {
        try object("\(primaryTree)/\(path)").flatMap { operations.objects[$0] }
    }

    /// What the operations call it: its identity on the primary. Nil if it is not there.
    private func object(_ path: String) throws(ControlError) -> ObjectID? {
        do throws(SystemError) {
            let status = try FileStatus.of(at: AT_FDCWD, path)
            return ObjectID(inode: status.inode, generation: try FileStatus.generation(at: AT_FDCWD, path), root: 0)
        } catch {
            if error.code == ENOENT || error.code == ENOTDIR { return nil }
            throw ControlError(.noInput, "\(error)")
        }
    }

    // MARK: Bytes

    /// Those of the ranges at `offsets` that hold a differing byte which nothing explains.
    private func unexplained(of path: String, _ offsets: [UInt64]) throws(ControlError) -> [UInt64] {
        guard let touched = try touched(path) else { return offsets }
        let one = try TreeComparison.openForReading("\(primaryTree)/\(path)")
        defer { close(one) }
        let two = try TreeComparison.openForReading("\(secondaryTree)/\(path)")
        defer { close(two) }
        var unexplained: [UInt64] = []
        for offset in offsets {
            let chunk = ByteRange(offset: offset, count: UInt64(TreeComparison.rangeBytes))
            var rest = [chunk]
            for range in touched.ranges where range.overlaps(chunk) { rest = rest.flatMap { $0.subtracting(range) } }
            if rest.isEmpty { continue }
            let a = try bytes(one, offset, path), b = try bytes(two, offset, path)
            // Behind the end of the shorter file zeros are what a larger size alone leaves.
            let areEqual = rest.allSatisfy { piece in
                (piece.lowerBound..<piece.upperBound).allSatisfy { position in
                    let index = Int(position - offset)
                    if index < a.count, index < b.count { return a[index] == b[index] }
                    if index >= a.count, index >= b.count { return true }
                    return (index < a.count ? a[index] : b[index]) == 0 && position < touched.sizeMax
                }
            }
            if !areEqual { unexplained.append(offset) }
        }
        return unexplained
    }

    private func bytes(_ descriptor: Int32, _ offset: UInt64, _ path: String) throws(ControlError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: TreeComparison.rangeBytes)
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
}
