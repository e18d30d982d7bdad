import Control

extension Status {
    /// What `status` exits with. 0: everything is as it should be. 75: not yet, but on its way without anybody's help.
    /// 1: not protected, or no good for a takeover, until somebody does something.
    var exitCode: ExitCode {
        if data == .suspect || state == .stopped || linksOut > 0 || outsideUnrepaired { return .failure }
        if ready { return .success }
        if state == .wait { return .bound }
        // A peer that is connected gets a copy, and is inconsistent meanwhile; its primary is alone until the end of it.
        return link == .connected && data != .outdated ? .bound : .failure
    }

    /// Of several nodes: the worst.
    static func exitCode(of nodes: [Status]) -> ExitCode {
        let codes = nodes.map(\.exitCode)
        return codes.contains(.failure) ? .failure : codes.contains(.bound) ? .bound : .success
    }
}
