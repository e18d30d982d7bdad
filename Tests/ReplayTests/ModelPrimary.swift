import CLinux
import Glibc
import Platform
import Primitives
import Replay

/// A "primary": random operations are carried out in a directory, and each gives the records that the stream would have.
///
/// A part of the name operations is recorded as tentative, with the outcome some operations later, as when a caller is
/// slow to say that it is done; some of them have failed.
struct ModelPrimary {
    struct Entry {
        var record: Record
        var payload: [UInt8]
    }

    let root: String
    private var random: SplitMix
    private(set) var journal: [Entry] = []
    private var position: UInt64
    private var files: [String] = []
    private var directories: [String] = [""]
    private var links: [String] = []
    /// Open files without a name.
    private var nameless: [(descriptor: Int32, object: ObjectID)] = []
    private var outcomes: [(due: Int, record: Record)] = []
    private var serial = 0
    private(set) var operations = 0
    private let tentativePercent: Int

    init(root: String, seed: UInt64, from position: UInt64, tentativePercent: Int) {
        self.root = root
        random = SplitMix(seed)
        self.position = position
        self.tentativePercent = tentativePercent
    }

    /// One operation; the records are appended to the journal.
    mutating func step() {
        operations += 1
        switch random.next(100) {
        case 0..<14: create()
        case 14..<45: write()
        case 45..<51: truncate()
        case 51..<62: rename()
        case 62..<70: unlinkFile()
        case 70..<76: makeDirectory()
        case 76..<80: removeDirectory()
        case 80..<84: makeLink()
        case 84..<88: makeSymbolicLink()
        case 88..<92: changeMode()
        case 92..<94: writeNameless()
        case 94..<97: punch()
        default: failing()
        }
        let due = outcomes.filter { $0.due <= operations }
        outcomes.removeAll { $0.due <= operations }
        for outcome in due { append(outcome.record) }
    }

    /// What still waits for its outcome gets it.
    mutating func settle() {
        for outcome in outcomes { append(outcome.record) }
        outcomes.removeAll()
    }

    mutating func end() { for file in nameless { close(file.descriptor) } }

    // MARK: operations

    private mutating func create() {
        let path = newPath()
        let mode = random.chance(20) ? mode_t(0o600) : 0o644
        let descriptor = open(full(path), O_CREAT | O_EXCL | O_RDWR, mode)
        precondition(descriptor >= 0)
        files.append(path)
        close(descriptor)
        var record = Record(.create)
        record.mode = modeOf(path)
        naming(&record, path)
        record.object = object(path)
        appendName(record)
    }

    private mutating func write() {
        guard let path = any(files) else { return create() }
        let text = [UInt8](repeating: UInt8(0x61 + random.next(26)), count: 1 + random.next(random.chance(10) ? 20_000 : 300))
        let offset = random.next(5_000)
        let descriptor = open(full(path), O_WRONLY)
        precondition(pwrite(descriptor, text, text.count, off_t(offset)) == text.count)
        close(descriptor)
        var record = Record(.write)
        record.object = object(path)
        record.offset = UInt64(offset)
        append(record, text)
    }

    private mutating func truncate() {
        guard let path = any(files) else { return }
        let size = random.next(8_000)
        precondition(Glibc.truncate(full(path), off_t(size)) == 0)
        var record = Record(.truncate)
        record.object = object(path)
        record.length = UInt64(size)
        append(record)
    }

    private mutating func punch() {
        guard let path = any(files) else { return }
        let descriptor = open(full(path), O_RDWR)
        let offset = random.next(4_000), count = 1 + random.next(3_000)
        // Keeping the size, as a hole does: zeros up to the end.
        var status = stat()
        fstat(descriptor, &status)
        let end = min(Int(status.st_size), offset + count)
        if end > offset {
            let zeros = [UInt8](repeating: 0, count: end - offset)
            precondition(pwrite(descriptor, zeros, zeros.count, off_t(offset)) == zeros.count)
        }
        close(descriptor)
        var record = Record(.allocate)
        record.object = object(path)
        record.offset = UInt64(offset)
        record.length = UInt64(count)
        record.argument = 3
        append(record)
    }

    private mutating func rename() {
        let movesDirectory = random.chance(25) && directories.count > 1
        guard let from = movesDirectory ? directories[1 + random.next(directories.count - 1)] : any(files) else { return }
        let inside = { (path: String) in path == from || path.hasPrefix(from + "/") }
        var record = Record(.rename)
        let to: String
        if random.chance(30), let other = any(movesDirectory ? directories.filter { $0 != "" } : files), !inside(other),
            !from.hasPrefix(other + "/")
        {
            if random.chance(50) || movesDirectory { record.argument = 2 }
            to = other
        } else {
            to = newPath()
        }
        guard !inside(to) else { return }
        record.object = object(from)
        let isExchange = record.argument == 2
        let samePlace = inode(full(from)) == inode(full(to))
        naming(&record, from)
        let (parent, name) = split(to)
        record.targetParent = object(parent)
        record.targetName = Array(name.utf8)
        let result =
            isExchange
            ? renameat2(full(from), full(to))
            : Glibc.rename(full(from), full(to))
        precondition(result == 0, "rename \(from) \(to): \(errno)")
        if !samePlace {
            if isExchange {
                exchange(from, to)
            } else {
                files.removeAll { $0 == to }
                move(from, to)
            }
        }
        appendName(record)
    }

    private mutating func unlinkFile() {
        let isLink = random.chance(20)
        guard let path = isLink ? any(links) : any(files) else { return }
        var record = Record(.unlink)
        naming(&record, path)
        record.object = object(path)
        if !isLink && random.chance(30) && nameless.count < 8 && links(path) == 1 {
            nameless.append((open(full(path), O_RDWR), object(path)))
        }
        precondition(Glibc.unlink(full(path)) == 0)
        files.removeAll { $0 == path }
        links.removeAll { $0 == path }
        appendName(record)
    }

    private mutating func makeDirectory() {
        let path = newPath()
        precondition(mkdir(full(path), 0o755) == 0)
        directories.append(path)
        var record = Record(.mkdir)
        record.mode = modeOf(path)  // with the set-group-id bit of the parent
        naming(&record, path)
        record.object = object(path)
        appendName(record)
    }

    private mutating func removeDirectory() {
        guard let path = any(directories.filter { $0 != "" }) else { return }
        var record = Record(.rmdir)
        naming(&record, path)
        record.object = object(path)
        if rmdir(full(path)) == 0 {
            directories.removeAll { $0 == path }
            appendName(record)
        } else {
            appendName(record, succeeded: false)
        }
    }

    private mutating func makeLink() {
        guard let path = any(files) else { return }
        let to = newPath()
        precondition(link(full(path), full(to)) == 0)
        files.append(to)
        var record = Record(.link)
        record.object = object(path)
        let (parent, name) = split(to)
        record.targetParent = object(parent)
        record.targetName = Array(name.utf8)
        appendName(record)
    }

    private mutating func makeSymbolicLink() {
        let path = newPath()
        let target = ["../x", "/etc/passwd", "..", "missing"][random.next(4)]
        precondition(symlink(target, full(path)) == 0)
        links.append(path)
        var record = Record(.symlink)
        naming(&record, path)
        record.object = object(path)
        appendName(record, payload: Array(target.utf8))
    }

    private mutating func changeMode() {
        guard let path = random.chance(70) ? any(files) : any(directories.filter { $0 != "" }) else { return }
        let mode = [mode_t(0o600), 0o755, 0o2750, 0o444][random.next(4)]
        precondition(chmod(full(path), mode) == 0)
        var record = Record(.chmod)
        record.object = object(path)
        record.mode = UInt32(mode)
        append(record)
    }

    private mutating func writeNameless() {
        guard !nameless.isEmpty else { return }
        let file = nameless[random.next(nameless.count)]
        var record = Record(.write)
        record.object = file.object
        append(record, Array("nobody sees this".utf8))
    }

    /// Operations that the kernel refuses: tentative, then dropped.
    private mutating func failing() {
        guard let path = any(files) else { return }
        var record = Record(random.chance(50) ? .mkdir : .create)
        naming(&record, path)
        appendName(record, succeeded: false)
    }

    // MARK: records

    private mutating func append(_ record: Record, _ payload: [UInt8] = []) {
        var record = record
        position += 1
        record.position = StreamPosition(position)
        record.payloadBytes = UInt32(payload.count)
        if record.kind != .outcome {
            record.owner = geteuid()
            record.group = getegid()
        }
        journal.append(Entry(record: record, payload: payload))
    }

    private mutating func appendName(_ record: Record, payload: [UInt8] = [], succeeded: Bool = true) {
        guard random.chance(tentativePercent) || !succeeded else {
            append(record, payload)
            return
        }
        var first = record, outcome = Record(.outcome)
        first.flags = .tentative
        if [.create, .mkdir, .symlink].contains(record.kind) {
            first.object = .none
            outcome.object = record.object
        }
        outcome.mode = record.mode
        outcome.owner = geteuid()
        outcome.group = getegid()
        outcome.flags = succeeded ? .succeeded : []
        append(first, payload)
        outcome.argument = position
        outcomes.append((operations + random.next(9), outcome))
    }

    private func naming(_ record: inout Record, _ path: String) {
        let (parent, name) = split(path)
        record.parent = object(parent)
        record.name = Array(name.utf8)
    }

    // MARK: paths, relative to the root

    private mutating func newPath() -> String {
        serial += 1
        let directory = directories[random.next(directories.count)]
        return (directory.isEmpty ? "" : directory + "/") + "n\(serial)"
    }

    private mutating func any(_ paths: [String]) -> String? { paths.isEmpty ? nil : paths[random.next(paths.count)] }
    private func full(_ path: String) -> String { path.isEmpty ? root : root + "/" + path }

    private func split(_ path: String) -> (String, String) {
        guard let slash = path.lastIndex(of: "/") else { return ("", path) }
        return (String(path[..<slash]), String(path[path.index(after: slash)...]))
    }

    private mutating func move(_ from: String, _ to: String) {
        func moved(_ path: String) -> String {
            path == from ? to : path.hasPrefix(from + "/") ? to + path.dropFirst(from.count) : path
        }
        files = files.map(moved)
        directories = directories.map(moved)
        links = links.map(moved)
    }

    private mutating func exchange(_ a: String, _ b: String) {
        move(a, "//")
        move(b, a)
        move("//", b)
    }

    func object(_ path: String) -> ObjectID {
        var status = stat()
        precondition(lstat(full(path), &status) == 0, "\(path): \(errno)")
        return ObjectID(inode: UInt64(status.st_ino), generation: try! FileStatus.generation(at: AT_FDCWD, full(path)), root: 0)
    }

    private func inode(_ path: String) -> UInt64 {
        var status = stat()
        return lstat(path, &status) == 0 ? UInt64(status.st_ino) : 0
    }

    private func modeOf(_ path: String) -> UInt32 {
        var status = stat()
        return lstat(full(path), &status) == 0 ? status.st_mode & 0o7777 : 0
    }

    private func links(_ path: String) -> Int {
        var status = stat()
        return lstat(full(path), &status) == 0 ? Int(status.st_nlink) : 0
    }

    private func renameat2(_ a: String, _ b: String) -> Int32 { lockstep_renameat2(AT_FDCWD, a, AT_FDCWD, b, 2) }
}
