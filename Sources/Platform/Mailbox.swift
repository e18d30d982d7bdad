import CLinux
import Glibc
import Synchronization

/// A bounded queue into a thread that waits on a descriptor: an event loop polls `descriptor`, a plain thread calls
/// `wait`.
public final class Mailbox<Message: Sendable>: Sendable {
    /// An eventfd: readable while messages may be there.
    public let descriptor: Int32
    private let capacity: Int
    private let messages = Mutex<[Message]>([])

    public init(capacity: Int) {
        self.capacity = capacity
        descriptor = lockstep_eventfd()
        precondition(descriptor >= 0, "eventfd: errno \(-descriptor)")
    }

    deinit { close(descriptor) }

    /// False when the queue is full: the message was not taken.
    public func post(_ message: Message) -> Bool {
        let taken = messages.withLock { messages in
            if messages.count >= capacity { return false }
            messages.append(message)
            return true
        }
        if taken {
            var one: UInt64 = 1
            _ = write(descriptor, &one, 8)
        }
        return taken
    }

    /// All messages there are, oldest first; the descriptor is no longer readable.
    public func take() -> [Message] {
        var count: UInt64 = 0
        _ = read(descriptor, &count, 8)
        return messages.withLock { messages in
            let taken = messages
            messages.removeAll(keepingCapacity: true)
            return taken
        }
    }

    /// Blocks until there may be messages, or the time is over.
    public func wait(milliseconds: Int32) {
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        _ = poll(&entry, 1, milliseconds)
    }
}
