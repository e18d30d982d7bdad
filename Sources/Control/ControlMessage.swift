/// What the command line asks of a daemon: one line of JSON.
///
///     {"verb":"settle","arguments":{}}
///     {"ok":true,"code":0,"fields":{"position":"4711"}}
public struct ControlRequest: Codable, Hashable, Sendable {
    public var verb: String
    public var arguments: [String: String]
    public init(verb: String, arguments: [String: String] = [:]) {
        self.verb = verb
        self.arguments = arguments
    }

    /// A longer line is refused unread: the daemon's memory is not the client's to fill.
    public static let bytesMax = 64 * 1024
}

/// The daemon's answer. `fields` are for people; `status` comes with the verb `status`.
public struct ControlReply: Codable, Hashable, Sendable {
    public var ok: Bool
    public var code: ExitCode
    public var error: String?
    public var fields: [String: String]
    public var status: Status?

    public init(fields: [String: String] = [:], status: Status? = nil) {
        ok = true
        code = .success
        self.fields = fields
        self.status = status
    }

    public init(refusing code: ExitCode, _ error: String, fields: [String: String] = [:]) {
        precondition(code != .success)
        ok = false
        self.code = code
        self.error = error
        self.fields = fields
    }

    public static let bytesMax = 1024 * 1024
}
