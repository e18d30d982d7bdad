import CLinux
import Glibc
import Platform
import Primitives
import Replication

// Bytes and attributes. Every record is by object and absolute, so it may be applied again (see Replayer.swift).
extension Replayer {
    func write(_ record: Record, _ payload: UnsafeRawBufferPointer) throws(ReplayError) {
        guard let file = try target(record) else { return }
        let range = ByteRange(offset: record.offset, count: UInt64(payload.count))
        guard try accepting(record.object, range, { () throws(ReplayError) in try put(payload, file, record.offset) })
        else { return }
        if limbo.contains(record.object) {
            limbo.written(record.object, bytes: UInt64(payload.count))
            while let oldest = limbo.nextBeyondBounds() { try purge(oldest) }
        }
    }

    /// Bytes that were read from the primary's file (R3). They never make the file longer than it was then.
    func fill(_ record: Record, _ payload: UnsafeRawBufferPointer) throws(ReplayError) {
        guard table.contains(record.object) else {
            counts.ignored += 1
            return
        }
        guard record.offset < record.length, let file = try target(record) else { return }
        let count = min(UInt64(payload.count), record.length - record.offset)
        _ = try accepting(record.object, ByteRange(offset: record.offset, count: count)) { () throws(ReplayError) in
            try put(UnsafeRawBufferPointer(rebasing: payload[..<Int(count)]), file, record.offset)
        }
    }

    func truncate(_ record: Record) throws(ReplayError) {
        guard let file = try target(record) else { return }
        // The size is the end of what is in doubt; nothing behind it is, once it is set.
        _ = try accepting(record.object, ByteRange(record.length, .max)) { () throws(ReplayError) in
            try calling { () throws(SystemError) in try truncate(file, to: record.length) }
        }
    }

    func truncate(_ file: Int32, to bytes: UInt64) throws(SystemError) {
        if ftruncate(file, off_t(bytes)) < 0 { throw SystemError.current("truncate") }
    }

    func allocate(_ record: Record) throws(ReplayError) {
        // linux/falloc.h
        let keepSize: UInt64 = 1, punchHole: UInt64 = 2, collapse: UInt64 = 8, zeroRange: UInt64 = 16, insert: UInt64 = 32,
            unshare: UInt64 = 64
        let mode = record.argument
        guard mode & (collapse | insert) == 0, mode & ~(keepSize | punchHole | zeroRange | unshare) == 0 else {
            throw .unsupported("fallocate mode \(mode)", at: position)
        }
        guard let file = try target(record) else { return }
        let range = ByteRange(offset: record.offset, count: record.length)
        let size = try calling { () throws(SystemError) in try FileStatus.of(file).size }
        let changesBytes = mode & (punchHole | zeroRange) != 0
        let changed = changesBytes ? range : ByteRange(min(max(range.lowerBound, size), range.upperBound), range.upperBound)
        _ = try accepting(record.object, changed, settles: changesBytes) { () throws(ReplayError) in
            // Such a call fails everywhere.
            guard range.upperBound <= UInt64(Int64.max), record.length > 0 else { throw refused("fallocate", record.object, EFBIG) }
            var result = lockstep_fallocate(file, Int32(mode), Int64(record.offset), Int64(record.length))
            if result == 0 { return }
            // The bytes must be the same; the space behind them is the primary's promise, not this node's.
            let isFull = result == -ENOSPC || result == -EDQUOT
            if isFull && changesBytes {
                result = lockstep_fallocate(file, Int32(punchHole | keepSize), Int64(record.offset), Int64(record.length))
            }
            guard result == 0 || result == -EOPNOTSUPP || isFull && !changesBytes else {
                throw refused("fallocate", record.object, -result)
            }
            if result == -EOPNOTSUPP && changesBytes { try zero(file, record.offset, min(range.upperBound, size)) }
            if mode & (keepSize | punchHole) == 0 && range.upperBound > size {
                try calling { () throws(SystemError) in try truncate(file, to: range.upperBound) }
            }
        }
    }

    private func refused(_ call: String, _ object: ObjectID, _ code: Int32) -> ReplayError {
        .refused(SystemError(call, shown(object), code: code), at: position)
    }

    /// Runs a call that makes `range` of a file as it is on the primary. False: the file system refused it, as the
    /// primary's may have done (Refusals.swift).
    private func accepting(
        _ object: ObjectID, _ range: ByteRange, settles: Bool = true, _ body: () throws(ReplayError) -> Void
    ) throws(ReplayError) -> Bool {
        do throws(ReplayError) { try body() } catch {
            guard case .refused(let reason, _) = error, Refusals.codes.contains(reason.code) else { throw error }
            counts.refused += 1
            // Without a name nothing is compensated: its bytes are not to come back.
            if limbo.contains(object) { try purge(object) } else {
                refusals.insert(Refusals.Refusal(object: object, range: range, position: position, code: reason.code))
            }
            return false
        }
        if settles && !refusals.isEmpty { refusals.settle(object, range) }
        return true
    }

    func changeMode(_ record: Record) throws(ReplayError) {
        guard let object = try known(record) else { return }
        if table.kind(of: object) == .symbolicLink { return }
        try setMode(object, record.mode)
    }

    func changeOwner(_ record: Record) throws(ReplayError) {
        guard let object = try known(record) else { return }
        try setOwner(object, record.owner, record.group)
        // Changing the owner of a program takes its set-user-id bits away; the table still has them if it was not so.
        guard table.kind(of: object) != .symbolicLink else { return }
        let status = try status(of: object)
        own[object]?.mode = UInt16(status.mode & 0o7777)
    }

    func changeTimes(_ record: Record) throws(ReplayError) {
        guard let object = try known(record) else { return }
        if table.kind(of: object) == .symbolicLink {
            let place = try place(of: object)
            try calling { () throws(SystemError) in try place.setModificationTime(record.modificationTime) }
        } else if futimens(try descriptor(object), Place.times(record.modificationTime)) < 0 {
            throw .refused(SystemError.current("set the time of", shown(object)), at: position)
        }
    }

    // MARK: mode and owner

    /// As recorded, whatever umask and set-group-id directories made of it.
    func setOwnerAndMode(_ object: ObjectID, _ record: Record) throws(ReplayError) {
        // The owner first: changing it takes set-user-id bits away.
        try setOwner(object, record.owner, record.group)
        if table.kind(of: object) != .symbolicLink { try setMode(object, record.mode) }
    }

    private func setMode(_ object: ObjectID, _ mode: UInt32) throws(ReplayError) {
        if table.isRoot(object) || cache[object] != nil {
            if fchmod(try descriptor(object), mode & 0o7777) < 0 {
                throw .refused(SystemError.current("change the mode of", shown(object)), at: position)
            }
        } else {
            // By name: an unprivileged owner may not be able to open it.
            let place = try place(of: object)
            guard try isSame(object, place) else { throw .inconsistent("somebody else replaced \(shown(object))", at: position) }
            try calling { () throws(SystemError) in try place.setMode(mode & 0o7777) }
        }
        own[object]?.mode = UInt16(mode & 0o7777)
    }

    private func setOwner(_ object: ObjectID, _ owner: UInt32, _ group: UInt32) throws(ReplayError) {
        let status = try status(of: object)
        let ownerDiffers = owner != .max && status.owner != owner, groupDiffers = group != .max && status.group != group
        guard ownerDiffers || groupDiffers else { return }
        let result =
            table.isRoot(object)
            ? fchown(try descriptor(object), owner, group)
            : try calling { () throws(SystemError) in
                do throws(SystemError) { try place(setting: object).setOwner(owner, group) } catch {
                    guard error.code == EPERM && !mayChown else { throw error }
                    counts.ownersRefused += 1
                }
                return 0
            }
        if result < 0 {
            guard errno == EPERM && !mayChown else {
                throw .refused(SystemError.current("change the owner of", shown(object)), at: position)
            }
            counts.ownersRefused += 1
        }
    }

    private func place(setting object: ObjectID) throws(SystemError) -> Place {
        do throws(ReplayError) { return try place(of: object) } catch {
            throw SystemError("find", shown(object), code: ENOENT)
        }
    }

    func status(of object: ObjectID) throws(ReplayError) -> lockstep_status {
        if let open = table.isRoot(object) ? try descriptor(object) : cache[object] {
            let atEmptyPath: Int32 = 0x1000  // AT_EMPTY_PATH, which glibc's module does not have
            var found = lockstep_status()
            let result = lockstep_statx(open, "", atEmptyPath, UInt32(LOCKSTEP_STATUS_NO_TIMES), &found)
            if result < 0 { throw .refused(SystemError("stat", shown(object), code: -result), at: position) }
            return found
        }
        let place = try place(of: object)
        return try calling { () throws(SystemError) in try place.status() }
    }

    private func isSame(_ object: ObjectID, _ place: Place) throws(ReplayError) -> Bool {
        try calling { () throws(SystemError) in
            let inode = try place.status().inode, generation = try place.generation()
            return inode == own[object]?.inode && generation == own[object]?.generation
        }
    }

    // MARK: objects of records

    /// The open file that the record is about; nil: the record is to be ignored.
    private func target(_ record: Record) throws(ReplayError) -> Int32? {
        guard let object = try known(record) else { return nil }
        guard table.kind(of: object) == .file else {
            throw .inconsistent("bytes for \(shown(object)), which is no file", at: position)
        }
        return try descriptor(object)
    }

    func known(_ record: Record) throws(ReplayError) -> ObjectID? {
        if own[record.object] != nil { return record.object }
        if removed.contains(record.object) {
            removed.insert(record.object)  // still in use: young again
            counts.ignored += 1
            return nil
        }
        if copying {
            counts.ignored += 1  // the copy reads it later
            return nil
        }
        throw .inconsistent("unknown object: \(shown(record.object))", at: position)
    }

    private func put(_ bytes: UnsafeRawBufferPointer, _ file: Int32, _ offset: UInt64) throws(ReplayError) {
        var done = 0
        while done < bytes.count {
            let count = pwrite(file, bytes.baseAddress! + done, bytes.count - done, off_t(offset) + off_t(done))
            if count > 0 {
                done += count
            } else if count == 0 || errno != EINTR {
                throw .refused(SystemError("write", "", code: count == 0 ? EIO : errno), at: position)
            }
        }
    }

    private func zero(_ file: Int32, _ start: UInt64, _ end: UInt64) throws(ReplayError) {
        guard start < end else { return }
        let zeros = [UInt8](repeating: 0, count: Int(min(end - start, 1 << 20)))
        var offset = start
        while offset < end {
            let count = Int(min(end - offset, UInt64(zeros.count)))
            var failure: ReplayError?
            zeros.withUnsafeBytes { bytes in
                do throws(ReplayError) { try put(UnsafeRawBufferPointer(rebasing: bytes[..<count]), file, offset) } catch {
                    failure = error
                }
            }
            if let failure { throw failure }
            offset += UInt64(count)
        }
    }
}
