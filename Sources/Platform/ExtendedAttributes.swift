internal import CLinux
internal import Glibc

/// Extended attributes of one object, access control lists among them. Names and values are bytes.
///
/// By a path, which is followed: `/proc/self/fd/N` names what an O_PATH descriptor holds, a symbolic link too.
public enum ExtendedAttributes {
    public struct Attribute: Equatable, Sendable {
        public var name: [UInt8]
        public var value: [UInt8]
    }

    private static let bytesMax = 65536  // XATTR_SIZE_MAX and XATTR_LIST_MAX

    /// Sorted by name; none where the file system has no attributes.
    public static func all(of path: String) throws(SystemError) -> [Attribute] {
        var attributes: [Attribute] = []
        for name in try names(of: path) {
            var value = [UInt8](repeating: 0, count: bytesMax)
            let count = unsafe lockstep_get_attribute(path, text(name), &value, value.count)
            if count == -Int64(ENODATA) { continue }  // removed meanwhile
            if count < 0 { throw SystemError("read an attribute of", path, code: Int32(-count)) }
            attributes.append(Attribute(name: name, value: Array(value.prefix(Int(count)))))
        }
        return attributes
    }

    public static func names(of path: String) throws(SystemError) -> [[UInt8]] {
        // Most objects have none: the first call says so without a buffer.
        var count = unsafe lockstep_list_attributes(path, nil, 0)
        if count == 0 || count == -Int64(EOPNOTSUPP) { return [] }
        var list = [CChar](repeating: 0, count: bytesMax)
        count = unsafe lockstep_list_attributes(path, &list, list.count)
        if count < 0 { throw SystemError("list the attributes of", path, code: Int32(-count)) }
        return list.prefix(Int(count)).split(separator: 0).map { $0.map { UInt8(bitPattern: $0) } }
            .sorted { $0.lexicographicallyPrecedes($1) }
    }

    public static func set(_ name: [UInt8], _ value: UnsafeRawBufferPointer, of path: String) throws(SystemError) {
        try checked(unsafe lockstep_set_attribute(path, text(name), value.baseAddress, value.count), "set an attribute of", path)
    }

    /// One that is not there is no error.
    public static func remove(_ name: [UInt8], of path: String) throws(SystemError) {
        let result = unsafe lockstep_remove_attribute(path, text(name))
        if result != -ENODATA { try checked(result, "remove an attribute of", path) }
    }

    private static func text(_ name: [UInt8]) -> [CChar] { name.map { CChar(bitPattern: $0) } + [0] }
}
