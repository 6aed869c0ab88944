//! The fast path of the handshake over HTTP/1.1, without hyper.
//!
//! Nearly all handshakes have one shape: a GET request without a body, whose head arrives with the
//! first read and with nothing behind it, and which the server accepts at once. This module parses such
//! a head with httparse, the parser that hyper uses, and passes it to the same checks as any other
//! request. It answers with a 101 or not at all: every other connection continues in
//! [`http1`](crate::http::http1), where hyper reads the same bytes from the beginning, so that refusals
//! and their texts, the host's decision, and all further requests have one implementation.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Method, Request, Uri};
use std::future::{Future, poll_fn};
use std::mem::MaybeUninit;
use std::pin::pin;
use std::task::{Context, Poll};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::http::exchange::{Accepted, Peer, accept_at_once};
use crate::net::stream::Stream;
use crate::thread;

/// Most headers of a head on the fast path. Browsers send about 15, and proxies add a few.
const MAX_HEADERS: usize = 48;
/// Number of bytes that the first read takes at most, as many as with hyper. A connection that must wait for
/// room keeps them.
const FIRST_READ: usize = 8 << 10;

/// The first input of a connection.
pub(crate) enum First {
    /// A handshake that has succeeded; its 101 is not written yet.
    Accepted(Box<Accepted>),
    /// Anything else, with the bytes that were read. There are none if the deadline passed or the server
    /// stopped before any arrived, or if the socket has ended.
    Other(Vec<u8>),
}

/// Reads once from a new connection. Waits until `until`, and while `stop` is false.
pub(crate) async fn read(
    peer: &Peer,
    stream: &mut Stream,
    until: Instant,
    stop: &mut watch::Receiver<bool>,
) -> First {
    let mut timer = pin!(sleep_until(until));
    let mut stopped = pin!(stop.wait_for(|stop| *stop));
    poll_fn(|cx| {
        if let Poll::Ready(first) = poll_first(peer, stream, cx) {
            return Poll::Ready(first);
        }
        if timer.as_mut().poll(cx).is_ready() || stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(First::Other(Vec::new()));
        }
        Poll::Pending
    })
    .await
}

/// Reads into the thread's buffer, and evaluates the input there.
fn poll_first(peer: &Peer, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<First> {
    let taken = thread::with(|io| std::mem::take(&mut io.context().read));
    let mut buffer = taken.unwrap_or_default();
    let most = buffer.len().min(FIRST_READ);
    let first = match stream.poll_read(cx, &mut buffer[..most]) {
        Poll::Pending => Poll::Pending,
        // Hyper encounters the end or the error again.
        Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(First::Other(Vec::new())),
        Poll::Ready(Ok(n)) => Poll::Ready(evaluate(peer, &buffer[..n])),
    };
    thread::with(|io| io.context().read = buffer);
    first
}

fn evaluate(peer: &Peer, input: &[u8]) -> First {
    let parts = parse(input, peer.state.config.max_header_size);
    match parts.and_then(|mut parts| accept_at_once(peer, &mut parts)) {
        Some(accepted) => First::Accepted(Box::new(accepted)),
        None => First::Other(input.to_vec()),
    }
}

/// Parses `input` if it is exactly one complete head of a GET request over HTTP/1.1, of at most `max`
/// bytes, without a header that announces a body. The result is the same as that of hyper.
pub(crate) fn parse(input: &[u8], max: usize) -> Option<Parts> {
    if input.len() > max || !input.starts_with(b"GET ") {
        return None;
    }
    let head = Bytes::copy_from_slice(input);
    let mut fields = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let status = request.parse_with_uninit_headers(&head, &mut fields).ok()?;
    if status != httparse::Status::Complete(head.len()) || request.version != Some(1) {
        return None;
    }
    let mut headers = HeaderMap::with_capacity(request.headers.len());
    for field in request.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        if matches!(name, TRANSFER_ENCODING | CONTENT_LENGTH | EXPECT) {
            return None;
        }
        headers.append(name, HeaderValue::from_maybe_shared(head.slice_ref(field.value)).ok()?);
    }
    // A fragment is malformed, but the http crate cuts it off without an error.
    let target = request.path.filter(|target| !target.contains('#'))?;
    let mut parts = Request::new(()).into_parts().0;
    parts.method = Method::GET;
    parts.uri = Uri::from_maybe_shared(head.slice_ref(target.as_bytes())).ok()?;
    parts.headers = headers;
    Some(parts)
}
