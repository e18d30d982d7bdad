import CLinux
import Glibc
import Platform

/// Processes outside the capture that opened a file in a root, and whether they write to it.
///
///     opened --20 ms--> has it open for writing? --no--> 300 ms --> once more --no--> forgotten
///                          | yes                                      (an open that has not returned shows nothing yet)
///                          v
///                       named; then every second: still? --no--> written
///                          | yes, and the file changed, or it is mapped
///                          v
///                       written, and it goes on
struct OpenWriters {
    private struct Key: Hashable {
        var pid: Int32
        var inode: UInt64
    }
    private struct Writer {
        var change: OutsideChange
        var handle: lockstep_handle
        var root: Watcher.Root
        var due: UInt64
        var looks = 0
        var isKnown = false
        /// Size and change time when it was last told.
        var state: (UInt64, Int64)?
    }

    private var writers: [Key: Writer] = [:]
    static let writersMax = 1024
    var isEmpty: Bool { writers.isEmpty }

    mutating func opened(_ change: OutsideChange, handle: lockstep_handle, root: Watcher.Root) {
        let key = Key(pid: change.pid, inode: handle.inode)
        if writers[key] != nil { return }
        // Beyond it openings are not followed: their ends are events all the same.
        guard writers.count < OpenWriters.writersMax else { return }
        writers[key] = Writer(change: change, handle: handle, root: root, due: Clock.monotonic + 20_000_000)
    }

    /// Its last descriptor is closed; it may have the file open once more.
    mutating func closed(pid: Int32, _ inode: UInt64) {
        let key = Key(pid: pid, inode: inode)
        guard writers[key] != nil else { return }
        writers[key]!.due = 0
    }

    /// What was told may have been lost.
    mutating func tellAgain() {
        for key in writers.keys {
            writers[key]!.isKnown = false
            writers[key]!.looks = 0
            writers[key]!.due = 0
        }
    }

    /// What is to be told now.
    mutating func due(now: UInt64, processes: inout SeenProcesses) -> [OutsideChange] {
        var told: [OutsideChange] = []
        for (key, entry) in writers where entry.due <= now {
            var writer = entry
            var isMapped = false
            let result = lockstep_process_writes(key.pid, writer.root.device, key.inode, &isMapped)
            // One with too many descriptors to look at may write.
            guard result > 0 || result == -E2BIG else {
                writer.looks += 1
                if !writer.isKnown, result == 0, writer.looks < 2 {
                    writer.due = now + 300_000_000
                    writers[key] = writer
                    continue
                }
                writers[key] = nil
                if writer.isKnown {
                    writer.change.what = .written
                    told.append(writer.change)
                }
                continue
            }
            var status = lockstep_status()
            let isThere = OpenFile.status(writer.root.descriptor, &writer.handle, &status)
            let state = (status.size, status.changed_nanoseconds)
            if case .outside(let program) = processes.look(at: key.pid) { writer.change.program = program }
            var change = writer.change
            change.what = .opened
            if isThere, isMapped || writer.state.map({ $0 != state }) ?? true { change.what.insert(.written) }
            if change.what != .opened || !writer.isKnown { told.append(change) }
            writer.isKnown = true
            writer.state = state
            // Each time costs the file's bytes: a large one is shipped less often.
            writer.due = now + 1_000_000_000 + status.size / (64 << 20) * 1_000_000_000
            writers[key] = writer
        }
        return told
    }
}

/// Files by handle and descriptor.
enum OpenFile {
    static func status(_ mount: Int32, _ handle: inout lockstep_handle, _ status: inout lockstep_status) -> Bool {
        let descriptor = lockstep_open_handle(mount, &handle)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        return lockstep_statx(descriptor, "", Int32(LOCKSTEP_AT_EMPTY_PATH), UInt32(LOCKSTEP_STATUS_CHANGED), &status) == 0
    }

    /// Nil: it is gone.
    static func path(_ mount: Int32, _ handle: inout lockstep_handle) -> String? {
        let descriptor = lockstep_open_handle(mount, &handle)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 4096) { buffer in
            let count = readlink("/proc/self/fd/\(descriptor)", buffer.baseAddress!, buffer.count)
            guard count > 0, count < buffer.count else { return nil }
            let path = String(decoding: UnsafeRawBufferPointer(start: buffer.baseAddress, count: count), as: UTF8.self)
            // Removed while it is open somewhere.
            return path.hasSuffix(" (deleted)") ? nil : path
        }
    }
}
