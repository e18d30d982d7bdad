import Control

/// The difference that a kill leaves behind: what the primary did and had not yet been told is durable, and what the
/// secondary had received and the primary's caller had not yet been told.
struct DemoTail {
    /// Ranges of 4 KiB that differ.
    var ranges: [TreeComparison.Range]

    /// Compares the trees of a dead primary and of the node that took over, before anything opened either.
    init(primaryTree: String, secondaryTree: String, primaryJournal: String, secondaryJournal: String)
        throws(ControlError)
    {
        ranges = try TreeComparison(primaryTree, secondaryTree).ranges
    }
}
