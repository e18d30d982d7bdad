// A daemon that only answers: what the command line does with daemons, their answers and their deaths is tested
// against it, without journals or links. It takes lockstepd's arguments.
//
// The environment chooses how it behaves:
//   LOCKSTEP_DOUBLE=refuse-start   ends at once with code 71, and says that its port is taken
//   LOCKSTEP_DOUBLE=refuse-verbs   answers every verb but status with a refusal

internal import Control
import Glibc
import Synchronization

struct Arguments {
    var values: [String: String] = [:]
    var roots: [Status.Root] = []

    init(_ words: [String]) {
        var rest = words[...]
        while let word = rest.popFirst() {
            let parts = word.split(separator: "=", maxSplits: 1).map(String.init)
            guard let name = parts.first, name.hasPrefix("--") else { continue }
            // --root NAME=PATH and --exclude=-shm: the value follows, or stands behind the sign
            let value = parts.count == 2 ? parts[1] : rest.popFirst() ?? ""
            if name == "--root" {
                let root = value.split(separator: "=", maxSplits: 1).map(String.init)
                roots.append(Status.Root(name: root[0], path: root[1]))
            }
            values[name] = value
        }
    }
}

let arguments = Arguments(Array(CommandLine.arguments.dropFirst()))
let behaviour = getenv("LOCKSTEP_DOUBLE").map { String(cString: $0) } ?? ""

func complain(_ line: String, _ code: ExitCode) -> Never {
    let text = Array("lockstepd: \(line)\n".utf8)
    write(2, text, text.count)
    exit(code.rawValue)
}

if behaviour == "refuse-start" { complain("127.0.0.1: the port is taken", .system) }
guard let directory = arguments.values["--directory"] else { complain("--directory is missing", .usage) }

struct Double {
    var primary: Bool
    /// The first copy ends after some questions, not after some time.
    var questions = 0
}
let double = Mutex(Double(primary: arguments.values["--role"] == "primary"))

func status() -> Status {
    double.withLock { double in
        double.questions += 1
        var status = Status(module: arguments.values["--module"] ?? "", node: arguments.values["--node"] ?? "",
            role: double.primary ? "primary" : "secondary")
        status.state = double.primary ? .primary : .secondary
        status.copy.objects = 3
        status.copy.objectsDone = UInt64(min(double.questions, 3))
        status.copy.running = double.questions < 3
        status.ready = !status.copy.running
        status.data = status.copy.running && !double.primary ? .inconsistent : .upToDate
        status.link = .connected
        status.epoch = 1
        status.roots = arguments.roots
        return status
    }
}

let stopping = Mutex(false)

func answer(_ request: ControlRequest) -> ControlReply {
    if request.verb == "status" { return ControlReply(status: status()) }
    if behaviour == "refuse-verbs" { return ControlReply(refusing: .refused, "the data is inconsistent") }
    switch request.verb {
    case "settle": return ControlReply(fields: ["position": "7"])
    case "takeover":
        double.withLock { $0.primary = true }
        return ControlReply(fields: ["epoch": "2"])
    case "stop":
        // The signal comes once the answer is on its way: blocked here, taken by sigwait below.
        kill(getpid(), SIGUSR1)
        return ControlReply()
    default: return ControlReply(refusing: .usage, "unknown verb \(request.verb)")
    }
}

do {
    var signals = sigset_t()
    sigemptyset(&signals)
    sigaddset(&signals, SIGUSR1)
    pthread_sigmask(SIG_BLOCK, &signals, nil)
    let server = try ControlServer(directory: directory, handler: answer)
    var signal: Int32 = 0
    sigwait(&signals, &signal)
    server.stop()
    exit(0)
} catch {
    complain(error.message, error.code)
}
