internal import Glibc

/// Where the symbolic links in the replicated roots of a node lead. Paths are bytes.
///
///     target, as the link has it                    meaning   on the other node
///     relative, and never above the link's root     here      the same text
///     absolute, beneath a root by its words         root      that root's path there, and the rest of the text
///     another one that ends beneath a root          root      that root's path there, and the rest of where it ends
///     beneath a path that is listed as outside      here      the same text
///     anything else                                 out       it leads to what is not replicated
///
/// The words decide where they can, so that the rest of a text comes back unchanged after a takeover; where a target goes
/// up again after a name, the file system is asked what that name is.
public struct RootPaths: Sendable {
    public enum Meaning: Equatable, Sendable {
        case here
        /// Number of the root, and what follows its path: empty, or with a leading slash.
        case root(Int, rest: [UInt8])
        case out
    }

    private typealias Words = [ArraySlice<UInt8>]

    private let roots: [[UInt8]]
    /// As they were given, and where they lie.
    private let outside: [[UInt8]]

    /// - Parameters:
    ///   - roots: canonical, in the order that both nodes agreed on
    ///   - outside: absolute; what is not replicated and may be led to
    public init(roots: [String], outside: [String]) {
        self.roots = roots.map { Array($0.utf8) }
        let given = outside.map { Array($0.utf8) }
        self.outside = given + given.map(RootPaths.resolved)
    }

    /// What `target` means in a link that lies in `directory`, a real path in root `number`.
    public func meaning(of target: [UInt8], in directory: [UInt8], root number: Int) -> Meaning {
        guard target.first == RootPaths.slash else {
            let depth = RootPaths.words(directory).count - RootPaths.words(roots[number]).count
            let (climb, goesUpAgain) = RootPaths.climb(target)
            let staysBelow = climb <= depth
            if staysBelow && !goesUpAgain { return .here }
            let end = RootPaths.resolved(directory + [RootPaths.slash] + target)
            guard let (root, rest) = place(of: end) else { return isOutside(end) ? .here : .out }
            return staysBelow && root == number ? .here : .root(root, rest: rest)
        }
        if !RootPaths.words(target).contains(RootPaths.up) {
            if let (root, rest) = place(of: target) { return .root(root, rest: rest) }
            if isOutside(target) { return .here }
        }
        let end = RootPaths.resolved(target)
        if let (root, rest) = place(of: end) { return .root(root, rest: rest) }
        return isOutside(end) ? .here : .out
    }

    /// By its words: the root that a canonical path lies in.
    public func place(of path: [UInt8]) -> (root: Int, rest: [UInt8])? {
        for (number, root) in roots.enumerated() where RootPaths.isBeneath(path, root) {
            return (number, root == [RootPaths.slash] ? path : Array(path.dropFirst(root.count)))
        }
        return nil
    }

    public func isOutside(_ path: [UInt8]) -> Bool { outside.contains { RootPaths.isBeneath(path, $0) } }

    /// The path of root `number`, and what follows it.
    public func path(root number: Int, rest: [UInt8]) -> [UInt8] {
        roots[number] == [RootPaths.slash] ? (rest.isEmpty ? roots[number] : rest) : roots[number] + rest
    }

    // MARK: words

    private static let slash = UInt8(ascii: "/")
    private static let up = ArraySlice([UInt8(ascii: "."), UInt8(ascii: ".")])

    public static func isBeneath(_ path: [UInt8], _ ancestor: [UInt8]) -> Bool {
        path.starts(with: ancestor) && (path.count == ancestor.count || ancestor == [slash] || path[ancestor.count] == slash)
    }

    private static func words(_ path: [UInt8]) -> Words {
        path.split(separator: slash).filter { $0 != [UInt8(ascii: ".")] }
    }

    /// How far a relative target rises above where it starts, and whether it does so after a name, which may be a link.
    private static func climb(_ target: [UInt8]) -> (highest: Int, afterName: Bool) {
        var depth = 0, highest = 0, hasName = false, afterName = false
        for word in words(target) {
            if word == up {
                depth -= 1
                afterName = afterName || hasName
            } else {
                depth += 1
                hasName = true
            }
            highest = max(highest, -depth)
        }
        return (highest, afterName)
    }

    /// Where a path leads. What does not exist is judged by its words, beneath the part that does.
    public static func resolved(_ path: [UInt8]) -> [UInt8] {
        var existing = words(path)
        var rest: Words = []
        while true {
            let text = joined(existing)
            if let found = realpath((text + [0]).map { CChar(bitPattern: $0) }, nil) {
                defer { free(found) }
                var parts = words(Array(UnsafeRawBufferPointer(start: found, count: strlen(found))))
                for word in rest.reversed() {
                    if word == up { _ = parts.popLast() } else { parts.append(word) }
                }
                return joined(parts)
            }
            guard let last = existing.popLast() else { return joined(rest.reversed()) }
            rest.append(last)
        }
    }

    private static func joined(_ words: Words) -> [UInt8] {
        words.isEmpty ? [slash] : words.reduce(into: []) { $0 += [slash] + $1 }
    }
}
