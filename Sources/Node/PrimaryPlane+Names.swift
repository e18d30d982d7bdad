import CLinux
import Capture
import Platform
import Primitives
import Replication

/// All names against the trees, and modification times.
extension PrimaryPlane {
    /// The table, from the trees.
    func readNames() throws {
        names = NameTable(roots: tree.roots.map(\.object))
        try tree.walk(
            found: { entry in change { try names.insert(entry.object, NameTable.Kind(mode: entry.mode), entry.parent, entry.name) } },
            skipped: { log.info("\($0) is neither file, directory nor symbolic link: not replicated") })
        namesAreKnown = true
        namesReadAt = memory.drained
        lookAtLinks()
    }

    /// Compares all names of the roots with what the stream says, and repairs what differs: what was made, moved or
    /// removed outside the capture. Returns how many names were repaired.
    func passOfNames() throws -> Int {
        var repaired = 0
        var seen: Set<NameTable.Name> = []
        var entries: [Tree.Entry] = []
        let inFlight = Set(tracker.operations.values.flatMap(\.names))
        try tree.walk(
            found: { entry in
                seen.insert(NameTable.Name(parent: entry.parent, name: entry.name))
                if names.lookup(entry.parent, entry.name) != entry.object { entries.append(entry) }
            }, skipped: { _ in })
        // Names that operations in the ring or in their calls are about are theirs to settle; only what nobody knows is told
        // at once, since an operation on it waits.
        let undrained = memory.drained < memory.reserved
        for entry in entries {
            let key = NameTable.Name(parent: entry.parent, name: entry.name)
            if inFlight.contains(key) || (undrained && names.contains(entry.object)) { continue }
            guard let path = names.path(of: entry.parent),
                let found = tree.look(root: path.root.root, path: join(path.bytes, entry.name)), found.object == entry.object
            else { continue }
            present(found, at: key, movedFrom: names.names(of: entry.object).first { !seen.contains($0) })
            repaired += 1
        }
        var gone: [NameTable.Name] = []
        if !undrained { names.forEachName { name, _, _ in if !seen.contains(name) { gone.append(name) } } }
        for key in gone where !inFlight.contains(key) {
            guard names.lookup(key.parent, key.name) != nil, case .nothing = meaning(of: key) else { continue }
            noteNameless(names.remove(key.parent, key.name))
            shipAbsent(key)
            repaired += 1
        }
        if !undrained { forgetUnreachable() }
        lookAtLinks()
        if repaired > 0 { log.info("pass of names: \(repaired) names repaired") }
        return repaired
    }

    /// What the table has in directories that no root leads to any more has gone with them: a copy would wait for it for ever.
    private func forgetUnreachable() {
        var reachable = Set(names.roots)
        names.forEachName { _, object, _ in reachable.insert(object) }
        guard reachable.count < names.count else { return }
        var lost: [ObjectID] = []
        names.forEachObject { object, _ in if !reachable.contains(object) { lost.append(object) } }
        for object in lost { names.forget(object) }
        for object in lost { noteNameless(object) }
    }

    /// The table and the trees differ and no operation in the ring explains it: new operations are held for as long as those
    /// in their calls need to return, bounded, and all names are compared.
    func compareNames() throws {
        let now = Clock.monotonic
        guard let since = holdingSince else {
            holdingSince = now
            memory.setHold(true)
            return
        }
        let isSettled = tracker.unsettled.isEmpty && inherited.isEmpty
        guard memory.isRingEmpty, isSettled || now - since > Limits.holdNanoseconds else { return }
        fillNames()
        namesInDoubt = false
        if !namesAreKnown {
            try readNames()
            // Published by who had not seen that new operations wait: once more.
            guard memory.isRingEmpty else {
                namesAreKnown = false
                namesInDoubt = true
                return
            }
            log.info("names are known: \(names.nameCount)")
        } else {
            do { _ = try passOfNames() } catch { log.info("pass of names: \(error)") }
        }
        holdingSince = nil
        memory.setHold(false)
    }

    /// Carries modification times of what was touched since the last time; G2 promises them at settle and every 5 s.
    func shipTimes() {
        guard isStreaming else { return }
        let objects = timesPending.union(timesDue)
        timesPending.removeAll(keepingCapacity: true)
        timesDue = []
        for object in objects { shipTimes(of: object) }
    }

    /// The same in steps, so that nothing waits for a tree of which much was touched.
    func shipTimesInSteps() {
        if timesDue.isEmpty {
            timesDue = Array(timesPending)
                timesPending.removeAll(keepingCapacity: true)
        }
        let step = timesDue.suffix(Limits.timesPerTurn)
        timesDue.removeLast(step.count)
        for object in step { shipTimes(of: object) }
    }

    func shipTimes(of object: ObjectID) {
        guard names.contains(object), copy?.isAnnounced(object) ?? true, let path = names.path(of: object) else { return }
        guard let found = tree.look(root: path.root.root, path: path.bytes), found.object == object else {
            // It has been moved, and the table does not know yet: the next time.
            timesPending.insert(object)
            return
        }
        var record = Record(.times)
        record.object = object
        record.modificationTime = found.status.modified_nanoseconds
        if timesSet.remove(object) != nil { record.argument = Record.timesSet }
        ship(record, about: [])
    }

    /// What was shipped after its time was carried has another one on the peer.
    func noteTimes(_ object: ObjectID) { timesPending.insert(object) }

    var hasTimesPending: Bool { isStreaming && !timesPending.isEmpty }
    var hasTimesDue: Bool { isStreaming && !timesDue.isEmpty }
}
