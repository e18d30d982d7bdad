public import Primitives

// The messages of a connection between two nodes. A header of 16 bytes, then the body. Little-endian.
//
//      0  u32 "LSL1"      4  u16 type      6  u16 zero      8  u32 body bytes
//     12  u32 crc32c of bytes 0 to 11 and, except in a batch, which has a chain of its own, of the body
//
//     1 hello      initiator -> acceptor, first    u16 version, u64 epoch, 2 x u64 incarnation, u16 roots,
//                                                  then texts: module, node, each root
//     2 welcome    the answer                      u16 version, u16 data state, u64 epoch, u64 position, u64 sequence,
//                                                  u64 chain, then a text: node
//     3 refused    the other answer; the end       the text, all of the body
//     4 batch      primary -> secondary            the batch as in the journal, without its padding
//     5 ack        secondary -> primary            u64 epoch, position, sequence, chain, flushed, applied; u16 data state
//     6 heartbeat  both ways                       u64 counter
//     7 request    both ways                       u16 kind, then bytes that only the kind explains
//
// A text is u16 bytes, then UTF-8.

/// What the two nodes say to each other.
public enum LinkMessage {
    case hello(Hello)
    case welcome(Welcome)
    case refused(String)
    /// The bytes are the receiver's buffer: valid until its next `receiveBuffer()`.
    case batch(UnsafeRawBufferPointer)
    case ack(Ack)
    case heartbeat(UInt64)
    case request(kind: UInt16, body: [UInt8])

    public static let headerBytes = 16
    public static let version: UInt16 = 1
    /// Bodies other than batches.
    public static let controlBytesMax = 64 << 10
    public static let bodyBytesMax = 9 << 20

    enum Kind: UInt16 {
        case hello = 1, welcome, refused, batch, ack, heartbeat, request
    }
    static let magic: UInt32 = 0x314c_534c  // "LSL1"
}

/// Who calls, and what for.
public struct Hello: Equatable, Sendable {
    public var version = LinkMessage.version
    public var module: String
    public var node: String
    public var epoch: Epoch
    /// Of the primary's ring: its sequence numbers mean nothing in another one.
    public var incarnation: Incarnation
    /// Names of the replicated roots, in the order of their indices.
    public var roots: [String]

    public init(module: String, node: String, epoch: Epoch, incarnation: Incarnation, roots: [String]) {
        self.module = module
        self.node = node
        self.epoch = epoch
        self.incarnation = incarnation
        self.roots = roots
    }
}

/// 128 random bits that name one life of the order ring.
public struct Incarnation: Hashable, Sendable {
    public var high: UInt64
    public var low: UInt64
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }
}

/// How far the node that was called is.
public struct Welcome: Equatable, Sendable {
    public var version = LinkMessage.version
    public var node: String
    public var dataState: DataState
    public var epoch: Epoch
    /// Of the last batch in its journal; zeros if it has none.
    public var position: StreamPosition
    public var sequence: SequenceNumber
    public var chain: UInt64

    public init(node: String, dataState: DataState, epoch: Epoch, position: StreamPosition, sequence: SequenceNumber,
        chain: UInt64)
    {
        self.node = node
        self.dataState = dataState
        self.epoch = epoch
        self.position = position
        self.sequence = sequence
        self.chain = chain
    }
}

/// Cumulative: it covers everything up to its positions.
public struct Ack: Equatable, Sendable {
    public var epoch: Epoch
    /// Received and verified up to here, with the ring sequence and the chain at this place.
    public var position: StreamPosition
    public var sequence: SequenceNumber
    public var chain: UInt64
    /// Durable in the journal up to here.
    public var flushed: StreamPosition
    /// In the files up to here.
    public var applied: StreamPosition
    public var dataState: DataState

    public init(epoch: Epoch, position: StreamPosition, sequence: SequenceNumber, chain: UInt64, flushed: StreamPosition,
        applied: StreamPosition, dataState: DataState)
    {
        self.epoch = epoch
        self.position = position
        self.sequence = sequence
        self.chain = chain
        self.flushed = flushed
        self.applied = applied
        self.dataState = dataState
    }
}

/// What is wrong with the peer's bytes, and where: the connection ends.
public struct LinkError: Error, Equatable, Sendable, CustomStringConvertible {
    /// From the start of the connection.
    public var byteOffset: UInt64
    public var reason: String
    public init(at byteOffset: UInt64, _ reason: String) {
        self.byteOffset = byteOffset
        self.reason = reason
    }
    public var description: String { "link, byte \(byteOffset): \(reason)" }
}

extension DataState {
    var linkCode: UInt16 {
        switch self {
        case .upToDate: 1
        case .inconsistent: 2
        case .outdated: 3
        case .suspect: 4
        }
    }
    init?(linkCode: UInt16) {
        guard let state = DataState.allCases.first(where: { $0.linkCode == linkCode }) else { return nil }
        self = state
    }
}
