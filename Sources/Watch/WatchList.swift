public import Platform
public import Primitives

// What the roots held, NODE/watch-list: the pass at a daemon's start compares with it. Little-endian, no padding.
//
//      0  u64 magic "LCKSWLS1"      8  u32 version 1       12  u32 flags: 1 written at a stop
//     16  2 x u64 boot             32  u64 stream position  40  u64 chain (both as they were before the trees were read)
//     48  u32 entries              52  u32 zero
//     56  entries   u64 directory's inode, u32 its generation, u32 root, u64 inode, u32 generation, u8 1: a directory,
//                   u64 size, i64 change time in nanoseconds, u8 bytes of the name, name
//         u32       CRC-32C of everything before it

/// Name, inode, generation, size and change time of everything in the roots.
public struct WatchList: Equatable, Sendable {
    public struct Entry: Equatable, Sendable {
        public var root: UInt32
        public var directory: OutsideChange.File
        public var name: [UInt8]
        public var file: OutsideChange.File
        public var isDirectory: Bool
        public var size: UInt64
        public var changed: Int64
        public init(root: UInt32, directory: OutsideChange.File, name: [UInt8], file: OutsideChange.File, isDirectory: Bool, size: UInt64, changed: Int64) {
            self.root = root
            self.directory = directory
            self.name = name
            self.file = file
            self.isDirectory = isDirectory
            self.size = size
            self.changed = changed
        }
    }

    /// Where the stream stood before the trees were read: what is in the journal behind it explains a difference.
    public struct Mark: Equatable, Sendable {
        public var position: StreamPosition
        public var chain: UInt64
        public init(position: StreamPosition, chain: UInt64) {
            self.position = position
            self.chain = chain
        }
    }

    static let magic: UInt64 = 0x3153_4c57_534b_434c
    static let headerBytes = 56
    static let entryBytesMin = 46
    public static let bytesMax = 4 << 30

    public var boot: BootID
    public var mark: Mark
    public var isOfStop: Bool
    public var entries: [Entry]

    public init(boot: BootID, mark: Mark, isOfStop: Bool, entries: [Entry]) {
        self.boot = boot
        self.mark = mark
        self.isOfStop = isOfStop
        self.entries = entries
    }

    // MARK: Comparing

    public struct Difference: Equatable, Sendable {
        public var entry: Entry
        public var what: OutsideChange.What
    }

    private struct Key: Hashable {
        var root: UInt32
        var directory: OutsideChange.File
        var name: [UInt8]
        init(_ entry: Entry) {
            root = entry.root
            directory = entry.directory
            name = entry.name
        }
    }

    /// What became of it by `later`. A file under another name is a name that is gone and one that is new.
    public func differences(to later: WatchList) -> [Difference] {
        var before: [Key: Int] = [:]
        before.reserveCapacity(entries.count)
        for (index, entry) in entries.enumerated() { before[Key(entry)] = index }
        var differences: [Difference] = []
        for entry in later.entries {
            guard let index = before.removeValue(forKey: Key(entry)) else {
                differences.append(Difference(entry: entry, what: entry.isDirectory ? [.created, .directory] : .created))
                continue
            }
            let earlier = entries[index]
            if earlier.file != entry.file || earlier.isDirectory != entry.isDirectory {
                differences.append(Difference(entry: entry, what: entry.isDirectory || earlier.isDirectory ? [.created, .removed, .directory] : [.created, .removed]))
            } else if !entry.isDirectory, earlier.size != entry.size || earlier.changed != entry.changed {
                differences.append(Difference(entry: entry, what: .written))
            }
        }
        for index in before.values.sorted() {
            differences.append(Difference(entry: entries[index], what: entries[index].isDirectory ? [.removed, .directory] : .removed))
        }
        return differences
    }

    // MARK: Bytes

    public func encoded() -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(WatchList.headerBytes + entries.count * 80)
        bytes.appendInteger(WatchList.magic)
        bytes.appendInteger(UInt32(1))
        bytes.appendInteger(UInt32(isOfStop ? 1 : 0))
        bytes.appendInteger(boot.high)
        bytes.appendInteger(boot.low)
        bytes.appendInteger(mark.position.value)
        bytes.appendInteger(mark.chain)
        bytes.appendInteger(UInt32(entries.count))
        bytes.appendInteger(UInt32(0))
        for entry in entries {
            bytes.appendInteger(entry.directory.inode)
            bytes.appendInteger(entry.directory.generation)
            bytes.appendInteger(entry.root)
            bytes.appendInteger(entry.file.inode)
            bytes.appendInteger(entry.file.generation)
            bytes.append(entry.isDirectory ? 1 : 0)
            bytes.appendInteger(entry.size)
            bytes.appendInteger(entry.changed)
            bytes.append(UInt8(entry.name.count))
            bytes.append(contentsOf: entry.name)
        }
        bytes.appendInteger(bytes.withUnsafeBytes { Checksum.crc32c($0) })
        return bytes
    }

    /// A disk may say anything: nothing here traps. Nil: damaged, or of another version.
    public init?(parsing bytes: [UInt8]) {
        guard bytes.count >= WatchList.headerBytes + 4 else { return nil }
        let end = bytes.count - 4
        var at = 0
        func integer<T: FixedWidthInteger>(_ type: T.Type) -> T {
            defer { at += MemoryLayout<T>.size }
            return (0..<MemoryLayout<T>.size).reversed().reduce(T(0)) { $0 << 8 | T(truncatingIfNeeded: bytes[at + $1]) }
        }
        at = end
        guard integer(UInt32.self) == bytes.withUnsafeBytes({ Checksum.crc32c(UnsafeRawBufferPointer(rebasing: $0[..<end])) }) else { return nil }
        at = 0
        guard integer(UInt64.self) == WatchList.magic, integer(UInt32.self) == 1 else { return nil }
        isOfStop = integer(UInt32.self) & 1 != 0
        boot = BootID(high: integer(UInt64.self), low: integer(UInt64.self))
        mark = Mark(position: StreamPosition(integer(UInt64.self)), chain: integer(UInt64.self))
        let count = Int(integer(UInt32.self))
        at += 4
        guard count <= (end - at) / WatchList.entryBytesMin else { return nil }
        entries = []
        entries.reserveCapacity(count)
        for _ in 0..<count {
            guard end - at >= WatchList.entryBytesMin else { return nil }
            let directory = OutsideChange.File(inode: integer(UInt64.self), generation: integer(UInt32.self))
            let root = integer(UInt32.self)
            let file = OutsideChange.File(inode: integer(UInt64.self), generation: integer(UInt32.self))
            let isDirectory = integer(UInt8.self) == 1
            let size = integer(UInt64.self), changed = integer(Int64.self)
            let length = Int(integer(UInt8.self))
            guard end - at >= length else { return nil }
            entries.append(Entry(root: root, directory: directory, name: Array(bytes[at..<(at + length)]), file: file, isDirectory: isDirectory,
                size: size, changed: changed))
            at += length
        }
        guard at == end else { return nil }
    }
}
