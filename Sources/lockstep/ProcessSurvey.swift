import Glibc

/// All processes of one moment, and who among them belongs to a node's application.
///
/// Two marks find them: being a descendant of a keeper (in one quick pass), and the node directory in the environment,
/// which `run` sets and the preload library hands on to every child (for those whose keeper or parents are gone).
struct ProcessSurvey {
    /// Environment variable by which a run's processes are known.
    static let mark = "LOCKSTEP_NODE_DIRECTORY"

    private(set) var entries: [Int32: ProcessEntry] = [:]

    init() {
        guard let directory = opendir("/proc") else { return }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            guard let pid = Int32(name), let entry = ProcessEntry(pid: pid), !entry.isDead else { continue }
            entries[pid] = entry
        }
    }

    /// The processes whose parents lead to one of `roots`; not the roots themselves.
    func descendants(of roots: [ProcessIdentity]) -> [ProcessIdentity] {
        var family = Set(roots.map(\.pid))
        var found: [ProcessIdentity] = []
        var grew = true
        while grew {
            grew = false
            for (pid, entry) in entries where !family.contains(pid) && family.contains(entry.parent) {
                family.insert(pid)
                found.append(entry.identity)
                grew = true
            }
        }
        return found
    }

    /// The processes that carry the mark of a node directory in their environment.
    func marked(_ nodeDirectory: String) -> [ProcessIdentity] {
        let wanted = Array("\(ProcessSurvey.mark)=\(nodeDirectory)".utf8)
        return entries.values.compactMap { entry in
            guard entry.identity.pid != getpid(), let environment = readSmallFile("/proc/\(entry.identity.pid)/environ"),
                environment.split(separator: 0).contains(where: { $0.elementsEqual(wanted) })
            else { return nil }
            return entry.identity
        }
    }
}
