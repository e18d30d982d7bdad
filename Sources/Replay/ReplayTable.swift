// The durable table, STATE/table. Little-endian, no padding.
//
//      0  u64 magic "LCKSTBL1"      8  u32 version 1      12  u32 flags: 1 consistent, 2 copying, 4 moving aside
//     16  u64 stream position      24  u64 epoch          32  u64 chain             40  u64 next synthetic object
//     48  u32 roots                52  u32 objects        56  u32 names             60  u32 removed objects
//     64  u32 owed names           68  u32 held records
//     72  roots     object (u64 inode, u32 generation, u32 root) or zeros, u64 own inode, u32 own generation
//         objects   object, u64 own inode, u32 own generation, u16 mode, u8 device,
//                   u8 kind (+128: a lost file's placeholder), u8 number of the root whose limbo it is in (255: of none)
//         names     u32 index of the parent, u32 index of the object, u8 bytes, bytes; parents before children
//         removed   object
//         owed      parent object, u8 bytes, bytes
//         held      u8 flags (1 queued, 2 has an outcome), record with payload, outcome
//         u32       CRC-32C of everything before it
//
// It is written whole at each checkpoint: 33 bytes an object plus 9 and its bytes a name, 11 MB for 200,000 files.

import Platform
import Primitives
import Replication

/// What a checkpoint keeps; nothing of it is checked against the trees here.
struct ReplayTable {
    static let magic: UInt64 = 0x314c_4254_534b_434c
    static let headerBytes = 72
    static let bytesMax = 4 << 30

    struct Root: Equatable {
        /// None while a copy did not announce it yet.
        var object: ObjectID
        var inode: UInt64
        var generation: UInt32
    }

    var isConsistent = false
    var isCopying = false
    var isMovingAside = false
    var mark = Replayer.Mark()
    var syntheticNext: UInt64 = 1
    var roots: [Root] = []
    var names = NameTable(roots: [])
    var own: [ObjectID: Replayer.OwnFile] = [:]
    var removed: [ObjectID] = []
    var owed: [NameTable.Name] = []
    var pending: [HeldRecords.Held] = []
    var queued: [HeldRecords.Held] = []

    func encoded() -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(ReplayTable.headerBytes + own.count * 64)
        bytes.appendInteger(ReplayTable.magic)
        bytes.appendInteger(UInt32(1))
        bytes.appendInteger(UInt32((isConsistent ? 1 : 0) | (isCopying ? 2 : 0) | (isMovingAside ? 4 : 0)))
        bytes.appendInteger(mark.position.value)
        bytes.appendInteger(mark.epoch.value)
        bytes.appendInteger(mark.chain)
        bytes.appendInteger(syntheticNext)
        for count in [roots.count, own.count, names.nameCount, removed.count, owed.count, pending.count + queued.count] {
            bytes.appendInteger(UInt32(count))
        }
        for root in roots {
            append(root.object, &bytes)
            bytes.appendInteger(root.inode)
            bytes.appendInteger(root.generation)
        }
        var indexOf: [ObjectID: UInt32] = [:]
        indexOf.reserveCapacity(own.count)
        for (object, file) in own {
            indexOf[object] = UInt32(indexOf.count)
            append(object, &bytes)
            bytes.appendInteger(file.inode)
            bytes.appendInteger(file.generation)
            bytes.appendInteger(file.mode)
            bytes.append(file.device)
            bytes.append((names.kind(of: object) ?? .file).rawValue | (file.isLost ? 128 : 0))
            bytes.append(file.limbo ?? .max)
        }
        var nameCount = 0
        names.forEachName { name, object, _ in
            // Both ends have their own file: the replayer never enters one without the other.
            bytes.appendInteger(indexOf[name.parent]!)
            bytes.appendInteger(indexOf[object]!)
            append(name.name, &bytes)
            nameCount += 1
        }
        precondition(nameCount == names.nameCount, "a name that no root leads to")
        for object in removed { append(object, &bytes) }
        for name in owed {
            append(name.parent, &bytes)
            append(name.name, &bytes)
        }
        for (entries, isQueued) in [(pending, false), (queued, true)] {
            for entry in entries {
                bytes.append((isQueued ? 1 : 0) | (entry.outcome == nil ? 0 : 2))
                entry.record.encode(into: &bytes)
                bytes.append(contentsOf: entry.payload)
                entry.outcome?.encode(into: &bytes)
            }
        }
        bytes.appendInteger(bytes.withUnsafeBytes { Checksum.crc32c($0) })
        return bytes
    }

    private func append(_ object: ObjectID, _ bytes: inout [UInt8]) {
        bytes.appendInteger(object.inode)
        bytes.appendInteger(object.generation)
        bytes.appendInteger(object.root)
    }

    private func append(_ name: [UInt8], _ bytes: inout [UInt8]) {
        bytes.append(UInt8(name.count))
        bytes.append(contentsOf: name)
    }
}

extension ReplayTable {
    /// The file is ours, but a disk may say anything: nothing here traps.
    init(parsing bytes: [UInt8]) throws(RecordError) {
        guard bytes.count >= ReplayTable.headerBytes + 4 else { throw RecordError(at: 0, "a table of \(bytes.count) bytes") }
        let end = bytes.count - 4
        var reader = Reader(bytes: bytes, end: bytes.count)
        reader.at = end
        let checksum = try reader.integer(UInt32.self)
        guard checksum == bytes.withUnsafeBytes({ Checksum.crc32c(UnsafeRawBufferPointer(rebasing: $0[..<end])) }) else {
            throw RecordError(at: end, "the checksum of the table does not match")
        }
        reader = Reader(bytes: bytes, end: end)
        guard try reader.integer(UInt64.self) == ReplayTable.magic, try reader.integer(UInt32.self) == 1 else {
            throw RecordError(at: 0, "not a table of version 1")
        }
        let flags = try reader.integer(UInt32.self)
        isConsistent = flags & 1 != 0
        isCopying = flags & 2 != 0
        isMovingAside = flags & 4 != 0
        mark.position = StreamPosition(try reader.integer(UInt64.self))
        mark.epoch = Epoch(try reader.integer(UInt64.self))
        mark.chain = try reader.integer(UInt64.self)
        syntheticNext = try reader.integer(UInt64.self)
        var counts: [Int] = []
        for _ in 0..<6 { counts.append(Int(try reader.integer(UInt32.self))) }
        for _ in 0..<counts[0] {
            let root = Root(object: try reader.object(), inode: try reader.integer(UInt64.self),
                generation: try reader.integer(UInt32.self))
            roots.append(root)
            if !root.object.isNone {
                guard !names.contains(root.object) else { throw reader.error("a root twice") }
                names.addRoot(root.object)
            }
        }
        var objects: [(object: ObjectID, kind: NameTable.Kind)] = []
        for _ in 0..<counts[1] {
            let object = try reader.object()
            var file = Replayer.OwnFile(inode: try reader.integer(UInt64.self), generation: try reader.integer(UInt32.self),
                mode: try reader.integer(UInt16.self), device: try reader.integer(UInt8.self), limbo: nil)
            let kindAndLost = try reader.integer(UInt8.self)
            guard let kind = NameTable.Kind(rawValue: kindAndLost & 127), !object.isNone else {
                throw reader.error("an object without a kind")
            }
            file.isLost = kindAndLost & 128 != 0
            let limbo = try reader.integer(UInt8.self)
            if limbo != .max {
                guard Int(limbo) < roots.count else { throw reader.error("a limbo of no root") }
                file.limbo = limbo
                names.insertNameless(object, kind)
            }
            objects.append((object, kind))
            own[object] = file
        }
        for _ in 0..<counts[2] {
            let parent = Int(try reader.integer(UInt32.self)), object = Int(try reader.integer(UInt32.self))
            let name = try reader.name()
            guard parent < objects.count, object < objects.count else { throw reader.error("a name of no object") }
            do throws(NameTableError) {
                try names.insert(objects[object].object, objects[object].kind, objects[parent].object, name)
            } catch { throw reader.error("\(error)") }
        }
        for _ in 0..<counts[3] { removed.append(try reader.object()) }
        for _ in 0..<counts[4] { owed.append(NameTable.Name(parent: try reader.object(), name: try reader.name())) }
        for _ in 0..<counts[5] {
            let flags = try reader.integer(UInt8.self)
            let (record, payload) = try reader.record()
            var entry = HeldRecords.Held(record: record, payload: payload)
            if flags & 2 != 0 { entry.outcome = try reader.record().record }
            if flags & 1 != 0 { queued.append(entry) } else { pending.append(entry) }
        }
        guard reader.at == end else { throw reader.error("\(end - reader.at) bytes behind the table") }
    }

    private struct Reader {
        let bytes: [UInt8]
        let end: Int
        var at = 0

        func error(_ reason: String) -> RecordError { RecordError(at: at, reason) }

        mutating func integer<T: FixedWidthInteger>(_ type: T.Type) throws(RecordError) -> T {
            let count = MemoryLayout<T>.size
            guard end - at >= count else { throw error("the table ends early") }
            var value: T = 0
            for index in (0..<count).reversed() { value = value << 8 | T(truncatingIfNeeded: bytes[at + index]) }
            at += count
            return value
        }

        mutating func object() throws(RecordError) -> ObjectID {
            ObjectID(inode: try integer(UInt64.self), generation: try integer(UInt32.self), root: try integer(UInt32.self))
        }

        mutating func name() throws(RecordError) -> [UInt8] {
            let count = Int(try integer(UInt8.self))
            guard end - at >= count else { throw error("the table ends early") }
            defer { at += count }
            let name = Array(bytes[at..<(at + count)])
            guard count > 0, name != [0x2e], name != [0x2e, 0x2e], !name.contains(0), !name.contains(0x2f) else {
                throw error("an impossible name")
            }
            return name
        }

        mutating func record() throws(RecordError) -> (record: Record, payload: [UInt8]) {
            let record = try Record(parsing: bytes.span.bytes, at: at)
            guard record.bytes <= end - at else { throw error("the table ends early") }
            let start = at + record.payloadOffset
            at += record.bytes
            return (record, Array(bytes[start..<at]))
        }
    }
}
