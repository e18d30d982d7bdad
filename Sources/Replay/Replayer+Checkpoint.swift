import Glibc
public import Platform
import Primitives
import Replication

extension Replayer {
    var tablePath: String { stateDirectory + "/table" }

    /// Makes everything up to `mark.position`, the last position that was applied or held, durable; the journal before it
    /// is not needed any more. Costs a syncfs of every root and the table's size in bytes.
    ///
    /// False: it was put off, and the journal is still needed, because a refused call is still in doubt (Refusals.swift).
    @discardableResult
    public func checkpoint(_ mark: Mark) throws(ReplayError) -> Bool {
        precondition(!retired)
        if let failure { throw .stopped(failure.description) }
        // The record that ends the copy is needed again.
        if isEnding { return false }
        if !refusals.isEmpty {
            do throws(ReplayError) { try requireNoRefusals(forRecords: Refusals.positionsMax, at: mark.position) } catch {
                failure = error
                inconsistency = error.description
                throw error
            }
            return false
        }
        try calling { () throws(SystemError) in
            for tree in trees { try tree.flush() }
        }
        self.mark = mark
        // Dropping bytes before the table forgets them would only make placeholders after a crash; but why not in order.
        var outlived: [ObjectID] = []
        while let object = limbo.nextOutlived() {
            limbo.remove(object)
            outlived.append(object)
        }
        limbo.checkpointDone()
        try writeTable(movingAside: false)
        for object in outlived { try purge(object) }
        return true
    }

    func writeTable(movingAside: Bool) throws(ReplayError) {
        var written = ReplayTable()
        written.isConsistent = consistent
        written.isCopying = copying
        written.isMovingAside = movingAside
        written.mark = mark
        written.syntheticNext = syntheticNext
        written.roots = trees.map { tree in
            ReplayTable.Root(object: table.roots.first { Int($0.root) == tree.number } ?? .none, inode: tree.inode,
                generation: tree.generation)
        }
        written.names = table
        written.own = own
        written.removed = Array(removed.all)
        written.owed = Array(owed)
        written.pending = held.pending
        written.queued = Array(held.queued)
        let bytes = written.encoded()
        try calling { () throws(SystemError) in try DurableFile.replace(path: tablePath, contents: bytes) }
    }

    /// The trees belong to an application now: nothing may be brought back to an old table. Durable when it returns.
    public static func removeTable(stateDirectory: String) throws(SystemError) {
        let path = stateDirectory + "/table"
        if unlink(path) < 0 {
            if errno == ENOENT { return }
            throw SystemError.current("remove", path)
        }
        try DurableFile.flushDirectory(containing: path)
    }
}
