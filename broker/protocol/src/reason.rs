//! Reason codes of MQTT 5 that this server gives, CONNACK codes of 3.1.1, close codes of WebSocket.
//!
//! Which of them a refusal has is the contract's table (section 5, "Refusals"); it stands in `session/close.rs`.

/// Reason codes of MQTT 5.
pub mod v5 {
    /// Success, normal disconnection, granted QoS 0.
    pub const SUCCESS: u8 = 0x00;
    /// UNSUBACK: there was no such subscription.
    pub const NO_SUBSCRIPTION: u8 = 0x11;
    /// AUTH: go on.
    pub const CONTINUE_AUTH: u8 = 0x18;
    /// AUTH: once more.
    pub const RE_AUTHENTICATE: u8 = 0x19;
    /// The packet cannot be parsed.
    pub const MALFORMED: u8 = 0x81;
    /// Parsed, but not allowed there.
    pub const PROTOCOL_ERROR: u8 = 0x82;
    /// Refused for another reason.
    pub const IMPLEMENTATION: u8 = 0x83;
    /// Name or level of the protocol.
    pub const UNSUPPORTED_VERSION: u8 = 0x84;
    /// Client id.
    pub const CLIENT_ID: u8 = 0x85;
    /// Not authorized.
    pub const NOT_AUTHORIZED: u8 = 0x87;
    /// Nothing can be stored now.
    pub const UNAVAILABLE: u8 = 0x88;
    /// No capacity.
    pub const BUSY: u8 = 0x89;
    /// The server stops.
    pub const SHUTTING_DOWN: u8 = 0x8B;
    /// Enhanced authentication with an unknown method.
    pub const BAD_AUTH_METHOD: u8 = 0x8C;
    /// Keep alive.
    pub const KEEP_ALIVE: u8 = 0x8D;
    /// Taken over.
    pub const TAKEN_OVER: u8 = 0x8E;
    /// A filter breaks the rules.
    pub const FILTER_INVALID: u8 = 0x8F;
    /// A topic name breaks the rules.
    pub const TOPIC_INVALID: u8 = 0x90;
    /// A QoS 2 packet identifier that belongs to nothing.
    pub const PACKET_ID_UNKNOWN: u8 = 0x92;
    /// More publishes in flight than announced.
    pub const RECEIVE_MAX: u8 = 0x93;
    /// Topic alias.
    pub const ALIAS_INVALID: u8 = 0x94;
    /// Packet too large.
    pub const TOO_LARGE: u8 = 0x95;
    /// Quota.
    pub const QUOTA: u8 = 0x97;
    /// RETAIN while not announced.
    pub const RETAIN_UNSUPPORTED: u8 = 0x9A;
    /// A QoS that is not announced.
    pub const QOS_UNSUPPORTED: u8 = 0x9B;
    /// Shared subscription while not announced.
    pub const SHARED_UNSUPPORTED: u8 = 0x9E;
}

/// Return codes of a 3.1.1 CONNACK.
pub mod v311 {
    /// Protocol level.
    pub const VERSION: u8 = 1;
    /// Client id.
    pub const CLIENT_ID: u8 = 2;
    /// Server unavailable.
    pub const UNAVAILABLE: u8 = 3;
    /// Not authorized.
    pub const NOT_AUTHORIZED: u8 = 5;
    /// SUBACK: refused.
    pub const SUBACK_FAILURE: u8 = 0x80;
}

/// WebSocket close codes (contract, section 5).
pub mod websocket {
    /// Ended in the usual way.
    pub const NORMAL: u16 = 1000;
    /// No token.
    pub const TOKEN_MISSING: u16 = 4001;
    /// Bad token, or one that ended.
    pub const TOKEN_BAD: u16 = 4002;
    /// Account or user blocked.
    pub const BLOCKED: u16 = 4003;
    /// Store down, no capacity.
    pub const UNAVAILABLE: u16 = 4004;
    /// Taken over.
    pub const TAKEN_OVER: u16 = 4005;
    /// Malformed packet, protocol error.
    pub const PROTOCOL: u16 = 4006;
    /// The server stops.
    pub const STOPPING: u16 = 4007;
}
