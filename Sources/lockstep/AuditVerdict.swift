import Control

/// What the evidence of an audit means: a pure function, one row of this table after the other.
///
///     A  a call refused to which its caller knows no alternative          refused
///     B  a call refused to which programs know one, and the program
///        did not go on                                                    refused
///     C  observations were lost                                           incomplete
///     D  no call on the tree                                              nothing seen
///     E  a call past the library                                          covered with the guard
///     F  all calls through the library                                    covered
///
/// What most file systems refuse themselves (a clone) is no refusal. A program went on if the command ended with 0, or was asked to end (by a signal) after calls on the tree that followed the
/// refusal. B without harm (MariaDB, which goes on without io_uring) is told, and does not count.
struct AuditVerdict {
    enum Kind: String, Codable {
        case covered
        case coveredWithGuard = "covered with the guard"
        case nothingSeen = "nothing seen"
        case incomplete
        case refused
    }

    /// Something to know, with what can be done about it.
    struct Finding: Codable, Equatable {
        var program: String
        var what: String
        var why: String
        var advice: String
        /// Whether the verdict is what it is because of it.
        var counts: Bool
    }

    var kind: Kind
    var findings: [Finding]

    init(_ evidence: AuditEvidence) {
        let afterwards = Dictionary(evidence.programs.map { ($0.path, $0.callsAfterRefusal) }) { first, _ in first }
        let wasAskedToEnd = [128 + 1, 128 + 2, 128 + 15].contains(evidence.commandStatus)
        findings = []
        var isRefused = false, needsGuard = false, routes: Set<[String]> = []
        for call in evidence.calls {
            switch call.treatment {
            case .captured: break
            case .guard:
                needsGuard = true
                guard routes.insert([call.program, call.route.rawValue, call.object]).inserted else { continue }
                findings.append(Finding(guarded: call))
            case .refused(let error, let alternative):
                let endedWell = evidence.commandStatus == 0 || (wasAskedToEnd && afterwards[call.program, default: 0] > 0)
                let wentOn = alternative == .harmless || (alternative == .fallsBack && endedWell)
                isRefused = isRefused || !wentOn
                findings.append(Finding(refused: call, error: error, wentOn: wentOn))
            }
        }
        findings += evidence.programs.filter { !$0.privileges.isEmpty && evidence.keepsPrivileges }.map { Finding(privileged: $0) }
        kind = isRefused ? .refused : evidence.lost > 0 ? .incomplete
            : !evidence.calls.contains(where: \.isOfTree) ? .nothingSeen : needsGuard ? .coveredWithGuard : .covered
    }

    var exitCode: ExitCode {
        switch kind {
        case .covered: .success
        case .coveredWithGuard: .coveredWithGuard
        case .nothingSeen: .nothingSeen
        case .incomplete: .bound
        case .refused: .failure
        }
    }
}

extension AuditEvidence.Call {
    /// It changes a file, or makes one durable; a refusal alone changes nothing.
    var isOfTree: Bool { treatment == .captured || treatment == .guard }
}
