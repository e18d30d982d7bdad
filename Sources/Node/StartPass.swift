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
    /// By the ids of the node that was primary.
    private(set) var touched: Set<ObjectID> = []
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
            if !(role == .primary && list.isOfStop) { try readJournal(configuration.directory + "/journal", list.mark, recovery) }
            if doubt == nil { differences = list.differences(to: now) }
        } catch {
            doubt = "\(error)"
        }
    }

    private mutating func readJournal(_ directory: String, _ mark: WatchList.Mark, _ recovery: JournalRecovery) throws {
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
                    for object in [record.object, record.parent, record.targetParent] where !object.isNone { touched.insert(object) }
                }
            }
        }
    }

    /// What others changed, on a node whose ids the journal has.
    func changes(_ configuration: Configuration, alsoTouched: (ObjectID) -> Bool) -> [OutsideChange] {
        differences.compactMap { difference in
            let entry = difference.entry
            return change(configuration, difference, isTouched: [entry.file, entry.directory].contains { file in
                let object = file.object(root: entry.root)
                return file == entry.directory && difference.what == .written ? false : touched.contains(object) || alsoTouched(object)
            })
        }
    }

    /// The same on a secondary: the journal's ids are the primary's.
    func changes(_ configuration: Configuration, replayer: Replayer) -> [OutsideChange] {
        let owners = replayer.objectsByOwnFile()
        return differences.compactMap { difference in
            let entry = difference.entry
            func isTouched(_ file: OutsideChange.File) -> Bool { owners[replayer.ownKey(root: entry.root, inode: file.inode, generation: file.generation)].map(touched.contains) ?? false }
            return change(configuration, difference, isTouched: isTouched(entry.file) || (difference.what != .written && isTouched(entry.directory)))
        }
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
