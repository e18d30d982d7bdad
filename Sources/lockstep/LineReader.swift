import Glibc

/// What comes through a descriptor, line by line. It does not own the descriptor.
struct LineReader {
    let descriptor: Int32
    private var pending: [UInt8] = []

    init(_ descriptor: Int32) { self.descriptor = descriptor }

    /// The next whole line, without its line feed; nil at the end. A last piece without its line feed is no line.
    mutating func next() -> String? {
        while true {
            if let end = pending.firstIndex(of: 0x0a) {
                let line = String(decoding: pending[..<end], as: UTF8.self)
                pending.removeSubrange(...end)
                return line
            }
            var piece = [UInt8](repeating: 0, count: 65536)
            let count = read(descriptor, &piece, piece.count)
            if count < 0 && errno == EINTR { continue }
            if count <= 0 { return nil }
            pending.append(contentsOf: piece[..<count])
        }
    }
}
