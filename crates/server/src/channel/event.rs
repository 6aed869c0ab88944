//! What crosses the threads: events inward, handles and decisions outward. Plain data.

use bytes::Bytes;
use std::sync::Arc;

use crate::channel::notices::Line;
use crate::channel::request::Request;
use crate::channel::response_stream::ResponseStream;
use crate::connection::handle::Connection;
use crate::connection::shared::Shared;
use crate::id::{ConnId, Ticket};

/// What happened, in the order in which the host must see it.
#[derive(Debug)]
pub enum Event {
    /// A handshake waits for [`Server::decide`](crate::Server::decide). Only with [`Interest::UPGRADE`].
    Upgrade {
        /// To be given back with the decision.
        ticket: Ticket,
        /// The request, already found to be a well-formed WebSocket handshake.
        request: Arc<Request>,
    },
    /// The handshake is void and no `Open` follows: the client went away, or the time was up. A
    /// decision that comes later is ignored. Follows an acceptance, too, if the client was gone
    /// before the 101 was written; never a rejection.
    UpgradeGone {
        /// The ticket of the `Upgrade` event.
        ticket: Ticket,
    },
    /// A connection is open: its 101 is written.
    Open {
        /// Handle for sending; also answers `id()`, `buffered_amount()`, ….
        conn: Connection,
        /// The ticket of the `Upgrade` event, where there was one.
        ticket: Option<Ticket>,
        /// The handshake request.
        request: Arc<Request>,
        /// What was negotiated.
        subprotocol: Option<String>,
    },
    /// A whole message.
    Message {
        /// From whom.
        id: ConnId,
        /// Its bytes; valid UTF-8 unless `binary`.
        payload: Bytes,
        /// Opcode 2 instead of 1.
        binary: bool,
    },
    /// A pong that is not the answer to the core's own keep-alive ping. Only with [`Interest::PONG`].
    Pong {
        /// From whom.
        id: ConnId,
        /// Its bytes.
        payload: Bytes,
    },
    /// All that waited for a peer is written, after [`Server::send`](crate::Server::send) had
    /// left at least a quarter of the send buffer limit waiting. Only with [`Interest::DRAIN`].
    Drain {
        /// Whose outbox is empty.
        id: ConnId,
    },
    /// The connection is over. Exactly once after `Open`, and the last event of the connection.
    Close {
        /// Whose.
        id: ConnId,
        /// RFC 6455 section 7.1.5; 1005 and 1006 included.
        code: u16,
        /// From the close frame, or the core's own words for an abnormal end.
        reason: String,
    },
    /// A plain HTTP request waits for [`Server::respond`](crate::Server::respond). Only with
    /// [`Interest::REQUEST`].
    Request {
        /// To be given back with the response.
        ticket: Ticket,
        /// Method, target, headers.
        request: Arc<Request>,
        /// The whole body.
        body: Bytes,
    },
    /// Nothing of a streamed response waits to be written any more. Only with
    /// [`ResponseStream::want_drain`].
    StreamDrain {
        /// Which one.
        stream: ResponseStream,
    },
    /// A streamed response is over. Exactly once for each [`Server::stream`](crate::Server::stream),
    /// and its last event.
    StreamClose {
        /// Which one.
        stream: ResponseStream,
        /// The socket has taken the whole response, its end included. False: the client left, it read
        /// too slowly, or the host or the end of the server cut it.
        complete: bool,
    },
    /// What [`Server::resume`](crate::Server::resume) came to. What was missed is on its way to
    /// the connection already. Only with [`Interest::RESUME`].
    Resumed {
        /// Whose subscription.
        id: ConnId,
        /// Its topic.
        topic: String,
        /// Nothing is missing between the position that was asked for and the next publication.
        /// If false, nothing was sent again either.
        complete: bool,
        /// How many were sent again.
        messages: u64,
        /// Of the last publication, from which on the subscription goes.
        position: String,
    },
    /// The first connection of a member has joined a topic, or its last one has left. Only with
    /// [`Interest::PRESENCE`].
    Presence {
        /// Which topic.
        topic: String,
        /// Who.
        member: String,
        /// What was said at joining.
        data: Vec<u8>,
        /// False: left.
        joined: bool,
    },
    /// The connection to the broker is there, or gone. Only with [`Interest::BROKER`].
    Broker {
        /// Which of both.
        connected: bool,
        /// Why it is gone.
        reason: String,
    },
    /// A publication that was accepted got lost between workers or nodes, or several did.
    Unpublished {
        /// Of the publication; empty if it is not known which ones, or if it went to everybody.
        topic: String,
        /// A sentence.
        reason: String,
        /// It may have reached somebody: publishing it again could deliver it twice.
        uncertain: bool,
    },
    /// A line for the operator's log. Only with [`Interest::LOG`].
    Log(Line),
    /// The core has answered a request itself with an error. Only with [`Interest::REFUSED`].
    Refused(Refused),
    /// After [`Server::stop`](crate::Server::stop): every connection is closed. The last event.
    Stopped,
}

/// A request that the core has refused.
#[derive(Debug)]
pub struct Refused {
    /// Its head.
    pub request: Arc<Request>,
    /// Of the response, such as 403.
    pub status: u16,
    /// A sentence that names the option that decides, if one does. It holds nothing that the client
    /// has sent.
    pub reason: String,
    /// The request asked for a WebSocket.
    pub handshake: bool,
}

impl Event {
    /// Bytes of the allocations that it holds.
    pub(crate) fn heap_size(&self) -> usize {
        match self {
            Self::Upgrade { request, .. } => request.size(),
            Self::Open { request, .. } => request.size() + size_of::<Shared>(),
            Self::Message { payload, .. } | Self::Pong { payload, .. } => payload.len(),
            Self::Request { request, body, .. } => request.size() + body.len(),
            Self::Close { reason, .. } | Self::Broker { reason, .. } => reason.len(),
            Self::Resumed { topic, position, .. } => topic.len() + position.len(),
            Self::Presence { topic, member, data, .. } => topic.len() + member.len() + data.len(),
            Self::Unpublished { topic, reason, .. } => topic.len() + reason.len(),
            // Notices are counted by their place.
            _ => 0,
        }
    }
}

/// The host's answer to an `Upgrade` event.
#[derive(Debug)]
pub enum Decision {
    /// Answer 101.
    Accept {
        /// `Sec-WebSocket-Protocol` of the answer. `None`: what [`Config::subprotocols`](crate::Config) yields.
        subprotocol: Option<String>,
        /// Further headers, already checked by [`Response::check_header`].
        headers: Vec<(String, String)>,
    },
    /// Answer with this and close.
    Reject(Response),
}

/// An HTTP response of the host.
#[derive(Debug, Clone)]
pub struct Response {
    /// 200 to 599.
    pub status: u16,
    /// In this order; `Content-Length`, `Connection` and `Transfer-Encoding` are the core's.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Bytes,
}

impl Response {
    /// Whether a header may be sent: a token as name, no control characters in the value, and
    /// none of those that frame the message, but for `Connection: close`. The error is a sentence for the user.
    ///
    /// `Sec-WebSocket-Protocol` belongs to the server in a 101 only; a refusal may list subprotocols in it.
    ///
    /// RFC 9110 sections 5.1 and 5.5.
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
            return Err(format!("{name:?} is not a header name"));
        }
        // The one thing that a host may say about the connection: that it ends.
        let ends = name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close");
        if !ends && OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
            return Err(format!("header {name} is set by the server"));
        }
        if http::HeaderValue::try_from(value).is_err() {
            return Err(format!("the value of header {name} has a control character"));
        }
        Ok(())
    }

    /// The reason phrase of a status (RFC 9110 section 15 and the registry of HTTP status codes); for
    /// an unregistered status that of its class, as which clients treat it.
    pub fn reason(status: u16) -> &'static str {
        match status {
            // The http crate has the phrases of RFC 7231 and RFC 4918.
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

/// Somebody who is present in a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// By what the host called them.
    pub member: String,
    /// What was said when one of their connections joined last.
    pub data: Vec<u8>,
    /// With how many connections, on all workers and nodes.
    pub connections: u32,
}

/// Which events the host wants; the core acts by itself where it doesn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest(pub u16);

impl Interest {
    /// Nothing but connections, messages and closes.
    pub const NONE: Interest = Interest(0);
    /// Handshakes wait for the host's decision.
    pub const UPGRADE: Interest = Interest(1);
    /// Plain HTTP requests go to the host.
    pub const REQUEST: Interest = Interest(2);
    /// Pongs are delivered.
    pub const PONG: Interest = Interest(4);
    /// Emptied outboxes are told.
    pub const DRAIN: Interest = Interest(8);
    /// What resuming came to is told.
    pub const RESUME: Interest = Interest(16);
    /// Members that come and go are told.
    pub const PRESENCE: Interest = Interest(32);
    /// The state of the broker is told.
    pub const BROKER: Interest = Interest(64);
    /// Lines for a log are delivered.
    pub const LOG: Interest = Interest(128);
    /// Refused requests are delivered.
    pub const REFUSED: Interest = Interest(256);

    /// Whether it has all that `other` has.
    pub const fn includes(self, other: Interest) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    #[must_use]
    pub const fn and(self, other: Interest) -> Interest {
        Interest(self.0 | other.0)
    }
}
