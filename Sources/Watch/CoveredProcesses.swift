import CLinux
import Glibc

/// The processes whose changes come through the capture: those with an arena, the keepers, this daemon. The data plane changes
/// it, the watch and the answers of `deny` ask it, without a lock.
public final class CoveredProcesses: @unchecked Sendable {
    // SAFETY: the set is atomic words, allocated once and never freed.
    let set: OpaquePointer

    public init() {
        guard let set = lockstep_pids_make() else { preconditionFailure("no memory for the set of processes") }
        self.set = set
        insert(getpid())
    }

    public func insert(_ pid: Int32) { lockstep_pids_set(set, pid, true) }
    public func remove(_ pid: Int32) { if pid != getpid() { lockstep_pids_set(set, pid, false) } }
    public func contains(_ pid: Int32) -> Bool { lockstep_pids_has(set, pid) }

    /// It, or what started it, is one of them. Nil: it is gone, and nobody knows.
    public func covers(_ pid: Int32) -> Bool? {
        let result = lockstep_pids_descends(set, pid)
        return result < 0 ? nil : result == 1
    }
}
