//! The public events that the core passes to the host, and the decisions and responses that the host
//! returns. Plain data.

use bytes::Bytes;
use std::sync::Arc;

use crate::channel::notices::Line;
use crate::channel::request::Request;
use crate::channel::response_stream::ResponseStream;
use crate::connection::handle::Connection;
use crate::connection::shared::Shared;
use crate::id::{ConnId, Ticket};

/// An event for the host. [`Server::next_event`](crate::Server::next_event) returns events in the order in
/// which the host must process them.
#[derive(Debug)]
pub enum Event {
    /// A handshake waits for [`Server::decide`](crate::Server::decide). Only with [`Interest::UPGRADE`].
    Upgrade {
        /// Identifies the handshake in the host's decision.
        ticket: Ticket,
        /// The request, which is a well-formed WebSocket handshake.
        request: Arc<Request>,
    },
    /// A handshake ended without an `Open` event: the client disconnected, or `handshake_timeout` elapsed.
    /// A later decision is ignored. This event also follows an acceptance if the client disconnected
    /// before the 101 was written; it never follows a rejection.
    UpgradeGone {
        /// The ticket of the `Upgrade` event.
        ticket: Ticket,
    },
    /// A connection is open: its 101 response is written.
    Open {
        /// The handle of the connection, used to send.
        conn: Connection,
        /// The ticket of the `Upgrade` event, if the host decided on the handshake.
        ticket: Option<Ticket>,
        /// The handshake request.
        request: Arc<Request>,
        /// The negotiated subprotocol.
        subprotocol: Option<String>,
    },
    /// A complete message.
    Message {
        /// The connection that sent it.
        id: ConnId,
        /// The payload; valid UTF-8 unless `binary`.
        payload: Bytes,
        /// Whether this is a binary message (opcode 2) instead of a text message (opcode 1).
        binary: bool,
    },
    /// A pong that does not answer the core's own keep-alive ping. Only with [`Interest::PONG`].
    Pong {
        /// The connection that sent it.
        id: ConnId,
        /// The payload.
        payload: Bytes,
    },
    /// All frames that waited for a peer are written, after a [`Server::send`](crate::Server::send) had
    /// filled at least a quarter of the send buffer limit. Only with [`Interest::DRAIN`].
    Drain {
        /// The connection whose outbox is empty.
        id: ConnId,
    },
    /// A connection has ended. This event follows `Open` exactly once and is the last one of its connection.
    Close {
        /// The connection.
        id: ConnId,
        /// The close code (RFC 6455 section 7.1.5), including 1005 and 1006.
        code: u16,
        /// The reason from the close frame, or the core's description of an abnormal end.
        reason: String,
    },
    /// A plain HTTP request waits for [`Server::respond`](crate::Server::respond). Only with
    /// [`Interest::REQUEST`].
    Request {
        /// Identifies the request in the host's response.
        ticket: Ticket,
        /// The head of the request: method, target and headers.
        request: Arc<Request>,
        /// The complete body.
        body: Bytes,
    },
    /// All pieces written to a streamed response have left the queue. Only after
    /// [`ResponseStream::want_drain`].
    StreamDrain {
        /// The stream.
        stream: ResponseStream,
    },
    /// A streamed response has ended. This event follows each [`Server::stream`](crate::Server::stream)
    /// exactly once and is the last one of its stream.
    StreamClose {
        /// The stream.
        stream: ResponseStream,
        /// Whether the socket has accepted the complete response. If false, the client disconnected or
        /// read too slowly, the host cut the stream, or the server stopped.
        complete: bool,
    },
    /// The result of [`Server::resume`](crate::Server::resume). The missed publications are already
    /// queued for the connection. Only with [`Interest::RESUME`].
    Resumed {
        /// The connection that resumed the topic.
        id: ConnId,
        /// The topic.
        topic: String,
        /// Whether no publication is missing between the requested position and the next publication. If
        /// false, no missed publications were sent.
        complete: bool,
        /// Number of missed publications that were sent.
        messages: u64,
        /// Position (offset in the topic's history) after which the subscription continues.
        position: String,
    },
    /// The first connection of a member has joined a topic, or its last one has left. Only with
    /// [`Interest::PRESENCE`].
    Presence {
        /// The topic.
        topic: String,
        /// The name of the member.
        member: String,
        /// The data that the member joined with.
        data: Vec<u8>,
        /// True if the member has joined, false if it has left.
        joined: bool,
    },
    /// The connection to the broker was established or lost. Only with [`Interest::BROKER`].
    Broker {
        /// True if it was established, false if it was lost.
        connected: bool,
        /// The cause of the loss.
        reason: String,
    },
    /// One or more accepted publications were lost between workers or nodes.
    Unpublished {
        /// The topic; empty if the lost publications are not known, or for a broadcast.
        topic: String,
        /// The cause, as a sentence.
        reason: String,
        /// The publication may have reached some recipients, so publishing it again could deliver it twice.
        uncertain: bool,
    },
    /// A line for the operator's log. Only with [`Interest::LOG`].
    Log(Line),
    /// The core itself has answered a request with an error. Only with [`Interest::REFUSED`].
    Refused(Refused),
    /// The server has stopped after [`Server::stop`](crate::Server::stop), and every connection is closed.
    /// This is the last event.
    Stopped,
}

/// A request that the core has refused.
#[derive(Debug)]
pub struct Refused {
    /// The head of the request.
    pub request: Arc<Request>,
    /// The status of the response, such as 403.
    pub status: u16,
    /// The cause, as a sentence. It names the option that caused the refusal, if any, and contains nothing
    /// that the client has sent.
    pub reason: String,
    /// Whether the request was a WebSocket handshake.
    pub handshake: bool,
}

impl Event {
    /// Number of bytes in the allocations that the event owns, for the
    /// [backlog](crate::limits::backlog).
    pub(crate) fn heap_size(&self) -> usize {
        match self {
            Self::Upgrade { request, .. } => request.size_with_certificate(),
            Self::Open { request, .. } => request.size_with_certificate() + size_of::<Shared>(),
            Self::Message { payload, .. } | Self::Pong { payload, .. } => payload.len(),
            Self::Request { request, body, .. } => request.size_with_certificate() + body.len(),
            Self::Close { reason, .. } | Self::Broker { reason, .. } => reason.len(),
            Self::Resumed { topic, position, .. } => topic.len() + position.len(),
            Self::Presence { topic, member, data, .. } => topic.len() + member.len() + data.len(),
            Self::Unpublished { topic, reason, .. } => topic.len() + reason.len(),
            // Notices are counted by `notices::Place`.
            _ => 0,
        }
    }
}

/// The host's answer to an `Upgrade` event.
#[derive(Debug)]
pub enum Decision {
    /// Accept the handshake with 101.
    Accept {
        /// `Sec-WebSocket-Protocol` of the response. `None` selects a subprotocol by
        /// [`Config::subprotocols`](crate::Config).
        subprotocol: Option<String>,
        /// Additional headers, already checked by [`Response::check_header`].
        headers: Vec<(String, String)>,
    },
    /// Reject the handshake with this response, and close the socket.
    Reject(Response),
}

/// An HTTP response of the host.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status, 200 to 599.
    pub status: u16,
    /// The headers, sent in this order. The core adds `Content-Length`, `Connection` and
    /// `Transfer-Encoding`.
    pub headers: Vec<(String, String)>,
    /// The complete body.
    pub body: Bytes,
}

impl Response {
    /// Checks whether the host may send a header (RFC 9110 sections 5.1 and 5.5): its name must be a token,
    /// its value must not contain control characters, and it must not be one of the headers that the core
    /// sets itself. `Connection: close` is allowed.
    ///
    /// `Sec-WebSocket-Protocol` is reserved for the core only in a 101, which the caller checks; a rejection
    /// may list subprotocols in it.
    ///
    /// # Errors
    /// A sentence for the user that says why the header is not allowed.
    pub fn check_header(name: &str, value: &str) -> Result<(), String> {
        const OURS: [&str; 6] = [
            "connection",
            "content-length",
            "sec-websocket-accept",
            "sec-websocket-extensions",
            "transfer-encoding",
            "upgrade",
        ];
        if http::HeaderName::try_from(name).is_err() {
            return Err(format!("{name:?} is not a valid header name"));
        }
        // The only connection option that the host may set is `close`.
        let ends = name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close");
        if !ends && OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
            return Err(format!("header {name} is set by the server"));
        }
        if http::HeaderValue::try_from(value).is_err() {
            return Err(format!("the value of header {name} contains a control character"));
        }
        Ok(())
    }

    /// Returns the reason phrase of a status (RFC 9110 section 15 and the registry of HTTP status codes).
    /// An unregistered status has the phrase of the generic status of its class, as which clients treat it.
    pub fn reason(status: u16) -> &'static str {
        match status {
            // For these, the http crate has the obsolete phrases of RFC 7231 and RFC 4918.
            413 => "Content Too Large",
            422 => "Unprocessable Content",
            _ => http::StatusCode::from_u16(status)
                .ok()
                .and_then(|known| known.canonical_reason())
                .unwrap_or(match status / 100 {
                    2 => "OK",
                    3 => "Multiple Choices",
                    4 => "Bad Request",
                    _ => "Internal Server Error",
                }),
        }
    }
}

/// A member present in a topic: one name under which one or more connections have joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceMember {
    /// The name, as the host passed it to [`Server::join`](crate::Server::join).
    pub member: String,
    /// The data of the connection that joined last.
    pub data: Vec<u8>,
    /// Number of the member's connections in the topic, on all workers and nodes.
    pub connections: u32,
}

/// The kinds of optional events that the host wants, as bits. For kinds that it does not want, the core
/// acts on its own: it accepts handshakes, for example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest(pub u16);

impl Interest {
    /// Only the events that are not optional, such as `Open`, `Message` and `Close`.
    pub const NONE: Interest = Interest(0);
    /// [`Event::Upgrade`]: handshakes wait for the host's decision.
    pub const UPGRADE: Interest = Interest(1);
    /// [`Event::Request`]: plain HTTP requests wait for the host's response.
    pub const REQUEST: Interest = Interest(2);
    /// [`Event::Pong`].
    pub const PONG: Interest = Interest(4);
    /// [`Event::Drain`].
    pub const DRAIN: Interest = Interest(8);
    /// [`Event::Resumed`].
    pub const RESUME: Interest = Interest(16);
    /// [`Event::Presence`].
    pub const PRESENCE: Interest = Interest(32);
    /// [`Event::Broker`].
    pub const BROKER: Interest = Interest(64);
    /// [`Event::Log`].
    pub const LOG: Interest = Interest(128);
    /// [`Event::Refused`].
    pub const REFUSED: Interest = Interest(256);

    /// Whether this includes all kinds of `other`.
    pub const fn includes(self, other: Interest) -> bool {
        self.0 & other.0 == other.0
    }

    /// The kinds of both.
    #[must_use]
    pub const fn and(self, other: Interest) -> Interest {
        Interest(self.0 | other.0)
    }
}
