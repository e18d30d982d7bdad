import Primitives
import Replication
import Testing

/// Rules R1 and R2 over every order of two operations: whatever the order of intents, calls, returns and looks of the
/// daemon, the stream with its repairs ends where the file ends.
@Suite struct OverlapTests {
    static let start = ModelFile(bytes: [9, 9, 9, 9], mode: 0o644)

    /// Runs all schedules of both; returns how many, and the first whose ends differ.
    static func run(_ a: ModelCall, _ b: ModelCall) -> (schedules: Int, differing: Int, first: String?) {
        var count = 0, differing = 0
        var first: String?
        forEachSchedule([a, b], from: start) { world, steps in
            count += 1
            if world.primary != world.secondary {
                differing += 1
                first = first ?? "\(steps): primary \(world.primary), secondary \(world.secondary)"
            }
        }
        return (count, differing, first)
    }

    static let writes: [ModelCall.Verb] = [.write(0, [1, 1]), .write(1, [2, 2]), .write(4, [3, 3])]
    static let fates: [ModelCall.Fate] = [.succeeds, .fails, .isShort, .diesBefore, .diesAfter]

    @Test(arguments: [[writes[0], writes[0]], [writes[0], writes[1]], [writes[1], writes[1]]], fates)
    func `two writes end alike on both servers, in every order and whatever becomes of one`(
        _ verbs: [ModelCall.Verb], _ fate: ModelCall.Fate)
    {
        let result = OverlapTests.run(ModelCall(verb: verbs[0], fate: fate), ModelCall(verb: verbs[1]))
        #expect(result.first == nil, "\(result.differing) of \(result.schedules) differ")
        #expect(result.schedules > 3000)
    }

    @Test func `two writes that both fail or die end alike on both servers, in every order`() {
        for (a, b) in [(ModelCall.Fate.fails, ModelCall.Fate.diesAfter), (.isShort, .diesBefore), (.diesAfter, .diesBefore)] {
            let result = OverlapTests.run(ModelCall(verb: OverlapTests.writes[0], fate: a), ModelCall(verb: OverlapTests.writes[1], fate: b))
            #expect(result.first == nil, "\(a), \(b): \(result.differing) of \(result.schedules) differ")
        }
    }

    @Test(arguments: [ModelCall.Verb.truncate(0), .truncate(2), .truncate(6)], [writes[1], writes[2]])
    func `a truncation and a write end alike on both servers, in every order`(_ a: ModelCall.Verb, _ b: ModelCall.Verb) {
        for (fateOfA, fateOfB) in [(ModelCall.Fate.succeeds, ModelCall.Fate.succeeds), (.fails, .succeeds), (.diesAfter, .succeeds), (.succeeds, .isShort), (.succeeds, .diesBefore)] {
            let result = OverlapTests.run(ModelCall(verb: a, fate: fateOfA), ModelCall(verb: b, fate: fateOfB))
            #expect(result.first == nil, "\(fateOfA), \(fateOfB): \(result.differing) of \(result.schedules) differ")
        }
    }

    @Test(arguments: [0, 6], [3])
    func `two truncations end alike on both servers, in every order`(_ a: Int, _ b: Int) {
        for fate in [ModelCall.Fate.succeeds, .fails, .diesAfter] {
            let result = OverlapTests.run(ModelCall(verb: .truncate(a), fate: fate), ModelCall(verb: .truncate(b)))
            #expect(result.first == nil, "\(a) \(fate), \(b): \(result.differing) of \(result.schedules)")
        }
    }

    @Test(arguments: [ModelCall.Verb.append([5, 5]), .write(3, [6, 6, 6]), .truncate(1)])
    func `an append that lands elsewhere than predicted is read where it landed`(_ other: ModelCall.Verb) {
        for fate in OverlapTests.fates {
            for isContended in fate == .succeeds ? [false, true] : [false] {
                let result = OverlapTests.run(ModelCall(verb: .append([4, 4]), fate: fate, isContended: isContended), ModelCall(verb: other))
                #expect(result.first == nil, "\(fate), \(other), contended \(isContended): \(result.differing) of \(result.schedules)")
            }
        }
    }

    @Test func `two changes of mode end alike on both servers, in every order`() {
        for fate in [ModelCall.Fate.succeeds, .fails, .diesBefore, .diesAfter] {
            let result = OverlapTests.run(ModelCall(verb: .chmod(0o600), fate: fate), ModelCall(verb: .chmod(0o640)))
            #expect(result.first == nil, "\(fate): \(result.differing) of \(result.schedules)")
        }
    }

    @Test func `operations that do not overlap cause no reading`() {
        var settlements = 0
        forEachSchedule([ModelCall(verb: .write(0, [1, 1])), ModelCall(verb: .write(2, [2, 2]))], from: OverlapTests.start) { world, _ in
            #expect(world.primary == world.secondary)
            settlements += world.repairs
        }
        #expect(settlements == 0)
    }

    @Test func `the model sees a tracker that takes calls for ordered`() {
        // The planted mistake: overlaps are not looked for. If this passed, the tests above would show nothing.
        var differing = 0
        forEachSchedule([ModelCall(verb: .write(0, [1, 1])), ModelCall(verb: .write(1, [2, 2]))], from: OverlapTests.start) { world, _ in
            if world.withoutRepairs != world.primary { differing += 1 }
        }
        #expect(differing > 0)
    }
}
