//! Serves HTTP/1.1 on a socket, until the socket becomes a WebSocket or ends: first by the fast path for
//! handshakes, and if that does not apply, using hyper.

use bytes::Bytes;
use http::Method;
use http::header::CONTENT_LENGTH;
use hyper::body::{Body, Incoming};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::channel::mailbox::NewSocket;
use crate::channel::notices::SocketFailure;
use crate::http::body::ResponseBody;
use crate::http::exchange::{Accepted, HttpResponse, Outcome, Peer, respond};
use crate::http::fast_handshake::{self, First};
use crate::http::handshake::asks_for_websocket;
use crate::http::http2;
use crate::http::hyper_io::HttpIo;
use crate::http::preamble::{self, Arrival};
use crate::http::request_clock::RequestClock;
use crate::http::responses::Responses;
use crate::http::target;
use crate::limits::handshakes::HandshakePlace;
use crate::metrics::counters::Counters;
use crate::net::linger::{AFTER_ERROR, linger};
use crate::net::listener::Preamble;
use crate::net::plain_socket::PlainSocket;
use crate::net::poll_turn;
use crate::net::stall::Stall;
use crate::net::stream::Stream;
use crate::state::State;
use crate::thread;
use crate::thread::report::log_socket_failure;
use crate::thread::session_task::SessionTask;
use crate::thread::task;
use sprocket_protocol::forwarded::Origin;

#[cfg(test)]
mod tests;

/// Starts the task that serves an accepted socket on this thread.
pub(crate) fn serve_socket(state: &Arc<State>, socket: NewSocket) {
    let NewSocket { fd, remote, preamble, place } = socket;
    // An error means that the peer is gone or that memory is short; there is nobody to report it to.
    let Ok(stream) = PlainSocket::adopt(fd, remote.is_none()) else { return };
    let local = stream.local_addr();
    let until = Instant::now() + state.config.handshake_timeout;
    let arrival = Arrival { stream, origin: Origin { remote, secure: false }, local, until };
    let register_task = place.task_registration();
    register_task(task::spawn_arrival(serve(state.clone(), arrival, preamble, place)).abort_handle());
}

type Reply = Pin<Box<dyn Future<Output = Result<HttpResponse, std::convert::Infallible>> + Send>>;

/// State that a connection of HTTP/1.1 shares with the service that hyper calls for each request.
#[derive(Debug)]
struct Http1 {
    peer: Peer,
    /// A handshake that has succeeded. The service sets it, and then waits until the connection is
    /// taken out of hyper.
    accepted: Mutex<Option<Accepted>>,
    /// The responses that hyper still has to write.
    responses: Arc<Responses>,
    clock: Arc<RequestClock>,
}

impl Http1 {
    /// A connection whose first request must arrive before `until`.
    fn new(peer: Peer, until: Instant) -> Self {
        let clock = Arc::new(RequestClock::new(peer.state.config.handshake_timeout, until));
        Self { peer, accepted: Mutex::new(None), responses: Arc::default(), clock }
    }

    /// Whether a handshake has succeeded and hyper has written all earlier responses.
    fn is_upgraded(&self) -> bool {
        self.accepted().is_some() && self.responses.is_done()
    }

    fn accepted(&self) -> MutexGuard<'_, Option<Accepted>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts and logs an error of hyper if the peer has violated the protocol or a limit.
    fn report(&self, error: &hyper::Error) {
        let counters = &self.peer.state.counters;
        let (counter, failure) = if self.clock.is_late() {
            (&counters.handshake_timeouts, SocketFailure::Timeout)
        } else if error.is_parse_too_large() {
            (&counters.bad_requests, SocketFailure::HeaderSize)
        } else if error.is_parse() {
            (&counters.bad_requests, SocketFailure::Malformed)
        } else {
            return;
        };
        Counters::one(counter);
        log_socket_failure(self.peer.origin.remote, &failure);
    }
}

/// Decrements the number of HTTP sockets when the task ends, for whatever reason.
struct Serving;

impl Drop for Serving {
    fn drop(&mut self) {
        thread::with(|io| io.http_ended());
    }
}

/// Serves a socket: preamble, then the requests, until it ends or becomes a WebSocket, whose task is
/// returned. Continues in [`http2::serve`] if ALPN has selected HTTP/2.
async fn serve(
    state: Arc<State>,
    arrival: Arrival<PlainSocket>,
    preamble: Preamble,
    place: HandshakePlace,
) -> Option<SessionTask> {
    let mut stop = thread::with(|io| io.http_began())?;
    let _serving = Serving;
    let arrival = if preamble.is_plain() {
        arrival.plain()
    } else {
        // Boxed, so that plain connections do not need the memory of this future.
        let arrival = Box::pin(preamble::pass(preamble, &state, arrival, &mut stop)).await?;
        if preamble.proxy_protocol && !place.identify(arrival.origin.remote.map(|address| address.ip())) {
            Counters::one(&state.counters.handshakes_refused);
            log_socket_failure(arrival.origin.remote, &SocketFailure::Address);
            return None;
        }
        arrival
    };
    let Arrival { mut stream, origin, local, until } = arrival;
    let certificate = stream.peer_certificate().map(|der| Arc::new(der.to_vec()));
    let peer = Peer { state, origin, local, certificate, place: Arc::new(place) };
    if stream.speaks_h2() {
        Box::pin(http2::serve(peer, stream, until, stop)).await;
        return None;
    }
    match fast_handshake::read(&peer, &mut stream, until, &mut stop).await {
        First::Accepted(accepted) => {
            let mut stall = Stall::new(peer.state.config.handshake_timeout, peer.state.config.send_queue);
            // On an error the peer is gone.
            stall.send(&mut stream, &accepted.head()).await.ok()?;
            thread::with(|io| io.open(accepted.upgraded(stream, Bytes::new())))
        }
        // Boxed, so that a connection that waits for its first input does not need this memory.
        First::Other(ahead) => Box::pin(serve_http(peer, stream, ahead, until, stop)).await,
    }
}

/// Serves requests until the connection becomes a WebSocket or ends. `ahead`: input that was already
/// read.
async fn serve_http(
    peer: Peer,
    stream: Stream,
    ahead: Vec<u8>,
    until: Instant,
    stop: watch::Receiver<bool>,
) -> Option<SessionTask> {
    let shared = Arc::new(Http1::new(peer, until));
    let ended = serve_requests(&shared, stream, ahead, stop).await;
    let accepted = shared.accepted().take().filter(|_| matches!(ended.result, Some(Ok(()))));
    let incomplete = shared.responses.stream.close();
    match accepted {
        Some(accepted) => open_session(accepted, ended).await,
        None => {
            end(&shared, ended, incomplete).await;
            None
        }
    }
}

/// A connection that hyper has given back.
struct Ended {
    /// `None` if the connection must end within a streamed response.
    result: Option<hyper::Result<()>>,
    io: HttpIo,
    /// Bytes that hyper has read and not used.
    unused: Bytes,
}

/// Has hyper serve the requests of a connection, until a handshake has succeeded or the connection
/// ends.
async fn serve_requests(
    shared: &Arc<Http1>,
    stream: Stream,
    ahead: Vec<u8>,
    mut stop: watch::Receiver<bool>,
) -> Ended {
    let state = &shared.peer.state;
    let config = &state.config;
    let stall = Stall::new(config.handshake_timeout, config.send_queue);
    let mut io = HttpIo::new(stream, ahead, shared.responses.clone(), shared.clock.clone(), stall);
    let mut stopped = pin!(async move { drop(stop.wait_for(|stop| *stop).await) });
    let mut stopping = false;
    // Few requests have more than 100 headers, the limit up to which hyper parses them on its stack.
    // Allocating room for 1,024 headers takes 6.5 µs per request, where a request takes 2.3 µs on one
    // core otherwise. So the larger limit applies only when a head exceeds the smaller one.
    let mut many_headers = false;
    loop {
        let service = {
            let shared = shared.clone();
            hyper::service::service_fn(move |request| -> Reply { Box::pin(answer(shared.clone(), request)) })
        };
        let mut connection = builder(config.max_header_size, many_headers).serve_connection(io, service);
        let mut notified = false;
        let result = poll_fn(|cx| {
            stopping = stopping || stopped.as_mut().poll(cx).is_ready();
            if stopping && !notified {
                notified = true;
                // An idle connection ends at once, any other one with its current response. Hyper
                // would also end a connection that has not sent a request yet. If another process
                // takes over, such a connection is still served, and closed with 1001 after its
                // handshake.
                if !state.leaving.load(Ordering::Relaxed) || shared.clock.is_idle() {
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
            if shared.responses.stream.poll_cut(cx) {
                return Poll::Ready(None);
            }
            match connection.poll_without_shutdown(cx) {
                Poll::Pending if shared.is_upgraded() => Poll::Ready(Some(Ok(()))),
                other => other.map(Some),
            }
        })
        .await;
        let mut parts = connection.into_parts();
        // The head is too large, or has more headers than the first attempt allows: repeat it once.
        many_headers = matches!(&result, Some(Err(error)) if error.is_parse_too_large())
            && parts.io.rewind(&parts.read_buf);
        if !many_headers {
            return Ended { result, io: parts.io, unused: parts.read_buf };
        }
        io = parts.io;
    }
}

/// Hyper's settings. `max_header_size` is in bytes; `many_headers` raises the number of headers from
/// hyper's default to [`target::MAX_HEADERS`].
fn builder(max_header_size: usize, many_headers: bool) -> hyper::server::conn::http1::Builder {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        // HttpIo limits the time of a request, and checks whether the peer is still connected.
        .header_read_timeout(None)
        // Writes `Content-Type` as most servers do, not `content-type`.
        .title_case_headers(true)
        .half_close(true)
        .max_header_size(max_header_size)
        // Hyper requires at least 8 KiB. The buffer also holds bytes that hyper has read ahead.
        .max_buf_size((max_header_size + 1024).max(8192));
    if many_headers {
        builder.max_headers(target::MAX_HEADERS);
    }
    builder
}

/// Sends the answer to a handshake and opens the session.
async fn open_session(accepted: Accepted, ended: Ended) -> Option<SessionTask> {
    let Ended { mut io, unused, .. } = ended;
    // On an error the peer is gone. Dropping the handshake then informs a host that was asked.
    io.send(&accepted.head()).await.ok()?;
    let (stream, ahead) = io.into_parts();
    let early = match (unused, ahead) {
        // Even an empty slice would keep hyper's buffer of 8 KiB alive.
        (unused, ahead) if unused.is_empty() => Bytes::from(ahead),
        (unused, ahead) if ahead.is_empty() => unused,
        (unused, ahead) => [&unused[..], &ahead].concat().into(),
    };
    thread::with(|io| io.open(accepted.upgraded(stream, early)))
}

/// Reports why a connection ends without a WebSocket, and closes its socket. `incomplete`: the end of
/// a streamed response is missing, which the peer learns from a reset.
async fn end(shared: &Http1, mut ended: Ended, incomplete: bool) {
    let most = if matches!(ended.result, Some(Ok(()))) { usize::MAX } else { AFTER_ERROR };
    if let Some(Err(error)) = ended.result {
        if ended.unused.starts_with(http2::PREFACE) {
            // An error means that the peer is gone.
            let _ = ended.io.send(&http2::goaway()).await;
        }
        shared.report(&error);
    }
    let (stream, _) = ended.io.into_parts();
    if incomplete {
        return stream.reset();
    }
    linger(stream, shared.peer.state.config.send_queue, most).await;
}

/// The service that hyper calls for each request.
async fn answer(
    shared: Arc<Http1>,
    request: http::Request<Incoming>,
) -> Result<HttpResponse, std::convert::Infallible> {
    // Hyper answers up to 16 buffered requests before it yields: share the thread after each.
    poll_turn::share().await;
    let (parts, body) = request.into_parts();
    let until = shared.clock.begin(asks_for_websocket(&parts));
    let (head_only, version) = (parts.method == Method::HEAD, parts.version);
    let place = &shared.peer.place;
    let _owing = place.owes();
    match respond(&shared.peer, parts, place.watch(body), until).await {
        Outcome::Response(mut response) => {
            // The length of a streamed body is unknown, so that the next response must wait until all
            // of it is written.
            shared.responses.stream.over().await;
            shared.responses.announce(if head_only { Some(0) } else { length(&response) });
            if let ResponseBody::Stream(body) = response.body_mut() {
                shared.responses.stream.begin(body, version);
            }
            shared.clock.end();
            Ok(response)
        }
        Outcome::Accepted(accepted) => {
            shared.clock.decided();
            *shared.accepted() = Some(accepted);
            // Waits for ever: `serve_requests` takes the connection out of hyper, and drops this
            // future with it.
            std::future::pending().await
        }
    }
}

/// The length of a response's body. `None` if only the end of the body shows it.
fn length(response: &HttpResponse) -> Option<u64> {
    if matches!(response.status().as_u16(), 204 | 304) {
        return Some(0);
    }
    let announced = || response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    response.body().size_hint().exact().or_else(announced)
}
