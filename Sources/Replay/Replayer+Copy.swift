import Glibc
import Platform
import Primitives
import Replication

// A full copy: what was here is void, and there is no consistent point until its end.
//
//   copyBegins   earlier `before-copy` deleted, (1) table: empty, "moving aside"; entries renamed away; (2) table: empty
//   present ...  the roots first, then parents before children; fills; operations of the running application
//   copyEnds     consistent; checkpoint
//
// After a crash between (1) and (2) the table says that what the roots still hold is to be moved aside, not deleted.
extension Replayer {
    func copyBegins(_ record: Record) throws(ReplayError) {
        forgetEverything()
        copying = true
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

    func copyEnds(_ record: Record) throws(ReplayError) {
        guard copying else { throw .inconsistent("the end of a copy that did not begin", at: position) }
        for number in trees.indices where !table.roots.contains(where: { Int($0.root) == number }) {
            throw .inconsistent("the copy did not bring root \(trees[number].path)", at: position)
        }
        if let name = owed.first {
            throw .inconsistent("the copy did not bring \(shown(name.parent, name.name))", at: position)
        }
        try requireNoRefusals(at: position)
        copying = false
        inconsistency = nil
        _ = try checkpoint(Mark(position: record.position, epoch: mark.epoch, chain: mark.chain))
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
