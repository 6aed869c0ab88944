//! The HTTP side of a socket, until it becomes a WebSocket or ends: HTTP/1.1 (hyper).

use http::Method;
use http::header::CONTENT_LENGTH;
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioTimer;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use crate::body::ResponseBody;
use crate::entry::{Arrival, Entry};
use crate::env::State;
use crate::exchange::{Accepted, HttpResponse, Outcome, Peer, respond};
use crate::handshakes::HandshakePlace;
use crate::http_io::HttpIo;
use crate::http2;
use crate::io;
use crate::notices::{Trouble, log_trouble};
use crate::proxies::Origin;
use crate::responses::Responses;
use crate::stats::Counters;
use crate::stream::Stream;
use crate::target;
use crate::turn;

/// How long the peer may take to notice that an HTTP connection is over.
const LINGER: Duration = Duration::from_secs(1);

/// Begins to serve an accepted socket on this thread.
pub(crate) fn spawn(
    state: &Arc<State>,
    fd: OwnedFd,
    remote: Option<SocketAddr>,
    entry: Entry,
    place: HandshakePlace,
) {
    // An error means that the peer is gone or that memory is short; there is nobody to tell.
    let Ok(stream) = Stream::adopt(fd, remote.is_none()) else { return };
    let local = stream.local_addr();
    let arrival = Arrival { stream, origin: Origin { remote, secure: false }, local };
    let served_by = place.is_served_by();
    served_by(turn::spawn(serve(state.clone(), arrival, entry, place)).abort_handle());
}

type Reply = Pin<Box<dyn Future<Output = Result<HttpResponse, std::convert::Infallible>> + Send>>;

/// A connection of HTTP/1.1.
#[derive(Debug)]
struct Http1 {
    peer: Peer,
    /// The outcome of a handshake: filled in by the service, which then waits until the connection is
    /// taken away from hyper.
    accepted: Mutex<Option<Accepted>>,
    /// The responses that hyper has got to write.
    responses: Arc<Responses>,
    /// Requests that have come, and those that have got their response.
    begun: AtomicUsize,
    done: AtomicUsize,
}

impl Http1 {
    /// Between two requests; not before the first one.
    fn is_idle(&self) -> bool {
        let begun = self.begun.load(Ordering::Relaxed);
        begun > 0 && begun == self.done.load(Ordering::Relaxed)
    }

    /// A handshake has succeeded, and nothing of earlier responses waits in hyper.
    fn is_upgraded(&self) -> bool {
        self.accepted().is_some() && self.responses.is_done()
    }

    fn accepted(&self) -> MutexGuard<'_, Option<Accepted>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the count of HTTP sockets right, however the task ends.
struct Serving;

impl Drop for Serving {
    fn drop(&mut self) {
        io::with(|io| io.http_ended());
    }
}

async fn serve(state: Arc<State>, mut arrival: Arrival, entry: Entry, place: HandshakePlace) {
    let Some(mut stop) = io::with(|io| io.http_began()) else { return };
    let _serving = Serving;
    if !entry.is_plain() {
        // Boxed: a plain connection has no use for the room.
        let Some(passed) = Box::pin(entry.pass(&state, arrival, &mut stop)).await else { return };
        arrival = passed;
        if entry.proxy_protocol && !place.identify(arrival.origin.remote.map(|address| address.ip())) {
            Counters::one(&state.counters.handshakes_refused);
            log_trouble(arrival.origin.remote, &Trouble::Address);
            return;
        }
    }
    let Arrival { stream, origin, local } = arrival;
    let config = &state.config;
    let certificate = stream.peer_certificate().map(|der| Arc::new(der.to_vec()));
    let peer = Peer { state: state.clone(), origin, local, certificate, place: Arc::new(place) };
    if stream.speaks_h2() {
        return Box::pin(http2::serve(peer, stream, stop)).await;
    }
    let responses = Arc::new(Responses::default());
    let shared = Arc::new(Http1 {
        peer,
        accepted: Mutex::new(None),
        responses: responses.clone(),
        begun: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
    });
    let service = {
        let shared = shared.clone();
        hyper::service::service_fn(move |request| -> Reply { Box::pin(answer(shared.clone(), request)) })
    };
    let mut connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.handshake_timeout)
        .max_header_size(config.max_header_size)
        .max_headers(target::MAX_HEADERS)
        // The smallest that hyper admits is 8 KiB. It counts what it reads ahead, too.
        .max_buf_size((config.max_header_size + 1024).max(8192))
        .serve_connection(HttpIo::new(stream, responses, config.handshake_timeout), service);

    let mut stopped = pin!(async move { drop(stop.wait_for(|stop| *stop).await) });
    let mut told = false;
    let ended = poll_fn(|cx| {
        if !told && stopped.as_mut().poll(cx).is_ready() {
            told = true;
            // An idle connection ends at once, another one with its response. Hyper would end one
            // that has not asked yet, too: where others serve on, it is let in and told by 1001.
            if !state.leaving.load(Ordering::Relaxed) || shared.is_idle() {
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
    let accepted = shared.accepted().take();
    let incomplete = shared.responses.stream.close();
    match (ended, accepted) {
        (Some(Ok(())), Some(accepted)) => {
            // An error means that the peer is gone; the host hears of it where it was asked.
            if parts.io.send(&accepted.head()).await.is_ok() {
                // Even when empty it would keep hyper's buffer of 8 KiB.
                let early = Some(parts.read_buf).filter(|early| !early.is_empty()).unwrap_or_default();
                io::with(|io| io.open(accepted.upgraded(parts.io.into_inner(), early)));
            }
        }
        (ended, _) => {
            if let Some(Err(error)) = ended {
                let counters = &state.counters;
                if parts.read_buf.starts_with(http2::PREFACE) {
                    // An error means that the peer is gone.
                    let _ = parts.io.send(&http2::goaway()).await;
                }
                let trouble = if error.is_timeout() {
                    Some((&counters.handshake_timeouts, Trouble::Timeout))
                } else if error.is_parse_too_large() {
                    Some((&counters.bad_requests, Trouble::HeaderSize))
                } else {
                    error.is_parse().then_some((&counters.bad_requests, Trouble::Malformed))
                };
                if let Some((counter, trouble)) = trouble {
                    Counters::one(counter);
                    log_trouble(origin.remote, &trouble);
                }
            }
            let stream = parts.io.into_inner();
            if incomplete {
                return stream.reset();
            }
            linger(stream).await;
        }
    }
}

/// Ends a connection so that the peer can read our last response: closing a socket that has
/// unread input would reset it.
pub(crate) async fn linger(mut stream: Stream) {
    stream.shutdown_write();
    let mut buffer = [0u8; 4096];
    let drain = async {
        for _ in 0..64 {
            match poll_fn(|cx| stream.poll_read(cx, &mut buffer)).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, drain).await;
}

async fn answer(
    shared: Arc<Http1>,
    request: http::Request<Incoming>,
) -> Result<HttpResponse, std::convert::Infallible> {
    shared.begun.fetch_add(1, Ordering::Relaxed);
    // Hyper answers up to 16 requests that wait in its buffer before it yields.
    turn::share().await;
    let (parts, body) = request.into_parts();
    let (head_only, version) = (parts.method == Method::HEAD, parts.version);
    let place = &shared.peer.place;
    let _owing = place.owes();
    match respond(&shared.peer, parts, place.watch(body)).await {
        Outcome::Response(mut response) => {
            // Its length is not known, so that nothing may follow before all of it is written.
            shared.responses.stream.over().await;
            shared.responses.announce(if head_only { Some(0) } else { length(&response) });
            if let ResponseBody::Stream(body) = response.body_mut() {
                shared.responses.stream.begin(body, version);
            }
            shared.done.fetch_add(1, Ordering::Relaxed);
            Ok(response)
        }
        Outcome::Accepted(accepted) => {
            *shared.accepted() = Some(accepted);
            // The connection is taken away from hyper, and this task's future is dropped with it.
            std::future::pending().await
        }
    }
}

/// The length of a response's body. `None`: only its end tells.
fn length(response: &HttpResponse) -> Option<u64> {
    if matches!(response.status().as_u16(), 204 | 304) {
        return Some(0);
    }
    let announced = || response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    response.body().size_hint().exact().or_else(announced)
}
