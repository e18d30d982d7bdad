import Platform
import Primitives
import Replication

/// The last operations that covered programs made, by what they were about: whether one of them can explain what an event says.
struct RecentOperations {
    static let count = 1024
    static let windowNanoseconds: UInt64 = 1_000_000_000

    private var keys = [Int](repeating: 0, count: RecentOperations.count)
    private var times = [UInt64](repeating: 0, count: RecentOperations.count)
    private var next = 0

    mutating func note(_ object: ObjectID, at time: UInt64) { note(object.hashValue, time) }
    mutating func note(_ name: NameTable.Name, at time: UInt64) { note(name.hashValue, time) }

    private mutating func note(_ key: Int, _ time: UInt64) {
        keys[next] = key
        times[next] = time
        next = (next + 1) % RecentOperations.count
    }

    /// More took place within the window than are remembered: any of them may have been about it.
    private func isOverrun(_ now: UInt64) -> Bool { times[next] + RecentOperations.windowNanoseconds > now && times[next] != 0 }

    func contains(_ object: ObjectID?, _ name: NameTable.Name?, now: UInt64) -> Bool {
        if isOverrun(now) { return true }
        let wanted = [object?.hashValue, name?.hashValue].compactMap { $0 }
        return keys.indices.contains { wanted.contains(keys[$0]) && times[$0] + RecentOperations.windowNanoseconds > now }
    }
}
