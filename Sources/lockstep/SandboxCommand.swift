internal import ArgumentParser
import Control
import Glibc

/// `lockstep sandbox`: a pair of nodes on this machine to work with and to break.
struct SandboxCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "sandbox",
        abstract: "A pair of nodes on this machine, without root.",
        discussion: "DIR/a/data and DIR/b/data are the two trees, or those that `up --root` names. What is written into the primary's tree by programs "
            + "under `sandbox run` appears in the other.",
        subcommands: [Up.self, RunHere.self, Settle.self, Kill.self, TakeOver.self, Rejoin.self, ShowPair.self,
            Compare.self, Down.self])
}

extension SandboxCommand {
    struct Up: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a pair, or start an earlier one again; returns when the first copy is complete.")
        @Argument(help: "The sandbox's directory; what lies in DIR/a/data is kept and copied.") var directory: String
        @Option(name: .customLong("root"),
            help: "NAME=A_PATH,B_PATH of a replicated directory, once per root; without it DIR/a/data and DIR/b/data.")
        var roots: [String] = []
        @Option(help: "A path that links and mounts in the roots may lead to although it is not replicated; once per path.")
        var outside: [String] = []
        @Option(help: "Bound of one wait at a durability point.") var waitBoundSeconds: Int?
        @Flag(inversion: .prefixedNo, help: "Capture io_uring of programs that use liburing; without it io_uring can't be set up.")
        var ioUring: Bool?
        @Option(help: "off, report or deny: changes by programs outside the capture are not looked for, are named and repaired, or their openings for writing are denied too; as before, or off.")
        var watch: String?

        func validate() throws {
            if let bound = waitBoundSeconds, bound < 1 { throw ValidationError("--wait-bound-seconds must be 1 or more") }
            if let watch, !["off", "report", "deny"].contains(watch) { throw ValidationError("--watch \(watch): off, report or deny") }
            if let bad = outside.first(where: { !$0.hasPrefix("/") }) { throw ValidationError("--outside \(bad): not an absolute path") }
        }

        func run() throws {
            try Sandbox.up(directory, roots: roots, outside: outside, waitBoundSeconds: waitBoundSeconds, ioUring: ioUring, watch: watch).sayTrees()
        }
    }

    struct RunHere: ParsableCommand {
        static let configuration = CommandConfiguration(commandName: "run",
            abstract: "Run a program on the current primary, captured; several at once share the module.",
            discussion: "Exits as the program does, or as `lockstep run`. Prints the trees' paths on standard error.")
        @Argument(help: "The sandbox's directory.") var directory: String
        @Flag(name: [.short, .long], help: "Print nothing of its own.") var quiet = false
        @Argument(parsing: .postTerminator, help: "The program and its arguments, after --.") var command: [String] = []

        func validate() throws {
            if command.isEmpty { throw ValidationError("no program: lockstep sandbox run DIR -- PROGRAM [ARGUMENT ...]") }
        }

        func run() throws {
            let sandbox = try Sandbox(opening: directory)
            guard sandbox.daemon(sandbox.primary) != nil else {
                throw ControlError(.unavailable, "node \(sandbox.primary): the primary's daemon is not running")
            }
            if !quiet {
                Terminal.note("lockstep: node \(sandbox.primary), \(sandbox.trees(sandbox.primary).joined(separator: " ")), "
                    + "secondary \(sandbox.trees(sandbox.secondary).joined(separator: " "))")
            }
            try sandbox.registerKeeper(sandbox.primary)
            try Run.becomeKeeper(nodeDirectory: sandbox.nodeDirectory(sandbox.primary), command: command)
        }
    }

    struct Settle: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Wait until the secondary has applied all that was captured, and repair what a pass of names finds.")
        @Argument(help: "The sandbox's directory.") var directory: String
        @Option(help: "Bound of the wait, in seconds.") var timeout = 300

        func run() throws {
            let sandbox = try Sandbox(opening: directory)
            let reply = try sandbox.demand("settle", of: sandbox.primary, timeout: .seconds(timeout))
            for (key, value) in reply.fields.sorted(by: { $0.key < $1.key }) { Terminal.say("\(key): \(value)") }
            sandbox.sayTrees()
        }
    }

    struct Kill: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "SIGKILL a node or a part of it. A daemon that is killed alone is started again.")
        @Argument(help: "The sandbox's directory.") var directory: String
        @Argument(help: "a or b.") var node: String
        @Option(help: "app, daemon or node (application, keepers and daemon).") var what = "node"

        func validate() throws {
            guard Sandbox.nodes.contains(node) else { throw ValidationError("no node \(node): a or b") }
            guard Sandbox.Victim(rawValue: what) != nil else { throw ValidationError("--what \(what): app, daemon or node") }
        }

        func run() throws {
            var sandbox = try Sandbox(opening: directory)
            guard let victim = Sandbox.Victim(rawValue: what) else { return }
            if victim == .daemon { try sandbox.restartDaemon(node) } else { try sandbox.kill(node, victim) }
            sandbox.sayTrees()
        }
    }

    struct TakeOver: ParsableCommand {
        static let configuration = CommandConfiguration(commandName: "takeover",
            abstract: "Make the secondary the primary.",
            discussion: "Refuses (77) while anything of the primary's node lives, and while the secondary's data is not up to date.")
        @Argument(help: "The sandbox's directory.") var directory: String
        @Flag(help: "Also when the data is suspect: somebody changed the replica, and the primary did not ship it again.") var force = false

        func run() throws {
            var sandbox = try Sandbox(opening: directory)
            let reply = try sandbox.takeOver(force: force)
            for (key, value) in reply.fields.sorted(by: { $0.key < $1.key }) { Terminal.say("\(key): \(value)") }
            sandbox.sayTrees()
        }
    }

    struct Rejoin: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Bring the dead node back as secondary; returns when its copy is complete.")
        @Argument(help: "The sandbox's directory.") var directory: String

        func run() throws {
            var sandbox = try Sandbox(opening: directory)
            try sandbox.rejoin()
            sandbox.sayTrees()
        }
    }

    struct ShowPair: ParsableCommand {
        static let configuration = CommandConfiguration(commandName: "status", abstract: "Show the state of both nodes.",
            discussion: "Exits with 0 when both are ready, 75 while one is in transition or a copy is under way, 1 when one "
                + "is stopped, alone, inconsistent, outdated, suspect or without its peer.")
        @Argument(help: "The sandbox's directory.") var directory: String
        @Flag(help: "One line of JSON instead of text.") var json = false

        struct Pair: Encodable {
            var module: String
            var primary: String
            var nodes: [Status]
        }

        func run() throws {
            let sandbox = try Sandbox(opening: directory)
            let nodes = Sandbox.nodes.map { sandbox.status($0) }
            if json {
                Terminal.say(try jsonLine(Pair(module: sandbox.record.module, primary: sandbox.primary, nodes: nodes)))
            } else {
                for status in nodes { Terminal.say("\(StatusText(status))") }
                sandbox.sayTrees()
            }
            let code = Status.exitCode(of: nodes)
            if code != .success { throw ControlError(code, "") }
        }
    }

    struct Compare: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Compare both trees byte for byte; exits with 1 and lists what differs.",
            discussion: "Meaningful after `settle`, while nothing writes.")
        @Argument(help: "The sandbox's directory.") var directory: String

        func run() throws {
            let sandbox = try Sandbox(opening: directory)
            var files = 0, bytes: UInt64 = 0, differences = 0
            let (first, second) = (sandbox.rootPaths(sandbox.primary), sandbox.rootPaths(sandbox.secondary))
            for (number, root) in sandbox.roots.enumerated() {
                let comparison = try TreeComparison(first, second, root: number)
                for difference in comparison.differences { Terminal.say(sandbox.roots.count > 1 ? "\(root.name): \(difference)" : "\(difference)") }
                files += comparison.files
                bytes += comparison.bytes
                differences += comparison.differences.count
            }
            Terminal.say("\(files) files, \(Terminal.size(bytes)), \(differences) differences")
            sandbox.sayTrees()
            if differences > 0 { throw ControlError(.failure, "") }
        }
    }

    struct Down: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Stop everything; the data stays.")
        @Argument(help: "The sandbox's directory.") var directory: String

        func run() throws {
            var sandbox = try Sandbox(opening: directory)
            try sandbox.down()
            sandbox.sayTrees()
        }
    }
}
