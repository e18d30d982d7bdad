import Platform
import Replication

/// Names to be looked up when the ring is drained: each once, however often it was in conflict, since one look answers all.
struct PendingNames {
    struct Entry {
        var name: NameTable.Name
        /// What was published when it was first asked for.
        var after: UInt64
        var since: UInt64
    }

    private(set) var entries: [Entry] = []
    private var known: Set<NameTable.Name> = []

    var isEmpty: Bool { entries.isEmpty }
    /// Of the one that waits longest.
    var since: UInt64? { entries.first?.since }
    func contains(_ name: NameTable.Name) -> Bool { known.contains(name) }

    mutating func append(_ name: NameTable.Name, after: UInt64) {
        if known.insert(name).inserted { entries.append(Entry(name: name, after: after, since: Clock.monotonic)) }
    }

    /// What was put off again waits since it was first asked for: a batch is not held back for it for ever.
    mutating func keepTimes(of earlier: [Entry]) {
        let first = Dictionary(uniqueKeysWithValues: earlier.map { ($0.name, $0) })
        entries = entries.map { first[$0.name] ?? $0 }
    }

    /// All of them, to be looked up now.
    mutating func take() -> [Entry] {
        defer { self = PendingNames() }
        return entries
    }
}
