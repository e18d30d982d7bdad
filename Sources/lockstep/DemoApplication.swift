import Control

/// A database that the demo can show; its verbs stand in the order in which the demo calls them.
protocol DemoApplication: AnyObject {
    /// What one types after --app.
    static var name: String { get }
    /// - Throws: `.notFound`, with the package that is missing.
    static func checkInstalled() throws(ControlError)

    /// `directory` is the demo's own, outside of both trees.
    init(directory: String) throws(ControlError)

    /// "4 SQLite clients write".
    var load: String { get }
    /// Servers write at moments of their own, also when no client asks for anything.
    var writesUnasked: Bool { get }

    /// Makes the database on the primary and starts the clients.
    func start(in sandbox: Sandbox) throws(ControlError)
    /// What went wrong so far; the demo ends its load early because of it.
    var troubles: [String] { get }
    /// Returns when every client stands still between two commits.
    func pause() throws(ControlError)
    func resume() throws(ControlError)
    /// From now on an end of the database or its clients is no trouble: the node is about to be killed.
    func expectEnd()
    /// After the kill; returns the number of commits that were acknowledged to the clients.
    func waitUntilEnded() throws(ControlError) -> Int

    /// Opens the database on the new primary; returns with its first answer.
    func open(in sandbox: Sandbox) throws(ControlError)
    /// How many acknowledged commits the open database doesn't have, or has with another content.
    func countLost() throws(ControlError) -> Int
    /// What the database says about itself: "ok".
    func checkIntegrity() throws(ControlError) -> String
}

extension DemoApplication {
    /// A program on the current primary, captured.
    static func captured(_ command: [String], in sandbox: Sandbox, errors: String) throws(ControlError) -> Subprocess {
        try Subprocess(try Program.path(of: Program.lockstep), ["sandbox", "run", "--quiet", sandbox.directory, "--"] + command,
            errors: errors)
    }
}
