import Control

/// What a node's own record says of it: DIR/node/record, which its daemon makes durable before it takes effect
/// (Sources/Node/NodeRecord.swift draws it). It outlives a command that was ended before it could save sandbox.json.
struct NodeClaim: Equatable {
    var isPrimary: Bool
    var epoch: UInt64

    /// Nil: there is none, or one that only its daemon can say what is wrong with.
    init?(nodeDirectory: String) {
        guard let bytes = readSmallFile("\(nodeDirectory)/record") else { return nil }
        self.init(String(decoding: bytes, as: UTF8.self))
    }

    init?(_ text: String) {
        let lines = text.split(separator: "\n")
        guard lines.first == "lockstep node 1" else { return nil }
        func value(_ key: String) -> Substring? { lines.first { $0.hasPrefix(key + " ") }?.dropFirst(key.utf8.count + 1) }
        guard let role = value("role"), role == "primary" || role == "secondary", let epoch = value("epoch").flatMap({ UInt64($0) })
        else { return nil }
        isPrimary = role == "primary"
        self.epoch = epoch
    }
}

extension Sandbox {
    /// The node that is primary by the nodes' own records: of two, the one that was promoted last. Nil: none says so.
    func primaryByRecords() -> String? {
        var found: (node: String, epoch: UInt64)?
        for node in [primary, secondary] {
            guard let claim = NodeClaim(nodeDirectory: nodeDirectory(node)), claim.isPrimary else { continue }
            // Of equal ones, which no promotion makes, sandbox.json's.
            if claim.epoch > found?.epoch ?? 0 || found == nil { found = (node, claim.epoch) }
        }
        return found?.node
    }

    /// sandbox.json says the same as the nodes' own records, which are right: a takeover may have been ended in between.
    mutating func followRecords() throws(ControlError) {
        guard let found = primaryByRecords(), found != primary else { return }
        record.primary = found
        try record.save(directory)
    }
}
