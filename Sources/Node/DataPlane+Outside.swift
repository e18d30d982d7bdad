import CLinux
import Capture
import Link
import Platform
import Primitives
import Replication
import Watch

/// What the watch reports, on either side.
///
///     primary     repaired by fills and name fills (PrimaryPlane+Outside.swift)
///     secondary   suspect --> applier: names brought back, objects found --> request to the primary --> fills, `settled` with the
///                 request's number --> up to date
///
/// While anything of it is outstanding the secondary's data is `suspect`, durably: it does not take over.
extension DataPlane {
    func obey(_ report: Watcher.Report) throws {
        switch report {
        case .changes(let changes): try take(outside: changes)
        case .lost(let reason):
            outsideLog.lost += 1
            log.info("watch: \(reason); everything is compared")
            secondary?.suspects.eventsLost()
            if let lister {
                lister.pass(.lost)
            } else {
                try compareEverything("events were lost")
            }
        case .denied(let pid, let program, let path):
            outsideLog.say("outside the capture: \(program) (process \(pid)) was denied to open for writing: \(path)")
        }
    }

    func take(outside changes: [OutsideChange]) throws {
        if let primary {
            try primary.takeOutside(changes, outsideLog)
        } else if let secondary {
            for change in changes {
                if !change.isElsewhere { outsideLog.note(change, [.everything]) }
                if !secondary.suspects.note(change) { try compareEverything("more was changed in the replica than can be told apart") }
            }
            try keepState(secondary)
        }
    }

    /// Nobody knows what was changed: everything is copied.
    func compareEverything(_ reason: String) throws {
        if let primary {
            primary.compareEverything()
        } else if let secondary {
            secondary.suspects = Suspects()
            try obey(Applier.Report.failed("outside the capture: \(reason)"))
        }
    }

    /// After events were lost: what changed since the list, whoever did it.
    func take(listed differences: [WatchList.Difference]?) throws {
        guard let differences else { return try compareEverything("events were lost, and there is no list to compare with") }
        outsideLog.say("watch: \(differences.count) files and names changed since the list of the roots: they are shipped again")
        if let primary {
            primary.takeFound(differences)
        } else if let secondary {
            for difference in differences {
                let entry = difference.entry
                let change = OutsideChange(what: difference.what, pid: 0, program: nil, directory: entry.directory, name: entry.name, object: entry.file,
                    roots: [entry.root], path: "")
                if !secondary.suspects.note(change) { return try compareEverything("events were lost, and more has changed than can be told apart") }
            }
            try keepState(secondary)
        }
    }

    /// What the pass at the start found.
    func take(found changes: [OutsideChange]) throws {
        guard !changes.isEmpty else { return }
        if let primary {
            for change in changes { outsideLog.note(change, [.everything]) }
            // The copy that every stream begins with tells all of it.
            primary.outside.owesEverything = true
        } else {
            try take(outside: changes)
        }
    }

    /// A position of the primary's own stream that its journal has; none while nothing is journaled.
    var mark: WatchList.Mark {
        primary?.isStreaming == true ? WatchList.Mark(position: cutPosition, chain: chain) : WatchList.Mark(position: .none, chain: 0)
    }

    /// When the loop has ended.
    var markOfStop: WatchList.Mark {
        secondary.map { WatchList.Mark(position: $0.applier.applied, chain: $0.flushed.chain) } ?? mark
    }

    func turnSuspects(_ secondary: SecondaryPlane) throws {
        if let changes = secondary.suspects.next(now: Clock.monotonic) { secondary.applier.post(outside: changes) }
        try keepState(secondary)
    }

    func outside(token: UInt64, _ objects: [ObjectID], elsewhere: [OutsideChange], nanoseconds: UInt64) throws {
        guard let secondary else { return }
        for change in elsewhere { outsideLog.note(change, [.everything]) }
        guard objects.count <= Suspects.objectsMax else { return try compareEverything("\(objects.count) objects were changed in the replica") }
        secondary.suspects.found(token: token, objects, now: Clock.monotonic, tookNanoseconds: nanoseconds)
        // Without a connection nothing is asked: the next one begins with a copy.
        if !objects.isEmpty, let connection, isWelcome { connection.queue(.request(kind: Request.repair.rawValue, body: RepairRequest(token: token, objects: objects).encoded())) }
        try keepState(secondary)
    }

    func repaired(token: UInt64) throws {
        guard let secondary else { return }
        secondary.suspects.repaired(token: token)
        try keepState(secondary)
    }

    /// The state of the data follows what is outstanding.
    func keepState(_ secondary: SecondaryPlane) throws {
        let isSuspect = !secondary.suspects.isEmpty
        guard !isPromoting else { return }
        if isSuspect, secondary.dataState == .upToDate {
            try state.update { $0.data = .suspect }
            secondary.dataState = .suspect
        } else if !isSuspect, secondary.dataState == .suspect, secondary.isRepairable {
            try state.update { $0.data = .upToDate }
            secondary.dataState = .upToDate
            log.info("what was changed in the replica is as on the primary again: up to date")
        }
        if !isSuspect { outsideLog.resolvedAll() }
    }

    /// What happened while no daemon ran is told as soon as it is known what covered programs did meanwhile; and the watch begins
    /// when all that are covered are known: until then the kernel keeps its events.
    func startWatchIfDue() throws {
        guard primary?.namesAreKnown ?? (secondary != nil) else { return }
        if let pass = startPass {
            startPass = nil
            if let doubt = pass.doubt { log.info("what happened while no daemon ran is not known: \(doubt); everything is compared") }
            let primary = primary
            try take(found: pass.changes(configuration) { primary?.timesPending.contains($0) ?? false })
        }
        guard let watcher, !isWatching else { return }
        // Keepers of before announce their processes anew.
        if let primary, primary.memory.isAdopted, Clock.monotonic - primary.startedAt < Limits.reannounceNanoseconds { return }
        isWatching = true
        watcher.start()
    }
}

/// What others changed in a secondary's tree, until the primary has shipped it again.
struct Suspects {
    static let changesMax = 4096
    static let objectsMax = 4000

    private struct Open: Hashable {
        var pid: Int32
        var file: OutsideChange.File
    }

    private var changes: [OutsideChange] = []
    /// By names outside: most are about no file of ours, and the applier knows.
    private var elsewhere: [OutsideChange] = []
    /// The applier has some of them.
    private var isBusy = false
    /// Among them is one that is known to be about a file of ours.
    private var isSuspectBusy = false
    private var nextAt: UInt64 = 0
    private var tokens: Set<UInt64> = []
    /// Held open for writing: repaired when they are closed.
    private var open: Set<Open> = []

    var isEmpty: Bool { changes.isEmpty && !isSuspectBusy && tokens.isEmpty && open.isEmpty }

    /// False: there is no room.
    mutating func note(_ change: OutsideChange) -> Bool {
        if change.isElsewhere {
            elsewhere.append(change)
            return elsewhere.count <= Suspects.changesMax
        }
        if let file = change.object {
            let key = Open(pid: change.pid, file: file)
            if change.what.contains(.opened) {
                open.insert(key)
                // Whoever changes it meanwhile, our own applier too: it is told when it is closed.
                return open.count <= Suspects.changesMax
            }
            if change.what.contains(.written) { open.remove(key) }
        }
        changes.append(change)
        return changes.count <= Suspects.changesMax
    }

    /// For the applier, when it has ended the last ones; a pass over the names takes a tenth of its time at most.
    mutating func next(now: UInt64) -> [OutsideChange]? {
        guard !isBusy, !changes.isEmpty || !elsewhere.isEmpty, now >= nextAt else { return nil }
        isBusy = true
        isSuspectBusy = !changes.isEmpty
        defer { (changes, elsewhere) = ([], []) }
        return changes + elsewhere
    }

    mutating func found(token: UInt64, _ objects: [ObjectID], now: UInt64, tookNanoseconds: UInt64) {
        isBusy = false
        isSuspectBusy = false
        nextAt = now + max(50_000_000, 10 * tookNanoseconds)
        if !objects.isEmpty { tokens.insert(token) }
    }

    mutating func repaired(token: UInt64) { tokens.remove(token) }

    /// The end of a writer may be among them: the watch tells again who has what open.
    mutating func eventsLost() { open = [] }

    /// A copy tells everything anew; who has a file open has it open still.
    mutating func copyBegins() { tokens = [] }
}

/// The body of a request for objects: u64 number of the request, u32 count, then for each u64 inode, u32 generation, u32 root.
struct RepairRequest {
    var token: UInt64
    var objects: [ObjectID]

    init(token: UInt64, objects: [ObjectID]) {
        self.token = token
        self.objects = objects
    }

    func encoded() -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.appendInteger(token)
        bytes.appendInteger(UInt32(objects.count))
        for object in objects {
            bytes.appendInteger(object.inode)
            bytes.appendInteger(object.generation)
            bytes.appendInteger(object.root)
        }
        return bytes
    }

    /// Foreign bytes.
    init(parsing bytes: [UInt8]) throws {
        func integer<T: FixedWidthInteger>(_ type: T.Type, at offset: Int) -> T {
            (0..<MemoryLayout<T>.size).reversed().reduce(T(0)) { $0 << 8 | T(truncatingIfNeeded: bytes[offset + $1]) }
        }
        guard bytes.count >= 12 else { throw NodeError(76, "a request for objects of \(bytes.count) bytes") }
        token = integer(UInt64.self, at: 0)
        let count = Int(integer(UInt32.self, at: 8))
        guard token != 0, count <= Suspects.objectsMax, bytes.count == 12 + 16 * count else {
            throw NodeError(76, "a request for \(count) objects in \(bytes.count) bytes")
        }
        objects = (0..<count).map { number in
            let offset = 12 + 16 * number
            return ObjectID(inode: integer(UInt64.self, at: offset), generation: integer(UInt32.self, at: offset + 8),
                root: integer(UInt32.self, at: offset + 12))
        }
    }
}
