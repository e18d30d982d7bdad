import Control
import Testing

/// Each transcript is one story, told by the command line against doubles of daemon and keeper.
@Suite struct CommandTests {
    @Test(arguments: Transcript.names)
    func `The command line says and returns what the transcript holds`(_ name: String) throws {
        let product = try Product()
        defer { product.remove() }
        let transcript = try Transcript(name)
        let replayed = try transcript.replayed(in: product)
        if replayed == transcript.text { return }
        let expected = transcript.text.split(separator: "\n"), found = replayed.split(separator: "\n")
        let line = zip(expected, found).enumerated().first { $0.element.0 != $0.element.1 }
        Issue.record("\(name), line \((line?.offset ?? min(expected.count, found.count)) + 1); now it is:\n\(replayed)")
    }

    @Test func `There are transcripts`() {
        #expect(Transcript.names.count >= 5)
    }
}
