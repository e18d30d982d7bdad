internal import ArgumentParser
import Control

/// `lockstep status`: what one node says about itself.
struct ShowStatus: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "status", abstract: "Show the state of a node.",
        discussion: "Exits with 0 when the node is ready, 75 while it is in transition or a copy is under way, 1 when it is alone, "
            + "inconsistent, outdated, suspect or without its peer, 69 when its daemon is not running.")

    @Option(help: "The node's directory, as given to lockstepd.")
    var nodeDirectory: String

    @Flag(help: "One line of JSON instead of text.")
    var json = false

    func run() throws {
        let reply = try ControlClient(directory: nodeDirectory).call("status")
        guard reply.ok, let status = reply.status else {
            throw ControlError(reply.ok ? .protocolError : reply.code, "status: \(reply.error ?? "the daemon sent none")")
        }
        Terminal.say(json ? try jsonLine(status) : "\(StatusText(status))")
        if status.exitCode != .success { throw ControlError(status.exitCode, "") }
    }
}
