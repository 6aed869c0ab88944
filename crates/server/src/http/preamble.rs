//! The parts of a connection that come before HTTP: a PROXY header, then a TLS handshake, each if the
//! listener asks for it.

use rustix::net::{RecvFlags, recv};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::Poll;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::channel::notices::SocketFailure;
use crate::metrics::counters::Counters;
use crate::net::linger::{AFTER_ERROR, linger};
use crate::net::listener::Preamble;
use crate::net::plain_socket::PlainSocket;
use crate::net::stream::Stream;
use crate::net::tls_stream::TlsStream;
use crate::state::State;
use crate::thread::report::log_socket_failure;
use sprocket_protocol::forwarded::Origin;
use sprocket_protocol::proxy_protocol::{Progress, ProxyHeader, parse};

/// A connection on its way from the accepted socket (`Arrival<PlainSocket>`) to HTTP (`Arrival`).
pub(crate) struct Arrival<S = Stream> {
    pub(crate) stream: S,
    /// The client's address, and whether the connection is secure.
    pub(crate) origin: Origin,
    /// The address to which the client has connected.
    pub(crate) local: Option<SocketAddr>,
    /// Deadline of the first request, or of the handshake. The time is counted from accept().
    pub(crate) until: Instant,
}

impl Arrival<PlainSocket> {
    /// Converts a connection that begins with HTTP.
    pub(crate) fn plain(self) -> Arrival {
        let Self { stream, origin, local, until } = self;
        Arrival { stream: stream.into(), origin, local, until }
    }
}

/// Reads everything that precedes HTTP, within the handshake timeout and until the server stops.
/// Returns `None` if the connection has ended.
pub(crate) async fn pass(
    preamble: Preamble,
    state: &State,
    arrival: Arrival<PlainSocket>,
    stop: &mut watch::Receiver<bool>,
) -> Option<Arrival> {
    let remote = arrival.origin.remote;
    let mut work = pin!(tokio::time::timeout_at(arrival.until, begin(preamble, state, arrival)));
    let leaving = &state.leaving;
    let mut stopped = pin!(stop.wait_for(|stop| *stop && !leaving.load(Ordering::Relaxed)));
    let done = std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => stopped.as_mut().poll(cx).map(|_| None),
    })
    .await?;
    done.unwrap_or_else(|_| {
        Counters::one(&state.counters.handshake_timeouts);
        log_socket_failure(remote, &SocketFailure::Timeout);
        None
    })
}

/// Reads the PROXY header and accepts TLS, without a time limit.
async fn begin(preamble: Preamble, state: &State, mut arrival: Arrival<PlainSocket>) -> Option<Arrival> {
    if preamble.proxy_protocol {
        let peer = arrival.origin.remote.map(|a| a.ip());
        let trusted = &state.config.trusted_proxies;
        // An operator who enables the protocol without listing trusted proxies trusts everyone who
        // can reach the listener.
        let header = if peer.is_none() || trusted.is_empty() || trusted.contains(peer) {
            read_header(&arrival.stream).await
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        };
        match header {
            Ok(ProxyHeader::Local) => {}
            Ok(ProxyHeader::Proxied { source, destination, secure }) => {
                arrival.origin = Origin { remote: Some(source), secure };
                arrival.local = Some(destination);
            }
            Err(error) => {
                // Load balancers probe a port by connecting and closing at once.
                if error.kind() != io::ErrorKind::UnexpectedEof {
                    Counters::one(&state.counters.proxy_errors);
                    log_socket_failure(arrival.origin.remote, &SocketFailure::Proxy(&error));
                }
                return None;
            }
        }
    }
    if !preamble.tls {
        return Some(arrival.plain());
    }
    // TLS settings always exist here: without them, no TLS listener is opened.
    let config = state.tls.as_ref()?.current();
    let Arrival { stream: socket, origin, local, until } = arrival;
    match TlsStream::accept(socket, config).await {
        Ok(stream) => {
            let origin = Origin { secure: true, ..origin };
            Some(Arrival { stream: Stream::Tls(stream), origin, local, until })
        }
        Err((error, socket)) => {
            if error.kind() != io::ErrorKind::UnexpectedEof {
                Counters::one(&state.counters.tls_errors);
                log_socket_failure(origin.remote, &SocketFailure::Tls(&error));
            }
            if error.kind() == io::ErrorKind::Unsupported {
                let _ = socket.try_write(PLAIN_HTTP);
            }
            linger(socket.into(), state.config.send_queue, AFTER_ERROR).await;
            None
        }
    }
}

/// The answer to a client that speaks plain HTTP on a TLS port.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 51\r\nConnection: close\r\n\r\nThis port speaks TLS: use https:// or wss:// here.\n";

/// Reads a PROXY header and not a byte more, so that the rest of the input stays in the socket for
/// TLS or HTTP.
///
/// # Errors
/// `UnexpectedEof` if the peer has closed the connection without sending a byte; `InvalidData` if the
/// header is malformed or incomplete.
async fn read_header(socket: &PlainSocket) -> io::Result<ProxyHeader> {
    let mut input = Vec::with_capacity(128);
    loop {
        let more = match parse(&input) {
            Progress::Missing(more) => more,
            Progress::Complete(header, _) => return Ok(header),
            Progress::Malformed => return Err(io::ErrorKind::InvalidData.into()),
        };
        let start = input.len();
        input.resize(start + more, 0);
        let n = receive(socket, &mut input[start..]).await?;
        input.truncate(start + n);
        if n == 0 {
            let silent = input.is_empty();
            let kind = if silent { io::ErrorKind::UnexpectedEof } else { io::ErrorKind::InvalidData };
            return Err(kind.into());
        }
    }
}

/// Waits for bytes and reads them. Returns 0 at the end of the input.
async fn receive(socket: &PlainSocket, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        socket.readable().await?;
        let result = socket.try_io(|| Ok(recv(socket, &mut *buffer, RecvFlags::empty()).map(|(n, _)| n)?));
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}
