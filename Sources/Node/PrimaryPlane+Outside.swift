import Capture
import Link
import Platform
import Primitives
import Replication
import Watch

/// What was changed outside the capture is shipped again: files whole, names looked up, directories by a pass of names.
///
///     change --covered after all?--> dropped
///        |-- a name ------> looked up on a drained ring (fillNames), told whole
///        |-- bytes -------> wanted --> size, attributes and all bytes --> nothing of it under way --> repaired
///        |-- directories, or what nobody can place --> pass of names
///
/// A file that is written again and again is shipped again when the time before has ended, not for each close.
struct OutsideRepairs {
    struct File {
        var isWanted: Bool
        var shippedAt: UInt64
    }
    /// What the peer asks for: told when all of it is shipped.
    struct Asked {
        var token: UInt64
        var objects: Set<ObjectID>
    }

    static let objectsMax = 4096

    var objects: [ObjectID: File] = [:]
    var names: Set<NameTable.Name> = []
    var asked: [Asked] = []
    /// Since when a pass of names is wanted.
    var passSince: UInt64?
    /// What can't be placed was changed: in order when all else is.
    var owesEverything = false
    /// Names may have changed while no stream told of them: compared when one begins.
    var namesAreStale = false
    var lookedAt: UInt64 = 0
    /// No pass before: each reads all names on the data plane's thread, and takes a tenth of its time at most.
    var passNotBefore: UInt64 = 0

    var isEmpty: Bool { objects.isEmpty && names.isEmpty && asked.isEmpty && passSince == nil && !owesEverything }

    mutating func want(_ object: ObjectID) {
        objects[object, default: File(isWanted: true, shippedAt: 0)].isWanted = true
    }
}

extension PrimaryPlane {
    func takeOutside(_ changes: [OutsideChange], _ log: OutsideLog) throws {
        // A process that was started just now may be announced already.
        for keeper in server.keepers.keys { try receive(from: keeper) }
        for change in changes where !covered.contains(change.pid) {
            guard let place = place(of: change) else { continue }
            // Gone before it could be asked, and covered programs were at work there: looked at, and put down to nobody.
            if change.program == nil, change.pid != 0, isTouched(change, place) {
                log.unattributed += 1
                repairOutside(change, place)
            } else {
                log.note(change, repairOutside(change, place))
            }
        }
    }

    /// The directory and the object as the table has them.
    struct OutsidePlace {
        var directory: ObjectID?
        var object: ObjectID?
    }

    /// Nil: it is about nothing that is replicated.
    private func place(of change: OutsideChange) -> OutsidePlace? {
        var place = OutsidePlace()
        for root in change.roots {
            if place.directory == nil, let directory = change.directory?.object(root: root), names.contains(directory) { place.directory = directory }
            if place.object == nil, let object = change.object?.object(root: root), names.contains(object) { place.object = object }
        }
        if place.object == nil, let directory = place.directory { place.object = names.lookup(directory, change.name) }
        // In a root, and the table knows neither: in a new directory, which a pass of names finds.
        return !change.isElsewhere || place.object != nil ? place : nil
    }

    private func isTouched(_ change: OutsideChange, _ place: OutsidePlace) -> Bool {
        recent.contains(place.object, place.directory.map { NameTable.Name(parent: $0, name: change.name) }, now: Clock.monotonic)
    }

    @discardableResult
    private func repairOutside(_ change: OutsideChange, _ place: OutsidePlace) -> [OutsideLog.Doubt] {
        var doubts: [OutsideLog.Doubt] = []
        if outside.objects.count + outside.names.count >= OutsideRepairs.objectsMax {
            compareEverything()
            return [.everything]
        }
        if !change.what.isDisjoint(with: .names) {
            if let directory = place.directory, !change.what.contains(.directory) {
                let name = NameTable.Name(parent: directory, name: change.name)
                doubts.append(.name(name))
                outside.names.insert(name)
                if isStreaming { lookUpAgain([name]) } else { outside.namesAreStale = true }
            } else {
                doubts.append(.everything)
                wantPass()
            }
        }
        if !change.what.isDisjoint(with: [.opened, .written, .attributes]) {
            if let object = place.object {
                doubts.append(.object(object))
                // Opening alone changes nothing.
                if change.what != .opened { outside.want(object) } else if outside.objects[object] == nil { outside.objects[object] = .init(isWanted: false, shippedAt: 0) }
            } else if let directory = place.directory {
                let name = NameTable.Name(parent: directory, name: change.name)
                doubts.append(.name(name))
                outside.names.insert(name)
                if isStreaming { lookUpAgain([name]) } else { outside.namesAreStale = true }
            } else {
                doubts.append(.everything)
                wantPass()
            }
        }
        return doubts
    }

    /// Nobody knows what has changed: names are compared, and every file is copied.
    func compareEverything() {
        outside.objects = [:]
        outside.names = []
        wantPass()
        if isStreaming { restartCopy() }
    }

    private func wantPass() {
        outside.owesEverything = true
        if outside.passSince == nil { outside.passSince = Clock.monotonic }
    }

    /// Events were lost, and this differs from the list of before; covered programs did most of it.
    func takeFound(_ differences: [WatchList.Difference]) {
        for difference in differences {
            if !difference.what.isDisjoint(with: .names) { wantPass() }
            let object = difference.entry.file.object(root: difference.entry.root)
            if names.contains(object), names.kind(of: object) != .directory { outside.want(object) }
        }
    }

    /// The secondary's tree was changed: these objects again.
    func repairAsked(token: UInt64, _ objects: [ObjectID]) {
        let known = objects.filter(names.contains)
        for object in known { outside.want(object) }
        outside.asked.append(OutsideRepairs.Asked(token: token, objects: Set(known)))
    }

    /// At the end of a turn.
    func turnOutside(_ log: OutsideLog) {
        let now = Clock.monotonic
        expireRetired(now)
        guard !outside.isEmpty, now - outside.lookedAt > 10_000_000 else { return }
        outside.lookedAt = now
        passIfWanted(now)
        // Without a stream nothing is told; the next one begins with a copy, which tells everything.
        guard isStreaming else { return }
        for (object, file) in outside.objects {
            let isUnderWay = fills.contains(object) || pendingRepairs.contains { $0.object == object }
            if file.isWanted, names.contains(object), !isUnderWay, now - file.shippedAt > 200_000_000 {
                outside.objects[object] = OutsideRepairs.File(isWanted: false, shippedAt: now)
                shipAgain(object)
            } else if !file.isWanted || !names.contains(object), !isUnderWay, copy == nil || copy?.ended != nil {
                outside.objects[object] = nil
                // Its bytes are there; its time follows at once.
                shipTimes(of: object)
                log.resolved(.object(object))
            }
        }
        guard copy == nil || copy?.ended != nil else { return }
        for name in outside.names where !pendingNames.contains(name) {
            if let object = names.lookup(name.parent, name.name), fills.contains(object) { continue }
            outside.names.remove(name)
            if let object = names.lookup(name.parent, name.name) { shipTimes(of: object) }
            log.resolved(.name(name))
        }
        if outside.owesEverything, outside.passSince == nil, !namesInDoubt, pendingNames.isEmpty, fills.isEmpty {
            outside.owesEverything = false
            shipTimes()
            log.resolved(.everything)
        }
        while let first = outside.asked.first, first.objects.allSatisfy({ outside.objects[$0] == nil }) {
            outside.asked.removeFirst()
            var record = Record(.settled)
            record.argument = first.token
            ship(record, about: [])
            batch.mustReach = max(batch.mustReach, 1)
        }
    }

    private func shipAgain(_ object: ObjectID) {
        // While a copy runs its directory may not be told yet: it is tried again.
        guard announce(object) else { return outside.want(object) }
        var settlement = Settlement()
        settlement.repairAttributes = true
        settlement.repairsSize = names.kind(of: object) == .file
        repair(object, settlement)
        if names.kind(of: object) == .file { fills.append(object, .outside) }
    }

    private func passIfWanted(_ now: UInt64) {
        guard let since = outside.passSince, now >= outside.passNotBefore else { return }
        guard isStreaming else {
            outside.passSince = nil
            outside.namesAreStale = true
            return
        }
        // Names that are missing are seen only with nothing in the ring; a load that never leaves it empty is held for it.
        guard memory.isRingEmpty, tracker.unsettled.isEmpty else {
            if now - since > 1_000_000_000 {
                outside.passSince = nil
                namesInDoubt = true
            }
            return
        }
        outside.passSince = nil
        do { _ = try passOfNames() } catch {
            self.log.info("pass of names: \(error)")
            outside.passSince = now
        }
        let end = Clock.monotonic
        outside.passNotBefore = end + 10 * (end - now)
    }

    // MARK: Who is covered

    /// What a process did last is heard of a little later than its death.
    func retireCovered(_ pid: Int32) { retired.append((pid, Clock.monotonic)) }

    private func expireRetired(_ now: UInt64) {
        guard let first = retired.first, now - first.since > Limits.retiredNanoseconds else { return }
        let end = retired.firstIndex { now - $0.since <= Limits.retiredNanoseconds } ?? retired.endIndex
        let gone = Set(retired[..<end].map(\.pid))
        retired.removeFirst(end)
        let living = Set(memory.arenas.values.filter(\.isAlive).map(\.pid)).union(server.keepers.values.map(\.pid)).union(retired.map(\.pid))
        for pid in gone.subtracting(living) { covered.remove(pid) }
    }
}
