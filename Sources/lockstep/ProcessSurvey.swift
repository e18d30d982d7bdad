import Glibc

/// All processes of one moment, and who among them belongs to a node's application.
///
/// Being a descendant of a keeper tells it in one quick pass. Where keeper or parents are gone, the environment does: the
/// node directory, which `run` sets, and the keeper's socket, which the preload library gives to every child.
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

    /// The processes that have one of these words, NAME=VALUE, in their environment.
    func carrying(_ words: Set<String>) -> [ProcessIdentity] {
        let wanted = words.map { Array($0.utf8) }
        return entries.values.compactMap { entry in
            guard entry.identity.pid != getpid(), let environment = ProcessSurvey.environment(of: entry.identity),
                environment.contains(where: { word in wanted.contains { word.elementsEqual($0) } })
            else { return nil }
            return entry.identity
        }
    }

    /// The words by which these processes know their keepers: whoever they start gets them too, whatever else of the
    /// environment is cleared.
    static func keeperWords(of processes: [ProcessIdentity]) -> Set<String> {
        let words = processes.flatMap { environment(of: $0) ?? [] }.map { String(decoding: $0, as: UTF8.self) }
        return Set(words.filter { $0.hasPrefix("LOCKSTEP_SOCKET=") })
    }

    private static func environment(of process: ProcessIdentity) -> [ArraySlice<UInt8>]? {
        readSmallFile("/proc/\(process.pid)/environ")?.split(separator: 0)
    }
}
