import Capture
import Glibc
@testable import Node
import Platform
import Primitives
import Replay
import Replication

/// A primary's data plane without its threads, and the secondary's replayer behind it: each turn drains the ring, ships, and
/// applies. What a daemon does with sockets, journal and peer's answers happens at once. Steps of processes come in between.
final class Bench {
    let configuration: Configuration
    private(set) var plane: PrimaryPlane
    private(set) var processes: [Process] = []
    private(set) var replayer: Replayer
    private(set) var failure: String?
    private let place: String
    private let server: CaptureServer
    private let tree: Tree
    private let log: Log
    private var reading: FillQueue.ReadRequest?
    private var position = StreamPosition.none
    /// While they are open, the processes live for the daemons that came later.
    private var lives: [Int32] = []

    var primary: String { place + "/a" }
    var secondary: String { place + "/b" }

    init(processes count: Int) throws {
        var template = Array(((access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/var/tmp") + "/lockstep-node-XXXXXX").utf8CString)
        precondition(mkdtemp(&template) != nil)
        place = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        for name in ["a", "b", "node", "state"] { mkdir(place + "/" + name, 0o755) }
        configuration = Configuration(directory: place + "/node", node: "a", module: "bench", role: .primary,
            roots: [.init(name: "data", path: place + "/a")], outside: [], listenPort: 0, peerPort: 0, exclusions: [],
            waitBoundMilliseconds: 1000, ioUring: false)
        log = Log(node: "bench")
        tree = try Tree(configuration)
        server = try CaptureServer(directory: configuration.directory, log: log)
        let memory = try CaptureMemory.create(slots: 1024, incarnation: (1, 2))
        plane = try PrimaryPlane(configuration, log: log, tree: tree, memory: memory, server: server, epoch: Epoch(1), after: .none)
        replayer = try Replayer(roots: [place + "/b"], stateDirectory: place + "/state", module: "bench")
        for number in 0..<count { processes.append(Process(try Producer(memory, number: UInt32(number)), root: place + "/a")) }
    }

    deinit {
        server.close()
        for life in lives { close(life) }
        _ = system("rm -rf '\(place)'")
    }

    // MARK: the daemon

    /// The peer is there, or there again: everything is copied.
    func connect() {
        plane.endStream()
        finishRead()
        plane.beginStream(after: position)
    }

    /// The primary's daemon dies, and its successor takes the memory back.
    func restart() throws {
        plane.fills.removeAll()
        let old = plane.memory
        let memory = try CaptureMemory.adopt(controlDescriptor: dup(old.controlDescriptor), ringDescriptor: dup(old.ringDescriptor))
        plane = try PrimaryPlane(configuration, log: log, tree: tree, memory: memory, server: server, epoch: Epoch(1), after: position)
        reading = nil
        for process in processes {
            let (descriptor, life) = Producer.processDescriptor()
            lives.append(life)
            let arena = try memory.attach(arena: process.producer.number, descriptor: dup(process.producer.arenaDescriptor),
                processDescriptor: descriptor, pid: getpid() + Int32(process.producer.number))
            plane.inherit(arena)
        }
    }

    /// One turn of the data plane; `reads`: what the kernel reads for a fill is there, too.
    func turn(reads: Bool = true) throws {
        if !plane.isStreaming, plane.namesAreKnown { connect() }
        try plane.drain()
        plane.sweep(checkingDeath: false)
        if plane.isStreaming {
            if reads { finishRead() }
            if let request = plane.fills.turn(plane: plane) { reading = request }
            plane.copy?.turn(plane: plane)
        }
        if let refusal = plane.refusal { failure = failure ?? "refused: \(refusal)" }
        try plane.endTurn()
        if plane.mayCut { try cut() }
    }

    /// A file is being read for a fill.
    var isReading: Bool { reading != nil }

    private func finishRead() {
        guard let request = reading else { return }
        reading = nil
        plane.fills.readEnded(pread(request.descriptor, plane.fills.buffer.baseAddress, request.count, off_t(request.offset)), plane: plane)
    }

    private func cut() throws {
        let batch = plane.takeBatch()
        try batch.records.withUnsafeBytes { bytes in
            var offset = 0
            while offset < bytes.count {
                let record = try Record(parsing: bytes.bytes, at: offset)
                let payload = UnsafeRawBufferPointer(rebasing: bytes[(offset + record.payloadOffset)..<(offset + record.bytes)])
                offset += record.bytes
                position = record.position
                if failure != nil { continue }
                do { try replayer.apply(record, payload: payload) } catch { failure = "record \(record.position.value) (\(record.kind)): \(error)" }
            }
        }
        plane.journaled(below: batch.sequenceBelow)
        plane.acknowledged(through: batch.last)
        if let ended = plane.copy?.ended, ended <= batch.last { plane.copy = nil }
    }

    /// Turns until nothing is owed and the copy is over, as a settle waits; false: not within its bound.
    func settle() throws -> Bool {
        let deadline = Clock.monotonic + 20_000_000_000
        while failure == nil, Clock.monotonic < deadline {
            try turn()
            guard plane.isStreaming, plane.memory.isRingEmpty, plane.tracker.unsettled.isEmpty, plane.copy == nil, !plane.owesRepairs,
                plane.fills.isEmpty, plane.batch.isEmpty, !plane.namesInDoubt
            else { continue }
            if try plane.passOfNames() == 0 { return failure == nil }
        }
        return false
    }

    // MARK: comparing

    /// What differs between the trees: names, types, modes, links, sizes, bytes.
    func differences() -> [String] {
        let a = Bench.listing(primary), b = Bench.listing(secondary)
        return Set(a.keys).union(b.keys).sorted().filter { a[$0] != b[$0] }.map { "\($0): \(a[$0] ?? "-") | \(b[$0] ?? "-")" }
    }

    private static func listing(_ path: String) -> [String: String] {
        var lines: [String: String] = [:]
        func visit(_ directory: String, _ prefix: String) {
            for name in ((try? Directory.names(path: directory)) ?? []).map({ String(decoding: $0, as: UTF8.self) }) {
                var status = stat()
                guard lstat(directory + "/" + name, &status) == 0 else { continue }
                var line = "mode \(String(status.st_mode, radix: 8))"
                if status.st_mode & S_IFMT == S_IFREG {
                    let bytes = (try? FileDescriptor.reading(directory + "/" + name).readAll(bytesMax: 1 << 20)) ?? []
                    line += " links \(status.st_nlink) '\(String(decoding: bytes, as: UTF8.self))'"
                }
                lines[prefix + name] = line
                if status.st_mode & S_IFMT == S_IFDIR { visit(directory + "/" + name, prefix + name + "/") }
            }
        }
        visit(path, "")
        return lines
    }
}
