import Glibc

// Names are bytes and need not be text. As text, each byte from 0x80 to 0xFF stands as U+F780 to U+F7FF: nothing is lost,
// and no two names are equal that differ in their bytes (Swift takes the two ways to write "é" for the same).

private let escapes: ClosedRange<UInt32> = 0xF780...0xF7FF

/// A name as text from which `systemPath` makes the same bytes again.
func pathText(_ name: UnsafePointer<CChar>) -> String {
    var text = String.UnicodeScalarView()
    for byte in UnsafeRawBufferPointer(start: name, count: strlen(name)) {
        text.append(byte < 0x80 ? Unicode.Scalar(byte) : Unicode.Scalar(0xF700 | UInt16(byte))!)
    }
    return String(text)
}

/// The bytes of a path for the system, with their terminating zero.
func systemPath(_ text: String) -> [CChar] {
    var path: [CChar] = []
    for scalar in text.unicodeScalars {
        if escapes.contains(scalar.value) {
            path.append(CChar(truncatingIfNeeded: scalar.value))
        } else {
            for byte in String(scalar).utf8 { path.append(CChar(bitPattern: byte)) }
        }
    }
    return path + [0]
}

/// A path for people, on one line: what is no text, and what would break the line, as \xNN.
func shownPath(_ text: String) -> String {
    let bytes = systemPath(text).dropLast().map { UInt8(bitPattern: $0) }
    guard let shown = String(validating: bytes, as: UTF8.self), bytes.allSatisfy({ $0 >= 0x20 && $0 != 0x7f }) else {
        return bytes.map { $0 >= 0x20 && $0 < 0x7f ? String(Unicode.Scalar($0)) : "\\x" + ($0 < 0x10 ? "0" : "") + String($0, radix: 16) }.joined()
    }
    return shown
}
