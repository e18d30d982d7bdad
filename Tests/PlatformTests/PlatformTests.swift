import CLinux
import Glibc
import Platform
import Testing

/// A directory that goes with the test.
final class Scratch {
    let path: String
    init(in parent: String = "/tmp") {
        var template = Array("\(parent)/lockstep-test-XXXXXX".utf8CString)
        path = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
    }
    deinit {
        for name in (try? Directory.names(path: path)) ?? [] { remove(path + "/" + String(decoding: name, as: UTF8.self)) }
        rmdir(path)
    }
}

@Suite struct PlatformTests {
    @Test func `Both ways to compute CRC-32C agree with the standard and with each other`() {
        let digits = Array("123456789".utf8)
        #expect(lockstep_crc32c(0, digits, digits.count) == 0xe306_9283)
        #expect(lockstep_crc32c_portable(0, digits, digits.count) == 0xe306_9283)
        let bytes = (0..<1000).map { UInt8(truncatingIfNeeded: $0 &* 167) }
        for count in 0...bytes.count {
            let whole = lockstep_crc32c(0, bytes, count)
            #expect(whole == lockstep_crc32c_portable(0, bytes, count))
            let half = lockstep_crc32c(0, bytes, count / 2)
            #expect(whole == Array(bytes[(count / 2)..<count]).withUnsafeBytes { Checksum.crc32c($0, continuing: half) })
        }
    }

    @Test func `Folding depends on seed, length and every byte`() {
        var seen: Set<UInt64> = []
        let bytes = [UInt8](repeating: 0, count: 100)
        for count in 0...100 {
            seen.insert(lockstep_fold64(1, bytes, count))
            seen.insert(lockstep_fold64(2, bytes, count))
        }
        for index in 0..<100 {
            var changed = bytes
            changed[index] = 1
            seen.insert(lockstep_fold64(1, changed, 100))
        }
        #expect(seen.count == 302)
    }

    @Test(arguments: ["/tmp", "/dev/shm"])
    func `The generation of a path, an O_PATH descriptor and a descriptor are the same`(parent: String) throws {
        let scratch = Scratch(in: parent), path = scratch.path + "/file"
        let file = try FileDescriptor.open(path, O_RDWR | O_CREAT)
        let opaque = try FileDescriptor.open(path, LOCKSTEP_O_PATH)
        let generation = try FileStatus.generation(of: file.raw)
        #expect(try FileStatus.generation(of: opaque.raw) == generation)
        #expect(try FileStatus.generation(at: AT_FDCWD, path) == generation)
        #expect(symlink("file", scratch.path + "/link") == 0)
        _ = try FileStatus.generation(at: AT_FDCWD, scratch.path + "/link")
        let directory = try FileDescriptor.directory(scratch.path)
        #expect(try FileStatus.generation(of: directory.raw) == FileStatus.generation(at: AT_FDCWD, scratch.path))
    }

    @Test func `A status says what the file is`() throws {
        let scratch = Scratch(), path = scratch.path + "/file"
        try DurableFile.replace(path: path, contents: [1, 2, 3])
        let file = try FileDescriptor.reading(path)
        let status = try file.status()
        #expect(status.isRegular && status.size == 3 && status.links == 1 && status.mode & 0o777 == 0o600)
        #expect(try FileStatus.of(at: AT_FDCWD, path) == status)
        #expect(try FileStatus.of(at: AT_FDCWD, scratch.path).isDirectory)
        var plain = stat()
        #expect(stat(path, &plain) == 0)
        #expect(status.device == UInt64(plain.st_dev) && status.inode == UInt64(plain.st_ino))
    }

    @Test func `Replacing a file leaves the new contents and nothing else`() throws {
        let scratch = Scratch(), path = scratch.path + "/state"
        #expect(try DurableFile.read(path: path) == nil)
        try DurableFile.replace(path: path, contents: Array("one".utf8))
        try DurableFile.replace(path: path, contents: Array("second".utf8))
        #expect(try DurableFile.read(path: path) == Array("second".utf8))
        #expect(try Directory.names(path: scratch.path) == [Array("state".utf8)])
        #expect(throws: SystemError("read", path, code: EFBIG)) { try DurableFile.read(path: path, bytesMax: 5) }
        let error = try #require(throws: SystemError.self) {
            try DurableFile.replace(path: scratch.path + "/no/such", contents: [])
        }
        #expect(error.description.hasSuffix("No such file or directory (errno 2)"))
        #expect(error.description.hasPrefix("cannot open \(scratch.path)/no/such.new: "))
    }

    @Test func `A closed descriptor is closed once`() throws {
        let file = try FileDescriptor.open("/dev/null", O_RDONLY)
        let raw = file.raw
        try file.close()
        #expect(fcntl(raw, F_GETFD) == -1)
        let other = try FileDescriptor.open("/dev/null", O_RDONLY).release()
        #expect(fcntl(other, F_GETFD) == FD_CLOEXEC)
        #expect(Glibc.close(other) == 0)
    }

    @Test func `A memfd is sealed at its size`() throws {
        let memory = FileDescriptor(owning: try checked(lockstep_memfd_create("test", 8192), "make a memfd"))
        #expect(lockstep_memfd_is_sealed(memory.raw) == 1)
        #expect(ftruncate(memory.raw, 0) < 0 && errno == EPERM)
        #expect(ftruncate(memory.raw, 16384) < 0 && errno == EPERM)
        #expect(lockstep_memfd_is_sealed(0) == 0)
    }

    @Test func `Four descriptors travel with a message, and five are refused`() throws {
        var ends: [Int32] = [0, 0]
        #expect(socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 0, &ends) == 0)
        let a = FileDescriptor(owning: ends[0]), b = FileDescriptor(owning: ends[1])
        let sent: [Int32] = [0, 0, 0, 0], text = Array("hello".utf8)
        #expect(lockstep_send_message(a.raw, text, 5, sent, 4) == 5)
        #expect(lockstep_send_message(a.raw, text, 5, sent, 5) == Int64(-EINVAL))
        var received = [UInt8](repeating: 0, count: 16), descriptors = [Int32](repeating: -1, count: 4), count: Int32 = 0
        #expect(lockstep_receive_message(b.raw, &received, 16, &descriptors, &count, 0) == 5)
        #expect(count == 4 && Array(received[..<5]) == text)
        for descriptor in descriptors {
            #expect(fcntl(descriptor, F_GETFD) == FD_CLOEXEC)
            close(descriptor)
        }
        // What does not fit is an error, and leaves no descriptor behind: nobody holds the other end of what was sent.
        var carried: [Int32] = [0, 0]
        #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &carried) == 0)
        let kept = FileDescriptor(owning: carried[0])
        #expect(lockstep_send_message(a.raw, text, 5, [carried[1], carried[1]], 2) == 5)
        close(carried[1])
        #expect(lockstep_receive_message(b.raw, &received, 4, &descriptors, &count, 0) == Int64(-EMSGSIZE))
        #expect(count == 0)
        var hangup = pollfd(fd: kept.raw, events: Int16(POLLIN), revents: 0)
        #expect(poll(&hangup, 1, 10_000) == 1 && hangup.revents & Int16(POLLHUP) != 0)
        var pid: Int32 = 0, user: UInt32 = 0, group: UInt32 = 0
        #expect(lockstep_peer_credentials(a.raw, &pid, &user, &group) == 0)
        #expect(pid == getpid() && user == getuid())
    }

    @Test func `A futex wait returns at once when the word differs, and at its time-out`() {
        var word: UInt32 = 1
        #expect(lockstep_futex_wait(&word, 2, -1) == -EAGAIN)
        #expect(lockstep_futex_wait(&word, 1, 1_000_000) == -ETIMEDOUT)
        #expect(lockstep_futex_wake(&word, 1) == 0)
    }

    @Test func `Sixteen digits are a number, and nothing else is`() {
        #expect(Hex.string(UInt64(0xabc)) == "0000000000000abc")
        #expect(Hex.uint64("0000000000000abc") == 0xabc)
        for text in ["abc", "0000000000000ABC", "+000000000000abc", "0000000000000abcd", ""] { #expect(Hex.uint64(text) == nil) }
        #expect(Random.uint64() != Random.uint64())
    }

    @Test func `The boot id is the same twice`() throws { #expect(try BootID.current() == BootID.current()) }
}
