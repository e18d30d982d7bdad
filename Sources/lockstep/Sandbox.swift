import Control
import Glibc

/// A pair of nodes on this machine, without root.
///
///     DIR/a/data   the replicated tree of node a        DIR/b/data   the same of node b   (or other roots: `Sandbox+Roots`)
///     DIR/a/node   its journal, log, control socket     DIR/b/node
///     DIR/a/node/keepers/PID   one file for every run: the moment that process started
///     DIR/sandbox.json         ports, daemons, who is primary
///     DIR/sandbox.lock         held by the command that changes sandbox.json
struct Sandbox {
    let directory: String
    var record: SandboxRecord

    static let nodes = ["a", "b"]

    /// Opens an existing sandbox.
    init(opening path: String) throws(ControlError) {
        guard let resolved = realpath(path, nil) else { throw ControlError(.noInput, "\(path): \(reason(errno))") }
        defer { free(resolved) }
        directory = String(cString: resolved)
        guard let record = try SandboxRecord.load(directory) else {
            throw ControlError(.noInput, "\(path): not a sandbox; lockstep sandbox up \(path) makes one")
        }
        self.record = record
    }

    init(directory: String, record: SandboxRecord) {
        self.directory = directory
        self.record = record
    }

    var primary: String { record.primary }
    var secondary: String { record.primary == "a" ? "b" : "a" }

    /// The first root, which is the only one unless `up --root` said otherwise.
    func tree(_ node: String) -> String { trees(node)[0] }
    func nodeDirectory(_ node: String) -> String { "\(directory)/\(node)/node" }
    func keepersDirectory(_ node: String) -> String { "\(nodeDirectory(node))/keepers" }
    func client(_ node: String) -> ControlClient { ControlClient(directory: nodeDirectory(node)) }

    func daemon(_ node: String) -> ProcessIdentity? {
        guard let daemon = record.nodes[node]?.daemon, daemon.isAlive else { return nil }
        return daemon
    }

    /// The trees' paths: every command ends with them, for people and for scripts.
    func sayTrees() {
        for node in Sandbox.nodes {
            for tree in trees(node) { Terminal.say("\(node) \(node == primary ? "primary  " : "secondary") \(tree)") }
        }
    }

    // MARK: One change at a time

    /// Runs `body` while no other command changes the sandbox; the record is read again once the lock is held.
    /// The lock is not held while a copy runs or an application is killed: that must be possible at any time.
    mutating func changing<Result>(_ body: (inout Sandbox) throws(ControlError) -> Result) throws(ControlError) -> Result {
        let path = "\(directory)/sandbox.lock"
        let lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard lock >= 0 else { throw ControlError(.cannotCreate, "\(path): \(reason(errno))") }
        defer { close(lock) }
        while flock(lock, LOCK_EX) < 0 {
            if errno != EINTR { throw ControlError(.system, "\(path): \(reason(errno))") }
        }
        if let saved = try SandboxRecord.load(directory) { record = saved }
        return try body(&self)
    }

    // MARK: Who lives

    /// The keepers of a node that still live; what dead ones left behind is removed.
    func keepers(_ node: String) -> [ProcessIdentity] {
        let path = keepersDirectory(node)
        return names(in: path).compactMap { name in
            guard let pid = Int32(name), let bytes = readSmallFile("\(path)/\(name)"),
                let start = UInt64(String(decoding: bytes, as: UTF8.self))
            else { return nil }
            let keeper = ProcessIdentity(pid: pid, start: start)
            if keeper.isAlive { return keeper }
            unlink("\(path)/\(name)")
            return nil
        }
    }

    /// Registers this process as a keeper to be: it keeps its number and its start when it becomes one.
    func registerKeeper(_ node: String) throws(ControlError) {
        guard let own = ProcessIdentity(of: getpid()) else { throw ControlError(.system, "/proc: it does not show this process") }
        let path = keepersDirectory(node)
        mkdir(path, 0o700)
        let name = "\(path)/\(own.pid)"
        let descriptor = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw ControlError(.cannotCreate, "\(name): \(reason(errno))") }
        defer { close(descriptor) }
        let text = Array("\(own.start)".utf8)
        guard write(descriptor, text, text.count) == text.count else {
            throw ControlError(.cannotCreate, "\(name): \(reason(errno))")
        }
    }

    /// Everything of a node that lives: daemon, keepers, and the application beneath them.
    /// `words` are further marks in the environment of this node's application.
    func living(_ node: String, words: Set<String> = []) -> (daemon: ProcessIdentity?, keepers: [ProcessIdentity], application: [ProcessIdentity]) {
        let keepers = keepers(node)
        let survey = ProcessSurvey()
        let application = Set(survey.descendants(of: keepers) + survey.carrying(words.union(["\(ProcessSurvey.mark)=\(nodeDirectory(node))"])))
        return (daemon(node), keepers, application.subtracting(keepers).sorted { $0.pid < $1.pid })
    }
}

/// The names in a directory, without "." and "..", as `pathText`; none when it can't be read.
func names(in path: String) -> [String] {
    guard let directory = opendir(systemPath(path)) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { pathText($0) }
        }
        if name != "." && name != ".." { names.append(name) }
    }
    return names
}
