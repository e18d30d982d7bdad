/// Why something is not simply covered, and what to do about it.
extension AuditVerdict.Finding {
    init(guarded call: AuditEvidence.Call) {
        let (what, why, advice) = switch call.route {
        case .static:
            ("has no loader", "a statically linked program can't load the preload library",
                "a dynamically linked build needs no guard")
        case .unloaded:
            ("runs without the library", "it was started with an emptied environment, or with privileges of its own",
                "start it with the environment that it was given")
        case .program:
            ("makes system calls of its own", "its own text holds the instruction, so no wrapper is called", "nothing, if the guard is on")
        case .libc:
            ("calls inside the C library", "\(call.object) makes the call itself, past the functions that the library wraps",
                "nothing, if the guard is on")
        default:
            ("makes system calls of its own", "\(call.object) holds the instruction, so no wrapper is called", "nothing, if the guard is on")
        }
        self.init(program: call.program, what: what,
            why: "\(why); \(call.name) and others take the guard's way, tens of microseconds each",
            advice: "\(advice); lockstep status must say `guard: on`", counts: true)
    }

    init(refused call: AuditEvidence.Call, error: String, wentOn: Bool) {
        let (why, advice) = Self.refusal(call.name)
        self.init(program: call.program, what: "\(call.name): refused with \(error)\(call.path.isEmpty ? "" : ", on \(call.path)")",
            why: wentOn ? "\(why); the program went on without it" : why,
            advice: wentOn ? "nothing" : advice, counts: !wentOn)
    }

    init(privileged program: AuditEvidence.Program) {
        self.init(program: program.path, what: "is \(program.privileges == "capabilities" ? "a file with capabilities" : program.privileges)",
            why: "where it gains privileges the loader ignores the preload library, and its calls take the guard's way; "
                + "under an unprivileged lockstep run it is refused",
            advice: "nothing, if lockstep run is started by root", counts: false)
    }

    private static func refusal(_ call: String) -> (why: String, advice: String) {
        switch call {
        case _ where call.hasPrefix("io_uring"):
            ("its entries lie in memory that no system call shows",
                "configure another kind of I/O (MariaDB falls back by itself; fio --ioengine=libaio)")
        case "mmap, synchronous": ("only file systems in persistent memory have it; programs write by calls then", "nothing")
        case _ where call.hasPrefix("mmap") || call.hasPrefix("mprotect"):
            ("what is stored through a shared mapping is captured only where the library maps it, from Linux 6.7 on",
                "have it write by calls (LMDB without MDB_WRITEMAP, RocksDB without allow_mmap_writes), or keep that file outside of the roots")
        case _ where call.hasPrefix("exec") && call.hasSuffix("privileges"):
            ("without privileges of its own, lockstep can't let it gain any", "run lockstep as root, or start it outside of lockstep run")
        case _ where call.hasPrefix("exec") || call.hasPrefix("a 32-bit"):
            ("only x86-64 programs and calls are known", "use a 64-bit build")
        case _ where call.hasPrefix("io_"):
            ("asynchronous I/O is captured through the library only", "use a build that calls libaio")
        case _ where call.hasPrefix("a path"):
            ("its names mean other files than the guard's", "run it in the same root and mount namespace")
        case _ where call.hasPrefix("mknod"): ("FIFOs, sockets and devices are not replicated", "keep them outside of the roots")
        case _ where call.hasSuffix("clone"): ("a clone of blocks can't be captured; programs copy then, as on ext4", "nothing")
        default: ("it can't be captured", "have the program read and write instead")
        }
    }
}
