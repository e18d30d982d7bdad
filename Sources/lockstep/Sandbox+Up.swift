import Control
import Glibc

/// Making a pair, from nothing or from the data of an earlier one.
extension Sandbox {
    /// - Parameters:
    ///   - roots: as `--root` gives them; none: those of the earlier sandbox, or DIR/NODE/data
    ///   - ioUring: whether programs may use io_uring; nil: as before
    ///   - outside: what links may lead to although it is not replicated; none: as before
    /// - Throws: `.usage` (roots that can't be), `.noInput` (the parent is missing), `.cannotCreate` (not writable),
    ///   `.refused` (it is up, has other roots, or b holds data of its own), `.configuration` (links or mounts lead out of
    ///   the roots; all of them are listed).
    static func up(_ path: String, roots: [String] = [], outside: [String] = [], waitBoundSeconds: Int? = nil, ioUring: Bool? = nil,
        watch: String? = nil) throws(ControlError) -> Sandbox
    {
        let asked = try Sandbox.roots(parsing: roots)
        if let planned = try? canonical(path) { try checkAreApart(asked, planned) }
        let directory = try make(path)
        let earlier = try SandboxRecord.load(directory)
        var sandbox = Sandbox(directory: directory, record: earlier ?? SandboxRecord())
        try sandbox.changing { (sandbox) throws(ControlError) in
            for node in Sandbox.nodes {
                let living = sandbox.living(node)
                guard living.daemon == nil, living.keepers.isEmpty, living.application.isEmpty else {
                    throw ControlError(.refused, "\(directory): it is up; lockstep sandbox down \(directory) stops it")
                }
            }
            if !asked.isEmpty, earlier != nil, asked != sandbox.roots {
                throw ControlError(.refused, "\(directory): it is a sandbox with other roots: "
                    + sandbox.roots.map { "\($0.name)=\($0.paths["a"] ?? ""),\($0.paths["b"] ?? "")" }.joined(separator: " "))
            }
            if !asked.isEmpty { sandbox.record.roots = asked }
            if !outside.isEmpty { sandbox.record.outside = outside }
            for (a, b) in zip(sandbox.trees("a"), sandbox.trees("b")) where earlier == nil && !names(in: b).isEmpty {
                throw ControlError(.refused, "\(b): it holds data that no sandbox put there; the first copy of \(a) would replace it")
            }
            try sandbox.followRecords()
            if let watch { sandbox.record.watch = watch }
            if let waitBoundSeconds { sandbox.record.waitBoundSeconds = waitBoundSeconds }
            if let ioUring { sandbox.record.ioUring = ioUring }
            try sandbox.makeDirectories()
            try sandbox.checkTrees()
            try sandbox.startPair()
        }
        try sandbox.waitForCopy()
        return sandbox
    }

    private static func make(_ path: String) throws(ControlError) -> String {
        if mkdir(path, 0o755) < 0 {
            switch errno {
            case EEXIST: break
            case ENOENT where !parentExists(path), ENOTDIR: throw ControlError(.noInput, "\(path): the directory above it is missing")
            default: throw ControlError(.cannotCreate, "\(path): \(reason(errno))")
            }
        }
        guard let resolved = realpath(path, nil) else { throw ControlError(.noInput, "\(path): \(reason(errno))") }
        defer { free(resolved) }
        var status = stat()
        guard stat(resolved, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
            throw ControlError(.cannotCreate, "\(path): not a directory")
        }
        guard access(resolved, W_OK | X_OK) == 0 else { throw ControlError(.cannotCreate, "\(path): \(reason(errno))") }
        return String(cString: resolved)
    }

    /// Some file systems (proc) answer ENOENT to what they don't allow.
    private static func parentExists(_ path: String) -> Bool {
        let parts = path.split(separator: "/").dropLast().joined(separator: "/")
        return access(path.hasPrefix("/") ? "/\(parts)" : parts.isEmpty ? "." : parts, F_OK) == 0
    }

    private func makeDirectories() throws(ControlError) {
        for node in Sandbox.nodes {
            let own: [(String, mode_t)] = [("\(directory)/\(node)", 0o755), (nodeDirectory(node), 0o700), (keepersDirectory(node), 0o700)]
            for (path, mode) in own + trees(node).map({ ($0, 0o755) }) {
                var status = stat()
                if mkdir(path, mode) < 0 {
                    guard errno == EEXIST else { throw ControlError(.cannotCreate, "\(path): \(reason(errno))") }
                    guard lstat(path, &status) == 0, status.st_mode & S_IFMT != S_IFLNK else {
                        throw ControlError(.configuration, "\(path): it is a symbolic link; the tree must lie where its name says")
                    }
                }
                guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR, access(path, W_OK | X_OK) == 0 else {
                    throw ControlError(.cannotCreate, "\(path): it can't be written, or is no directory")
                }
            }
        }
        // The root of a tree is nobody's entry: it is the one directory whose mode and owner no copy carries.
        for (from, to) in zip(trees(primary), trees(secondary)) {
            var status = stat()
            guard stat(from, &status) == 0 else { continue }
            chmod(to, status.st_mode & 0o7777)
            if chown(to, status.st_uid, status.st_gid) < 0, errno != EPERM { throw ControlError(.cannotCreate, "\(to): \(reason(errno))") }
        }
    }

    private func checkTrees() throws(ControlError) {
        var found: [String] = []
        for node in Sandbox.nodes { found += try TreeCheck(roots: trees(node), outside: record.outside ?? []).run() }
        guard found.isEmpty else {
            throw ControlError(.configuration, "these lead out of the tree, to data that is not replicated:\n"
                + found.map { "  \($0)" }.joined(separator: "\n"))
        }
    }

    private mutating func startPair() throws(ControlError) {
        for attempt in 1...3 {
            let ports = try Sandbox.freePorts()
            for (node, port) in zip(Sandbox.nodes, ports) { record.nodes[node] = SandboxRecord.Node(port: port) }
            try record.save(directory)
            do throws(ControlError) {
                try startDaemon(secondary, role: "secondary")
                try startDaemon(primary, role: "primary")
                return
            } catch {
                for node in Sandbox.nodes { endDaemon(node) }
                // Between our look and the daemon's bind somebody may have taken the port.
                guard error.code == .system, attempt < 3 else { throw error }
            }
        }
    }

    /// Two loopback ports that nobody has; both are held while they are chosen, so that they differ. Below those that the kernel
    /// gives to connections: one of somebody else's would keep a daemon that was started again from its port, and the primary's
    /// own could meet itself there while nobody listens.
    private static func freePorts() throws(ControlError) -> [UInt16] {
        var ports: [UInt16] = []
        var sockets: [Int32] = []
        defer { for socket in sockets { close(socket) } }
        for _ in 0..<200 {
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            guard descriptor >= 0 else { throw ControlError(.system, "loopback socket: \(reason(errno))") }
            sockets.append(descriptor)
            let port = UInt16.random(in: 16384..<32768)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
            address.sin_port = port.bigEndian
            let result = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            guard result == 0 || errno == EADDRINUSE else { throw ControlError(.system, "loopback port: \(reason(errno))") }
            if result == 0 { ports.append(port) }
            if ports.count == 2 { return ports }
        }
        throw ControlError(.system, "no two loopback ports from 16384 to 32767 are free")
    }
}
