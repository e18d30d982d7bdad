internal import Glibc
internal import Platform
internal import Primitives
internal import Synchronization

// Everything about segments that takes long, kept off the thread that appends:
//
//   (new) -- zeros, fsync --> N.prepared -- taken --> in use -- first write done --> P.segment
//                                 ^                                                     |
//                                 +--- header zeroed <--- N.recycled <--- below the last applied position
//
// A segment in use may still be called `.prepared`: recovery and readers go by the header, so no name has to be durable
// before a batch is acknowledged.

/// The segments of one journal that are not being written: made ready ahead, renamed, used again, removed.
///
/// `prepareNext()` is for another thread than the journal's; everything else only queues.
public final class SegmentPool: Sendable {
    private struct State {
        var prepared: [SegmentFile] = []
        var activated: [(file: SegmentFile, position: StreamPosition)] = []
        var retired: [SegmentFile] = []
        var names: UInt64 = 0
        /// Files being worked on by `prepareNext`.
        var working = 0
    }
    private let state = Mutex(State())
    /// One `prepareNext` at a time.
    private let turn = Mutex(())
    private let configuration: JournalConfiguration

    init(_ configuration: JournalConfiguration) { self.configuration = configuration }

    /// Whether `prepareNext()` has something to do.
    public var needsPreparation: Bool {
        state.withLock {
            $0.prepared.count < configuration.segmentsPrepared || !$0.activated.isEmpty || !$0.retired.isEmpty
        }
    }

    /// Renames segments that came into use, and makes segments ready (zeros written and flushed) until enough are there.
    /// Takes about 10 ms for 16 MiB. False: nothing was to be done.
    @discardableResult
    public func prepareNext() throws(JournalError) -> Bool {
        let result = turn.withLock { _ in
            Result<Bool, JournalError> { () throws(JournalError) in try system { () throws(SystemError) in try work() } }
        }
        return try result.get()
    }

    private func work() throws(SystemError) -> Bool {
        var worked = false
        let (activated, retired) = state.withLock { state in
            defer {
                state.activated = []
                state.retired = []
            }
            state.working = state.retired.count
            return (state.activated, state.retired)
        }
        defer { state.withLock { $0.working = 0 } }
        for (file, position) in activated {
            try rename(file, to: SegmentName.of(position))
            worked = true
        }
        for file in retired {
            // One more than is made: else a segment would be removed now and a new one written a moment later.
            if state.withLock({ $0.prepared.count }) <= configuration.segmentsPrepared {
                try reuse(file)
            } else {
                guard unlink(path(file.name)) == 0 else { throw SystemError.current("remove", path(file.name)) }
            }
            state.withLock { $0.working -= 1 }
            worked = true
        }
        while state.withLock({ $0.prepared.count }) < configuration.segmentsPrepared {
            try create()
            worked = true
        }
        if worked, configuration.mode == .flushed { try FileDescriptor.directory(configuration.directory).flush() }
        return worked
    }

    // MARK: for the journal

    /// A ready segment. If none is there, makes one now: the appender waits, and the caller should have prepared earlier.
    func take() throws(JournalError) -> SegmentFile {
        while true {
            if let file = state.withLock({ $0.prepared.isEmpty ? nil : $0.prepared.removeFirst() }) { return file }
            try prepareNext()
        }
    }

    func activated(_ file: SegmentFile, at position: StreamPosition) {
        state.withLock { $0.activated.append((file, position)) }
    }

    func retire(_ file: SegmentFile) { state.withLock { $0.retired.append(file) } }

    /// Files on disk that belong to the pool.
    var fileCount: Int { state.withLock { $0.prepared.count + $0.retired.count + $0.working } }

    // MARK: files

    private func path(_ name: String) -> String { configuration.directory + "/" + name }

    private func rename(_ file: SegmentFile, to name: String) throws(SystemError) {
        let from = path(file.name)
        guard Glibc.rename(from, path(name)) == 0 else { throw SystemError.current("rename \(from) to", path(name)) }
        file.name = name
    }

    private func create() throws(SystemError) {
        let number = state.withLock { state in
            state.names += 1
            return state.names
        }
        let stem = Hex.string(Random.uint64()) + "-\(number)"
        let name = stem + SegmentName.suffixesUnfinished[0]
        do {
            let file = try FileDescriptor.open(path(name), O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
            switch configuration.mode {
            case .buffered: try file.allocate(configuration.segmentBytes)
            case .flushed:
                // Written, not only allocated: a write into unwritten extents would wait for their conversion.
                let zeros = PageBuffer(count: min(configuration.segmentBytes, 1 << 20))
                var offset = 0
                while offset < configuration.segmentBytes {
                    let count = min(zeros.count, configuration.segmentBytes - offset)
                    try file.write(UnsafeRawBufferPointer(rebasing: zeros.bytes[..<count]), at: UInt64(offset))
                    offset += count
                }
                try file.flush()
            }
        }
        let file = try SegmentFile(directory: configuration.directory, name: name, mode: configuration.mode)
        try rename(file, to: stem + SegmentName.suffixPrepared)
        state.withLock { $0.prepared.append(file) }
    }

    /// The old header goes before the file counts as prepared; the old batches may stay: their positions are past.
    private func reuse(_ file: SegmentFile) throws(SystemError) {
        let stem = String(file.name.prefix { $0 != "." }) + "-" + Hex.string(Random.uint64())
        try rename(file, to: stem + SegmentName.suffixesUnfinished[1])
        if configuration.mode == .flushed { try FileDescriptor.directory(configuration.directory).flush() }
        let fresh = try SegmentFile(directory: configuration.directory, name: file.name, mode: configuration.mode)
        let zeros = PageBuffer(count: SegmentHeader.blockBytes)
        try fresh.descriptor.write(UnsafeRawBufferPointer(zeros.bytes), at: 0)
        try rename(fresh, to: stem + SegmentName.suffixPrepared)
        state.withLock { $0.prepared.append(fresh) }
    }
}

/// An open segment, for writing.
final class SegmentFile: Sendable {
    let descriptor: FileDescriptor
    private let nameNow: Mutex<String>

    init(directory: String, name: String, mode: JournalConfiguration.Mode) throws(SystemError) {
        let path = directory + "/" + name
        switch mode {
        case .flushed:
            var isDirect = false
            descriptor = try FileDescriptor.flushed(path, isDirect: &isDirect)
        case .buffered: descriptor = try FileDescriptor.open(path, O_WRONLY)
        }
        nameNow = Mutex(name)
    }

    var name: String {
        get { nameNow.withLock { $0 } }
        set { nameNow.withLock { $0 = newValue } }
    }
}
