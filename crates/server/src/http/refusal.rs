//! Refusals: requests that the server itself answers with an error, their causes and responses.
//!
//! Every refusal of a request whose head has been parsed goes through [`Refusal::report`], so that
//! the counters, the log, onRefused and the responses always agree.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::channel::event::{Refused, Response};
use crate::channel::notices::{Level, Line, LineKind, peer_of};
use crate::channel::request::Request;
use crate::limits::admission::Full as LimitReached;
use crate::metrics::counters::Counters;
use crate::thread;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The request violates the protocol: a malformed header, method, version or body.
    Malformed,
    /// A well-formed request for something that this server does not serve.
    NotServed,
    /// `origins` does not admit the `Origin` header.
    Origin,
    /// `maxConnections` is reached.
    Connections,
    /// `maxConnectionsPerIp` is reached.
    Address,
    /// `strictSubprotocols` is set, and client and server have no subprotocol in common.
    Subprotocol,
    /// The host did not decide about the handshake within `handshakeTimeout`.
    Undecided,
    /// The host has rejected the handshake.
    Rejected,
    /// The body exceeds `maxBodySize`.
    BodySize,
    /// The body did not arrive within `handshakeTimeout`.
    BodyTime,
    /// The host did not answer the request within `handshakeTimeout`.
    Unanswered,
    /// The host has dropped the request without an answer.
    Dropped,
    /// `maxPendingTotal` is reached.
    Backlog,
    /// Too many static files are open.
    OpenFiles,
    /// The server is stopping.
    Stopping,
}

impl Cause {
    /// The counter that a refusal for this cause increments.
    pub(crate) fn counter(self, counters: &Counters) -> Option<&AtomicU64> {
        Some(match self {
            Self::Malformed | Self::NotServed | Self::Subprotocol | Self::BodySize => &counters.bad_requests,
            Self::Origin => &counters.refused_origin,
            Self::Connections => &counters.refused_connections,
            Self::Address => &counters.refused_per_ip,
            Self::Undecided | Self::BodyTime => &counters.handshake_timeouts,
            Self::Rejected => &counters.rejected,
            Self::Backlog => &counters.refused_pending,
            Self::Unanswered | Self::Dropped | Self::OpenFiles | Self::Stopping => return None,
        })
    }

    /// The name of the option that decides, as the user of the extension writes it; empty if there is
    /// none.
    fn option(self) -> &'static str {
        match self {
            Self::Origin => "origins",
            Self::Connections => "maxConnections",
            Self::Address => "maxConnectionsPerIp",
            Self::Subprotocol => "strictSubprotocols",
            Self::BodySize => "maxBodySize",
            Self::Backlog => "maxPendingTotal",
            Self::Undecided | Self::BodyTime | Self::Unanswered => "handshakeTimeout",
            Self::Malformed
            | Self::NotServed
            | Self::Rejected
            | Self::Dropped
            | Self::OpenFiles
            | Self::Stopping => "",
        }
    }

    /// A fixed sentence for the log and the host. `None`: the body of the response serves instead.
    fn reason(self) -> Option<&'static str> {
        Some(match self {
            Self::Origin => "The option origins does not admit the origin of this request.",
            Self::Connections => {
                "The number of connections has reached the limit set by the option maxConnections."
            }
            Self::Address => {
                "The number of connections from this address has reached the limit set by the option \
                 maxConnectionsPerIp."
            }
            Self::Subprotocol => {
                "None of the offered subprotocols is in the option subprotocols, and strictSubprotocols is \
                 set."
            }
            Self::Undecided => {
                "onUpgrade did not decide within the time limit of the option handshakeTimeout."
            }
            Self::BodySize => "The body is larger than the option maxBodySize allows.",
            Self::BodyTime => "The body did not arrive within the time limit of the option handshakeTimeout.",
            Self::Unanswered => {
                "onRequest did not answer within the time limit of the option handshakeTimeout."
            }
            Self::Dropped => "onRequest did not answer.",
            Self::Backlog => {
                "The data that waits for PHP has reached the limit of the option maxPendingTotal."
            }
            Self::Rejected => "The application rejected the handshake.",
            Self::Malformed | Self::NotServed | Self::OpenFiles | Self::Stopping => return None,
        })
    }

    /// Level and name of the event in the log. Refusals that an option decides matter to the
    /// operator, malformed handshakes perhaps; plain requests to a WebSocket server come mostly from
    /// crawlers.
    fn kind(self, handshake: bool) -> LineKind {
        let level = match self {
            Self::Undecided | Self::Unanswered | Self::Dropped | Self::Backlog => Level::Warning,
            Self::Rejected | Self::Stopping => Level::Info,
            Self::NotServed => Level::Debug,
            _ if !handshake => Level::Info,
            Self::Malformed => Level::Notice,
            _ => Level::Warning,
        };
        let event = match (self, handshake) {
            (Self::Rejected, _) => "handshake.rejected",
            (_, true) => "handshake.refused",
            (_, false) => "request.refused",
        };
        LineKind::new(level, event, self.option())
    }
}

/// A refused request: its cause and the response to it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) cause: Cause,
    pub(crate) response: Response,
    /// Whether the connection ends with the response, over HTTP/1.1.
    pub(crate) ends: bool,
}

impl Refusal {
    /// A refusal in plain text that ends the connection. `body` is a sentence that explains the
    /// error.
    pub(crate) fn new(cause: Cause, status: u16, body: &str) -> Self {
        Self::with(cause, text(status, body))
    }

    /// A refusal with a response that the host has made. It ends the connection.
    pub(crate) fn with(cause: Cause, response: Response) -> Self {
        Self { cause, response, ends: true }
    }

    /// Adds a header to the response.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.response.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Keeps the connection open for the next request.
    pub(crate) fn kept(mut self) -> Self {
        self.ends = false;
        self
    }

    /// Counts and logs the refusal, and reports it to the host. `request` makes the compact request
    /// if one of them needs it; `handshake`: the request asks for a WebSocket.
    pub(crate) fn report(&self, counters: &Counters, handshake: bool, request: impl Fn() -> Arc<Request>) {
        if let Some(counter) = self.cause.counter(counters) {
            Counters::one(counter);
        }
        thread::with(|io| {
            let context = io.context();
            context.log(self.cause.kind(handshake), || self.line(&request(), handshake));
            if self.cause != Cause::Rejected {
                context.refused(|| Refused {
                    request: request(),
                    status: self.response.status,
                    reason: self.reason(),
                    handshake,
                });
            }
        });
    }

    /// The explanation for the log and the host.
    fn reason(&self) -> String {
        let body = || String::from_utf8_lossy(&self.response.body).trim_end().to_owned();
        self.cause.reason().map_or_else(body, str::to_owned)
    }

    /// The line for the log.
    fn line(&self, request: &Request, handshake: bool) -> Line {
        let (status, reason) = (self.response.status, self.reason());
        let origin = request.header("origin").map(String::from_utf8_lossy);
        let what = if handshake { "Handshake" } else { "Request" };
        let mut message = format!("{what} from {} refused with {status}: ", peer_of(request.remote()));
        message.push_str(reason.trim_end_matches('.'));
        if self.cause == Cause::Origin {
            message.push_str(&format!(": {}", origin.as_deref().unwrap_or_default()));
        }
        let line = Line::new(message)
            .from(request.remote())
            .with("status", u64::from(status))
            .with("reason", reason.as_str())
            .with("method", request.method())
            // The path excludes the query, in which clients often send a secret.
            .with("path", request.path());
        match &origin {
            Some(origin) => line.with("origin", origin.as_ref()),
            None => line,
        }
    }
}

/// A response in plain text.
pub(crate) fn text(status: u16, body: &str) -> Response {
    let headers = vec![("Content-Type".to_owned(), "text/plain; charset=utf-8".to_owned())];
    Response { status, headers, body: format!("{body}\n").into_bytes().into() }
}

/// The refusal of a client that exceeds a limit on connections.
pub(crate) fn full(full: LimitReached) -> Refusal {
    let refusal = match full {
        LimitReached::Server => Refusal::new(Cause::Connections, 503, "Too many connections."),
        LimitReached::Address => Refusal::new(Cause::Address, 429, "Too many connections from this address."),
    };
    refusal.header("Retry-After", "5")
}
