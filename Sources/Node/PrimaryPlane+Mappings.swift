import CLinux
import Capture
import Glibc
import Platform
import Primitives
import Replication

/// Files that programs write by storing into memory. No call tells of a store, so the kernel is asked, before a durability
/// point is answered, of every process that has the file mapped, whoever asked for it:
///
///     barrier -> tables of the arenas -> pages written since the last look, protected anew -> fills, before the answer
///
/// Asked too when names settle, and every few seconds, so that the peer is not far behind. The fills are read when the ring is
/// drained up to what was reserved after the look. What can't be asked (the process is
/// gone, or took the tracking away) may have been written all over: its range is read whole, and said.
extension PrimaryPlane {
    /// `object` none: all files.
    func shipMapped(_ object: ObjectID) throws {
        guard isStreaming, memory.mappings != 0 else { return }
        #if LOCKSTEP_FAULTS
        // Planted fault: nobody asks.
        if Faults.looksAtNoMappings { return }
        #endif
        if memory.mappings != mappingsSeen {
            // A process that only stores is known by its arena alone, which its keeper announced before the process got it.
            mappingsSeen = memory.mappings
            for keeper in server.keepers.keys { try receive(from: keeper) }
        }
        var owed: [ObjectID: [ByteRange]] = [:]
        // An arena may be retired while names are looked for.
        for number in Array(memory.arenas.keys) {
            if let arena = memory.arenas[number], arena.hasMappings { resolveMapped(arena) }
            if let arena = memory.arenas[number], arena.hasMappings { collectMapped(arena, object, into: &owed) }
        }
        oweMapped(owed)
    }

    /// Before its arena is forgotten: whatever its mappings had not told.
    func shipMappedOfDead(_ arena: Arena) {
        guard isStreaming, arena.hasMappings else { return }
        #if LOCKSTEP_FAULTS
        if Faults.looksAtNoMappings { return }
        #endif
        var owed: [ObjectID: [ByteRange]] = [:]
        collectMapped(arena, .none, into: &owed)
        oweMapped(owed)
    }

    /// So that what was stored and never made durable comes to the peer within seconds, as by the kernel's own write-back.
    func lookAtMappings() throws {
        let now = Clock.monotonic
        guard copy == nil, now - mappingsLookedAt > Limits.mappingsNanoseconds else { return }
        mappingsLookedAt = now
        try shipMapped(.none)
    }

    /// Files that nobody announced: made by a call that is not settled yet, or outside the capture.
    private func resolveMapped(_ arena: Arena) {
        guard !arena.hasScribbledMappings, let mappings = try? arena.mappings() else { return }
        for object in Set(mappings.map(\.object)) where !names.contains(object) && !nameless.contains(object) { resolveUnknown(object) }
    }

    private func collectMapped(_ arena: Arena, _ object: ObjectID, into owed: inout [ObjectID: [ByteRange]], attempts: Int = 0) {
        let isAlive = arena.checkAlive()
        guard !arena.hasScribbledMappings else { return }
        let mappings: [Mapping]
        do { mappings = try arena.mappings() } catch {
            // What that process stored is not known, and never will be.
            log.info("\(error); all files are copied to the peer again")
            arena.hasScribbledMappings = true
            restartCopy()
            return
        }
        for mapping in mappings where object.isNone || mapping.object == object {
            if let left = mapping.left {
                // Published before its pages went: the answer waits until that is drained.
                if left > memory.drained, left <= memory.reserved { mappingsReach = max(mappingsReach, left) }
                continue
            }
            guard !arena.settledMappings.contains(mapping.line) else { continue }
            guard names.contains(mapping.object) else {
                // Without a name it is of no concern to the peer, and told whole when it gets one. Not known at all: so is it then.
                if !nameless.contains(mapping.object) { namesInDoubt = true }
                continue
            }
            let path = names.path(of: mapping.object)
            let found = path.flatMap { tree.look(root: $0.root.root, path: $0.bytes) }
            let size = found.flatMap { $0.object == mapping.object ? $0.status.size : nil }
            let range = MappedRange(offset: mapping.offset, length: mapping.length, armed: mapping.armed, size: size)
            let written: Arena.Written = isAlive ? arena.written(mapping, asked: range.asked, grown: range.filled) : .unknown("its process is gone", found: nil)
            // What the question found, its process does not find any more.
            let pages: [ByteRange]? = switch written {
            case .ranges(let given): given
            case .unknown(_, let given): given
            }
            let ranges = pages.map { range.ranges(written: $0) } ?? range.whole
            if !ranges.isEmpty { owed[mapping.object, default: []] += ranges }
            // It left meanwhile, as a whole or in part, and other lines say what became of it.
            if isAlive, arena.hasChanged(mapping) {
                mappingsReach = max(mappingsReach, memory.reserved)
                if attempts < 8 {
                    collectMapped(arena, object, into: &owed, attempts: attempts + 1)
                    return
                }
            }
            if case .unknown(let reason, _) = written {
                if !arena.checkAlive() { arena.settledMappings.insert(mapping.line) }
                sayUnknown(arena, mapping, path?.bytes ?? [], range, reason)
                owed[mapping.object, default: []] += range.whole
            }
        }
    }

    /// The first four, then those at powers of two.
    private func sayUnknown(_ arena: Arena, _ mapping: Mapping, _ path: [UInt8], _ range: MappedRange, _ reason: String) {
        counters.mappingsUnknown += 1
        arena.mappingsUnknown += 1
        let count = arena.mappingsUnknown
        guard count <= 4 || count & (count - 1) == 0 else { return }
        log.info("\(tree.display(mapping.object.root, path)), mapped by process \(arena.pid): \(reason); \(range.filled) bytes are read whole"
            + (count > 1 ? " (\(count) times so far)" : ""))
    }

    /// A call that was published before the look, and is not drained yet, may have been made before a store that was found: shipped
    /// now, the store would be undone by the call's record. What is published after the look is no matter: a store behind it
    /// is found by the next one.
    private func oweMapped(_ owed: [ObjectID: [ByteRange]]) {
        let after = memory.reserved
        for (object, ranges) in owed { pendingMapped.append((object, ranges, after)) }
        shipPendingMapped()
    }

    func shipPendingMapped() {
        guard !pendingMapped.isEmpty else { return }
        let pending = pendingMapped
        pendingMapped = []
        for entry in pending {
            guard memory.drained >= entry.after else {
                pendingMapped.append(entry)
                continue
            }
            var settlement = Settlement()
            settlement.repairRanges = MappedRange.merged(entry.ranges)
            counters.mapped += 1
            repair(entry.object, settlement)
        }
    }

    /// A daemon that was started again does not know all mappers before all keepers have had the time to come back.
    var awaitsMappers: Bool {
        guard let until = mappersAwaitedUntil else { return false }
        if Clock.monotonic < until { return true }
        mappersAwaitedUntil = nil
        return false
    }
}
