public import Primitives

/// Why a change of names is impossible. The bytes are foreign (a record of the peer), so this is an error, not a trap.
public enum NameTableError: Error, Equatable, Sendable {
    case unknownObject(ObjectID)
    case unknownParent(ObjectID)
    case notADirectory(ObjectID)
    /// The name means nothing.
    case noSuchName(NameTable.Name)
    /// A directory would come to lie in itself.
    case cycle(ObjectID)
    /// Empty, or longer than 255 bytes.
    case impossibleName
    case isRoot(ObjectID)
}

extension NameTable {
    /// Lets `name` in `parent` mean `object`; the result is what the name meant before, if that was something else.
    ///
    /// A known file gets a further name; a known directory moves, since it can have only one. A known object of another
    /// kind is gone without notice, and the new one takes its place. The displaced object stays known.
    @discardableResult
    public mutating func insert(_ object: ObjectID, _ kind: Kind, _ parent: ObjectID, _ name: [UInt8])
        throws(NameTableError) -> ObjectID?
    {
        let directory = try self.directory(parent)
        guard !object.isNone else { throw .unknownObject(object) }
        guard !name.isEmpty, name.count <= Record.nameBytesMax else { throw .impossibleName }
        if isRoot(object) { throw .isRoot(object) }
        var node = find(object)
        if node >= 0, kind == .directory, isAncestor(object, of: parent) { throw .cycle(object) }
        if node >= 0, nodes[Int(node)].kind != kind {
            if isAncestor(object, of: parent) { throw .cycle(object) }
            forget(object)
            node = -1
        }
        let hash = self.hash(directory, name)
        let previous = find(directory, name, hash)
        var displaced: ObjectID?
        if previous >= 0 {
            if links[Int(previous)].node == node { return nil }
            displaced = nodes[Int(links[Int(previous)].node)].object
            removeLink(previous)
        }
        if node < 0 {
            node = addNode(object, kind)
        } else if kind == .directory, nodes[Int(node)].firstLink >= 0 {
            removeLink(nodes[Int(node)].firstLink)
        }
        addLink(directory, name, hash, node)
        return displaced
    }

    /// Makes an object known that has no name (it was unlinked while open).
    public mutating func insertNameless(_ object: ObjectID, _ kind: Kind) {
        if find(object) < 0 { _ = addNode(object, kind) }
    }

    /// Takes a name away; the result is what it meant. The object stays known.
    @discardableResult
    public mutating func remove(_ parent: ObjectID, _ name: [UInt8]) -> ObjectID? {
        let directory = find(parent)
        guard directory >= 0 else { return nil }
        let link = find(directory, name, hash(directory, name))
        guard link >= 0 else { return nil }
        let object = nodes[Int(links[Int(link)].node)].object
        removeLink(link)
        return object
    }

    /// As rename(2): the result is what the target meant before. Both names meaning one object changes nothing.
    @discardableResult
    public mutating func move(_ parent: ObjectID, _ name: [UInt8], to targetParent: ObjectID, _ targetName: [UInt8])
        throws(NameTableError) -> ObjectID?
    {
        _ = try directory(parent)
        _ = try directory(targetParent)
        guard let object = lookup(parent, name), let kind = kind(of: object) else {
            throw .noSuchName(Name(parent: parent, name: name))
        }
        if lookup(targetParent, targetName) == object { return nil }
        let displaced = try insert(object, kind, targetParent, targetName)
        remove(parent, name)  // of a directory, `insert` has taken it away already
        return displaced
    }

    /// As renameat2(2) with RENAME_EXCHANGE.
    public mutating func exchange(_ parent: ObjectID, _ name: [UInt8], with targetParent: ObjectID, _ targetName: [UInt8])
        throws(NameTableError)
    {
        let directory = try self.directory(parent), targetDirectory = try self.directory(targetParent)
        let link = find(directory, name, hash(directory, name))
        guard link >= 0 else { throw .noSuchName(Name(parent: parent, name: name)) }
        let targetHash = hash(targetDirectory, targetName)
        let targetLink = find(targetDirectory, targetName, targetHash)
        guard targetLink >= 0 else { throw .noSuchName(Name(parent: targetParent, name: targetName)) }
        let node = links[Int(link)].node, targetNode = links[Int(targetLink)].node
        if node == targetNode { return }
        let object = nodes[Int(node)].object, targetObject = nodes[Int(targetNode)].object
        if nodes[Int(node)].kind == .directory, isAncestor(object, of: targetParent) { throw .cycle(object) }
        if nodes[Int(targetNode)].kind == .directory, isAncestor(targetObject, of: parent) { throw .cycle(targetObject) }
        let hash = links[Int(link)].hash
        removeLink(link)
        removeLink(targetLink)
        addLink(directory, name, hash, targetNode)
        addLink(targetDirectory, targetName, targetHash, node)
    }

    /// Forgets an object and all its names. What lies in a directory loses that name, and stays known.
    public mutating func forget(_ object: ObjectID) {
        let node = find(object)
        guard node >= 0, !nodes[Int(node)].isRoot else { return }
        while nodes[Int(node)].firstChild >= 0 { removeLink(nodes[Int(node)].firstChild) }
        while nodes[Int(node)].firstLink >= 0 { removeLink(nodes[Int(node)].firstLink) }
        removeNode(node)
    }

    private func directory(_ object: ObjectID) throws(NameTableError) -> Int32 {
        let node = find(object)
        guard node >= 0 else { throw .unknownParent(object) }
        guard nodes[Int(node)].kind == .directory else { throw .notADirectory(object) }
        return node
    }
}
