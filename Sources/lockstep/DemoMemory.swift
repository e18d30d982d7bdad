import Capture
import Control
import Glibc

/// Opens the shared memory of a node's application from outside.
///
/// The keepers hold it as memfds without a path: /proc/KEEPER/fd leads to them. Mapped before a kill, it outlives
/// everybody who wrote into it.
enum DemoMemory {
    private static let prefix = "/memfd:lockstep-"

    /// Nil if no keeper lives: nothing ran under the capture.
    static func open(of keepers: [ProcessIdentity]) throws(ControlError) -> CaptureView? {
        var found: [String: [Int32]] = [:]
        defer { for descriptor in found.values.joined() { close(descriptor) } }
        for keeper in keepers {
            let directory = "/proc/\(keeper.pid)/fd"
            for name in names(in: directory) {
                guard let kind = kind(of: "\(directory)/\(name)") else { continue }
                let descriptor = Glibc.open("\(directory)/\(name)", O_RDONLY | O_CLOEXEC)
                // It may have been closed since.
                if descriptor >= 0 { found[kind, default: []].append(descriptor) }
            }
        }
        guard !keepers.isEmpty else { return nil }
        guard let control = found["control"]?.first, let ring = found["ring"]?.first else {
            throw ControlError(.unavailable, "the keepers' shared memory can't be opened: "
                + keepers.map { "process \($0.pid)" }.joined(separator: ", "))
        }
        do throws(CaptureError) {
            let view = try CaptureView(controlDescriptor: control, ringDescriptor: ring)
            // One that is no arena yet was given to nobody; nothing is explained by it.
            for arena in found["arena"] ?? [] { _ = try? view.attach(arenaDescriptor: arena) }
            return view
        } catch {
            throw ControlError(.protocolError, "the keepers' shared memory: \(error)")
        }
    }

    /// "control" of a link to "/memfd:lockstep-control (deleted)".
    private static func kind(of path: String) -> String? {
        var buffer = [CChar](repeating: 0, count: 256)
        let count = readlink(path, &buffer, buffer.count)
        guard count > 0 else { return nil }
        let target = String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
        guard target.hasPrefix(prefix) else { return nil }
        return String(target.dropFirst(prefix.count).prefix { $0 != " " })
    }
}
