// The names of all replicated trees, by object.
//
//      nodes   [ object | kind | first name | first child ]        one per known object
//      links   [ parent node | node | name in pool | hash |        one per name
//                siblings in the directory | next name of the same object ]
//      pool    the bytes of all names, one after the other
//
//      object            -> node     \  open-addressed tables of 4-byte indices into the arrays above
//      (parent, name)    -> link     /
//
// Everything is an index into a flat array: a file costs about 100 bytes with its name, there is nothing to be counted
// by reference, and the table of a node with 200,000 files is built in a fraction of a second. A file may have several
// names (hard links); a directory has one at most. An object that lost its last name stays known until `forget`,
// because records about it may still be under way (it is open somewhere).

public import Primitives

/// Objects, their names, and what lies in which directory.
public struct NameTable: Sendable {
    public enum Kind: UInt8, Sendable, CaseIterable {
        case file = 1, directory, symbolicLink
    }

    /// One name: the directory that holds it, and the bytes.
    public struct Name: Hashable, Sendable {
        public var parent: ObjectID
        public var name: [UInt8]
        public init(parent: ObjectID, name: [UInt8]) {
            self.parent = parent
            self.name = name
        }
    }

    struct Node {
        var object: ObjectID
        var kind: Kind
        var isRoot = false
        var firstLink: Int32 = -1
        var firstChild: Int32 = -1
    }

    struct Link {
        var parent: Int32
        var node: Int32
        var previousSibling: Int32 = -1
        var nextSibling: Int32 = -1
        /// The next name of the same object.
        var nextName: Int32 = -1
        var hash: UInt32
        var poolOffset: UInt32
        var nameBytes: UInt8
    }

    var nodes: [Node] = []
    var links: [Link] = []
    var pool: [UInt8] = []
    private var nodesFree: [Int32] = []
    private var linksFree: [Int32] = []
    private var poolGarbage = 0
    private var nodeIndex = IndexTable()
    private var linkIndex = IndexTable()
    /// In the order of their numbers.
    public private(set) var roots: [ObjectID] = []

    public init(roots: [ObjectID]) {
        for root in roots { addRoot(root) }
    }

    /// A further tree; its number is the count of those before it.
    public mutating func addRoot(_ root: ObjectID) {
        precondition(find(root) < 0, "two roots are the same directory")
        let node = addNode(root, .directory)
        nodes[Int(node)].isRoot = true
        roots.append(root)
    }

    // MARK: questions

    /// Known objects, roots and nameless ones included.
    public var count: Int { nodes.count - nodesFree.count }
    public var nameCount: Int { links.count - linksFree.count }

    public func contains(_ object: ObjectID) -> Bool { find(object) >= 0 }

    public func isRoot(_ object: ObjectID) -> Bool {
        let node = find(object)
        return node >= 0 && nodes[Int(node)].isRoot
    }

    public func kind(of object: ObjectID) -> Kind? {
        let node = find(object)
        return node < 0 ? nil : nodes[Int(node)].kind
    }

    public func lookup(_ parent: ObjectID, _ name: [UInt8]) -> ObjectID? {
        let parent = find(parent)
        guard parent >= 0 else { return nil }
        let link = find(parent, name, hash(parent, name))
        return link < 0 ? nil : nodes[Int(links[Int(link)].node)].object
    }

    /// All names of an object, the most recent first; none for a root, for a nameless and for an unknown object.
    public func names(of object: ObjectID) -> [Name] {
        let node = find(object)
        guard node >= 0 else { return [] }
        var names: [Name] = []
        var link = nodes[Int(node)].firstLink
        while link >= 0 {
            names.append(name(of: link))
            link = links[Int(link)].nextName
        }
        return names
    }

    /// The same as `!names(of:).isEmpty`, or a root.
    public func isNamed(_ object: ObjectID) -> Bool {
        let node = find(object)
        return node >= 0 && (nodes[Int(node)].isRoot || nodes[Int(node)].firstLink >= 0)
    }

    /// By the most recent of its names: its root and the path below it (empty for the root itself), nil if no name
    /// leads to it.
    public func path(of object: ObjectID) -> (root: ObjectID, bytes: [UInt8])? {
        var node = find(object)
        guard node >= 0 else { return nil }
        var parts: [Int32] = []
        while !nodes[Int(node)].isRoot {
            let link = nodes[Int(node)].firstLink
            if link < 0 { return nil }
            parts.append(link)
            node = links[Int(link)].parent
        }
        var bytes: [UInt8] = []
        for link in parts.reversed() {
            if !bytes.isEmpty { bytes.append(0x2f) }
            bytes.append(contentsOf: nameBytes(of: link))
        }
        return (nodes[Int(node)].object, bytes)
    }

    /// What lies in a directory, in no particular order.
    public func children(of directory: ObjectID) -> [(name: [UInt8], object: ObjectID)] {
        let node = find(directory)
        guard node >= 0 else { return [] }
        var children: [(name: [UInt8], object: ObjectID)] = []
        var link = nodes[Int(node)].firstChild
        while link >= 0 {
            children.append((Array(nameBytes(of: link)), nodes[Int(links[Int(link)].node)].object))
            link = links[Int(link)].nextSibling
        }
        return children
    }

    public func hasChildren(_ directory: ObjectID) -> Bool {
        let node = find(directory)
        return node >= 0 && nodes[Int(node)].firstChild >= 0
    }

    /// Whether `object` is `directory` or lies somewhere below it.
    public func isAncestor(_ directory: ObjectID, of object: ObjectID) -> Bool {
        let ancestor = find(directory), node = find(object)
        return ancestor >= 0 && node >= 0 && isAncestor(ancestor, of: node)
    }

    private func isAncestor(_ ancestor: Int32, of node: Int32) -> Bool {
        if nodes[Int(ancestor)].kind != .directory { return ancestor == node }
        var node = node
        while node != ancestor {
            // A file may have names in several directories.
            var link = nodes[Int(node)].firstLink
            if link < 0 { return false }
            if nodes[Int(node)].kind != .directory {
                while link >= 0 {
                    if isAncestor(ancestor, of: links[Int(link)].parent) { return true }
                    link = links[Int(link)].nextName
                }
                return false
            }
            node = links[Int(link)].parent
        }
        return true
    }

    /// Every name that a root leads to; a directory comes before what lies in it.
    public func forEachName<E: Error>(_ body: (_ name: Name, _ object: ObjectID, _ kind: Kind) throws(E) -> Void)
        throws(E)
    {
        for root in roots { try forEachName(below: root, body) }
    }

    /// Every name below one directory; a directory comes before what lies in it.
    public func forEachName<E: Error>(
        below directory: ObjectID, _ body: (_ name: Name, _ object: ObjectID, _ kind: Kind) throws(E) -> Void
    ) throws(E) {
        let start = find(directory)
        var waiting: [Int32] = start < 0 ? [] : [start]
        while let node = waiting.popLast() {
            var link = nodes[Int(node)].firstChild
            while link >= 0 {
                let child = links[Int(link)].node
                try body(name(of: link), nodes[Int(child)].object, nodes[Int(child)].kind)
                if nodes[Int(child)].kind == .directory { waiting.append(child) }
                link = links[Int(link)].nextSibling
            }
        }
    }

    /// Every known object, roots and nameless ones included, in no particular order.
    public func forEachObject<E: Error>(_ body: (_ object: ObjectID, _ kind: Kind) throws(E) -> Void) throws(E) {
        for node in nodes where !node.object.isNone { try body(node.object, node.kind) }
    }

    // MARK: storage, used by the changes in NameTable+Changes.swift

    func find(_ object: ObjectID) -> Int32 {
        if object.isNone { return -1 }
        return nodeIndex.find(NameTable.hash(object)) { nodes[Int($0)].object == object }
    }

    func find(_ parent: Int32, _ name: [UInt8], _ hash: UInt32) -> Int32 {
        linkIndex.find(hash) { index in
            let link = links[Int(index)]
            return link.hash == hash && link.parent == parent && Int(link.nameBytes) == name.count
                && nameBytes(of: index).elementsEqual(name)
        }
    }

    // The hashes are seeded per process (Hasher): names come from applications, and nobody can prepare collisions.
    private static func hash(_ object: ObjectID) -> UInt32 { UInt32(truncatingIfNeeded: object.hashValue) }

    func hash(_ parent: Int32, _ name: [UInt8]) -> UInt32 {
        var hasher = Hasher()
        hasher.combine(parent)
        hasher.combine(name)
        return UInt32(truncatingIfNeeded: hasher.finalize())
    }

    func nameBytes(of link: Int32) -> ArraySlice<UInt8> {
        let start = Int(links[Int(link)].poolOffset)
        return pool[start..<(start + Int(links[Int(link)].nameBytes))]
    }

    func name(of link: Int32) -> Name {
        Name(parent: nodes[Int(links[Int(link)].parent)].object, name: Array(nameBytes(of: link)))
    }

    mutating func addNode(_ object: ObjectID, _ kind: Kind) -> Int32 {
        precondition(!object.isNone)
        let node = Node(object: object, kind: kind)
        let index: Int32
        if let free = nodesFree.popLast() {
            nodes[Int(free)] = node
            index = free
        } else {
            index = Int32(nodes.count)
            nodes.append(node)
        }
        nodeIndex.insert(NameTable.hash(object), index, count: count) { NameTable.hash(nodes[Int($0)].object) }
        return index
    }

    mutating func removeNode(_ node: Int32) {
        nodeIndex.remove(NameTable.hash(nodes[Int(node)].object), node) { NameTable.hash(nodes[Int($0)].object) }
        nodes[Int(node)] = Node(object: ObjectID.none, kind: Kind.file)
        nodesFree.append(node)
    }

    mutating func addLink(_ parent: Int32, _ name: [UInt8], _ hash: UInt32, _ node: Int32) {
        compactPool()
        var link = Link(parent: parent, node: node, hash: hash, poolOffset: UInt32(pool.count),
            nameBytes: UInt8(name.count))
        pool.append(contentsOf: name)
        link.nextName = nodes[Int(node)].firstLink
        link.nextSibling = nodes[Int(parent)].firstChild
        let index: Int32
        if let free = linksFree.popLast() {
            links[Int(free)] = link
            index = free
        } else {
            index = Int32(links.count)
            links.append(link)
        }
        if link.nextSibling >= 0 { links[Int(link.nextSibling)].previousSibling = index }
        nodes[Int(node)].firstLink = index
        nodes[Int(parent)].firstChild = index
        linkIndex.insert(hash, index, count: nameCount) { links[Int($0)].hash }
    }

    mutating func removeLink(_ index: Int32) {
        let link = links[Int(index)]
        linkIndex.remove(link.hash, index) { links[Int($0)].hash }
        if link.previousSibling >= 0 {
            links[Int(link.previousSibling)].nextSibling = link.nextSibling
        } else {
            nodes[Int(link.parent)].firstChild = link.nextSibling
        }
        if link.nextSibling >= 0 { links[Int(link.nextSibling)].previousSibling = link.previousSibling }
        var before: Int32 = -1
        var other = nodes[Int(link.node)].firstLink
        while other != index {
            before = other
            other = links[Int(other)].nextName
        }
        if before >= 0 {
            links[Int(before)].nextName = link.nextName
        } else {
            nodes[Int(link.node)].firstLink = link.nextName
        }
        poolGarbage += Int(link.nameBytes)
        links[Int(index)].node = -1
        links[Int(index)].nameBytes = 0
        linksFree.append(index)
    }

    /// Rewrites the pool when more than half of it belongs to names that are gone: amortised, one byte per byte added.
    private mutating func compactPool() {
        guard poolGarbage > 65536, poolGarbage * 2 > pool.count else { return }
        var compacted: [UInt8] = []
        compacted.reserveCapacity(pool.count - poolGarbage)
        for index in links.indices where links[index].node >= 0 {
            let bytes = nameBytes(of: Int32(index))
            links[index].poolOffset = UInt32(compacted.count)
            compacted.append(contentsOf: bytes)
        }
        pool = compacted
        poolGarbage = 0
    }
}
