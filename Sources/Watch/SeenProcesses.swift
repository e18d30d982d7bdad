import CLinux
import Platform

/// Who acts, by process id: looked up once, and remembered for a moment, because events outlive short programs.
struct SeenProcesses {
    enum Verdict: Equatable {
        case covered
        case outside(program: String)
        /// It ended before it could be asked.
        case gone
    }

    private let covered: CoveredProcesses
    private var seen: [Int32: (verdict: Verdict, until: UInt64)] = [:]
    /// A number is another process's soon after it is free; until then its last events may still come.
    private static let rememberedNanoseconds: UInt64 = 2_000_000_000
    private static let seenMax = 1024

    init(_ covered: CoveredProcesses) { self.covered = covered }

    mutating func look(at pid: Int32, now: UInt64 = Clock.monotonic) -> Verdict {
        if covered.contains(pid) { return .covered }
        let known = seen[pid]
        let result = covered.covers(pid)
        let verdict: Verdict
        switch result {
        case true?: verdict = .covered
        case false?: verdict = SeenProcesses.name(of: pid).map { .outside(program: $0) } ?? .gone
        case nil: verdict = .gone
        }
        if verdict == .gone { return known.map { $0.until > now ? $0.verdict : .gone } ?? .gone }
        if seen.count >= SeenProcesses.seenMax { seen = seen.filter { $0.value.until > now } }
        if seen.count >= SeenProcesses.seenMax { seen.removeAll() }
        seen[pid] = (verdict, now + SeenProcesses.rememberedNanoseconds)
        return verdict
    }

    static func name(of pid: Int32) -> String? {
        var name = (Int64(0), Int64(0), Int64(0), Int64(0))
        return withUnsafeMutableBytes(of: &name) { bytes in
            lockstep_process_name(pid, bytes.baseAddress!.assumingMemoryBound(to: CChar.self), bytes.count) < 0
                ? nil : String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
    }
}
