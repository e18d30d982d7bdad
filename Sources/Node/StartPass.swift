import Frame
import Journal
import Platform
import Primitives
import Replay
import Watch

/// What happened to the roots while no daemon ran: the list that the last one wrote, against the trees now. What its journal holds
/// behind the list's mark explains differences; what it can't explain was done by somebody else.
///
///     list --missing, damaged, of another boot--> in doubt: everything is compared, as always when a stream begins
///       |  its mark is not in the journal any more --> in doubt
///       v
///     differences - what the journal touched since = what others changed
struct StartPass {
    private(set) var differences: [WatchList.Difference] = []
    /// What records explain, by the ids of the node that was primary.
    private struct Touched {
        /// Changed in any way.
        var objects: Set<ObjectID> = []
        /// Given a name, or deprived of one; and the directories of such names.
        var named: Set<ObjectID> = []

        mutating func note(_ record: Record) {
            let objects = [record.object, record.parent, record.targetParent].filter { !$0.isNone }
            switch record.kind {
            case .create, .mkdir, .symlink, .mknod, .unlink, .rmdir, .rename, .link, .present, .absent, .outcome:
                named.formUnion(objects)
                self.objects.formUnion(objects)
            default: self.objects.formUnion(objects)
            }
        }

        mutating func formUnion(_ other: Touched) {
            objects.formUnion(other.objects)
            named.formUnion(other.named)
        }
    }
    private var touched = Touched()
    /// Why nothing can be said.
    private(set) var doubt: String?
    private(set) var baseline: WatchList?

    /// Before anything changes the trees or the journal.
    init(_ configuration: Configuration, boot: BootID, role: Role, recovery: JournalRecovery) {
        do {
            let now = try Lister.read(configuration, boot: boot, WatchList.Mark(position: .none, chain: 0), isOfStop: false)
            baseline = now
            guard let bytes = try DurableFile.read(path: Lister.path(in: configuration.directory), bytesMax: WatchList.bytesMax) else {
                doubt = "there is no list of the roots yet"
                return
            }
            guard let list = WatchList(parsing: bytes) else {
                doubt = "the list of the roots is damaged"
                return
            }
            // What a primary wrote to its journal without flushing it is void after a reboot (R5).
            if role == .primary, list.boot != boot, !list.isOfStop {
                doubt = "the list of the roots is from before the last boot"
                return
            }
            // At a stop nothing is behind the mark: what programs did afterwards waits in the ring.
            if !(role == .primary && list.isOfStop) { try readJournal(configuration.directory + "/journal", list.mark, recovery, role) }
            if doubt == nil { differences = list.differences(to: now) }
        } catch {
            doubt = "\(error)"
        }
    }

    private mutating func readJournal(_ directory: String, _ mark: WatchList.Mark, _ recovery: JournalRecovery, _ role: Role) throws {
        guard let last = recovery.last, mark.position != .none, last.position >= mark.position else {
            doubt = "the journal does not have what followed the list of the roots"
            return
        }
        if last.position == mark.position {
            if last.chain != mark.chain { doubt = "the journal is of another stream than the list of the roots" }
            return
        }
        let reader = JournalReader(directory: directory, from: mark.position.next)
        let decoder = FrameDecoder()
        var records: [UInt8] = []
        var isFirst = true
        // What a primary reads to tell it in a copy, nobody wrote; a secondary writes all of it. Whether the mark lies in a copy shows
        // at its end.
        var isCopying: Bool?
        var own = Touched()
        while let batch = try reader.next(through: last.position) {
            if isFirst, batch.header.firstPosition != mark.position.next || batch.header.previousChain != mark.chain {
                doubt = "the journal does not have what followed the list of the roots"
                return
            }
            isFirst = false
            _ = try decoder.decode(batch.bytes, into: &records)
            try records.withUnsafeBytes { bytes in
                var offset = 0
                while offset < bytes.count {
                    let record = try Record(parsing: bytes.bytes, at: offset)
                    offset += record.bytes
                    if record.kind == .copyBegins {
                        touched.formUnion(own)
                        own = Touched()
                        isCopying = true
                    } else if record.kind == .copyEnds {
                        if isCopying != false { own = Touched() }
                        isCopying = false
                    }
                    if role == .secondary || record.sequence != .none || record.kind == .outcome {
                        touched.note(record)
                    } else if record.kind != .times || record.argument == Record.timesSet {
                        own.note(record)
                    }
                }
            }
        }
        if isCopying != true { touched.formUnion(own) }
    }

    /// What others changed, on a node whose ids the journal has. `alsoTouched`: by what was in the ring.
    func changes(_ configuration: Configuration, alsoTouched: (ObjectID) -> Bool) -> [OutsideChange] {
        differences.compactMap { difference in
            let root = difference.entry.root
            let object = difference.entry.file.object(root: root), directory = difference.entry.directory.object(root: root)
            return change(configuration, difference, isTouched: isTouched(difference, object, directory) || alsoTouched(object)
                || (difference.what != .written && alsoTouched(directory)))
        }
    }

    /// The same on a secondary: the journal's ids are the primary's.
    func changes(_ configuration: Configuration, replayer: Replayer) -> [OutsideChange] {
        let owners = replayer.objectsByOwnFile()
        return differences.compactMap { difference in
            let entry = difference.entry
            func owner(_ file: OutsideChange.File) -> ObjectID? {
                owners[replayer.ownKey(root: entry.root, inode: file.inode, generation: file.generation)]
            }
            return change(configuration, difference, isTouched: isTouched(difference, owner(entry.file), owner(entry.directory)))
        }
    }

    private func isTouched(_ difference: WatchList.Difference, _ object: ObjectID?, _ directory: ObjectID?) -> Bool {
        if difference.what == .written { return object.map(touched.objects.contains) ?? false }
        return [object, directory].contains { $0.map(touched.named.contains) ?? false }
    }

    private func change(_ configuration: Configuration, _ difference: WatchList.Difference, isTouched: Bool) -> OutsideChange? {
        if isTouched { return nil }
        let entry = difference.entry
        guard Int(entry.root) < configuration.roots.count else { return nil }
        return OutsideChange(what: difference.what.union(.found), pid: 0, program: nil, directory: entry.directory, name: entry.name,
            object: entry.file, roots: [entry.root],
            path: "\(configuration.roots[Int(entry.root)].path): \(String(decoding: entry.name, as: UTF8.self)) (while no daemon ran)")
    }
}
