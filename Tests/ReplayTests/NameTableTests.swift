import Glibc
import Primitives
import Replication
import Testing

private let root = ObjectID(inode: 1, generation: 0, root: 0)
private func object(_ inode: UInt64) -> ObjectID { ObjectID(inode: inode, generation: 5, root: 0) }
private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

@Suite struct NameTableTests {
    @Test func `names lead to objects and back`() throws {
        var table = NameTable(roots: [root])
        try table.insert(object(2), .directory, root, bytes("d"))
        try table.insert(object(3), .file, object(2), bytes("f"))
        #expect(table.lookup(object(2), bytes("f")) == object(3))
        #expect(table.path(of: object(3))?.bytes == bytes("d/f"))
        #expect(table.path(of: object(3))?.root == root)
        #expect(table.path(of: root)?.bytes == [])
        #expect(table.kind(of: object(2)) == .directory)
        #expect(table.isAncestor(object(2), of: object(3)) && !table.isAncestor(object(3), of: object(2)))
        #expect(table.children(of: root).map(\.object) == [object(2)])
        #expect(table.count == 3 && table.nameCount == 2)
    }

    @Test func `insert displaces, and the displaced object stays known until it is forgotten`() throws {
        var table = NameTable(roots: [root])
        try table.insert(object(2), .file, root, bytes("a"))
        #expect(try table.insert(object(3), .file, root, bytes("a")) == object(2))
        #expect(table.contains(object(2)) && table.names(of: object(2)).isEmpty && table.path(of: object(2)) == nil)
        table.forget(object(2))
        #expect(!table.contains(object(2)) && table.lookup(root, bytes("a")) == object(3))
    }

    @Test func `a file has several names, a directory one`() throws {
        var table = NameTable(roots: [root])
        try table.insert(object(2), .file, root, bytes("a"))
        try table.insert(object(2), .file, root, bytes("b"))
        #expect(Set(table.names(of: object(2)).map(\.name)) == [bytes("a"), bytes("b")])
        try table.insert(object(3), .directory, root, bytes("d"))
        try table.insert(object(3), .directory, root, bytes("e"))
        #expect(table.names(of: object(3)).map(\.name) == [bytes("e")] && table.lookup(root, bytes("d")) == nil)
    }

    @Test func `move displaces, exchange swaps`() throws {
        var table = NameTable(roots: [root])
        try table.insert(object(2), .file, root, bytes("a"))
        try table.insert(object(3), .file, root, bytes("b"))
        #expect(try table.move(root, bytes("a"), to: root, bytes("b")) == object(3))
        #expect(table.lookup(root, bytes("a")) == nil && table.lookup(root, bytes("b")) == object(2))
        try table.insert(object(4), .directory, root, bytes("d"))
        try table.insert(object(5), .file, object(4), bytes("in"))
        try table.exchange(root, bytes("b"), with: root, bytes("d"))
        #expect(table.path(of: object(5))?.bytes == bytes("b/in") && table.lookup(root, bytes("d")) == object(2))
    }

    @Test func `what is impossible is an error and changes nothing`() throws {
        var table = NameTable(roots: [root])
        try table.insert(object(2), .directory, root, bytes("d"))
        try table.insert(object(3), .directory, object(2), bytes("e"))
        try table.insert(object(4), .file, root, bytes("f"))
        #expect(throws: NameTableError.cycle(object(2))) { try table.move(root, bytes("d"), to: object(3), bytes("x")) }
        #expect(throws: NameTableError.cycle(object(2))) {
            try table.exchange(root, bytes("d"), with: object(2), bytes("e"))
        }
        #expect(throws: NameTableError.unknownParent(object(9))) { try table.insert(object(5), .file, object(9), bytes("x")) }
        #expect(throws: NameTableError.notADirectory(object(4))) { try table.insert(object(5), .file, object(4), bytes("x")) }
        #expect(throws: NameTableError.impossibleName) { try table.insert(object(5), .file, root, []) }
        #expect(throws: NameTableError.isRoot(root)) { try table.insert(root, .directory, object(2), bytes("x")) }
        #expect(table.path(of: object(3))?.bytes == bytes("d/e") && table.count == 4)
    }

    /// Against two dictionaries, which are too big for the product but obviously right.
    @Test(arguments: [1, 2, 3, UInt64.random(in: 0 ... .max)])
    func `random changes agree with a model`(seed: UInt64) throws {
        var random = SplitMix(seed)
        var table = NameTable(roots: [root])
        var model: [NameTable.Name: ObjectID] = [:]
        var directories = [root]
        func randomName() -> NameTable.Name {
            NameTable.Name(parent: directories[random.next(directories.count)], name: bytes("n\(random.next(40))"))
        }
        for step in 0..<20_000 {
            let name = randomName()
            switch random.next(5) {
            case 0, 1:
                let isDirectory = step % 50 == 0 && model[name] == nil
                let new = object(UInt64(step) + 10)
                #expect(try table.insert(new, isDirectory ? .directory : .file, name.parent, name.name) == model[name])
                if let old = model[name] { directories.removeAll { $0 == old }; table.forget(old); model = model.filter { $0.key.parent != old } }
                model[name] = new
                if isDirectory { directories.append(new) }
            case 2:
                guard let old = model[name], !directories.contains(old) else { continue }
                #expect(table.remove(name.parent, name.name) == old)
                table.forget(old)
                model[name] = nil
            default:
                let target = randomName()
                guard let moved = model[name], !directories.contains(moved) else { continue }
                if let old = model[target], directories.contains(old) { continue }
                let displaced = try table.move(name.parent, name.name, to: target.parent, target.name)
                if name == target { continue }
                #expect(displaced == model[target])
                if let displaced { table.forget(displaced) }
                model[name] = nil
                model[target] = moved
            }
        }
        // Directories that were displaced left their content without a way to it.
        var found: [NameTable.Name: ObjectID] = [:]
        var seen: Set<ObjectID> = [root]
        table.forEachName { name, object, kind in
            #expect(seen.contains(name.parent), "a directory comes before what lies in it")
            if kind == .directory { seen.insert(object) }
            found[name] = object
        }
        #expect(found == model.filter { seen.contains($0.key.parent) }, "seed \(seed)")
        for (name, object) in found { #expect(table.lookup(name.parent, name.name) == object) }
    }

    @Test func `200,000 files need less than 60 MB`() throws {
        let before = residentBytes()
        let start = clock()
        var table = NameTable(roots: [root])
        for directory in 0..<UInt64(200) {
            try table.insert(object(2 + directory), .directory, root, bytes("base-\(directory)"))
            for file in 0..<UInt64(1000) {
                try table.insert(object(1000 + directory * 1000 + file), .file, object(2 + directory), bytes("\(16384 + file * 7)_fsm"))
            }
        }
        let seconds = Double(clock() - start) / Double(CLOCKS_PER_SEC)
        let grown = residentBytes() - before
        print("NameTable: \(table.count) objects, \(grown >> 20) MiB, \(seconds) s")
        #expect(table.count == 200_201)
        #expect(grown < 60 << 20)
    }

    private func residentBytes() -> Int {
        guard let file = fopen("/proc/self/statm", "r") else { return 0 }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 128)
        guard fgets(&line, 128, file) != nil else { return 0 }
        let words = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self).split(separator: " ")
        return (Int(words[1]) ?? 0) * 4096
    }
}

/// Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014). A seed reproduces a run.
struct SplitMix {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    mutating func next(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
    mutating func chance(_ percent: Int) -> Bool { next(100) < percent }
}
