import Glibc
import Platform
import Testing

/// Each row of the table in `RootPaths`.
@Suite struct RootPathsTests {
    private let scratch: String
    private let paths: RootPaths

    /// Two roots and something outside, with a link inside that leads into the other root.
    init() throws {
        var template = Array("/tmp/lockstep-roots-XXXXXX".utf8CString)
        scratch = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
        for name in ["/one", "/one/d", "/one/d/e", "/two", "/two/x", "/ext", "/listed"] { mkdir(scratch + name, 0o755) }
        symlink(scratch + "/two/x", scratch + "/one/in")
        symlink(scratch + "/ext", scratch + "/one/away")
        symlink(scratch + "/two", scratch + "/alias")
        symlink(scratch + "/listed", scratch + "/spelled")
        paths = RootPaths(roots: [scratch + "/one", scratch + "/two"], outside: [scratch + "/spelled"])
    }

    private func clean() {
        for name in ["/one/in", "/one/away", "/alias", "/spelled"] { unlink(scratch + name) }
        for name in ["/one/d/e", "/one/d", "/one", "/two/x", "/two", "/ext", "/listed", ""] { rmdir(scratch + name) }
    }

    /// `@` stands for the scratch directory; the link lies in /one or beneath it.
    private func meaning(_ target: String, in directory: String = "/one") -> String {
        let text = target.replacing("@", with: scratch)
        switch paths.meaning(of: Array(text.utf8), in: Array((scratch + directory).utf8), root: 0) {
        case .here: return "here"
        case .out: return "out"
        case .root(let number, let rest): return "\(number):" + String(decoding: rest, as: UTF8.self)
        }
    }

    @Test(arguments: [
        ("f", "/one", "here"), ("d/e/missing", "/one", "here"), ("../f", "/one/d", "here"), ("../../d", "/one/d/e", "here"),
        ("d/../f", "/one", "here"), (".", "/one", "here"), ("./d/./e", "/one", "here"), ("..f", "/one", "here"),
    ])
    func `A relative target that stays below its root keeps its words`(_ target: String, _ directory: String, _ expected: String) {
        defer { clean() }
        #expect(meaning(target, in: directory) == expected)
    }

    @Test(arguments: [
        ("@/one", "0:"), ("@/one/", "0:/"), ("@/one/d//missing/.", "0:/d//missing/."), ("@/two/x", "1:/x"), ("@/one/in/y", "0:/in/y"),
        ("@/one/../two/x", "1:/x"), ("@/alias/x", "1:/x"), ("@/alias/missing/../z", "1:/z"), ("//@/two", "1:"),
    ])
    func `An absolute target into a root is the root and the rest`(_ target: String, _ expected: String) {
        defer { clean() }
        #expect(meaning(target) == expected)
    }

    @Test(arguments: [
        ("../two/x", "/one", "1:/x"), ("../one/d", "/one", "0:/d"), ("in/../f", "/one", "1:/f"), ("../../two", "/one/d", "1:"),
    ])
    func `A relative target that leaves its root is what it leads to`(_ target: String, _ directory: String, _ expected: String) {
        defer { clean() }
        #expect(meaning(target, in: directory) == expected)
    }

    @Test(arguments: ["@/listed", "@/listed/f", "@/spelled/missing", "../listed/f", "@/ext/../listed"])
    func `What is listed may be led to`(_ target: String) {
        defer { clean() }
        #expect(meaning(target) == "here")
    }

    @Test(arguments: [
        "/etc", "@/ext", "@/listed2", "@/onemore", "../ext", "../..", "away/../one2", "@/one/../ext", "@/listed/../ext", "/", "@/two2/f",
    ])
    func `Everything else leads out`(_ target: String) {
        defer { clean() }
        #expect(meaning(target) == "out")
    }

    @Test func `The other node's path stands for the root`() {
        defer { clean() }
        let other = RootPaths(roots: ["/srv/b", "/"], outside: [])
        #expect(other.path(root: 0, rest: Array("/x".utf8)) == Array("/srv/b/x".utf8))
        #expect(other.path(root: 0, rest: []) == Array("/srv/b".utf8))
        #expect(other.path(root: 1, rest: []) == Array("/".utf8) && other.path(root: 1, rest: Array("/x".utf8)) == Array("/x".utf8))
    }
}
