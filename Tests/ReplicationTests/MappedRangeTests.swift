import Primitives
import Replication
import Testing

/// Which bytes of a file are read because of what the kernel says of one mapping of it.
@Suite struct MappedRangeTests {
    static let page: UInt64 = 4096

    static func pages(_ first: UInt64, _ end: UInt64) -> ByteRange { ByteRange(first * page, end * page) }

    @Test func `written pages are those of the file that the mapping begins at`() {
        let range = MappedRange(offset: 10 * 4096, length: 8 * 4096, armed: 8 * 4096, size: 1 << 30)
        #expect(range.asked == 8 * 4096 && range.filled == 8 * 4096)
        #expect(range.ranges(written: [Self.pages(1, 2), Self.pages(5, 7)]) == [Self.pages(11, 12), Self.pages(15, 17)])
        #expect(range.ranges(written: []) == [])
    }

    @Test func `what the file has grown by since it was protected is read whole`() {
        let range = MappedRange(offset: 4096, length: 16 * 4096, armed: 2 * 4096, size: 6 * 4096 + 1)
        #expect(range.asked == 2 * 4096 && range.filled == 6 * 4096)
        #expect(range.ranges(written: [Self.pages(0, 1)]) == [Self.pages(1, 2), Self.pages(3, 7)])
    }

    @Test func `a file that has become shorter is asked up to its end`() {
        let range = MappedRange(offset: 0, length: 8 * 4096, armed: 8 * 4096, size: 4096)
        #expect(range.asked == 4096 && range.ranges(written: [Self.pages(0, 8)]) == [Self.pages(0, 1)])
        #expect(MappedRange(offset: 8192, length: 4096, armed: 4096, size: 100).whole == [])
    }

    @Test func `of a file whose size is not known all of the mapping counts`() {
        let range = MappedRange(offset: 0, length: 4 * 4096, armed: 4096, size: nil)
        #expect(range.whole == [Self.pages(0, 4)] && range.ranges(written: []) == [Self.pages(1, 4)])
    }

    @Test func `ranges of several mappers are put together`() {
        let merged = MappedRange.merged([Self.pages(50, 51), Self.pages(0, 2), Self.pages(1, 3), Self.pages(6, 7), Self.pages(20, 20)])
        #expect(merged == [Self.pages(0, 7), Self.pages(50, 51)])
        #expect(MappedRange.merged([ByteRange(8192, .max), Self.pages(9, 10), .all]) == [.all])
    }
}
