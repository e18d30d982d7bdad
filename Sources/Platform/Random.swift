internal import CLinux

/// Randomness of the kernel.
public enum Random {
    public static func uint64() -> UInt64 {
        var value: UInt64 = 0
        let result = lockstep_random(&value, UInt32(MemoryLayout<UInt64>.size))
        precondition(result == 0, "the kernel gives no randomness")
        return value
    }
}

/// Lower-case hexadecimal digits.
public enum Hex {
    /// As many digits as the type holds: 16 for UInt64.
    public static func string<T: FixedWidthInteger & UnsignedInteger>(_ value: T) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: T.bitWidth / 4 - digits.utf8.count) + digits
    }

    public static func string(_ bytes: some Sequence<UInt8>) -> String {
        bytes.reduce(into: "") { $0 += string($1) }
    }

    /// Exactly 16 digits, as in the name of a segment; anything else is nil.
    public static func uint64(_ text: some StringProtocol) -> UInt64? {
        guard text.utf8.count == 16, text.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) })
        else { return nil }
        return UInt64(text, radix: 16)
    }
}

/// CRC-32C.
public enum Checksum {
    /// Begin with 0; continue with the previous value.
    public static func crc32c(_ bytes: UnsafeRawBufferPointer, continuing crc: UInt32 = 0) -> UInt32 {
        lockstep_crc32c(crc, bytes.baseAddress, bytes.count)
    }
}
