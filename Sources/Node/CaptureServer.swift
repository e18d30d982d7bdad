import CCaptureABI
import CLinux
import Capture
import Glibc
import Platform

/// The socket at NODE_DIRECTORY/capture.sock where keepers connect: they get the shared memory, announce arenas, and
/// give the memory back to a daemon that was started again. Every step is one message without blocking; owned by the
/// data-plane thread.
final class CaptureServer {
    struct Keeper {
        var descriptor: Int32
        var pid: Int32
        /// It has said HELLO and was welcomed.
        var isWelcome = false
        var firstArena: UInt32 = 0
    }

    static let keepersMax = 64
    static let arenasPerKeeper: UInt32 = 16384

    let descriptor: Int32
    private(set) var keepers: [Int32: Keeper] = [:]
    private(set) var refused: UInt64 = 0
    private(set) var guards = GuardReports()
    /// Ranges of keepers that are gone, and may still have processes.
    private var orphaned: [UInt32] = []
    private var wanted: [Int32: UInt32?] = [:]
    private var freeRanges = Array((0..<UInt32(keepersMax)).reversed())
    private let log: Log

    init(directory: String, log: Log) throws {
        self.log = log
        let path = directory + "/capture.sock"
        unlink(path)
        descriptor = lockstep_unix_listen(directory, "capture.sock", Int32(SOCK_SEQPACKET.rawValue))
        guard descriptor >= 0 else { throw NodeError(71, "\(path): listening for keepers: \(describe(errno: -descriptor))") }
    }

    func close() {
        Glibc.close(descriptor)
        for keeper in keepers.values { Glibc.close(keeper.descriptor) }
        keepers = [:]
    }

    /// Accepts whoever waits; returns the new descriptors, to be polled.
    func accept() -> [Int32] {
        var accepted: [Int32] = []
        while true {
            let connection = lockstep_accept(descriptor)
            if connection < 0 { return accepted }
            var pid: Int32 = 0
            var uid: UInt32 = 0
            var gid: UInt32 = 0
            let known = lockstep_peer_credentials(connection, &pid, &uid, &gid) == 0
            guard known, uid == geteuid() || uid == 0 || geteuid() == 0, keepers.count < CaptureServer.keepersMax else {
                refuse(connection, 77, "a keeper of another user, or more than \(CaptureServer.keepersMax) keepers")
                Glibc.close(connection)
                continue
            }
            keepers[connection] = Keeper(descriptor: connection, pid: pid)
            accepted.append(connection)
        }
    }

    /// Reads what keepers sent. `hello` gets the descriptors that a keeper hands back and says which memory it gets.
    enum Event {
        case handedBack(keeper: Int32, range: UInt32?, control: Int32, ring: Int32)
        case hello(keeper: Int32, range: UInt32?)
        case arena(number: UInt32, pid: Int32, arena: Int32, process: Int32)
        case gone(keeper: Int32)
    }

    func receive(from connection: Int32) -> [Event] {
        var events: [Event] = []
        while keepers[connection] != nil {
            var message = lockstep_message()
            var descriptors: (Int32, Int32, Int32, Int32) = (-1, -1, -1, -1)
            var count: Int32 = 0
            let result = withUnsafeMutableBytes(of: &message) { bytes in
                withUnsafeMutableBytes(of: &descriptors) { list in
                    lockstep_receive_message(connection, bytes.baseAddress, bytes.count,
                        list.baseAddress!.assumingMemoryBound(to: Int32.self), &count, Int32(MSG_DONTWAIT))
                }
            }
            if result == -EAGAIN { return events }
            // Said once when a keeper ended before it had read everything; what it sent before is still there.
            if result == -ECONNRESET { continue }
            let received = [descriptors.0, descriptors.1, descriptors.2, descriptors.3].prefix(Int(count))
            func drop() { for descriptor in received { Glibc.close(descriptor) } }
            guard result == MemoryLayout<lockstep_message>.size else {
                drop()
                events.append(.gone(keeper: connection))
                return events
            }
            switch (message.type, received.count) {
            case (LOCKSTEP_MESSAGE_HELLO.rawValue, 0), (LOCKSTEP_MESSAGE_HELLO.rawValue, 2):
                guard message.abi_version == LOCKSTEP_ABI_VERSION else {
                    drop()
                    refuse(connection, 76, "ABI version \(message.abi_version) of the keeper, this daemon speaks \(LOCKSTEP_ABI_VERSION)")
                    events.append(.gone(keeper: connection))
                    return events
                }
                // The first of the arena numbers that it uses already: no other keeper may get them.
                let range = message.count > 0 ? message.arena / CaptureServer.arenasPerKeeper : nil
                events.append(received.count == 2
                    ? .handedBack(keeper: connection, range: range, control: received[0], ring: received[1])
                    : .hello(keeper: connection, range: range))
            case (LOCKSTEP_MESSAGE_ARENA.rawValue, 2):
                events.append(.arena(number: message.arena, pid: message.pid, arena: received[0],
                    process: received[1]))
            case (LOCKSTEP_MESSAGE_GUARD.rawValue, 0), (LOCKSTEP_MESSAGE_GUARDED.rawValue, 0):
                guards.take(message, from: connection)
            default:
                drop()
                refuse(connection, 76, "unknown message \(message.type) with \(received.count) descriptors")
                events.append(.gone(keeper: connection))
                return events
            }
        }
        return events
    }

    /// Gives a keeper the shared memory and a range of arena numbers of its own, the one that it had if it had one.
    func welcome(_ connection: Int32, memory: CaptureMemory, range wanted: UInt32?) {
        guard var keeper = keepers[connection], !keeper.isWelcome else { return }
        // The same keeper, back after its connection broke.
        if let wanted, let known = orphaned.firstIndex(of: wanted) {
            orphaned.remove(at: known)
            freeRanges.append(wanted)
        }
        if let wanted, !freeRanges.contains(wanted) {
            refuse(connection, 76, "arena numbers from \(wanted * CaptureServer.arenasPerKeeper) on belong to another keeper")
            drop(connection)
            return
        }
        guard let range = wanted ?? freeRanges.last else { return }
        freeRanges.removeAll { $0 == range }
        keeper.isWelcome = true
        keeper.firstArena = range * CaptureServer.arenasPerKeeper
        keepers[connection] = keeper
        var message = lockstep_message()
        message.type = LOCKSTEP_MESSAGE_WELCOME.rawValue
        message.abi_version = LOCKSTEP_ABI_VERSION
        message.arena = keeper.firstArena
        message.count = CaptureServer.arenasPerKeeper
        message.pid = getpid()
        send(message, to: connection, descriptors: [memory.controlDescriptor, memory.ringDescriptor])
        log.info("keeper \(keeper.pid) connected")
    }

    /// What a keeper said before there was any memory to welcome it with.
    func remember(range: UInt32?, of connection: Int32) { wanted.updateValue(range, forKey: connection) }

    /// Welcomes everybody who said HELLO while the memory was being looked for.
    func welcomeAll(memory: CaptureMemory) {
        for (connection, range) in wanted { welcome(connection, memory: memory, range: range) }
        wanted = [:]
    }

    func refuse(_ connection: Int32, _ code: Int32, _ text: String) {
        refused += 1
        var message = lockstep_message()
        message.type = LOCKSTEP_MESSAGE_REFUSED.rawValue
        message.abi_version = LOCKSTEP_ABI_VERSION
        message.code = code
        withUnsafeMutableBytes(of: &message.text) { bytes in
            for (index, byte) in text.utf8.prefix(bytes.count - 1).enumerated() { bytes[index] = byte }
        }
        send(message, to: connection, descriptors: [])
        log.info("keeper refused: \(text)")
    }

    /// The number may be used again.
    func retired(arena number: UInt32, isUsed: (UInt32) -> Bool) {
        defer { if !orphaned.isEmpty { freeOrphaned(isUsed) } }
        for keeper in keepers.values
        where keeper.isWelcome && number >= keeper.firstArena && number - keeper.firstArena < CaptureServer.arenasPerKeeper {
            var message = lockstep_message()
            message.type = LOCKSTEP_MESSAGE_RETIRED.rawValue
            message.abi_version = LOCKSTEP_ABI_VERSION
            message.arena = number
            send(message, to: keeper.descriptor, descriptors: [])
        }
    }

    /// Its numbers are free again when no process of it is known any more: programs can outlive their keeper.
    func drop(_ connection: Int32, isUsed: (UInt32) -> Bool = { _ in false }) {
        guard let keeper = keepers.removeValue(forKey: connection) else { return }
        guards.keeperIsGone(connection)
        if keeper.isWelcome { orphaned.append(keeper.firstArena / CaptureServer.arenasPerKeeper) }
        freeOrphaned(isUsed)
        Glibc.close(connection)
        log.info("keeper \(keeper.pid) is gone")
    }

    private func freeOrphaned(_ isUsed: (UInt32) -> Bool) {
        orphaned.removeAll { range in
            let first = range * CaptureServer.arenasPerKeeper
            // A keeper uses 4096 numbers at most.
            guard !(first..<(first + 4096)).contains(where: isUsed) else { return false }
            freeRanges.append(range)
            return true
        }
    }

    private func send(_ message: lockstep_message, to connection: Int32, descriptors: [Int32]) {
        var message = message
        let result = withUnsafeBytes(of: &message) { bytes in
            descriptors.withUnsafeBufferPointer { list in
                lockstep_send_message(connection, bytes.baseAddress, bytes.count, list.baseAddress, Int32(list.count))
            }
        }
        if result < 0 { log.info("message to a keeper: \(describe(errno: -Int32(result)))") }
    }
}
