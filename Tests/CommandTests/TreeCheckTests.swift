import Glibc
import Testing

@testable import lockstep

@Suite struct TreeCheckTests {
    private func findings(_ make: String) throws -> [String] {
        let product = try Product()
        defer { product.remove() }
        let made = try product.shell("mkdir -p tree/d wal/d outside listed && \(make)")
        #expect(made.code == 0, "\(made.output)")
        return try TreeCheck(roots: ["\(product.directory)/tree", "\(product.directory)/wal"], outside: ["\(product.directory)/listed"]).run().map {
            $0.replacing(/\/tmp\/lockstep-command-[A-Za-z0-9]+/, with: "DIR")
        }
    }

    @Test(arguments: [
        "ln -s f tree/l", "ln -s ../f tree/d/l", "ln -s ../../tree/d tree/d/l", "ln -s missing/x tree/l",
        "echo x > tree/f; ln tree/f tree/d/f", "mkfifo tree/p", "ln -s $DIR/tree/d tree/l", "ln -s $DIR/wal tree/pg_wal",
        "ln -s $DIR/tree/missing wal/d/l", "ln -s ../wal tree/l", "ln -s $DIR/listed/f tree/l", "ln -s ../listed wal/l",
    ])
    func `What stays inside is accepted`(_ make: String) throws {
        #expect(try findings(make) == [])
    }

    @Test(arguments: [
        ("ln -s ../outside tree/l", "DIR/tree/l -> ../outside: a symbolic link"),
        ("ln -s ../../outside/missing tree/d/l", "DIR/tree/d/l -> ../../outside/missing: a symbolic link"),
        ("ln -s ../tree2 tree/l", "DIR/tree/l -> ../tree2: a symbolic link"),
        ("ln -s d/../../outside tree/l", "DIR/tree/l -> d/../../outside: a symbolic link"),
        ("ln -s /etc tree/d/l", "DIR/tree/d/l -> /etc: a symbolic link"),
        ("ln -s $DIR/wal2 tree/l", "DIR/tree/l -> DIR/wal2: a symbolic link"),
        ("ln -s ../outside wal/l", "DIR/wal/l -> ../outside: a symbolic link"),
        ("echo x > tree/f; ln tree/f outside/f", "DIR/tree/f: a file with 2 names, 1 of them outside"),
    ])
    func `What leads out is named`(_ make: String, _ expected: String) throws {
        #expect(try findings(make) == [expected])
    }

    @Test func `A file with names in two roots is named in both`() throws {
        #expect(try findings("echo x > tree/f; ln tree/f wal/d/g") == [
            "DIR/tree/f: a file with 2 names, 1 of them outside", "DIR/wal/d/g: a file with 2 names, 1 of them outside"])
    }

    @Test func `A mount inside the tree is named, a bind mount too`() throws {
        let product = try Product()
        defer { product.remove() }
        // Mounting needs privilege; a name space of its own keeps it from everybody else.
        let probe = try product.shell("unshare -m true")
        guard geteuid() == 0, probe.code == 0 else { return }
        let made = try product.shell("""
            mkdir -p pair/a/data/m pair/a/node elsewhere
            unshare -m sh -c 'mount --bind elsewhere pair/a/data/m && lockstep sandbox up pair'
            """)
        #expect(made.code == 78)
        #expect(made.output.contains("/pair/a/data/m: a mount point"))
    }
}
