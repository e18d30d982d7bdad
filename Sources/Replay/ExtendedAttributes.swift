// glibc's module for Swift has no <sys/xattr.h>; both functions take and return plain words.

@_silgen_name("fsetxattr")
func fsetxattr(
    _ descriptor: Int32, _ name: UnsafePointer<CChar>, _ value: UnsafeRawPointer?, _ count: Int, _ flags: Int32
) -> Int32

@_silgen_name("fremovexattr")
func fremovexattr(_ descriptor: Int32, _ name: UnsafePointer<CChar>) -> Int32
