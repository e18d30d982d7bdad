import Capture
import Glibc
import Platform

extension CaptureMemory {
    /// The memory of an earlier daemon, from the first keeper that brings it. Waits, bounded, while keepers that are known
    /// to the node's directory live: without their memory what they hold would be lost. nil: there is none.
    static func takenBack(from server: CaptureServer, configuration: Configuration, log: Log) throws -> CaptureMemory? {
        let deadline = Clock.monotonic + 10_000_000_000
        var adopted: CaptureMemory?
        while adopted == nil, livingKeepers(configuration).contains(where: { pid in !server.keepers.values.contains { $0.pid == pid } })
            || (!server.keepers.isEmpty && Clock.monotonic < deadline)
        {
            guard Clock.monotonic < deadline else {
                log.info("keepers live and did not hand back their memory: their programs must be started again")
                return nil
            }
            var entry = pollfd(fd: server.descriptor, events: Int16(POLLIN), revents: 0)
            _ = poll(&entry, 1, 20)
            _ = server.accept()
            var said = 0
            for keeper in server.keepers.keys {
                for event in server.receive(from: keeper) {
                    switch event {
                    case .handedBack(_, let range, let control, let ring):
                        server.remember(range: range, of: keeper)
                        if adopted == nil {
                            do { adopted = try CaptureMemory.adopt(controlDescriptor: control, ringDescriptor: ring) } catch {
                                log.info("\(error)")
                                Glibc.close(control)
                                Glibc.close(ring)
                                server.refuse(keeper, 76, "\(error)")
                                server.drop(keeper)
                            }
                        } else {
                            Glibc.close(control)
                            Glibc.close(ring)
                        }
                    case .hello(_, let range):
                        server.remember(range: range, of: keeper)
                        said += 1
                    case .arena(_, _, let arena, let process):
                        // Announced again after the welcome.
                        Glibc.close(arena)
                        Glibc.close(process)
                    case .gone: server.drop(keeper)
                    }
                }
            }
            // Only new keepers, and no living one that could have more: the memory is new too.
            if said == server.keepers.count, said > 0 { break }
        }
        return adopted
    }

    /// Keepers that were started for this node and still run: NODE_DIRECTORY/keepers/PID, written before they start.
    private static func livingKeepers(_ configuration: Configuration) -> [Int32] {
        guard let names = try? Directory.names(path: configuration.directory + "/keepers") else { return [] }
        return names.compactMap { Int32(String(decoding: $0, as: UTF8.self)) }.filter { pid in
            let descriptor = open("/proc/\(pid)/comm", O_RDONLY | O_CLOEXEC)
            guard descriptor >= 0 else { return false }
            defer { Glibc.close(descriptor) }
            var name = [UInt8](repeating: 0, count: 32)
            let count = read(descriptor, &name, name.count)
            return count > 0 && String(decoding: name.prefix(count), as: UTF8.self).hasPrefix("lockstep-keepe")
        }
    }
}
