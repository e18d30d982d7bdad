import Glibc
import Testing

@testable import lockstep

@Suite struct ProcessTests {
    private func sleeper(_ arguments: [String] = ["1000"]) throws -> ProcessIdentity {
        let null = open("/dev/null", O_RDWR)
        defer { close(null) }
        return try Program.start("/bin/sleep", arguments, standard: [null, null, null], newSession: true)
    }

    @Test func `A process is known by its number and its start`() throws {
        let process = try sleeper()
        #expect(process.isAlive)
        #expect(ProcessIdentity(of: process.pid) == process)
        process.signal(SIGKILL)
        #expect(process.waitUntilDead(within: .seconds(10)))
        #expect(!process.isAlive)
    }

    @Test func `A signal never reaches a process that has the number of another`() throws {
        let process = try sleeper()
        let namesake = ProcessIdentity(pid: process.pid, start: process.start + 1)
        #expect(!namesake.isAlive)
        namesake.signal(SIGKILL)
        #expect(!process.waitUntilDead(within: .milliseconds(20)))
        process.signal(SIGKILL)
        #expect(process.waitUntilDead(within: .seconds(10)))
    }

    @Test func `Descendants are found, the root is not among them`() throws {
        let process = try sleeper()
        let own = try #require(ProcessIdentity(of: getpid()))
        let found = ProcessSurvey().descendants(of: [own])
        #expect(found.contains(process))
        #expect(!found.contains(own))
        process.signal(SIGKILL)
        _ = process.waitUntilDead(within: .seconds(10))
    }

    @Test func `A process without its family is found by the words in its environment`() throws {
        let null = open("/dev/null", O_RDWR)
        defer { close(null) }
        let word = "LOCKSTEP_SOCKET=test-\(UInt64.random(in: 0 ... .max))"
        // env becomes sleep: once it has, its environment holds the word, before that its arguments only.
        let process = try Program.start("/usr/bin/env", [word, "sleep", "1000"], standard: [null, null, null], newSession: true)
        var found: [ProcessIdentity] = []
        while found.isEmpty && process.isAlive { found = ProcessSurvey().carrying([word]) }
        #expect(found == [process])
        #expect(ProcessSurvey.keeperWords(of: [process]) == [word])
        process.signal(SIGKILL)
        _ = process.waitUntilDead(within: .seconds(10))
    }

    @Test func `A program that does not exist is an error with its own code`() {
        #expect(throws: (any Error).self) {
            try Program.start("/nowhere/program", [], standard: [0, 1, 2], newSession: false)
        }
    }
}
