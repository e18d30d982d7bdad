import Foundation

/// A golden transcript: commands, what they print (standard output and error in one), and their exit codes.
///
///     $ lockstep sandbox up $DIR/pair
///     a primary   $DIR/pair/a/data
///     b secondary $DIR/pair/b/data
///     [0]
///
/// In what is printed the test's directory becomes $DIR and a process number becomes N. A line that starts with #
/// explains, and stays.
struct Transcript {
    static let directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Transcripts").path

    static var names: [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []).filter { $0.hasSuffix(".txt") }.sorted()
    }

    let text: String

    init(_ name: String) throws {
        text = try String(contentsOfFile: "\(Transcript.directory)/\(name)", encoding: .utf8)
    }

    /// The same transcript with what the commands do now.
    func replayed(in product: Product) throws -> String {
        var lines: [String] = []
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("#") {
                lines.append(String(line))
            } else if line.hasPrefix("$ ") {
                lines.append(String(line))
                let (output, code) = try product.shell(String(line.dropFirst(2)))
                let printed = output.replacingOccurrences(of: product.directory, with: "$DIR")
                    .replacing(/process [0-9]+/, with: "process N")
                lines += printed.split(separator: "\n", omittingEmptySubsequences: true).map(String.init)
                lines.append("[\(code)]")
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }
}
