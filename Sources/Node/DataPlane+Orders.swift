import Capture
import Control
import Link
import Platform
import Primitives
import Replication
import Watch

/// What other threads ask for.
extension DataPlane {
    func obey(_ order: Order) throws {
        switch order {
        case .status(let answer): answer(snapshot())
        case .settle(let answer):
            guard let primary else { return answer(.failure(NodeError(77, "only a primary settles"))) }
            guard primary.isStreaming else { return answer(.failure(NodeError(69, "the peer is not connected"))) }
            settles.append(Settle(reserved: primary.memory.reserved, answer: answer))
        case .promote(let force, let answer):
            guard let secondary else { return answer(.failure(NodeError(77, "this node is primary already"))) }
            guard !isPromoting else { return answer(.failure(NodeError(77, "a takeover is running already"))) }
            guard secondary.dataState == .upToDate || (force && secondary.dataState == .suspect) else {
                return answer(.failure(NodeError(77, "this node's data is \(secondary.dataState.rawValue): it can't take over")))
            }
            promotion = answer
            isPromoting = true
            // A primary that was killed just now may not have been missed yet.
            promotionDeadline = Clock.monotonic + 1_000_000_000
        case .startPrimary(let epoch, let holdsAlonePermit, let answer):
            do {
                try startPrimary(epoch: epoch, holdsAlonePermit: holdsAlonePermit)
                answer(.success(()))
            } catch {
                let refusal = error as? NodeError ?? NodeError(71, "\(error)")
                answer(.failure(refusal))
                throw refusal
            }
        case .alonePermit(let request):
            guard permitAsked == request else { return }
            permitAsked = nil
            primary?.permitAlone()
        case .applier(let report): try obey(report)
        case .outside(let report): try obey(report)
        case .listed(let differences): try take(listed: differences)
        case .mark(let answer):
            if let secondary { secondary.applier.mark(answer) } else { answer(mark) }
        case .stop(let answer):
            isStopped = true
            answer()
        }
    }

    func turnSettles(_ primary: PrimaryPlane) {
        for index in settles.indices {
            if let position = settles[index].position {
                if let ack = peerAck, ack.applied >= position { settles[index].answer(.success(settles[index].repaired)) }
                continue
            }
            guard primary.memory.drained >= settles[index].reserved, primary.tracker.unsettled.isEmpty, primary.copy == nil,
                !primary.owesRepairs, primary.fills.isEmpty
            else { continue }
            if !settles[index].hasMappings {
                settles[index].hasMappings = true
                do { try primary.shipMapped(.none) } catch {
                    settles[index].answer(.failure(NodeError(1, "mappings: \(error)")))
                    settles[index].position = StreamPosition.none
                }
                // What was found is shipped first.
                continue
            }
            if !settles[index].hasNames {
                settles[index].hasNames = true
                do { settles[index].repaired = try primary.passOfNames() } catch {
                    settles[index].answer(.failure(NodeError(1, "pass of names: \(error)")))
                    settles[index].position = StreamPosition.none
                }
                // What it found is shipped whole first.
                if settles[index].repaired > 0 || settles[index].position != nil { continue }
            }
            primary.shipTimes()
            settles[index].position = primary.ship(Record(.settled), about: [])
            primary.batch.mustReach = max(primary.batch.mustReach, 1)
        }
        settles.removeAll { settle in
            guard let position = settle.position else { return false }
            return position == StreamPosition.none || (peerAck.map { $0.applied >= position } ?? false)
        }
    }

    func snapshot() -> Snapshot {
        var snapshot = Snapshot()
        snapshot.isConnected = connection != nil && isWelcome
        snapshot.lastError = lastError
        snapshot.watch = watchState
        snapshot.outside = outsideLog.writers
        snapshot.outsideChanges = outsideLog.changes
        snapshot.outsideRepaired = outsideLog.repaired
        snapshot.outsideUnattributed = outsideLog.unattributed
        snapshot.watchLost = outsideLog.lost
        snapshot.denied = watcher?.denied ?? 0
        if let primary {
            snapshot.appended = primary.release.appended.value
            snapshot.acked = primary.release.acked.value
            snapshot.flushed = peerAck?.flushed.value ?? 0
            snapshot.applied = peerAck?.applied.value ?? 0
            snapshot.drained = primary.memory.drained
            snapshot.released = primary.memory.released
            snapshot.dataState = primary.dataIsSuspect ? .suspect : .upToDate
            snapshot.peerState = peerAck?.dataState
            if let copy = primary.copy {
                snapshot.isCopying = true
                snapshot.objects = copy.objects
                snapshot.objectsDone = copy.objectsDone
                snapshot.bytesDone = primary.fills.bytesShipped
            }
            snapshot.isPaired = saidPaired
            snapshot.keepers = primary.server.keepers.count
            snapshot.guardState = primary.server.guards.state
            snapshot.guardedCalls = primary.server.guards.calls
            snapshot.processes = primary.memory.arenas.values.filter(\.isAlive).count
            snapshot.operations = primary.counters.operations
            snapshot.barriers = primary.counters.barriers
            snapshot.batches = primary.counters.batches
            snapshot.fills = primary.counters.fills
            snapshot.repairs = primary.counters.repairs
            snapshot.revoked = primary.memory.revoked
            snapshot.refused = primary.server.refused
            snapshot.unrepaired = !primary.outside.isEmpty
            snapshot.linksOut = primary.linksOut.values.sorted()
        }
        if let secondary {
            snapshot.appended = secondary.received.position.value
            snapshot.flushed = secondary.flushed.position.value
            snapshot.acked = secondary.flushed.position.value
            snapshot.applied = secondary.applier.applied.value
            snapshot.dataState = secondary.dataState
            snapshot.batches = secondary.batches
            snapshot.unrepaired = !secondary.suspects.isEmpty
        }
        return snapshot
    }
}
