import Journal
import Synchronization

/// Which journal's segments are being made ready: an error about those of an earlier one is nobody's.
final class CurrentPool: Sendable {
    private let pool = Mutex<SegmentPool?>(nil)

    func set(_ pool: SegmentPool?) { self.pool.withLock { $0 = pool } }
    func isCurrent(_ other: SegmentPool) -> Bool { pool.withLock { $0 === other } }
}
