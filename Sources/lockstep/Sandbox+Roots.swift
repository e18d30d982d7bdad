import Control
import Glibc
import Platform

/// The replicated roots of a pair: DIR/NODE/data, or what `up --root` says.
extension Sandbox {
    struct Root: Codable, Equatable {
        var name: String
        /// By node.
        var paths: [String: String]
    }

    var roots: [Root] {
        record.roots ?? [Root(name: "data", paths: ["a": "\(directory)/a/data", "b": "\(directory)/b/data"])]
    }

    /// Paths of a node's roots, in the order of their numbers.
    func trees(_ node: String) -> [String] { roots.compactMap { $0.paths[node] } }

    func rootPaths(_ node: String) -> RootPaths { RootPaths(roots: trees(node), outside: record.outside ?? []) }

    // MARK: Arguments

    /// "NAME=A_PATH,B_PATH", their paths made canonical.
    static func roots(parsing arguments: [String]) throws(ControlError) -> [Root] {
        guard arguments.count <= 8 else { throw ControlError(.usage, "\(arguments.count) roots: at most 8") }
        var roots: [Root] = []
        for argument in arguments {
            let halves = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let paths = halves.count == 2 ? halves[1].split(separator: ",", omittingEmptySubsequences: false) : []
            guard paths.count == 2, let name = halves.first, !name.isEmpty, name.utf8.count < 64 else {
                throw ControlError(.usage, "root '\(argument)': NAME=A_PATH,B_PATH")
            }
            if let bad = paths.first(where: { !$0.hasPrefix("/") }) {
                throw ControlError(.usage, "root '\(argument)': '\(bad)' is not an absolute path")
            }
            guard !roots.contains(where: { $0.name == name }) else { throw ControlError(.usage, "root '\(argument)': there is another one with that name") }
            roots.append(Root(name: String(name), paths: ["a": String(paths[0]), "b": String(paths[1])]))
        }
        for index in roots.indices {
            for node in Sandbox.nodes {
                let path = try canonical(roots[index].paths[node] ?? "")
                guard path.utf8.count < 1024 else { throw ControlError(.usage, "root '\(path)': the path is too long") }
                roots[index].paths[node] = path
            }
        }
        return roots
    }

    /// Where a directory lies, or will when it is made. Nothing is made yet.
    static func canonical(_ path: String) throws(ControlError) -> String {
        var status = stat()
        guard stat(path, &status) == 0 else {
            let name = path.split(separator: "/").last ?? ""
            guard errno == ENOENT, name != ".", name != "..", let above = realpath(path.split(separator: "/").dropLast().reduce("/") { $0 + $1 + "/" }, nil)
            else { throw ControlError(.noInput, "root \(path): \(errno == ENOENT ? "the directory above it is missing" : reason(errno))") }
            defer { free(above) }
            return String(cString: above) + (String(cString: above) == "/" ? "" : "/") + name
        }
        guard status.st_mode & S_IFMT == S_IFDIR else { throw ControlError(.cannotCreate, "root \(path): not a directory") }
        guard let resolved = realpath(path, nil) else { throw ControlError(.noInput, "root \(path): \(reason(errno))") }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    // MARK: One beside the other

    /// No root may lie in another one, be the same, or hold a node's own directory, under whatever name it is mounted.
    static func checkAreApart(_ roots: [Root], _ directory: String) throws(ControlError) {
        let mounts = Mounts()
        var places: [(what: String, path: String, isRoot: Bool)] = []
        for root in roots {
            for node in Sandbox.nodes { places.append(("root \(root.name) of node \(node)", root.paths[node] ?? "", true)) }
        }
        for node in Sandbox.nodes { places.append(("the directory of node \(node)", "\(directory)/\(node)/node", false)) }
        for (index, inner) in places.enumerated() {
            for (other, outer) in places.enumerated()
            where index != other && (inner.isRoot || outer.isRoot) && mounts.isBeneath(inner.path, outer.path) {
                guard mounts.isBeneath(outer.path, inner.path) else {
                    throw ControlError(.usage, "\(inner.what), \(inner.path), lies in \(outer.what), \(outer.path)")
                }
                throw ControlError(.usage, "\(inner.what), \(inner.path), and \(outer.what), \(outer.path), are the same directory")
            }
        }
    }
}
