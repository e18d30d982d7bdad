import ArgumentParser
import Foundation
import Node
import Platform
import Primitives

/// The daemon of one node and module; started by `lockstep sandbox`, in the foreground, with its log on standard error.
@main
struct Daemon: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lockstepd",
        abstract: "Keeps the files of a module identical on two nodes.")

    @Option(help: "The node's directory: journal, table, sockets, record.")
    var directory: String
    @Option(help: "The node's name.")
    var node: String
    @Option(help: "The module's name, the same on both nodes.")
    var module: String
    @Option(help: "primary or secondary. A secondary becomes primary by takeover only.")
    var role: String
    @Option(name: .customLong("root"), help: "NAME=PATH of a replicated directory; up to 8, in the same order on both nodes.")
    var roots: [String]
    @Option(help: "A path, the same on both nodes, that links in the roots may lead to although it is not replicated; once per path.")
    var outside: [String] = []
    @Option(help: "127.0.0.1:PORT where a secondary is called.")
    var listen: String
    @Option(help: "127.0.0.1:PORT of the peer.")
    var peer: String
    @Option(name: .customLong("exclude"), help: "End of paths that are not replicated.")
    var exclusions: [String] = []
    @Option(help: "Seconds after which a durability point that is not answered fails with EIO.")
    var waitBound: Double = 30
    @Flag(help: "Capture io_uring of programs that use liburing; without it io_uring can't be set up.")
    var ioUring = false

    @Option(help: "off, report or deny: whether changes by programs outside the capture are named and repaired, and whether programs outside the capture may open files in the roots for writing.")
    var watch = "off"

    func run() throws {
        do {
            let configuration = try Configuration(directory: existing(directory), node: node, module: module,
                role: parsedRole(), roots: parsedRoots(), outside: parsedOutside(), listenPort: port(listen), peerPort: port(peer), exclusions: exclusions,
                waitBoundMilliseconds: bound(), ioUring: ioUring, watch: parsedWatch())
            if let bad = exclusions.first(where: { $0.dropFirst().contains("/") || $0.isEmpty || $0.utf8.count >= 64 }) {
                throw NodeError(64, "exclusion '\(bad)': the end of a file's name, or /NAME")
            }
            try Node.run(configuration)
        } catch let error as NodeError {
            Log(node: node).info(error.description)
            throw ExitCode(error.code)
        } catch let error as SystemError {
            Log(node: node).info("\(error)")
            throw ExitCode(71)
        }
    }

    private func parsedRole() throws -> Role {
        guard let role = Role(rawValue: role) else { throw NodeError(64, "role '\(role)': primary or secondary") }
        return role
    }

    private func parsedWatch() throws -> Configuration.Watch {
        guard let watch = Configuration.Watch(rawValue: watch) else { throw NodeError(64, "watch '\(watch)': off, report or deny") }
        return watch
    }

    private func bound() throws -> UInt32 {
        guard waitBound >= 0.1, waitBound <= 86400 else { throw NodeError(64, "wait bound of \(waitBound) s: 0.1 to 86400") }
        return UInt32(waitBound * 1000)
    }

    private func port(_ address: String) throws -> UInt16 {
        let parts = address.split(separator: ":")
        guard parts.count == 2, let port = UInt16(parts[1]), port > 0 else { throw NodeError(64, "address '\(address)': 127.0.0.1:PORT") }
        // Without keys nothing but loopback is possible.
        guard parts[0] == "127.0.0.1" else { throw NodeError(64, "address '\(address)': only 127.0.0.1 is possible without keys") }
        return port
    }

    private func parsedRoots() throws -> [Configuration.Root] {
        guard !roots.isEmpty, roots.count <= 8 else { throw NodeError(64, "\(roots.count) roots: 1 to 8") }
        return try roots.map { text in
            guard let equals = text.firstIndex(of: "="), equals != text.startIndex else { throw NodeError(64, "root '\(text)': NAME=PATH") }
            let name = String(text[..<equals])
            let path = try existing(String(text[text.index(after: equals)...]))
            guard name.utf8.count < 64, path.utf8.count < 1024 else { throw NodeError(64, "root '\(text)' is too long") }
            return Configuration.Root(name: name, path: path)
        }
    }

    private func parsedOutside() throws -> [String] {
        if let bad = outside.first(where: { !$0.hasPrefix("/") }) { throw NodeError(64, "outside '\(bad)': an absolute path") }
        return outside
    }

    /// The canonical path of a directory that exists.
    private func existing(_ path: String) throws -> String {
        var isDirectory: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) else { throw NodeError(66, "\(path): no such directory") }
        guard isDirectory.boolValue else { throw NodeError(66, "\(path): not a directory") }
        guard let resolved = realpath(path, nil) else { throw NodeError(66, "\(path): can't be resolved") }
        defer { free(resolved) }
        return String(cString: resolved)
    }
}
