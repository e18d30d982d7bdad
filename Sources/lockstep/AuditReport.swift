import Control

/// The evidence and the verdict, for people and for programs.
struct AuditReport: CustomStringConvertible {
    let evidence: AuditEvidence
    let verdict: AuditVerdict

    init(_ evidence: AuditEvidence) {
        self.evidence = evidence
        verdict = AuditVerdict(evidence)
    }

    var description: String { ([paragraph, ""] + table + findings).joined(separator: "\n") }

    // ------------------------------------------------------------------ for people

    private var paragraph: String {
        let through = count { $0.treatment == .captured }, past = count { $0.treatment == .guard }
        let meaning = switch verdict.kind {
        case .covered:
            "All \(through) calls on the tree came through the preload library, which captures them."
        case .coveredWithGuard:
            "\(past) of \(through + past) calls on the tree came past the preload library; the guard captures them, where there is one."
        case .nothingSeen:
            "No call on the tree was made in this run, so there is nothing to judge: give the program work to do, and the right --root."
        case .incomplete:
            "\(evidence.lost) observations found no place; what was seen is covered, what was not is unknown. Audit a smaller part."
        case .refused:
            "lockstep run would refuse what this program needs; see below."
        }
        return "\(verdict.kind.rawValue): \(meaning) The command ended with \(evidence.commandStatus). "
            + "This holds for what it did in this run, and for nothing else."
    }

    private func count(_ holds: (AuditEvidence.Call) -> Bool) -> UInt64 { evidence.calls.filter(holds).reduce(0) { $0 + $1.count } }

    private var table: [String] {
        evidence.programs.flatMap { program -> [String] in
            let calls = evidence.calls.filter { $0.program == program.path }
            if program.started == 0 && calls.isEmpty { return [] }
            let kind = [program.kind, program.privileges].filter { !$0.isEmpty }.joined(separator: ", ")
            return ["\(program.path) (\(kind.isEmpty ? "start not seen" : kind))"] + calls.map(row)
        }
    }

    private func row(_ call: AuditEvidence.Call) -> String {
        let fate = switch call.treatment {
        case .captured: "captured"
        case .guard: "guard"
        case .refused(let error, _): error
        }
        let route = call.route.isThroughLibrary || call.object.isEmpty ? call.route.rawValue : "\(call.route.rawValue) (\(call.object))"
        let marks = [(call.direct, "O_DIRECT"), (call.durable, "O_DSYNC")].filter { $0.0 > 0 }.map { " \($0.1): \($0.0)" }.joined()
        return "\(padded("\(call.count)", -11)) \(padded(fate, 10)) \(padded(route, 20)) \(padded(call.name, 14)) \(call.path)\(marks)"
    }

    /// To at least this width; a negative one: from the left.
    private func padded(_ text: String, _ width: Int) -> String {
        let blanks = String(repeating: " ", count: max(0, abs(width) - text.count))
        return width < 0 ? blanks + text : text + blanks
    }

    private var findings: [String] {
        verdict.findings.flatMap { ["", "\($0.program): \($0.what)", "  why: \($0.why)", "  do:  \($0.advice)"] }
    }

    // ------------------------------------------------------------------ for programs

    func json() throws(ControlError) -> String {
        try jsonLine(Document(verdict: verdict.kind, exitCode: verdict.exitCode.rawValue, command: evidence.commandStatus,
            lost: evidence.lost, findings: verdict.findings,
            programs: evidence.programs.filter { $0.started > 0 }.map {
                Document.Program(path: $0.path, kind: $0.kind, privileges: $0.privileges, started: $0.started)
            },
            calls: evidence.calls.map { call in
                let (fate, error) = switch call.treatment {
                case .captured: ("captured", nil as String?)
                case .guard: ("guard", nil)
                case .refused(let error, _): ("refused", error)
                }
                return Document.Call(program: call.program, call: call.name, route: call.route, object: call.object, fate: fate, errno: error,
                    count: call.count, direct: call.direct, durable: call.durable, path: call.path)
            }))
    }

    private struct Document: Encodable {
        struct Program: Encodable {
            var path, kind, privileges: String
            var started: UInt64
        }
        struct Call: Encodable {
            var program, call: String
            var route: AuditEvidence.Route
            var object, fate: String
            var errno: String?
            var count, direct, durable: UInt64
            var path: String
        }
        var verdict: AuditVerdict.Kind
        var exitCode, command: Int32
        var lost: UInt64
        var findings: [AuditVerdict.Finding]
        var programs: [Program]
        var calls: [Call]
    }
}
