import Glibc

/// Where a command speaks: results on standard output, everything else on standard error.
enum Terminal {
    static func say(_ line: String) { put(line + "\n", 1) }
    static func note(_ line: String) { put(line + "\n", 2) }

    /// A line that the next one replaces; only a person at a terminal sees it.
    static func progress(_ line: String) {
        if isatty(2) == 1 { put("\r\u{1b}[K" + line, 2) }
    }

    static func endProgress() { progress("") }

    private static func put(_ text: String, _ descriptor: Int32) {
        let bytes = Array(text.utf8)
        var written = 0
        while written < bytes.count {
            let count = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress! + written, bytes.count - written) }
            if count < 0 && errno == EINTR { continue }
            if count <= 0 { return }
            written += count
        }
    }

    /// 4096 as "4.0 KiB".
    static func size(_ bytes: UInt64) -> String {
        var value = Double(bytes)
        for unit in ["B", "KiB", "MiB", "GiB"] {
            if value < 1024 { return unit == "B" ? "\(bytes) B" : "\(rounded(value, 1)) \(unit)" }
            value /= 1024
        }
        return "\(rounded(value, 1)) TiB"
    }

    static func rounded(_ value: Double, _ digits: Int) -> String {
        let scale = pow(10, Double(digits))
        return "\((value * scale).rounded() / scale)"
    }
}

/// The system's words for an errno value.
func reason(_ error: Int32) -> String { String(cString: strerror(error)) }
