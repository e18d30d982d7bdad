import CCaptureABI
import Capture
import CLinux
import Glibc
import Platform
import Primitives

/// A process as the preload library makes it, one step at a time: it resolves paths, publishes an intent, makes the call
/// relative to the directory that it resolved, looks what it made, and says that it is done. A test puts the steps of
/// several of them, and the daemon's turns, into any order.
final class Process {
    enum Verb {
        case create(String), mkdir(String), symlink(String), unlink(String), rmdir(String), rename(String, String), link(String, String)
        case write(String, String), barrier
        case writeAt(String, Int, String), append(String, String), truncate(String, Int)
        /// fallocate: mode, offset, count.
        case allocate(String, Int32, Int, Int)
    }

    enum Step { case idle, published, called, looked }

    private(set) var step = Step.idle
    private(set) var producer: Producer
    private let root: String
    private var verb = Verb.barrier
    private var index: UInt32 = 0
    private(set) var sequence: UInt64 = 0
    private var result: Int64 = 0
    private var actualOffset: UInt64 = 0
    private var made = lockstep_object()
    private var madeMode: UInt32 = 0
    /// Directories or files held for the call, as the library holds them.
    private var held: [Int32] = []

    init(_ producer: Producer, root: String) {
        self.producer = producer
        self.root = root
    }

    deinit { for descriptor in held { close(descriptor) } }

    /// Resolves, and publishes; false: it is answered without a call, since there is nothing at a path.
    func publish(_ verb: Verb) -> Bool {
        precondition(step == .idle)
        self.verb = verb
        result = 0
        made = lockstep_object()
        madeMode = 0
        var intent = lockstep_intent()
        intent.block = .max
        intent.mode = 0o644
        var names: [String] = []
        var payload = ""
        switch verb {
        case .create(let path):
            intent.kind = UInt16(LOCKSTEP_KIND_CREATE.rawValue)
            guard hold(path, &intent.parent, &names), look(held[0], names[0]) == nil else { return giveUp() }
        case .mkdir(let path):
            intent.kind = UInt16(LOCKSTEP_KIND_MKDIR.rawValue)
            intent.mode = 0o755
            guard hold(path, &intent.parent, &names) else { return giveUp() }
        case .symlink(let path):
            intent.kind = UInt16(LOCKSTEP_KIND_SYMLINK.rawValue)
            guard hold(path, &intent.parent, &names) else { return giveUp() }
        case .unlink(let path), .rmdir(let path):
            if case .rmdir = verb { intent.kind = UInt16(LOCKSTEP_KIND_RMDIR.rawValue) } else { intent.kind = UInt16(LOCKSTEP_KIND_UNLINK.rawValue) }
            guard hold(path, &intent.parent, &names), let there = look(held[0], names[0]) else { return giveUp() }
            intent.object = there.object
        case .rename(let path, let target):
            intent.kind = UInt16(LOCKSTEP_KIND_RENAME.rawValue)
            guard hold(path, &intent.parent, &names), hold(target, &intent.target_parent, &names), let there = look(held[0], names[0])
            else { return giveUp() }
            intent.object = there.object
        case .link(let path, let target):
            intent.kind = UInt16(LOCKSTEP_KIND_LINK.rawValue)
            var ignored = lockstep_object()
            guard hold(path, &ignored, &names), let there = look(held[0], names[0]), there.mode & S_IFMT == S_IFREG else { return giveUp() }
            let file = openat(held[0], names[0], 0o10000000 /* O_PATH */ | O_NOFOLLOW | O_CLOEXEC)
            guard file >= 0 else { return giveUp() }
            close(held[0])
            held[0] = file
            names = []
            guard hold(target, &intent.target_parent, &names), let again = look("/proc/self/fd/\(file)") else { return giveUp() }
            intent.object = again.object
            intent.mode = again.mode
            names = ["", names[0]]
        case .write(let path, let text):
            intent.kind = UInt16(LOCKSTEP_KIND_WRITE.rawValue)
            let file = open(root + "/" + path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC)
            guard file >= 0 else { return giveUp() }
            held = [file]
            guard let there = look("/proc/self/fd/\(file)"), there.mode & S_IFMT == S_IFREG else { return giveUp() }
            intent.object = there.object
            intent.length = UInt64(text.utf8.count)
            payload = text
        case .writeAt(let path, _, _), .append(let path, _), .truncate(let path, _), .allocate(let path, _, _, _):
            let file = open(root + "/" + path, O_RDWR | O_NOFOLLOW | O_CLOEXEC)
            guard file >= 0 else { return giveUp() }
            held = [file]
            guard let there = look("/proc/self/fd/\(file)"), there.mode & S_IFMT == S_IFREG else { return giveUp() }
            intent.object = there.object
            intent.kind = UInt16(LOCKSTEP_KIND_WRITE.rawValue)
            switch verb {
            case .writeAt(_, let offset, let text):
                intent.offset = UInt64(offset)
                payload = text
            case .append(_, let text):
                // A lock is taken over at its bound: the prediction may be wrong.
                intent.offset = UInt64(lseek(file, 0, SEEK_END))
                intent.flags = UInt16(LOCKSTEP_FLAG_PREDICTED | LOCKSTEP_FLAG_APPEND)
                payload = text
            case .truncate(_, let size):
                intent.kind = UInt16(LOCKSTEP_KIND_TRUNCATE.rawValue)
                intent.length = UInt64(size)
            case .allocate(_, let mode, let offset, let count):
                intent.kind = UInt16(LOCKSTEP_KIND_ALLOCATE.rawValue)
                (intent.argument, intent.offset, intent.length) = (UInt64(mode), UInt64(offset), UInt64(count))
            default: break
            }
            if !payload.isEmpty { intent.length = UInt64(payload.utf8.count) }
        case .barrier: intent.kind = UInt16(LOCKSTEP_KIND_BARRIER.rawValue)
        }
        if case .symlink = verb { payload = "f0" }
        intent.payload_bytes = UInt32(payload.utf8.count)
        if case .symlink = verb { intent.block = 0 }  // a name and a payload never lie in the inline bytes together
        intent.name_bytes = UInt16(names.first?.utf8.count ?? 0)
        intent.target_name_bytes = UInt16(names.count > 1 ? names[1].utf8.count : 0)
        guard producer.intentsFree != 0, producer.reserved - producer.consumed < UInt64(producer.memory.slots) else { return giveUp() }
        index = producer.fill { $0 = intent }
        let inline = producer.arena + Producer.Offset.inlines + Int(index) * 1024
        func put(_ text: String, _ at: UnsafeMutableRawPointer) {
            for (offset, byte) in text.utf8.enumerated() { at.storeBytes(of: byte, toByteOffset: offset, as: UInt8.self) }
        }
        if let name = names.first { put(name, inline) }
        if names.count > 1 { put(names[1], inline + 256) }
        put(payload, intent.block == 0 ? producer.arena + Producer.Offset.blocks : inline)
        sequence = producer.reserve()!
        precondition(producer.publish(sequence, index))
        step = .published
        return true
    }

    func call() {
        precondition(step == .published)
        func name(_ path: String) -> String { String(path[(path.lastIndex(of: "/").map(path.index(after:)) ?? path.startIndex)...]) }
        let code: Int32
        switch verb {
        case .create(let path):
            code = openat(held[0], name(path), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0o644)
            // What it opened is what it made, wherever that lies now.
            if code >= 0 {
                held.append(code)
                if let there = look("/proc/self/fd/\(code)") { (made, madeMode) = (there.object, there.mode) }
            }
        case .mkdir(let path): code = mkdirat(held[0], name(path), 0o755)
        case .symlink(let path): code = symlinkat("f0", held[0], name(path))
        case .unlink(let path): code = unlinkat(held[0], name(path), 0)
        case .rmdir(let path): code = unlinkat(held[0], name(path), 0x200 /* AT_REMOVEDIR */)
        case .rename(let path, let target): code = renameat(held[0], name(path), held[1], name(target))
        case .link(_, let target): code = linkat(AT_FDCWD, "/proc/self/fd/\(held[0])", held[1], name(target), 0x400 /* AT_SYMLINK_FOLLOW */)
        case .write(_, let text): code = Int32(pwrite(held[0], text, text.utf8.count, 0))
        case .writeAt(_, let offset, let text): code = Int32(pwrite(held[0], text, text.utf8.count, off_t(offset)))
        case .append(_, let text):
            actualOffset = UInt64(lseek(held[0], 0, SEEK_END))
            code = Int32(pwrite(held[0], text, text.utf8.count, off_t(actualOffset)))
        case .truncate(_, let size): code = ftruncate(held[0], off_t(size))
        case .allocate(_, let mode, let offset, let count):
            code = lockstep_fallocate(held[0], mode, Int64(offset), Int64(count))
            if code < 0 { errno = -code }
        case .barrier: code = 0
        }
        result = code >= 0 ? Int64(code) : -Int64(errno)
        step = .called
    }

    /// What it made is looked at by name: it may be gone, or another's.
    func look() {
        precondition(step == .called)
        if result >= 0 {
            switch verb {
            case .mkdir(let path), .symlink(let path):
                let name = String(path[(path.lastIndex(of: "/").map(path.index(after:)) ?? path.startIndex)...])
                if let there = look(held[0], name) { (made, madeMode) = (there.object, there.mode) }
            default: break
            }
        }
        step = .looked
    }

    func end() {
        precondition(step == .looked)
        var intent = producer.load(index)
        intent.actual_offset = intent.flags == 0 ? intent.offset : actualOffset
        intent.outcome = made
        intent.outcome_mode = madeMode
        intent.outcome_owner = geteuid()
        intent.outcome_group = getegid()
        producer.store(intent, index)
        producer.end(index, result: result)
        _ = giveUp()
    }

    /// The next step of a call that was published.
    func proceed() {
        switch step {
        case .idle: break
        case .published: call()
        case .called: look()
        case .looked: end()
        }
    }

    func finish() { while step != .idle { proceed() } }

    private func giveUp() -> Bool {
        for descriptor in held { close(descriptor) }
        held = []
        step = .idle
        return false
    }

    /// Opens the directory of `path` and identifies it.
    private func hold(_ path: String, _ parent: inout lockstep_object, _ names: inout [String]) -> Bool {
        let slash = path.lastIndex(of: "/")
        let directory = slash.map { root + "/" + path[..<$0] } ?? root
        let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        held.append(descriptor)
        guard let there = look("/proc/self/fd/\(descriptor)") else { return false }
        parent = there.object
        names.append(String(path[(slash.map(path.index(after:)) ?? path.startIndex)...]))
        return true
    }

    private func look(_ directory: Int32, _ name: String) -> (object: lockstep_object, mode: UInt32)? {
        var status = lockstep_status()
        var generation: UInt32 = 0
        guard lockstep_statx(directory, name, AT_SYMLINK_NOFOLLOW, UInt32(LOCKSTEP_STATUS_NO_TIMES), &status) == 0,
            lockstep_generation(directory, name, &generation) == 0
        else { return nil }
        return (lockstep_object(inode: status.inode, generation: generation, root: 0), status.mode)
    }

    private func look(_ magic: String) -> (object: lockstep_object, mode: UInt32)? {
        let descriptor = Int32(magic.dropFirst("/proc/self/fd/".count))!
        var status = lockstep_status()
        var generation: UInt32 = 0
        guard lockstep_statx(descriptor, "", 0x1000, UInt32(LOCKSTEP_STATUS_NO_TIMES), &status) == 0,
            lockstep_generation(descriptor, "", &generation) == 0
        else { return nil }
        return (lockstep_object(inode: status.inode, generation: generation, root: 0), status.mode)
    }
}
