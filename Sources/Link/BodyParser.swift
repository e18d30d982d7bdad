internal import Primitives

/// Takes values off the body of a control message, with every length checked.
struct BodyParser {
    private let bytes: UnsafeRawBufferPointer
    private let offset: UInt64
    private var at = 0

    static let rootsMax = 8

    init(_ bytes: UnsafeRawBufferPointer, offset: UInt64) {
        self.bytes = bytes
        self.offset = offset
    }

    mutating func integer<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type) throws(LinkError) -> T {
        guard bytes.count - at >= MemoryLayout<T>.size else { throw error("the body is cut short") }
        defer { at += MemoryLayout<T>.size }
        return T(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: type))
    }

    mutating func text() throws(LinkError) -> String {
        let count = Int(try integer(UInt16.self))
        guard bytes.count - at >= count else { throw error("a text of \(count) bytes does not fit the body") }
        defer { at += count }
        guard let text = String(validating: bytes[at..<(at + count)], as: UTF8.self) else {
            throw error("a text is not UTF-8")
        }
        return text
    }

    mutating func rest() -> [UInt8] {
        defer { at = bytes.count }
        return [UInt8](bytes[at...])
    }

    func end() throws(LinkError) {
        guard at == bytes.count else { throw error("\(bytes.count - at) bytes follow the body") }
    }

    // MARK: bodies

    mutating func hello() throws(LinkError) -> Hello {
        // The version comes first: what follows it may differ in another one.
        let version = try version()
        let epoch = Epoch(try integer(UInt64.self))
        let incarnation = Incarnation(high: try integer(UInt64.self), low: try integer(UInt64.self))
        let count = Int(try integer(UInt16.self))
        guard count <= BodyParser.rootsMax else { throw error("\(count) roots, at most \(BodyParser.rootsMax) are allowed") }
        var hello = Hello(module: try text(), node: try text(), epoch: epoch, incarnation: incarnation, roots: [])
        hello.version = version
        for _ in 0..<count { hello.roots.append(try text()) }
        return hello
    }

    mutating func welcome() throws(LinkError) -> Welcome {
        let version = try version()
        let state = try dataState()
        let epoch = Epoch(try integer(UInt64.self))
        let position = StreamPosition(try integer(UInt64.self)), sequence = SequenceNumber(try integer(UInt64.self))
        let chain = try integer(UInt64.self)
        var welcome = Welcome(node: try text(), dataState: state, epoch: epoch, position: position, sequence: sequence,
            chain: chain)
        welcome.version = version
        return welcome
    }

    mutating func ack() throws(LinkError) -> Ack {
        Ack(epoch: Epoch(try integer(UInt64.self)), position: StreamPosition(try integer(UInt64.self)),
            sequence: SequenceNumber(try integer(UInt64.self)), chain: try integer(UInt64.self),
            flushed: StreamPosition(try integer(UInt64.self)), applied: StreamPosition(try integer(UInt64.self)),
            dataState: try dataState())
    }

    private mutating func version() throws(LinkError) -> UInt16 {
        let version = try integer(UInt16.self)
        guard version == LinkMessage.version else {
            throw error("the peer speaks version \(version) of the link, this node \(LinkMessage.version)")
        }
        return version
    }

    private mutating func dataState() throws(LinkError) -> DataState {
        let code = try integer(UInt16.self)
        guard let state = DataState(linkCode: code) else { throw error("unknown data state \(code)") }
        return state
    }

    private func error(_ reason: String) -> LinkError { LinkError(at: offset + UInt64(at), reason) }
}
