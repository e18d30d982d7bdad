import Control

/// What `lockstep-observer` has seen: programs, and the calls of each on the tree, by route. Its form is described in
/// `Sources/CObserver/evidence.c`.
struct AuditEvidence {
    /// How a call reached the kernel.
    enum Route: String, Codable, CaseIterable {
        /// Through the preload library: a wrapper, libc's streams, POSIX AIO.
        case wrapper, stdio, aio
        /// Past it: inside libc, in the program's own text, in another object.
        case libc, program, object
        /// By a program that has not loaded it: static, or without it in its environment; by a 32-bit instruction.
        case `static`, unloaded, foreign

        var isThroughLibrary: Bool { self == .wrapper || self == .stdio || self == .aio }
    }

    enum Treatment: Hashable {
        case captured, `guard`
        /// With this errno.
        case refused(String, Alternative)
    }

    /// What programs do whose call is refused.
    enum Alternative: String {
        case fails
        /// They are known to try something else.
        case fallsBack = "falls-back"
        /// They must expect it: most file systems refuse it themselves.
        case harmless
    }

    struct Program {
        var path: String
        var started: UInt64 = 1
        /// dynamic, static, other-loader, foreign; empty when it was not seen starting.
        var kind = "dynamic"
        /// setuid, setgid, capabilities; empty: none.
        var privileges = ""
        /// Calls on the tree since one was refused to which programs know an alternative.
        var callsAfterRefusal: UInt64 = 0
        var why = ""
    }

    struct Call {
        var program: String
        var name: String
        var route: Route
        /// The file in which the system call's instruction lies, where that says something.
        var object = ""
        var treatment: Treatment
        var count: UInt64 = 1
        var direct: UInt64 = 0
        var durable: UInt64 = 0
        /// One of the files.
        var path = ""
    }

    /// Exit status of the audited command, 128 and the signal that killed it.
    var commandStatus: Int32 = 0
    var keepsPrivileges = true
    /// Observations that found no place in the observer's tables.
    var lost: UInt64 = 0
    var programs: [Program] = []
    var calls: [Call] = []

    init(programs: [Program] = [], calls: [Call] = []) {
        self.programs = programs
        self.calls = calls
    }

    /// Foreign bytes: anything unexpected is an error with its line's number.
    init(parsing bytes: [UInt8]) throws(ControlError) {
        let lines = bytes.split(separator: 0x0a).map { String(decoding: $0, as: UTF8.self) }
        guard lines.first == "lockstep evidence 1" else { throw ControlError(.protocolError, "evidence: not of this version") }
        for (number, line) in lines.enumerated().dropFirst() {
            let fields = line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
            guard take(fields) else { throw ControlError(.protocolError, "evidence, line \(number + 1): damaged") }
        }
    }

    private mutating func take(_ fields: [String]) -> Bool {
        switch (fields.first, fields.count) {
        case ("command", 2):
            guard let status = Int32(fields[1]) else { return false }
            commandStatus = status
        case ("privileges", 2): keepsPrivileges = fields[1] == "kept"
        case ("lost", 2):
            guard let count = UInt64(fields[1]) else { return false }
            lost = count
        case ("program", 7):
            guard let started = UInt64(fields[2]), let after = UInt64(fields[5]) else { return false }
            programs.append(Program(path: fields[1], started: started, kind: fields[3], privileges: fields[4],
                callsAfterRefusal: after, why: fields[6]))
        case ("call", 11):
            guard let route = Route(rawValue: fields[3]), let count = UInt64(fields[7]), let direct = UInt64(fields[8]),
                let durable = UInt64(fields[9])
            else { return false }
            guard let alternative = Alternative(rawValue: fields[6]) else { return false }
            let treatment: Treatment = switch fields[5] {
            case "captured": .captured
            case "guard": .guard
            default: .refused(fields[5], alternative)
            }
            calls.append(Call(program: fields[1], name: fields[2], route: route, object: fields[4], treatment: treatment,
                count: count, direct: direct, durable: durable, path: fields[10]))
        default: return false
        }
        return true
    }
}
