/// An open-addressed hash table of indices into an array that somebody else owns: 4 bytes a place, half full at most.
///
/// It knows neither keys nor hashes; both are asked for by index. Removal closes the gap (Knuth, TAOCP 6.4, algorithm R),
/// so there are no tombstones and a search ends at the first free place.
struct IndexTable: Sendable {
    private var places: [Int32] = []
    private var mask = 0

    func find(_ hash: UInt32, _ matches: (Int32) -> Bool) -> Int32 {
        if places.isEmpty { return -1 }
        var place = Int(hash) & mask
        while places[place] >= 0 {
            if matches(places[place]) { return places[place] }
            place = (place + 1) & mask
        }
        return -1
    }

    /// `count`: entries with this one; `hashOf` is asked when the table grows, for entries that are in it.
    mutating func insert(_ hash: UInt32, _ index: Int32, count: Int, _ hashOf: (Int32) -> UInt32) {
        if count * 2 > places.count {
            let old = places
            places = [Int32](repeating: -1, count: max(64, old.count * 2))
            mask = places.count - 1
            for entry in old where entry >= 0 { put(hashOf(entry), entry) }
        }
        put(hash, index)
    }

    mutating func remove(_ hash: UInt32, _ index: Int32, _ hashOf: (Int32) -> UInt32) {
        var gap = Int(hash) & mask
        while places[gap] != index { gap = (gap + 1) & mask }
        var place = (gap + 1) & mask
        while places[place] >= 0 {
            // An entry may fill the gap unless its home lies cyclically behind the gap.
            let home = Int(hashOf(places[place])) & mask
            if (place - home) & mask >= (place - gap) & mask {
                places[gap] = places[place]
                gap = place
            }
            place = (place + 1) & mask
        }
        places[gap] = -1
    }

    private mutating func put(_ hash: UInt32, _ index: Int32) {
        var place = Int(hash) & mask
        while places[place] >= 0 { place = (place + 1) & mask }
        places[place] = index
    }
}
