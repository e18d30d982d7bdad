import Glibc
import Primitives

/// Open descriptors of files and directories by object, the least recently used one closed first.
///
/// A descriptor stays right when its file is renamed, so only removal drops one. A database writes to a few dozen
/// files: almost every write then costs one system call.
final class DescriptorCache {
    private struct Slot {
        var object: ObjectID
        var descriptor: Int32
        var used: UInt64
    }

    private let capacity: Int
    private var slots: [Slot] = []
    private var slotOf: [ObjectID: Int] = [:]
    private var clock: UInt64 = 0

    init(capacity: Int) {
        precondition(capacity >= 4)  // a rename holds two directories at once
        self.capacity = capacity
    }

    deinit { removeAll() }

    var count: Int { slots.count }

    subscript(object: ObjectID) -> Int32? {
        guard let slot = slotOf[object] else { return nil }
        clock += 1
        slots[slot].used = clock
        return slots[slot].descriptor
    }

    /// Takes over `descriptor`.
    func insert(_ descriptor: Int32, for object: ObjectID) {
        remove(object)
        if slots.count == capacity, let oldest = slots.min(by: { $0.used < $1.used }) { remove(oldest.object) }
        clock += 1
        slotOf[object] = slots.count
        slots.append(Slot(object: object, descriptor: descriptor, used: clock))
    }

    func remove(_ object: ObjectID) {
        guard let slot = slotOf.removeValue(forKey: object) else { return }
        close(slots[slot].descriptor)
        let last = slots.removeLast()
        if slot < slots.count {
            slots[slot] = last
            slotOf[last.object] = slot
        }
    }

    func removeAll() {
        for slot in slots { close(slot.descriptor) }
        slots.removeAll()
        slotOf.removeAll()
    }
}
