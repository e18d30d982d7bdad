import CLinux
import Glibc
import Platform
import Primitives
import Replication

// Extended attributes, access control lists among them. A record says what one attribute becomes; applied again it says
// the same. AttributeCaseTests has a test per label.
//
//   setAttribute      whatever it was                                @A1    set; the mode may follow (access control list)
//   removeAttribute   it is there                                    @A2    removed
//                     it is not                                      @A3    nothing
//                     without a name                                 @A4    all are removed
//   present           the object has some, or inherited some here    @A5    all are removed: those it should have follow
//   any               on a symbolic link                             @A6    as on a file, never on what it points to
//                     of a file that was removed                     @A7    ignored
//   setAttribute      no room for it                                 @A8    in doubt until @A4 or @A5 (Refusals.swift)
extension Replayer {
    func setAttribute(_ record: Record, _ payload: UnsafeRawBufferPointer) throws(ReplayError) {
        guard let object = try known(record) else { return }
        try withPath(of: object) { path throws(SystemError) in
            do throws(SystemError) { try ExtendedAttributes.set(record.name, payload, of: path) } catch {
                if Refusals.codes.contains(error.code) {
                    counts.refused += 1
                    refusals.insertAttributes(Refusals.Refusal(object: object, range: .all, position: position, code: error.code))
                    return
                }
                guard isPrivileged(record.name, error) else { throw error }
                counts.attributesRefused += 1
            }
        }
        try noteMode(object)
    }

    /// Without a name: all of them.
    func removeAttribute(_ record: Record) throws(ReplayError) {
        guard let object = try known(record) else { return }
        if record.name.isEmpty {
            try removeAttributes(object)
        } else {
            try withPath(of: object) { path throws(SystemError) in try removeAttribute(record.name, path) }
        }
        try noteMode(object)
    }

    /// What a directory's default access control list, or an object of before, has left on it.
    func removeAttributes(_ object: ObjectID) throws(ReplayError) {
        refusals.settleAttributes(object)
        try withPath(of: object) { path throws(SystemError) in
            for name in try ExtendedAttributes.names(of: path) { try removeAttribute(name, path) }
        }
    }

    private func removeAttribute(_ name: [UInt8], _ path: String) throws(SystemError) {
        do throws(SystemError) { try ExtendedAttributes.remove(name, of: path) } catch {
            guard isPrivileged(name, error) else { throw error }
            counts.attributesRefused += 1
        }
    }

    /// Attributes that only a privileged daemon may set, or that belong to this node's own security modules.
    private func isPrivileged(_ name: [UInt8], _ error: SystemError) -> Bool {
        let isOwn = name.starts(with: Array("security.".utf8)) || name.starts(with: Array("trusted.".utf8))
        return isOwn && (error.code == EPERM && !mayChown || error.code == EOPNOTSUPP)
    }

    /// An access control list changes the mode.
    private func noteMode(_ object: ObjectID) throws(ReplayError) {
        guard table.kind(of: object) != .symbolicLink else { return }
        let status = try status(of: object)
        own[object]?.mode = UInt16(status.mode & 0o7777)
    }

    private func withPath(of object: ObjectID, _ body: (String) throws(SystemError) -> Void) throws(ReplayError) {
        if let open = table.isRoot(object) ? try descriptor(object) : cache[object] {
            try calling { () throws(SystemError) in try body("/proc/self/fd/\(open)") }
            return
        }
        let place = try place(of: object)
        try calling { () throws(SystemError) in
            let path = FileDescriptor(owning: try place.openPath(), path: place.shown)
            try body("/proc/self/fd/\(path.raw)")
        }
    }
}
