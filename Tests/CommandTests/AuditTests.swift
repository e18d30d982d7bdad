import Control
import Testing

@testable import lockstep

/// The verdict's table, one case per row and the borders between them; and the evidence's form.
@Suite struct AuditTests {
    typealias Call = AuditEvidence.Call

    static let captured = Call(program: "/p", name: "write", route: .wrapper, treatment: .captured)
    static let streamed = Call(program: "/p", name: "write", route: .stdio, treatment: .captured)
    static let guarded = Call(program: "/p", name: "write", route: .program, treatment: .guard)
    static let mapped = Call(program: "/p", name: "mmap, shared and writable", route: .wrapper,
        treatment: .refused("EACCES", .fails), path: "/d/map")
    static let ring = Call(program: "/p", name: "io_uring_setup", route: .object, object: "liburing.so.2",
        treatment: .refused("EPERM", .fallsBack))

    static let cloned = Call(program: "/p", name: "ioctl, a clone", route: .wrapper, treatment: .refused("EOPNOTSUPP", .harmless))

    struct Case: CustomTestStringConvertible {
        var label: String
        var calls: [Call]
        var status: Int32 = 0
        var after: UInt64 = 0
        var lost: UInt64 = 0
        var kind: AuditVerdict.Kind
        var code: Int32
        var testDescription: String { label }
    }

    static let cases = [
        Case(label: "A: refused without an alternative", calls: [captured, mapped], kind: .refused, code: 1),
        Case(label: "A: though the command went on", calls: [mapped], status: 0, after: 9, kind: .refused, code: 1),
        Case(label: "B: the command failed", calls: [captured, ring], status: 1, after: 9, kind: .refused, code: 1),
        Case(label: "B: killed, nothing came after", calls: [captured, ring], status: 128 + 15, kind: .refused, code: 1),
        Case(label: "B: crashed", calls: [captured, ring], status: 128 + 11, after: 9, kind: .refused, code: 1),
        Case(label: "B without harm: it ended well", calls: [captured, ring], kind: .covered, code: 0),
        Case(label: "B without harm: a server that was stopped", calls: [captured, ring], status: 128 + 15, after: 9, kind: .covered, code: 0),
        Case(label: "B without harm: by the guard", calls: [guarded, ring], kind: .coveredWithGuard, code: 3),
        Case(label: "B without harm: and nothing else", calls: [ring], kind: .nothingSeen, code: 4),
        Case(label: "A and B: what file systems refuse themselves", calls: [captured, cloned], status: 1, kind: .covered, code: 0),
        Case(label: "C: lost", calls: [captured], lost: 1, kind: .incomplete, code: 75),
        Case(label: "C: lost, by the guard", calls: [guarded], lost: 1, kind: .incomplete, code: 75),
        Case(label: "C: lost, and nothing else", calls: [], lost: 1, kind: .incomplete, code: 75),
        Case(label: "A before C", calls: [mapped], lost: 1, kind: .refused, code: 1),
        Case(label: "D: nothing", calls: [], kind: .nothingSeen, code: 4),
        Case(label: "D: nothing, and it failed", calls: [], status: 1, kind: .nothingSeen, code: 4),
        Case(label: "E: one call of many", calls: [captured, streamed, guarded], kind: .coveredWithGuard, code: 3),
        Case(label: "F: wrappers and streams", calls: [captured, streamed], kind: .covered, code: 0),
        Case(label: "F: its own status is its own", calls: [captured], status: 1, kind: .covered, code: 0),
    ]

    @Test(arguments: cases)
    func `The verdict follows from the evidence`(_ example: Case) {
        var program = AuditEvidence.Program(path: "/p")
        program.callsAfterRefusal = example.after
        var evidence = AuditEvidence(programs: [program], calls: example.calls)
        evidence.commandStatus = example.status
        evidence.lost = example.lost
        let verdict = AuditVerdict(evidence)
        #expect(verdict.kind == example.kind)
        #expect(verdict.exitCode.rawValue == example.code)
    }

    @Test func `What counts is told with why and what to do, once for each route of a program`() {
        let other = Call(program: "/p", name: "fsync", route: .program, treatment: .guard)
        let verdict = AuditVerdict(AuditEvidence(programs: [], calls: [Self.captured, Self.guarded, other, Self.mapped, Self.ring]))
        #expect(verdict.findings.map(\.counts) == [true, true, false])
        #expect(verdict.findings.allSatisfy { !$0.why.isEmpty && !$0.advice.isEmpty && $0.program == "/p" })
        #expect(verdict.findings[1].what == "mmap, shared and writable: refused with EACCES, on /d/map")
        #expect(verdict.findings[2].why.hasSuffix("the program went on without it"))
    }

    @Test func `A program that gains privileges is named, and changes no verdict while it may gain them`() {
        let program = AuditEvidence.Program(path: "/usr/bin/sudo", privileges: "setuid")
        var evidence = AuditEvidence(programs: [program], calls: [Self.captured])
        #expect(AuditVerdict(evidence).kind == .covered)
        #expect(AuditVerdict(evidence).findings.map(\.what) == ["is setuid"])
        // Where it may not, its start was refused, which is a call of its own.
        evidence.keepsPrivileges = false
        #expect(AuditVerdict(evidence).findings.isEmpty)
    }

    @Test func `Evidence is read as the observer writes it`() throws {
        let text = """
            lockstep evidence 1
            command\t143
            privileges\tdropped
            lost\t2
            program\t/usr/bin/tab\\x09\t3\tstatic\tsetgid\t7\tis statically linked
            call\t/usr/bin/tab\\x09\tio_submit\tobject\tlibaio.so.1\tENOSYS\tfalls-back\t5\t4\t1\t/d/f
            call\t/usr/bin/tab\\x09\twrite\tstatic\t\tguard\tfails\t1\t0\t0\t/d/g

            """
        let evidence = try AuditEvidence(parsing: Array(text.utf8))
        #expect(evidence.commandStatus == 143 && !evidence.keepsPrivileges && evidence.lost == 2)
        #expect(evidence.programs.map(\.path) == ["/usr/bin/tab\\x09"] && evidence.programs[0].callsAfterRefusal == 7)
        #expect(evidence.programs[0].started == 3 && evidence.programs[0].kind == "static" && evidence.programs[0].privileges == "setgid")
        #expect(evidence.calls.map(\.treatment) == [.refused("ENOSYS", .fallsBack), .guard])
        #expect(evidence.calls[0].count == 5 && evidence.calls[0].direct == 4 && evidence.calls[0].durable == 1)
        #expect(evidence.calls[0].object == "libaio.so.1" && evidence.calls[0].path == "/d/f")
    }

    @Test(arguments: ["", "lockstep evidence 2\n", "lockstep evidence 1\nwhat\n", "lockstep evidence 1\ncommand\tx\n",
        "lockstep evidence 1\nlost\t-1\n", "lockstep evidence 1\nprogram\t/p\t1\n", "lockstep evidence 1\nprogram\t/p\tone\tdynamic\t\t0\t\n",
        "lockstep evidence 1\ncall\t/p\twrite\tby air\t\tguard\tfails\t1\t0\t0\t/f\n",
        "lockstep evidence 1\ncall\t/p\twrite\tlibc\t\tguard\tfails\t99999999999999999999\t0\t0\t/f\n",
        "lockstep evidence 1\ncall\t/p\twrite\tlibc\t\tEPERM\tperhaps\t1\t0\t0\t/f\n"])
    func `Damaged evidence is an error`(_ text: String) {
        #expect(throws: ControlError.self) { try AuditEvidence(parsing: Array(text.utf8)) }
    }
}
