import CCaptureABI
import Capture
import Glibc
import Primitives
import Testing

/// The table of mappings in an arena as untrusted input: copied line by line, checked, never a trap.
@Suite struct MappingTests {
    static let page: UInt64 = 4096

    /// A line as the library fills it in.
    static func line(_ state: UInt64, _ change: (inout lockstep_mapping) -> Void = { _ in }) -> lockstep_mapping {
        var line = lockstep_mapping()
        line.state = 4 + state
        line.address = 0x7f00_0000_0000
        line.length = 4 * page
        line.offset = 2 * page
        line.object = lockstep_object(inode: 7, generation: 3, root: 0)
        line.armed = page
        change(&line)
        return line
    }

    static func arena(_ lines: [lockstep_mapping]) throws -> (arena: Arena, producer: Producer) {
        let memory = try CaptureMemory.small(), producer = try Producer(memory)
        producer.arena.storeBytes(of: UInt32(lines.count), toByteOffset: Producer.Offset.mappings, as: UInt32.self)
        for (index, line) in lines.enumerated() {
            producer.arena.storeBytes(of: line, toByteOffset: Producer.Offset.mappingLines + index * 64, as: lockstep_mapping.self)
        }
        return (memory.arenas[0]!, producer)
    }

    @Test func `lines in use and lines that are going are read, free ones are not`() throws {
        let (arena, producer) = try MappingTests.arena([
            MappingTests.line(UInt64(LOCKSTEP_MAPPING_FREE)) { $0.length = 1 }, MappingTests.line(UInt64(LOCKSTEP_MAPPING_USED)),
            MappingTests.line(UInt64(LOCKSTEP_MAPPING_LEAVING)) { $0.left = 99 },
        ])
        let mappings = try arena.mappings()
        #expect(arena.hasMappings && mappings.map(\.line) == [1, 2] && mappings.map(\.left) == [nil, 99])
        #expect(mappings[0].object == ObjectID(inode: 7, generation: 3, root: 0) && mappings[0].offset == 8192 && mappings[0].armed == 4096)
        withExtendedLifetime(producer) {}
    }

    static let spoiled: [(String, @Sendable (inout lockstep_mapping) -> Void)] = [
        ("a state that there is not", { $0.state = 3 }),
        ("an address within a page", { $0.address += 1 }),
        ("an address of the kernel", { $0.address = 0xffff_8000_0000_0000 }),
        ("a length within a page", { $0.length = 5 }),
        ("no length", { $0.length = 0 }),
        ("a length beyond the addresses", { $0.length = 1 << 47 }),
        ("an offset within a page", { $0.offset = 1 }),
        ("an offset that overflows", { $0.offset = .max - 4095 }),
        ("armed within a page", { $0.armed = 1 }),
        ("no object", { $0.object.inode = 0 }),
        ("a root that there is not", { $0.object.root = 8 }),
    ]

    @Test(arguments: spoiled) func `a line that is scribbled over is an error`(_ name: String, _ spoil: @Sendable (inout lockstep_mapping) -> Void) throws {
        let (arena, producer) = try MappingTests.arena([MappingTests.line(UInt64(LOCKSTEP_MAPPING_USED), spoil)])
        #expect(throws: CaptureError.self) { try arena.mappings() }
        withExtendedLifetime(producer) {}
    }

    @Test func `a table that claims more lines than there are ends where they end`() throws {
        let (arena, producer) = try MappingTests.arena([])
        producer.arena.storeBytes(of: UInt32.max, toByteOffset: Producer.Offset.mappings, as: UInt32.self)
        #expect(try arena.mappings().isEmpty)
    }

    @Test func `armed beyond the end of the mapping counts as all of it`() throws {
        let (arena, producer) = try MappingTests.arena([MappingTests.line(UInt64(LOCKSTEP_MAPPING_USED)) { $0.armed = 1 << 40 }])
        #expect(try arena.mappings()[0].armed == 4 * 4096)
        withExtendedLifetime(producer) {}
    }

    @Test func `a mapping that is not there is unknown, and not unwritten`() throws {
        let (arena, producer) = try MappingTests.arena([MappingTests.line(UInt64(LOCKSTEP_MAPPING_USED)) { $0.address = 4096 }])
        let written = arena.written(try arena.mappings()[0], asked: 4096, grown: 4096)
        guard case .unknown = written else {
            Issue.record("\(written)")
            return
        }
        withExtendedLifetime(producer) {}
    }
}
