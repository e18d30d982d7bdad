import CCaptureABI
import Capture
import Glibc
import Platform
import Primitives
import Replication
import Watch

/// Keepers, processes and their arenas.
extension PrimaryPlane {
    func receive(from keeper: Int32) throws {
        for event in server.receive(from: keeper) {
            switch event {
            case .hello(let keeper, let range):
                server.welcome(keeper, memory: memory, range: range)
                coverKeepers()
            case .handedBack(let keeper, let range, let control, let ring):
                let mine = CaptureMemory.incarnation(controlDescriptor: control)
                close(control)
                close(ring)
                if let mine, mine == memory.incarnation {
                    server.welcome(keeper, memory: memory, range: range)
                    coverKeepers()
                } else {
                    server.refuse(keeper, LOCKSTEP_EXIT_PROTOCOL,
                        "the shared memory is of another incarnation: its programs must be started again")
                    server.drop(keeper)
                }
            case .arena(let number, let pid, let descriptor, let process):
                do {
                    // The same process with a new arena became another program: what it had in flight will never end.
                    for old in memory.arenas.values where old.pid == pid && old.number != number { old.markGone() }
                    let arena = try memory.attach(arena: number, descriptor: descriptor, processDescriptor: process, pid: pid)
                    covered.insert(pid)
                    if memory.isAdopted { inherit(arena) }
                    onArena(arena)
                } catch {
                    log.info("\(error)")
                }
            case .gone(let keeper):
                if let pid = server.keepers[keeper]?.pid { retireCovered(pid) }
                server.drop(keeper) { number in memory.arenas[number] != nil }
            }
        }
    }

    /// What a keeper starts is covered, or refused.
    func coverKeepers() {
        for keeper in server.keepers.values where keeper.isWelcome { covered.insert(keeper.pid) }
    }

    func retireArenas() {
        for arena in memory.arenas.values where !arena.isAlive && arena.tracked <= 0 {
            // What it published before its end may not be drained yet: the ring still names it.
            let after = arena.retireAfter ?? memory.reserved
            arena.retireAfter = after
            guard memory.drained >= after else { continue }
            let number = arena.number
            shipMappedOfDead(arena)
            memory.retire(arena: number)
            retireCovered(arena.pid)
            server.retired(arena: number) { memory.arenas[$0] != nil }
        }
    }

    /// Paths are bytes; the empty path is the root.
    func join(_ path: [UInt8], _ name: [UInt8]) -> [UInt8] { path.isEmpty ? name : path + [0x2f] + name }
}
