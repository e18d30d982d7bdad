#if LOCKSTEP_FAULTS
    import Glibc

    /// Faults that tests plant, by name in LOCKSTEP_DAEMON_FAULT. Only builds with LOCKSTEP_FAULTS know them.
    enum Faults {
        private static let planted = Set((getenv("LOCKSTEP_DAEMON_FAULT").map { String(cString: $0) } ?? "").split(separator: ",").map(String.init))

        /// A fill carries what operations touched while it was read.
        static let fillsWithoutFloor = planted.contains("fill-without-floor")
        /// A barrier passes the intent of a process that died inside its call.
        static let passesDeadIntents = planted.contains("pass-dead-intents")
        /// The secondary acknowledges before its journal has the batch.
        static let acknowledgesEarly = planted.contains("ack-before-journal")
        /// The secondary's journal is written without device flush.
        static let writesWithoutFlush = planted.contains("journal-without-flush")
        /// Links into a root travel with the primary's path.
        static let mapsNoLinks = planted.contains("links-unmapped")
        /// Nobody asks the kernel what was stored through mappings.
        static let looksAtNoMappings = planted.contains("mappings-unasked")
    }
#endif
