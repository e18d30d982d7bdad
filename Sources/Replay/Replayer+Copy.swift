import Glibc
import Platform
import Primitives
import Replication

// A full copy: what was here is void, and there is no consistent point until its end.
//
//   copyBegins   earlier `before-copy` deleted, (1) table: empty, "moving aside"; entries renamed away; (2) table: empty
//   present ...  the roots first, then parents before children; fills; operations of the running application
//   copyEnds     consistent, as soon as no name is owed; checkpoint
//
// After a crash between (1) and (2) the table says that what the roots still hold is to be moved aside, not deleted.
extension Replayer {
    func copyBegins(_ record: Record) throws(ReplayError) {
        forgetEverything()
        copying = true
        isEnding = false
        inconsistency = "a copy is under way"
        mark.position = record.position
        try calling { () throws(SystemError) in
            for tree in trees { try tree.dropAside() }
        }
        try writeTable(movingAside: true)
        try moveAside()
    }

    func moveAside() throws(ReplayError) {
        try calling { () throws(SystemError) in
            for tree in trees {
                try tree.moveAside()
                try tree.flush()
            }
        }
        try writeTable(movingAside: false)
    }

    /// A name may still be owed: operations that overlapped are settled, and told, when their calls return. `settled` says
    /// that all have: what is owed then was forgotten.
    func copyEnds() throws(ReplayError) {
        guard copying else { throw .inconsistent("the end of a copy that did not begin", at: position) }
        isEnding = true
        try endCopy(allIsTold: false)
    }

    func endCopy(allIsTold: Bool) throws(ReplayError) {
        for number in trees.indices where !table.roots.contains(where: { Int($0.root) == number }) {
            throw .inconsistent("the copy did not bring root \(trees[number].path)", at: position)
        }
        if let name = owed.first {
            guard allIsTold else { return }
            throw .inconsistent("the copy did not bring \(shown(name.parent, name.name))", at: position)
        }
        try requireNoRefusals(at: position)
        copying = false
        isEnding = false
        inconsistency = nil
        _ = try checkpoint(Mark(position: position, epoch: mark.epoch, chain: mark.chain))
    }

    private func forgetEverything() {
        cache.removeAll()
        table = NameTable(roots: [])
        own = [:]
        limbo = Limbo(bounds: limbo.bounds)
        removed = RemovedObjects(capacity: removed.capacity)
        held.removeAll()
        owed = []
        refusals = Refusals()
    }
}
