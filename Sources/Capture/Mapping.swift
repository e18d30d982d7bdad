import CCaptureABI
import CLinux
import Glibc
public import Primitives

/// One writable shared mapping of a replicated file: a copy of its line in the arena's table, checked.
public struct Mapping: Equatable, Sendable {
    /// In the table.
    public var line: UInt32
    public var object: ObjectID
    /// In its process.
    public var address: UInt64
    public var length: UInt64
    /// In the file.
    public var offset: UInt64
    /// So many bytes from its start are write-protected where they were not written.
    public var armed: UInt64
    /// It is going: what was written is published below this number of the ring.
    public var left: UInt64?
    /// As the line had it: it never is the same again.
    public var state: UInt64

    static let pageBytes: UInt64 = 4096
    /// Where user space ends.
    static let addressEnd: UInt64 = 1 << 47

    /// Nil: the line is free.
    init?(_ raw: lockstep_mapping, line: UInt32, pid: Int32) throws(CaptureError) {
        let state = lockstep_mapping_state(raw.state)
        guard state != LOCKSTEP_MAPPING_FREE else { return nil }
        let low = Mapping.pageBytes - 1
        guard state <= LOCKSTEP_MAPPING_LEAVING, raw.address & low == 0, raw.length & low == 0, raw.offset & low == 0, raw.length > 0,
            raw.address < Mapping.addressEnd, raw.length <= Mapping.addressEnd - raw.address, raw.offset <= UInt64(Int64.max) - (1 << 48),
            raw.armed & low == 0, raw.object.inode != 0, raw.object.root < LOCKSTEP_ROOTS_MAX
        else { throw CaptureError("mapping \(line) of process \(pid) is scribbled over") }
        self.line = line
        object = ObjectID(inode: raw.object.inode, generation: raw.object.generation, root: raw.object.root)
        address = raw.address
        length = raw.length
        offset = raw.offset
        armed = min(raw.armed, raw.length)
        left = state == LOCKSTEP_MAPPING_LEAVING ? raw.left : nil
        self.state = raw.state
    }
}

extension Arena {
    /// Its process has, or had, writable mappings.
    public var hasMappings: Bool { lockstep_arena_mappings_used(memory) != 0 }

    /// All lines that are not free. A line that replaces another is there before the other one goes, and the version says so in
    /// between: read anew until it stays the same.
    public func mappings() throws(CaptureError) -> [Mapping] {
        for _ in 0..<1000 {
            let version = lockstep_arena_mappings_version(memory)
            var found: [Mapping] = []
            var isWhole = true
            for line in 0..<min(lockstep_arena_mappings_used(memory), LOCKSTEP_MAPPINGS) {
                var raw = lockstep_mapping()
                guard lockstep_arena_copy_mapping(memory, line, &raw) == 1 else {
                    isWhole = false
                    break
                }
                if let mapping = try Mapping(raw, line: line, pid: pid) { found.append(mapping) }
            }
            if isWhole, version == lockstep_arena_mappings_version(memory) { return found }
        }
        throw CaptureError("the mappings of process \(pid) never stay the same")
    }

    /// Its line does not say the same any more.
    public func hasChanged(_ mapping: Mapping) -> Bool {
        var raw = lockstep_mapping()
        guard lockstep_arena_copy_mapping(memory, mapping.line, &raw) == 1 else { return true }
        return raw.state != mapping.state
    }

    /// What the kernel says of a mapping, or why it can't be asked.
    public enum Written: Equatable, Sendable {
        /// In its process's addresses, relative to the mapping's start.
        case ranges([ByteRange])
        /// `found`: all that the question gave and took away from the kernel's memory; nil: not even that is known.
        case unknown(String, found: [ByteRange]?)
    }

    /// The pages that were written since they were last asked for, in the first `asked` bytes of the mapping; they are protected
    /// anew, so that a store from here on is found by the next question. What lies behind, up to `grown`, is protected too.
    public func written(_ mapping: Mapping, asked: UInt64, grown: UInt64) -> Written {
        let pagemap: Int32
        switch openPagemap() {
        case .success(let descriptor): pagemap = descriptor
        case .failure(let error): return .unknown(error.description, found: nil)
        }
        var ranges: [ByteRange] = []
        var pages = [lockstep_pages](repeating: lockstep_pages(), count: 512)
        var at = mapping.address
        let end = mapping.address + asked
        while at < end {
            var looked: UInt64 = 0
            let count = lockstep_pages_written(pagemap, at, end, &pages, Int32(pages.count), &looked)
            // What it had protected anew before it failed is not said.
            if count < 0 { return .unknown(reason(-count), found: nil) }
            for page in pages[..<Int(count)] where page.end > page.start && page.start >= mapping.address && page.end <= end {
                ranges.append(ByteRange(page.start - mapping.address, page.end - mapping.address))
            }
            guard looked > at else { return .unknown("the kernel looked at nothing", found: nil) }
            at = looked
        }
        if grown > mapping.armed {
            let answer = lockstep_pages_protect(pagemap, mapping.address + mapping.armed, mapping.address + grown)
            if answer < 0 { return .unknown(reason(-answer), found: nil) }
            lockstep_arena_raise_armed(memory, mapping.line, mapping.armed, grown)
        }
        // No answer is given about what is not there: so it is asked whether it is, afterwards.
        for page in [mapping.address, mapping.address + mapping.length - Mapping.pageBytes] {
            let answer = lockstep_page_is_tracked(pagemap, page)
            guard answer == 1 else {
                let why = answer < 0 ? reason(-answer) : "it was unmapped by a call that did not come through the library"
                return .unknown(why, found: grown > mapping.armed ? nil : ranges)
            }
        }
        return .ranges(ranges)
    }

    private func reason(_ code: Int32) -> String {
        code == EPERM ? "it is not tracked any more" : "errno \(code)"
    }

    private func openPagemap() -> Result<Int32, CaptureError> {
        if pagemap >= 0 { return .success(pagemap) }
        let descriptor = lockstep_pagemap_open(pid)
        if descriptor < 0 { return .failure(CaptureError("/proc/\(pid)/pagemap can't be opened: errno \(-descriptor)")) }
        pagemap = descriptor
        // Alive after opening: so it is that process's.
        return checkAlive() ? .success(descriptor) : .failure(CaptureError("the process is gone"))
    }
}
