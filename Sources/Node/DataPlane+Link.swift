import CLinux
import Capture
import Frame
import Glibc
import Journal
import Link
import Platform
import Primitives
import Replication
import Uring

/// The connection to the peer: who calls, what is said, when it is given up.
extension DataPlane {
    func connectIfDue(_ primary: PrimaryPlane) throws {
        let now = Clock.monotonic
        guard connection == nil, now >= connectAfter, primary.namesAreKnown else { return }
        connectAfter = now + 200_000_000
        let descriptor = lockstep_loopback_connect(configuration.peerPort)
        if descriptor >= 0 {
            connection = open(descriptor)
            isWelcome = false
            peerHeard = now
            heartbeatSent = now
            connection!.queue(.hello(Hello(module: configuration.module, node: configuration.node, epoch: epoch,
                incarnation: Incarnation(high: primary.memory.incarnation.0, low: primary.memory.incarnation.1),
                roots: configuration.roots.map(\.name))))
        } else if descriptor != -ECONNREFUSED {
            // A peer that is stopped does not accept: not so often.
            connectAfter = now + 1_000_000_000
        }
    }

    /// No peer for the time of silence, whether nobody accepts or nobody welcomes: the supervisor is asked for the alone permit.
    func askForPermitIfAlone(_ primary: PrimaryPlane) {
        guard !(connection != nil && isWelcome), Clock.monotonic - pairHeard > Limits.peerSilenceNanoseconds else { return }
        askForPermit(primary, acked: primary.release.acked)
    }

    func askForPermit(_ primary: PrimaryPlane, acked: StreamPosition) {
        guard !primary.holdsAlonePermit, permitAsked == nil, !isRefusedByPeer else { return }
        permitRequests += 1
        permitAsked = permitRequests
        events(.peerLost(acked: acked, request: permitRequests))
    }

    func open(_ descriptor: Int32) -> Connection {
        connections &+= 1
        return Connection(descriptor: descriptor, number: connections & 0xff_ffff)
    }

    func connection(numbered number: UInt32) -> Connection? {
        connection?.number == number ? connection : (candidates + closing).first { $0.number == number }
    }

    func accepted(_ result: Int32) throws {
        guard secondary != nil, listener >= 0 else {
            if result >= 0 { close(result) }
            return
        }
        try uring.accept(listener, token: Token.listener.with(0))
        guard result >= 0 else { return }
        lockstep_set_no_delay(result)
        if candidates.count == Limits.candidatesMax { drop(candidates[0], "a caller said no hello, and others call") }
        candidates.append(open(result))
    }

    /// A caller whose hello is in order takes the place of the connection before: a primary gave that one up.
    func welcome(_ candidate: Connection) {
        if let connection, connection !== candidate { drop(connection, "the primary connected anew") }
        candidates.removeAll { $0 === candidate }
        connection = candidate
        isWelcome = true
        peerHeard = Clock.monotonic
        heartbeatSent = peerHeard
    }

    func received(_ result: Int32, number: UInt32) throws {
        guard let connection = connection(numbered: number) else { return }
        let isOpen = connection.receiveEnded(result)
        if connection.isClosing { return }
        guard isOpen else {
            drop(connection, result == 0 ? "the peer closed the connection" : describe(errno: -result))
            return
        }
        if connection === self.connection {
            peerHeard = Clock.monotonic
            if isWelcome { pairHeard = peerHeard }
        }
        try processMessages(connection)
    }

    /// What has arrived and finds room; the rest waits in the decoder for the next turn.
    func processMessages(_ connection: Connection) throws {
        do {
            // A message that finds no room in the journal waits in the decoder, and with it the peer.
            while journal.hasRoom, let message = try connection.decoder.next() {
                try handle(message, connection)
                if connection.isClosing { return }
            }
        } catch let error as LinkError {
            drop(connection, "\(error)")
        } catch let error as FrameError {
            drop(connection, "\(error)")
        } catch let error as NodeError where error.code == 76 {
            drop(connection, "\(error)")
        }
    }

    func sent(_ result: Int32, number: UInt32) {
        guard let connection = connection(numbered: number) else { return }
        if !connection.sendEnded(result), !connection.isClosing { drop(connection, describe(errno: -result)) }
    }

    func drop(_ connection: Connection, _ reason: String) {
        guard !connection.isClosing else { return }
        log.info("link: \(reason)")
        lastError = "link: \(reason)"
        connection.close()
        closing.append(connection)
        candidates.removeAll { $0 === connection }
        guard connection === self.connection else { return }
        self.connection = nil
        connectAfter = Clock.monotonic + 200_000_000
        guard let primary else { return }
        primary.endStream()
        for settle in settles { settle.answer(.failure(NodeError(69, "the peer was lost while settling"))) }
        settles = []
        if isWelcome { askForPermit(primary, acked: primary.release.acked) }
        peerAck = nil
        saidPaired = false
    }

    func handle(_ message: LinkMessage, _ connection: Connection) throws {
        let isFromPeer = connection === self.connection
        switch message {
        case .hello(let hello):
            guard let secondary, !isFromPeer else { throw NodeError(76, "unexpected hello") }
            if let refusal = refusal(of: hello, secondary) {
                connection.queue(.refused(refusal))
                log.info("link: refused node \(hello.node): \(refusal)")
                return
            }
            secondary.begin(epoch: hello.epoch)
            welcome(connection)
            connection.queue(.welcome(Welcome(node: configuration.node, dataState: secondary.dataState, epoch: secondary.epoch,
                position: secondary.received.position, sequence: secondary.received.sequence, chain: secondary.received.chain)))
            log.info("link: primary \(hello.node) connected, epoch \(hello.epoch.value)")
        case .welcome(let welcome):
            guard let primary, !isWelcome else { throw NodeError(76, "unexpected welcome") }
            guard welcome.position.value < 1 << 62 else { throw NodeError(76, "the peer is at position \(welcome.position.value)") }
            guard welcome.epoch <= epoch else { throw NodeError(76, "node \(welcome.node) is in epoch \(welcome.epoch.value), later than \(epoch.value)") }
            isWelcome = true
            isRefusedByPeer = false
            log.info("link: connected to \(welcome.node), which is at position \(welcome.position.value)")
            chain = welcome.chain
            cutPosition = welcome.position
            // The peer says durably that its data is inconsistent before anything of the copy reaches it.
            connection.queue(.request(kind: Request.copy.rawValue, body: []))
            try restartJournal()
            primary.beginStream(after: welcome.position)
        case .refused(let text):
            // It may have been promoted: only a peer that is not there lets this node go on alone.
            isRefusedByPeer = true
            throw NodeError(76, "the peer refused: \(text)")
        case .batch(let bytes):
            guard let secondary, isFromPeer, isWelcome else { throw NodeError(76, "unexpected batch") }
            try secondary.receive(bytes)
            #if LOCKSTEP_FAULTS
            if Faults.acknowledgesEarly { return try holdBack(Array(bytes)) }
            #endif
            try submit(journal.append(bytes))
        case .ack(let ack):
            guard let primary, isWelcome else { throw NodeError(76, "unexpected acknowledgement") }
            try acknowledged(ack, primary)
        case .heartbeat: break
        case .request(let kind, let body) where kind == Request.repair.rawValue:
            guard let primary, isWelcome else { throw NodeError(76, "unexpected request \(kind)") }
            let request = try RepairRequest(parsing: body)
            log.info("the peer's tree was changed by others: \(request.objects.count) objects are shipped again")
            primary.repairAsked(token: request.token, request.objects)
        case .request(let kind, _):
            guard let secondary, isFromPeer, isWelcome, kind == Request.copy.rawValue else { throw NodeError(76, "unknown request \(kind)") }
            secondary.dataState = .inconsistent
            secondary.suspects.copyBegins()
            // Durable before the answer to anything that follows: the record is replaced on this thread, once a copy.
            try state.update { $0.copyBegins(epoch: secondary.epoch, after: secondary.received.position) }
        }
    }

    enum Request: UInt16 { case copy = 1, repair }

    func refusal(of hello: Hello, _ secondary: SecondaryPlane) -> String? {
        if isPromoting { return "this node is being promoted" }
        if hello.epoch.value >= 1 << 62 { return "epoch \(hello.epoch.value)" }
        if hello.version != LinkMessage.version { return "link version \(hello.version), this node speaks \(LinkMessage.version)" }
        if hello.module != configuration.module { return "module '\(hello.module)', this node has '\(configuration.module)'" }
        if hello.roots != configuration.roots.map(\.name) { return "roots \(hello.roots), this node has \(configuration.roots.map(\.name))" }
        if hello.epoch < secondary.epoch { return "epoch \(hello.epoch.value) is over, this node is in epoch \(secondary.epoch.value)" }
        return nil
    }

    func acknowledged(_ ack: Ack, _ primary: PrimaryPlane) throws {
        guard ack.epoch == epoch, ack.flushed <= primary.release.appended, ack.applied <= ack.flushed else {
            throw NodeError(76, "acknowledgement of position \(ack.flushed.value) in epoch \(ack.epoch.value), which was never sent")
        }
        peerAck = ack
        primary.acknowledged(through: ack.flushed)
        guard let copy = primary.copy else { return }
        if let ended = copy.ended, ack.dataState == .upToDate, ack.flushed >= ended {
            // I5: only now is the peer no longer outdated.
            primary.copy = nil
            saidPaired = true
            permitAsked = nil
            // From the moment it is asked to be cleared the permit is not held any more.
            primary.holdsAlonePermit = false
            log.info("the peer is up to date at position \(ended.value)")
            lister?.pass(.regular)
            events(.peerUpToDate)
        } else if copy.ended == nil, ack.flushed >= copy.began {
            // The peer can't be promoted before the copy ends, so nobody needs to wait for it: with a durable permit.
            askForPermit(primary, acked: copy.began)
        }
    }

    func turnLink() throws {
        let now = Clock.monotonic
        if let connection { try processMessages(connection) }
        for candidate in candidates {
            if now - candidate.opened > Limits.peerSilenceNanoseconds {
                drop(candidate, "a caller said no hello within \(Limits.peerSilenceNanoseconds / 1_000_000_000) s")
                continue
            }
            try processMessages(candidate)
            // Its hello may have made it the connection.
            guard candidates.contains(where: { $0 === candidate }) else { continue }
            try candidate.startReceiving(&uring, token: Token.receive.with(UInt64(candidate.number)))
            try candidate.startSending(&uring, token: Token.send.with(UInt64(candidate.number)))
        }
        if let primary { askForPermitIfAlone(primary) }
        if let connection {
            if lookedAt > max(peerHeard, connection.listeningSince) + Limits.peerSilenceNanoseconds {
                drop(connection, "the peer has said nothing for \(Limits.peerSilenceNanoseconds / 1_000_000_000) s")
            } else {
                if now - heartbeatSent > Limits.heartbeatNanoseconds {
                    heartbeatSent = now
                    heartbeats += 1
                    if let secondary, isWelcome, let ack = secondary.ack(evenIfNothingNew: true) {
                        connection.queue(.ack(ack))
                    } else {
                        connection.queue(.heartbeat(heartbeats))
                    }
                }
                let isFull = !journal.hasRoom || (secondary?.unappliedBytes ?? 0) > Limits.unappliedBytesMax
                // A peer that is not read can't be heard.
                if isFull { peerHeard = now }
                if !isFull { try connection.startReceiving(&uring, token: Token.receive.with(UInt64(connection.number))) }
                try connection.startSending(&uring, token: Token.send.with(UInt64(connection.number)))
            }
        }
        closing.removeAll { connection in
            guard connection.isIdle else { return false }
            connection.dispose()
            return true
        }
    }
}
