import Control
import Testing

@testable import lockstep

/// Exit codes of `status`, and what nodes say in their records.
@Suite struct StatusTests {
    private func status(_ state: Status.State, ready: Bool = false, _ data: Status.Data = .upToDate,
        _ link: Status.Link = .connected, copying: Bool = false) -> Status
    {
        var status = Status(module: "m", node: "a", role: state == .secondary ? "secondary" : "primary")
        status.state = state
        status.ready = ready
        status.data = data
        status.link = link
        status.copy.running = copying
        return status
    }

    @Test func `0 is for a node that is as it should be`() {
        #expect(status(.primary, ready: true).exitCode == .success)
        #expect(status(.secondary, ready: true).exitCode == .success)
    }

    @Test func `75 is for a node on its way`() {
        #expect(status(.wait, .upToDate, .disconnected).exitCode == .bound)
        #expect(status(.alone, .upToDate, .connected, copying: true).exitCode == .bound)
        #expect(status(.secondary, .inconsistent, .connected).exitCode == .bound)
    }

    @Test func `1 is for a node that somebody must help`() {
        #expect(status(.stopped, .inconsistent, .disconnected).exitCode == .failure)
        #expect(status(.alone, .upToDate, .disconnected).exitCode == .failure)
        for data in Status.Data.allCases { #expect(status(.secondary, data, .disconnected).exitCode == .failure) }
        #expect(status(.secondary, .outdated).exitCode == .failure)
        #expect(status(.primary, ready: true, .suspect).exitCode == .failure)
    }

    @Test func `a link that leads out of the roots is nothing to be ready with`() {
        var led = status(.primary, ready: true)
        led.linksOut = 1
        #expect(led.exitCode == .failure)
    }

    @Test func `what others changed and nobody has repaired yet is nothing to be ready with`() {
        var changed = status(.secondary, ready: true)
        changed.outside = [Status.OutsideWriter(program: "sed", pid: 7, path: "/f", what: "written", time: "", count: 1, repaired: true)]
        #expect(changed.exitCode == .success)
        changed.outsideUnrepaired = true
        #expect(changed.exitCode == .failure)
    }

    @Test func `the status text names who wrote outside the capture`() {
        var changed = status(.primary, ready: true)
        changed.outside = [
            Status.OutsideWriter(program: "sed", pid: 7, path: "/tree/f", what: "written", time: "2026-01-02T03:04:05Z", count: 2, repaired: false),
            Status.OutsideWriter(program: "?", pid: 0, path: "/tree/g", what: "found changed", time: "2026-01-02T03:04:06Z", count: 1, repaired: true),
        ]
        let lines = "\(StatusText(changed))".split(separator: "\n").map(String.init)
        #expect(lines.contains("    2026-01-02T03:04:05Z sed (process 7): written: /tree/f (2 times): not repaired yet"))
        #expect(lines.contains("    2026-01-02T03:04:06Z somebody: found changed: /tree/g"))
    }

    @Test func `of two nodes the worse one counts`() {
        let fine = status(.primary, ready: true), moving = status(.secondary, .inconsistent), alone = status(.alone, .upToDate, .disconnected)
        #expect(Status.exitCode(of: [fine, fine]) == .success)
        #expect(Status.exitCode(of: [fine, moving]) == .bound)
        #expect(Status.exitCode(of: [alone, moving]) == .failure)
    }

    @Test func `a node's record is read, a foreign one is not`() {
        let text = "lockstep node 1\nrole primary\nepoch 12\ndata up to date\nalone 7\n"
        #expect(NodeClaim(text).map { $0.isPrimary && $0.epoch == 12 } == true)
        #expect(NodeClaim(text.replacing("primary", with: "secondary"))?.isPrimary == false)
        for (old, new) in [("node 1", "node 2"), ("epoch 12", "epoch"), ("epoch 12", "epoch -1"), ("role primary", "role"), ("role ", "rule ")] {
            #expect(NodeClaim(text.replacing(old, with: new)) == nil)
        }
        #expect(NodeClaim("") == nil && NodeClaim(nodeDirectory: "/nonexistent") == nil)
    }
}
