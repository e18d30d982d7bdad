public import Primitives
import Replication

// Somebody else changed the trees while the stream was being applied. Names are brought back at once, by what recovery does at a
// start (Recovery.swift): what nobody knows is removed, what was moved comes back, what is gone is made anew, empty and marked
// lost. Bytes come from the primary again; until then a lost file keeps its mark, and the data can't be taken over.
extension Replayer {
    /// Objects that must come from the primary again.
    public func mendNames() throws(ReplayError) -> [ObjectID] {
        guard isMendable else { return [] }
        // What was removed may still be open here.
        cache.removeAll()
        // Whoever goes on changing them may make a step fail. Between two steps everything known is in the trees or in limbo, so
        // that it can begin again.
        return try restoreNames()
    }

    /// Nothing is known of trees that replay has given up, and those of an application are not ours.
    public var isMendable: Bool { !retired && failure == nil && (copying || consistent) }

    /// A file of this node, in whichever of the roots on its file system.
    public struct OwnKey: Hashable, Sendable {
        var device: UInt8
        var inode: UInt64
        var generation: UInt32
    }

    public func ownKey(root: UInt32, inode: UInt64, generation: UInt32) -> OwnKey {
        OwnKey(device: Int(root) < trees.count ? deviceNumber(of: Int(root)) : .max, inode: inode, generation: generation)
    }

    /// Which object an own file is.
    public func objectsByOwnFile() -> [OwnKey: ObjectID] {
        var objects: [OwnKey: ObjectID] = [:]
        objects.reserveCapacity(own.count)
        for (object, file) in own { objects[OwnKey(device: file.device, inode: file.inode, generation: file.generation)] = object }
        return objects
    }

    /// It could not be mended: only a copy puts it right.
    public func giveUp(_ reason: String) {
        failure = .inconsistent(reason, at: position)
        inconsistency = reason
    }

    /// The primary has shipped them again.
    public func isWhole(_ objects: [ObjectID]) {
        for object in objects { own[object]?.isLost = false }
    }
}
