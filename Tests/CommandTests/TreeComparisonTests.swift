import Foundation
import Glibc
import Platform
import Testing

@testable import lockstep

@Suite struct TreeComparisonTests {
    /// Makes both trees by the same line of shell, changes one by another, and compares.
    private func differences(_ make: String, then change: String) throws -> TreeComparison {
        let product = try Product()
        defer { product.remove() }
        let made = try product.shell("mkdir a b; for d in a b; do (cd $d && \(make)) || exit 1; done; "
            + "find a b -exec touch -h -d 2020-01-01 {} +; cd b && \(change)")
        #expect(made.code == 0, "\(made.output)")
        return try TreeComparison("\(product.directory)/a", "\(product.directory)/b")
    }

    @Test func `Equal trees are equal, with every type of entry`() throws {
        let found = try differences("mkdir d; echo x > d/f; ln -s f d/l; mkfifo p; truncate -s 3M big; : > empty", then: "true")
        #expect(found.differences == [])
        #expect(found.files == 3)
        #expect(found.bytes == 3 << 20 + 2)
    }

    @Test(arguments: [
        ("chmod 600 f", "f: mode 644 and 600"),
        ("touch -d '2020-01-01 00:00:00.000000001' f", "f: modified at 1577836800.000000000 and 1577836800.000000001"),
        ("rm f; ln -s g f", "f: its type differs"),
        ("rm -r d/e", "d/e: only in DIR/a"),
        ("touch d/n", "d/n: only in DIR/b"),
        ("ln -sfn other l; touch -h -d 2020-01-01 l", "l: a link to f and to other"),
        ("printf y > f; touch -d 2020-01-01 f", "f: 2 and 1 bytes"),
        ("chmod 700 .", ".: mode 755 and 700"),
    ])
    func `Every kind of difference is found and named`(_ change: String, _ expected: String) throws {
        let found = try differences("echo x > f; mkdir -p d/e; ln -s f l; chmod 755 .; chmod 644 f", then: change)
        let lines = found.differences.map { "\($0)".replacing(/\/tmp\/lockstep-command-[A-Za-z0-9]+/, with: "DIR") }
        #expect(lines.contains(expected), "\(lines)")
    }

    @Test func `A changed owner is found`() throws {
        // Only root can give a file away; everybody else sees that the comparison knows the own one.
        guard geteuid() == 0 else { return }
        let found = try differences("echo x > f", then: "chown 12:34 f; touch -d 2020-01-01 f")
        #expect(found.differences.map(\.description) == ["f: owner 0:0 and 12:34"])
    }

    @Test func `Differing ranges are counted by 4 KiB, also past the end of the shorter file`() throws {
        let found = try differences("head -c 20000 /dev/zero > f",
            then: "printf x | dd of=f bs=1 seek=4095 conv=notrunc status=none; printf y | dd of=f bs=1 seek=2000000 conv=notrunc status=none")
        let offsets = found.ranges.map(\.offset)
        #expect(offsets.prefix(2) == [0, 16384])
        #expect(offsets.last == 1_998_848)
        #expect(Set(offsets).count == offsets.count)
    }

    /// Two nodes with two roots each: a link that leads to the same place of the same root is the same link.
    @Test(arguments: [
        ("$DIR/b/wal/x", true), ("$DIR/a/wal/x", false), ("$DIR/b/wal/y", false), ("$DIR/b/data/x", false), ("../wal/x", true), ("/elsewhere", false),
    ])
    func `Links into a root are compared by where they lead`(_ target: String, _ isEqual: Bool) throws {
        let product = try Product()
        defer { product.remove() }
        let made = try product.shell("mkdir -p a/data a/wal b/data b/wal && ln -s $DIR/a/wal/x a/data/l && ln -s \(target) b/data/l")
        #expect(made.code == 0, "\(made.output)")
        func paths(_ node: String) -> RootPaths {
            RootPaths(roots: ["\(product.directory)/\(node)/data", "\(product.directory)/\(node)/wal"], outside: [])
        }
        let found = try TreeComparison(paths("a"), paths("b"), root: 0)
        #expect(found.differences.map(\.kind) == (isEqual ? [] : [.target]))
    }

    @Test func `Excluded names are not looked at`() throws {
        let found = try differences("echo x > f", then: "echo y > f-shm")
        #expect(found.differences == [])
    }
}
