/// What the demo found; the keys are those of `lockstep demo --json`.
struct DemoReport: Encodable, CustomStringConvertible {
    var app: String
    /// Commits that the database acknowledged to its clients before the kill.
    var acknowledged = 0
    /// Of those, how many the database on the secondary doesn't have, or has with another content.
    var lost = 0
    /// Both trees, byte for byte, at a settle in the middle of the load.
    var treesEqual = false
    /// Ranges of 4 KiB that differ after the kill and the takeover, before anything was opened.
    var tailDiffers = 0
    /// Of those, how many hold a byte that no unacknowledged operation accounts for; other differences count too.
    var tailUnexplained = 0
    /// What the database says about itself: "ok".
    var integrity = ""
    /// From the kill to the first answer of the database on the secondary, without the time of our own comparison.
    var takeoverSeconds = 0.0
    var commitsPerSecond = 0.0
    var verdict = ""

    /// Everything else that went wrong, for the verdict.
    var troubles: [String] = []
    /// What `tailUnexplained` counts.
    var unexplained: [String] = []

    enum CodingKeys: CodingKey {
        case app, acknowledged, lost, treesEqual, tailDiffers, tailUnexplained, integrity, takeoverSeconds, commitsPerSecond, verdict
    }

    var passed: Bool { findings.isEmpty }

    private var findings: [String] {
        var findings = troubles
        if lost > 0 { findings.append("\(lost) acknowledged commits are lost") }
        if !treesEqual { findings.append("the trees were not equal") }
        if tailUnexplained > 0 { findings.append("differences after the kill that belong to no unacknowledged operation: \(tailUnexplained)") }
        if integrity != "ok" { findings.append("integrity check: \(integrity)") }
        if acknowledged == 0 { findings.append("no commit was acknowledged: nothing was shown") }
        return findings
    }

    mutating func judge() {
        verdict = passed
            ? "nothing acknowledged was lost (the processes were killed; this was not a power loss)"
            : "failed: " + findings.joined(separator: "; ")
    }

    private var tail: String {
        let ranges = "ranges of 4 KiB that differ: \(tailDiffers)"
        if tailUnexplained > 0 { return "\(ranges); differences that belong to no unacknowledged operation: \(tailUnexplained)" }
        return tailDiffers == 0 ? ranges : "\(ranges), all of operations not yet acknowledged"
    }

    var description: String {
        """
        application          \(app)
        acknowledged commits \(acknowledged) (\(Terminal.rounded(commitsPerSecond, 0)) per second)
        lost                 \(lost)
        trees at the settle  \(treesEqual ? "equal, byte for byte" : "different")
        tail after the kill  \(tail)
        integrity check      \(integrity)
        takeover             \(Terminal.rounded(takeoverSeconds, 2)) s from the kill to the first answer, without our comparison
        verdict              \(verdict)
        """
    }
}
