import Platform
import Primitives
import Testing
@testable import Watch

@Suite struct WatchListTests {
    private func entry(_ name: String, inode: UInt64, directory: UInt64 = 2, isDirectory: Bool = false, size: UInt64 = 5, changed: Int64 = 7) -> WatchList.Entry {
        WatchList.Entry(root: 0, directory: .init(inode: directory, generation: 1), name: Array(name.utf8), file: .init(inode: inode, generation: 9),
            isDirectory: isDirectory, size: size, changed: changed)
    }

    private func list(_ entries: [WatchList.Entry]) -> WatchList {
        WatchList(boot: BootID(high: 1, low: 2), mark: .init(position: StreamPosition(77), chain: 0xfedc_ba98_7654_3210), isOfStop: true, entries: entries)
    }

    private var example: WatchList {
        list([entry("directory", inode: 3, isDirectory: true), entry("file", inode: 4, directory: 3), entry(String(repeating: "x", count: 255), inode: 5)])
    }

    @Test func `a list is read as it was written`() {
        #expect(WatchList(parsing: example.encoded()) == example)
        #expect(WatchList(parsing: list([]).encoded()) == list([]))
    }

    @Test func `a list that is damaged anywhere is none`() {
        let bytes = example.encoded()
        for index in bytes.indices {
            var damaged = bytes
            damaged[index] ^= 0x40
            #expect(WatchList(parsing: damaged) == nil, "byte \(index)")
            #expect(WatchList(parsing: Array(bytes[..<index])) == nil, "cut at byte \(index)")
        }
        #expect(WatchList(parsing: bytes + [0]) == nil)
    }

    @Test func `counts and lengths that lie don't trap, with a checksum that is right`() {
        for (offset, value) in [(48, UInt8(200)), (51, 255), (48, 0), (8, 2), (56 + 45, 255)] {
            var bytes = Array(example.encoded().dropLast(4))
            bytes[offset] = value
            bytes.appendInteger(bytes.withUnsafeBytes { Checksum.crc32c($0) })
            #expect(WatchList(parsing: bytes) == nil, "byte \(offset)")
        }
    }

    @Test func `nothing differs from itself`() { #expect(example.differences(to: example).isEmpty) }

    @Test func `a size or a change time alone is a difference`() {
        let before = list([entry("a", inode: 3), entry("b", inode: 4), entry("c", inode: 5)])
        let after = list([entry("a", inode: 3, size: 6), entry("b", inode: 4, changed: 8), entry("c", inode: 5)])
        #expect(before.differences(to: after).map { String(decoding: $0.entry.name, as: UTF8.self) } == ["a", "b"])
        #expect(before.differences(to: after).allSatisfy { $0.what == .written })
    }

    @Test func `of a directory only the name counts`() {
        let before = list([entry("d", inode: 3, isDirectory: true)]), after = list([entry("d", inode: 3, isDirectory: true, size: 9, changed: 9)])
        #expect(before.differences(to: after).isEmpty)
    }

    @Test func `new, gone, renamed and replaced`() {
        let before = list([entry("gone", inode: 3), entry("old", inode: 4), entry("same", inode: 5)])
        let after = list([entry("new", inode: 6), entry("renamed", inode: 4), entry("same", inode: 7)])
        let found = Dictionary(uniqueKeysWithValues: before.differences(to: after).map { (String(decoding: $0.entry.name, as: UTF8.self), $0.what) })
        #expect(found == ["new": .created, "renamed": .created, "same": [.created, .removed], "gone": .removed, "old": .removed])
    }

    @Test func `the same inode with another generation is another file`() {
        let before = list([entry("f", inode: 3)])
        var other = entry("f", inode: 3)
        other.file.generation += 1
        #expect(before.differences(to: list([other])).map(\.what) == [[.created, .removed]])
    }
}
