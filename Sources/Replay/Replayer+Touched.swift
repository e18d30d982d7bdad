import Primitives
import Replication

// What records touch, for the decision whether they wait; and what a kernel would say to an unresolved one.
extension Replayer {
    func touched(by record: Record) -> HeldRecords.Touched {
        var touched = HeldRecords.Touched()
        func needs(_ object: ObjectID) {
            if !object.isNone, !table.contains(object), !removed.contains(object) { touched.needsUnknown = true }
        }
        func name(_ parent: ObjectID, _ name: [UInt8]) {
            touched.names.append(NameTable.Name(parent: parent, name: name))
            touched.directories.append(parent)
            needs(parent)
            if let meant = table.lookup(parent, name) {
                touched.objects.append(meant)
                if table.hasChildren(meant) { touched.trees.append(meant) }
            }
        }
        switch record.kind {
        case .write, .truncate, .chmod, .chown, .times, .allocate, .setAttribute, .removeAttribute, .fill:
            needs(record.object)
        case .create, .mkdir, .symlink, .mknod, .unlink, .rmdir, .present, .absent:
            if !record.name.isEmpty { name(record.parent, record.name) }
            if !record.object.isNone { touched.objects.append(record.object) }
            let creates = record.kind != .unlink && record.kind != .rmdir && record.kind != .absent
            touched.bringsUnknown = creates && record.flags.contains(.tentative)
        case .rename:
            name(record.parent, record.name)
            name(record.targetParent, record.targetName)
            if record.argument != Replayer.renameExchange, let moved = table.lookup(record.parent, record.name) {
                // What moves keeps what lies in it; only what it replaces is removed.
                touched.trees.removeAll { $0 == moved }
            }
        case .link:
            name(record.targetParent, record.targetName)
            touched.objects.append(record.object)
            needs(record.object)
        case .outcome, .copyBegins, .copyEnds, .settled: break
        }
        return touched
    }

    /// Whether an operation without an outcome can have taken place, as the names are here: the kernel's own conditions.
    func wouldSucceed(_ record: Record) -> Bool {
        guard table.kind(of: record.parent) == .directory || record.kind == .link else { return false }
        let meant = table.lookup(record.parent, record.name)
        let target = table.lookup(record.targetParent, record.targetName)
        func isFree(_ object: ObjectID) -> Bool { table.kind(of: object) != .directory || !table.hasChildren(object) }
        switch record.kind {
        case .create, .mkdir: return meant == nil
        case .symlink: return meant == nil && (record.payloadBytes > 0 || record.argument != 0)
        case .unlink: return meant.map { table.kind(of: $0) != .directory } ?? false
        case .rmdir: return meant.map { table.kind(of: $0) == .directory && isFree($0) } ?? false
        case .link:
            return target == nil && table.isNamed(record.object) && table.kind(of: record.object) != .directory && table.kind(of: record.targetParent) == .directory
        case .rename:
            guard let meant, table.kind(of: record.targetParent) == .directory, record.argument <= Replayer.renameExchange,
                !table.isAncestor(meant, of: record.targetParent)
            else { return false }
            guard let target else { return record.argument != Replayer.renameExchange }
            if record.argument == Replayer.renameNoReplace || table.isAncestor(target, of: record.parent) { return false }
            if record.argument == Replayer.renameExchange { return true }
            return isFree(target) && (table.kind(of: meant) == .directory) == (table.kind(of: target) == .directory)
        default: return false
        }
    }
}
