import CProcess
import Glibc

/// A process that can't be mistaken for another: its number and the moment it started (/proc/PID/stat, field 22).
struct ProcessIdentity: Codable, Hashable {
    var pid: Int32
    var start: UInt64

    /// Nil when there is no such process, or only what is left of it until its parent looks.
    init?(of pid: Int32) {
        guard let entry = ProcessEntry(pid: pid), !entry.isDead else { return nil }
        self = entry.identity
    }

    init(pid: Int32, start: UInt64) {
        self.pid = pid
        self.start = start
    }

    var isAlive: Bool { ProcessIdentity(of: pid) == self }

    /// Sends a signal to this process and never to one that got its number later.
    func signal(_ signal: Int32) {
        var descriptor: Int32 = -1
        guard cprocess_open(pid, &descriptor) == 0 else { return }
        defer { close(descriptor) }
        // The descriptor is bound before the look: if the start time fits now, the descriptor means this process.
        if isAlive { _ = cprocess_signal(descriptor, signal) }
    }

    /// Waits until the process ended with all its threads; false when it still lives at the bound. A process whose first thread
    /// is a zombie may still hold files and locks.
    func waitUntilDead(within bound: Duration) -> Bool {
        let deadline = ContinuousClock.now + bound
        var descriptor: Int32 = -1
        guard cprocess_open(pid, &descriptor) == 0 else { return !isAlive }
        defer { close(descriptor) }
        // The descriptor is bound before the look, as in `signal`.
        guard ProcessEntry(pid: pid)?.identity == self else { return true }
        while true {
            let left = max(.zero, ContinuousClock.now.duration(to: deadline))
            var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            if poll(&entry, 1, Int32(clamping: left.components.seconds * 1000 + left.components.attoseconds / 1_000_000_000_000_000 + 1)) > 0 { return true }
            if ContinuousClock.now >= deadline { return false }
        }
    }
}

/// One line of /proc/PID/stat.
struct ProcessEntry {
    var identity: ProcessIdentity
    var parent: Int32
    /// Ended, and not yet waited for.
    var isDead: Bool

    init?(pid: Int32) {
        guard let bytes = readSmallFile("/proc/\(pid)/stat"),
            // The program's name stands in parentheses and may hold anything, parentheses too.
            let end = bytes.lastIndex(of: UInt8(ascii: ")"))
        else { return nil }
        let fields = bytes[(end + 1)...].split(separator: UInt8(ascii: " "))
        guard fields.count > 19, let state = fields[0].first, let parent = Int32(String(decoding: fields[1], as: UTF8.self)),
            let start = UInt64(String(decoding: fields[19], as: UTF8.self))
        else { return nil }
        identity = ProcessIdentity(pid: pid, start: start)
        self.parent = parent
        isDead = state == UInt8(ascii: "Z") || state == UInt8(ascii: "X")
    }
}

/// A file of /proc, which is read whole and knows no size. Nil when it can't be read.
func readSmallFile(_ path: String) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    if descriptor < 0 { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 4096)
    while true {
        let count = read(descriptor, &piece, piece.count)
        if count < 0 { return nil }
        if count == 0 { return bytes }
        bytes.append(contentsOf: piece[..<count])
    }
}

/// The last line of a log; nil when there is none.
func lastLine(of path: String, from offset: Int = 0) -> String? {
    let lines = (readSmallFile(path) ?? []).dropFirst(offset).split(separator: 0x0a)
    return lines.last.map { String(decoding: $0, as: UTF8.self) }
}
