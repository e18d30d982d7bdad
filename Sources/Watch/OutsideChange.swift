public import Primitives

/// Something that a process outside the capture did to a replicated file, or may have done.
public struct OutsideChange: Equatable, Sendable {
    public struct What: OptionSet, Hashable, Sendable {
        public let rawValue: UInt8
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        /// It has the file open for writing, or mapped so.
        public static let opened = What(rawValue: 1)
        /// It had the file open for writing, and has no more; or the file changed while it has.
        public static let written = What(rawValue: 2)
        public static let created = What(rawValue: 4)
        public static let removed = What(rawValue: 8)
        public static let moved = What(rawValue: 16)
        public static let attributes = What(rawValue: 32)
        /// The name is, or was, that of a directory.
        public static let directory = What(rawValue: 64)
        /// Found by a pass against the list, and by nobody's event.
        public static let found = What(rawValue: 128)

        public static let names: What = [.created, .removed, .moved]
    }

    /// Inode and generation; which root's, `roots` says.
    public struct File: Hashable, Sendable {
        public var inode: UInt64
        public var generation: UInt32
        public init(inode: UInt64, generation: UInt32) {
            self.inode = inode
            self.generation = generation
        }
        public func object(root: UInt32) -> ObjectID { ObjectID(inode: inode, generation: generation, root: root) }
    }

    public var what: What
    /// 0: nobody knows.
    public var pid: Int32
    /// Nil: the process was gone before it could be asked.
    public var program: String?
    public var directory: File?
    /// By a name outside the roots of a file that may have one inside: `roots` are those on its file system, and `object` decides.
    public var isElsewhere = false
    public var name: [UInt8]
    public var object: File?
    /// Numbers of the roots that it can be about; one, when the path was found.
    public var roots: [UInt32]
    /// For people.
    public var path: String

    public init(what: What, pid: Int32, program: String?, directory: File?, name: [UInt8], object: File?, roots: [UInt32], path: String) {
        self.what = what
        self.pid = pid
        self.program = program
        self.directory = directory
        self.name = name
        self.object = object
        self.roots = roots
        self.path = path
    }
}

extension OutsideChange.What {
    /// In the words of the log and the status.
    public var words: String {
        let parts: [(OutsideChange.What, String)] = [
            (.created, "created"), (.removed, "removed"), (.moved, "renamed"), (.opened, "open for writing"), (.written, "written"),
            (.attributes, "attributes"), (.found, "found changed"),
        ]
        let said = parts.filter { contains($0.0) }.map(\.1)
        return said.isEmpty ? "touched" : said.joined(separator: ", ")
    }
}
