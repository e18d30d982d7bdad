/// Changes on their way to the data plane, one for each process and name.
struct MergedChanges {
    static let changesMax = 1024

    private struct Key: Hashable {
        var pid: Int32
        var directory: OutsideChange.File?
        var name: [UInt8]
        var object: OutsideChange.File?
    }

    private var index: [Key: Int] = [:]
    private var changes: [OutsideChange] = []

    var isEmpty: Bool { changes.isEmpty }

    /// False: there is no room.
    mutating func add(_ change: OutsideChange) -> Bool {
        let key = Key(pid: change.pid, directory: change.directory, name: change.name, object: change.object)
        if let known = index[key] {
            changes[known].what.formUnion(change.what)
            if changes[known].program == nil { changes[known].program = change.program }
            return true
        }
        guard changes.count < MergedChanges.changesMax else { return false }
        index[key] = changes.count
        changes.append(change)
        return true
    }

    mutating func take() -> [OutsideChange] {
        defer { self = MergedChanges() }
        return changes
    }
}
