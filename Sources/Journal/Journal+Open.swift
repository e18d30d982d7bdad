internal import Glibc
public import Platform
internal import Primitives

extension Journal {
    /// Brings the directory into the state that `recovery` describes: torn ends closed, names right, leftovers gone.
    /// The result is the segments, open, each with its last position.
    static func tidy(_ configuration: JournalConfiguration, _ recovery: JournalRecovery) throws(SystemError)
        -> [(SegmentFile, StreamPosition)]
    {
        // From the newest to the oldest: a crash in between leaves no gap.
        for name in recovery.leftovers.reversed() {
            let path = configuration.directory + "/" + name
            guard unlink(path) == 0 || errno == ENOENT else { throw SystemError.current("remove", path) }
        }
        var files: [(SegmentFile, StreamPosition)] = []
        for segment in recovery.segments {
            let file = try SegmentFile(directory: configuration.directory, name: segment.name, mode: configuration.mode)
            if !segment.isClosed, segment.end < segment.header.segmentBytes {
                let block = PageBuffer(count: SegmentHeader.blockBytes)
                encodeClosing(rest: segment.header.segmentBytes - segment.end, into: block.bytes)
                try file.descriptor.write(UnsafeRawBufferPointer(block.bytes), at: segment.end)
            }
            let name = SegmentName.of(segment.header.firstPosition)
            if segment.name != name {
                let from = configuration.directory + "/" + segment.name, to = configuration.directory + "/" + name
                guard rename(from, to) == 0 else { throw SystemError.current("rename \(from) to", to) }
                file.name = name
            }
            files.append((file, segment.lastPosition))
        }
        if configuration.mode == .flushed { try FileDescriptor.directory(configuration.directory).flush() }
        return files
    }

    /// Removes every segment in `directory`: before a stream begins that does not continue this one. Other files stay.
    public static func erase(directory: String) throws(JournalError) {
        try system { () throws(SystemError) in
            let suffixes = SegmentName.suffixesUnfinished + [SegmentName.suffix, SegmentName.suffixPrepared]
            for bytes in try Directory.names(path: directory) {
                let name = String(decoding: bytes, as: UTF8.self)
                guard suffixes.contains(where: name.hasSuffix) else { continue }
                guard unlink(directory + "/" + name) == 0 else { throw SystemError.current("remove", directory + "/" + name) }
            }
            try FileDescriptor.directory(directory).flush()
        }
    }

    /// The boot in which the newest readable segment was begun: the primary's journal is void in another one (R5), and
    /// then need not even be recoverable. Nil if there is none.
    public static func bootID(directory: String) throws(JournalError) -> BootID? {
        var newest: SegmentHeader?
        for bytes in try system({ () throws(SystemError) in try Directory.names(path: directory) }) {
            let name = String(decoding: bytes, as: UTF8.self)
            guard let scanner = try? SegmentScanner(directory: directory, name: name) else { continue }
            if newest.map({ $0.firstPosition < scanner.header.firstPosition }) ?? true { newest = scanner.header }
        }
        return newest?.bootID
    }
}
