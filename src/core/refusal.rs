//! Refusals: why the core answers a request itself with an error, and with which response.
//!
//! Every refusal passes [`Peer::refuse`](crate::http::Peer::refuse), which counts it and builds the
//! response, so that counters and responses cannot diverge.

use std::sync::atomic::AtomicU64;

use crate::event::Response;
use crate::stats::Counters;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The request violates the protocol: a malformed header, method, version or body.
    Malformed,
    /// A well-formed request for something that is not served.
    NotServed,
    /// `origins` does not admit the `Origin` header.
    Origin,
    /// `maxConnections` is reached.
    Connections,
    /// `maxConnectionsPerIp` is reached.
    Address,
    /// `strictSubprotocols`, and no subprotocol in common.
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
    /// The server is stopping.
    Stopping,
}

impl Cause {
    /// The counter that a refusal for this cause adds to.
    pub(crate) fn counter(self, counters: &Counters) -> Option<&AtomicU64> {
        Some(match self {
            Self::Malformed | Self::NotServed | Self::Subprotocol | Self::BodySize => &counters.bad_requests,
            Self::Origin => &counters.refused_origin,
            Self::Connections => &counters.refused_connections,
            Self::Address => &counters.refused_per_ip,
            Self::Undecided | Self::BodyTime => &counters.handshake_timeouts,
            Self::Rejected => &counters.rejected,
            Self::Unanswered | Self::Dropped | Self::Stopping => return None,
        })
    }
}

/// A refusal, before it becomes a response.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) cause: Cause,
    pub(crate) response: Response,
    /// Value of the `Connection` header of an HTTP/1.1 response. `None`: the connection goes on.
    pub(crate) connection: Option<&'static str>,
}

impl Refusal {
    /// A response in plain text that ends the connection. `body` is a sentence that says what is
    /// wrong.
    pub(crate) fn new(cause: Cause, status: u16, body: &str) -> Self {
        Self::with(cause, text(status, body))
    }

    /// The same with a response of the host's own.
    pub(crate) fn with(cause: Cause, response: Response) -> Self {
        Self { cause, response, connection: Some("close") }
    }

    /// Adds a header to the response.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.response.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the `Connection` header; `None` keeps the connection for the next request.
    pub(crate) fn connection(mut self, value: Option<&'static str>) -> Self {
        self.connection = value;
        self
    }
}

/// A response in plain text.
pub(crate) fn text(status: u16, body: &str) -> Response {
    let headers = vec![("Content-Type".to_owned(), "text/plain; charset=utf-8".to_owned())];
    Response { status, headers, body: format!("{body}\n").into_bytes().into() }
}
