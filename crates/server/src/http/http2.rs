//! HTTP/2 on a TLS connection (RFC 9113), whose streams are requests, and WebSockets by extended
//! CONNECT (RFC 8441).
//!
//! The library (h2) is driven without hyper between: a session writes when it likes, must know
//! how much the peer takes, and must be able to reset its stream.

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use hyper::body::{Body, Frame};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, Sleep};

use crate::channel::notices::Trouble;
use crate::http::body::ResponseBody;
use crate::http::exchange::{HttpResponse, Outcome, Peer, overloaded, respond};
use crate::metrics::counters::Counters;
use crate::net::h2_charge::RequestCharge;
use crate::net::h2_progress::{H2Progress, H2Socket};
use crate::net::h2_socket::H2Io;
use crate::net::h2_stream::{H2Stream, Incoming, lost, poll_room};
use crate::net::linger::{AFTER_ERROR, linger};
use crate::net::poll_turn;
use crate::net::progress::{Progress, Sample, WAITING};
use crate::net::stream::Stream;
use crate::thread as threads;
use crate::thread::report::log_trouble;
use crate::thread::task;

/// Requests and WebSockets of one connection at once; RFC 9113 section 6.5.2 asks for 100 at least.
const STREAMS: u32 = 128;
/// Bytes that may be under way to us on one stream.
const STREAM_WINDOW: u32 = 64 << 10;
/// Bytes that may be under way on all of them: so many that no stream that is not read, because the
/// host is busy with what came before, holds up another one. What arrives and is not wanted yet counts
/// towards the backlog, see [`arrivals`](crate::limits::arrivals).
const CONNECTION_WINDOW: u32 = STREAMS * STREAM_WINDOW;
/// Bytes of one stream that wait in the connection for the socket.
const SEND_BUFFER: usize = 64 << 10;
/// Requests that a client may take back before they are answered, beyond as many as it has let be
/// answered. To open and reset streams costs it nothing, and us a lot (CVE-2023-44487).
const TAKEN_BACK: u32 = 100;
/// Where progress counts from when something has been handed to the library: to ask the kernel each time
/// would cost a call.
const FROM_THE_START: Sample = Sample { taken: 0, outstanding: WAITING as u64 };
/// How long the peer may take to notice that the connection is over, and anew while it takes what is
/// left.
const GOODBYE: Duration = Duration::from_secs(1);

/// The first bytes of a client that speaks HTTP/2 without asking (RFC 9113 section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The answer to such a client on a connection of HTTP/1.1: empty settings, and GOAWAY with a
/// sentence that debuggers show (RFC 9113 section 6.8).
pub(crate) fn goaway() -> Vec<u8> {
    const WHY: &[u8] = b"HTTP/2 is spoken over TLS only, where ALPN has agreed on it; use HTTP/1.1 here.";
    let mut frames = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
    frames.extend([0, 0, 8 + WHY.len() as u8, 7, 0, 0, 0, 0, 0]);
    frames.extend([0; 4]);
    frames.extend(u32::from(Reason::HTTP_1_1_REQUIRED).to_be_bytes());
    frames.extend_from_slice(WHY);
    frames
}

/// What the streams of a connection share.
struct Shared {
    peer: Peer,
    socket: Arc<H2Socket>,
    answered: AtomicU32,
    taken_back: AtomicU32,
    /// The socket has seen a flood of frames.
    flooded: Arc<AtomicBool>,
}

impl Shared {
    /// Whether the peer has flooded the socket, or reset too many requests: its connection then ends
    /// without waiting for its streams.
    fn is_graceless(&self) -> bool {
        if self.flooded.load(Ordering::Relaxed) {
            return true;
        }
        let answered = self.answered.load(Ordering::Relaxed);
        self.taken_back.load(Ordering::Relaxed) > answered.saturating_add(TAKEN_BACK)
    }
}

/// Serves a connection until it ends. Its first request has until `first`.
pub(crate) async fn serve(peer: Peer, stream: Stream, first: Instant, mut stop: watch::Receiver<bool>) {
    let state = peer.state.clone();
    let remote = peer.origin.remote;
    let timeout = state.config.handshake_timeout;
    let returned = Arc::new(Mutex::new(None));
    let io = H2Io::new(stream, &state.backlog, returned.clone());
    let (socket, flooded) = (io.socket(), io.flooded());
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(state.config.max_header_size).unwrap_or(u32::MAX))
        .enable_connect_protocol();
    match tokio::time::timeout_at(first, builder.handshake::<_, Bytes>(io)).await {
        Err(_) => {
            Counters::one(&state.counters.handshake_timeouts);
            log_trouble(remote, &Trouble::Timeout);
        }
        Ok(Err(error)) => count(&error, &state.counters, remote),
        Ok(Ok(connection)) => {
            let shared = Arc::new(Shared { peer, socket, answered: 0.into(), taken_back: 0.into(), flooded });
            let stopped = pin!(async move { drop(stop.wait_for(|stop| *stop).await) });
            let idle = pin!(tokio::time::sleep_until(first));
            let mut serving = Serving {
                connection,
                shared,
                timeout,
                first: Some(first),
                idle,
                busy: false,
                left: Progress::default(),
                ending: None,
                graceless: false,
            };
            if let Err(error) = serving.run(stopped).await {
                count(&error, &state.counters, remote);
            }
        }
    }
    let stream = returned.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(stream) = stream {
        linger(stream, state.config.send_queue, AFTER_ERROR).await;
    }
}

fn count(error: &h2::Error, counters: &Counters, remote: Option<SocketAddr>) {
    // Errors of the socket, and what the peer has said, are nobody's bad request.
    if !error.is_io() && !error.is_remote() {
        Counters::one(&counters.bad_requests);
        log_trouble(remote, &Trouble::Http2(&error.to_string()));
    }
}

struct Serving<'a> {
    connection: h2::server::Connection<H2Io, Bytes>,
    shared: Arc<Shared>,
    timeout: Duration,
    /// When the time of the first request is up, until that is here.
    first: Option<Instant>,
    /// Runs while no task of ours looks after a stream.
    idle: Pin<&'a mut Sleep>,
    /// There was one when it was looked last.
    busy: bool,
    /// What the peer has taken since: all that streams still have to send is in the library.
    left: Progress,
    /// The peer was told that this is the end; what it has taken since.
    ending: Option<Progress>,
    /// Whether [`Shared::is_graceless`] was seen, so that the connection is ending.
    graceless: bool,
}

impl Serving<'_> {
    async fn run(&mut self, mut stopped: Pin<&mut impl Future<Output = ()>>) -> Result<(), h2::Error> {
        let mut told = false;
        poll_fn(|cx| {
            if !told && stopped.as_mut().poll(cx).is_ready() {
                told = true;
                // No more streams; those that are open go on to their end.
                self.connection.graceful_shutdown();
            }
            self.poll(cx)
        })
        .await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.shared.socket.inlet.begin_turn();
        let poll = self.poll_turn(cx);
        if poll.is_pending() && self.shared.socket.inlet.is_counting() {
            poll_turn::pass(cx);
        }
        poll
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            if !self.graceless && self.shared.is_graceless() {
                self.graceless = true;
                let peer = &self.shared.peer;
                Counters::one(&peer.state.counters.flood_closed);
                let flooded = self.shared.flooded.load(Ordering::Relaxed);
                let what = if flooded { "a flood of frames" } else { "the client takes back its requests" };
                log_trouble(peer.origin.remote, &Trouble::Http2(what));
                self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                self.idle.as_mut().reset(Instant::now() + GOODBYE);
            }
            // A peer that reads nothing does not get the farewell.
            if self.graceless && self.idle.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, reply)))) => {
                    let until = self.first.take().unwrap_or_else(|| Instant::now() + self.timeout);
                    task::spawn(exchange(self.shared.clone(), request, reply, until));
                    continue;
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => {}
            }
            if self.graceless {
                return Poll::Pending;
            }
            if self.shared.socket.is_in_use(cx) {
                self.busy = true;
                return Poll::Pending;
            }
            let socket = self.shared.socket.clone();
            let queue = self.shared.peer.state.config.send_queue;
            let sample = || socket.sample(queue);
            if std::mem::take(&mut self.busy) {
                self.idle.as_mut().reset(Instant::now() + self.timeout);
                self.left = Progress::begin(FROM_THE_START);
            }
            ready!(self.idle.as_mut().poll(cx));
            if socket.inlet.is_halted() {
                self.idle.as_mut().reset(Instant::now() + self.timeout);
                continue;
            }
            if self.connection.has_streams() {
                // They are over but for what the library still holds of them.
                if !self.left.has_moved(|| socket.sample_waiting(queue)) {
                    return Poll::Ready(Ok(()));
                }
                self.idle.as_mut().reset(Instant::now() + self.timeout);
                continue;
            }
            match &mut self.ending {
                Some(ending) => {
                    if !ending.has_moved(sample) {
                        return Poll::Ready(Ok(()));
                    }
                }
                None => {
                    self.ending = Some(Progress::begin(sample()));
                    self.connection.graceful_shutdown();
                }
            }
            self.idle.as_mut().reset(Instant::now() + GOODBYE);
        }
    }
}

/// One request, from its head to the end of its answer, or to the WebSocket that it becomes.
async fn exchange(
    shared: Arc<Shared>,
    request: Request<RecvStream>,
    mut reply: SendResponse<Bytes>,
    until: Instant,
) {
    let _in_use = shared.socket.use_stream();
    let (parts, body) = request.into_parts();
    let peer = &shared.peer;
    let head_only = parts.method == Method::HEAD;
    let Some(mut charge) = RequestCharge::begin(&peer.state.backlog, &shared.socket) else {
        // Without a body, which would wait for the peer's windows.
        let headers = peer.refuse(&parts, overloaded()).into_parts().0.headers;
        // An error means that the stream is gone.
        let _ = reply.send_response(head_of(headers, 503), true);
        return;
    };
    // What comes behind CONNECT is no body, but what the peer says already.
    let (mut incoming, body) = if parts.method == Method::CONNECT {
        (Some(Incoming::new(body, shared.socket.clone())), RequestBody(None))
    } else {
        (None, RequestBody(Some(body)))
    };
    let outcome = {
        let _owing = peer.place.owes();
        let mut answer = pin!(respond(peer, parts, peer.place.watch(body), until));
        poll_fn(|cx| {
            if reply.poll_reset(cx).is_ready() {
                return Poll::Ready(None);
            }
            if let Poll::Ready(outcome) = answer.as_mut().poll(cx) {
                return Poll::Ready(Some(outcome));
            }
            if let Some(incoming) = &mut incoming {
                incoming.gather(cx);
                if incoming.counts() {
                    // A client must wait for the answer before it sends anything (RFC 6455 section
                    // 4.1). The host may take long to give it, and until then nothing else would
                    // free what has arrived.
                    reply.send_reset(Reason::ENHANCE_YOUR_CALM);
                    return Poll::Ready(None);
                }
            }
            Poll::Pending
        })
        .await
    };
    match (outcome, incoming) {
        (None, _) => _ = shared.taken_back.fetch_add(1, Ordering::Relaxed),
        (Some(Outcome::Response(response)), _) => {
            shared.answered.fetch_add(1, Ordering::Relaxed);
            charge.answered(response.body().held());
            // An error means that the stream is gone, or was reset below.
            let _ = send(response, &mut reply, head_only, &shared).await;
        }
        (Some(Outcome::Accepted(mut accepted)), Some(incoming)) => {
            shared.answered.fetch_add(1, Ordering::Relaxed);
            let head = head_of(accepted.take_headers(), 200);
            // If the stream is gone, so is the handshake, and the host hears of that.
            if let Ok(send) = reply.send_response(head, false) {
                let (socket, carrying) = (shared.socket.clone(), peer.place.carry());
                let stream = Stream::H2(Box::new(H2Stream::new(send, incoming, socket, carrying)));
                threads::with(|io| io.open(accepted.upgraded(stream, Bytes::new())));
            }
        }
        // Only CONNECT is accepted.
        (Some(Outcome::Accepted(..)), None) => reply.send_reset(Reason::INTERNAL_ERROR),
    }
}

/// The head of a response, without what belongs to one connection of HTTP/1.1 alone (RFC 9113
/// section 8.2.2).
fn head_of(mut headers: HeaderMap, status: u16) -> Response<()> {
    for name in ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"] {
        headers.remove(name);
    }
    if !headers.contains_key(header::DATE)
        && let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now()))
    {
        headers.insert(header::DATE, date);
    }
    let mut head = Response::new(());
    *head.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    *head.headers_mut() = headers;
    head
}

/// Sends a whole response. A peer that takes nothing of it for too long loses the stream.
async fn send(
    response: HttpResponse,
    reply: &mut SendResponse<Bytes>,
    head_only: bool,
    shared: &Shared,
) -> io::Result<()> {
    let (head, mut body) = response.into_parts();
    let mut headers = head.headers;
    let length = body.size_hint().exact().filter(|_| !matches!(head.status.as_u16(), 204 | 304));
    if let Some(length) = length
        && !headers.contains_key(header::CONTENT_LENGTH)
    {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    let over = head_only || body.is_end_stream();
    let mut stream = reply.send_response(head_of(headers, head.status.as_u16()), over).map_err(lost)?;
    if over {
        body.flushed();
        return Ok(());
    }
    let sent = send_body(&mut body, &mut stream, shared).await;
    match &sent {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::TimedOut => stream.send_reset(Reason::CANCEL),
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => stream.send_reset(Reason::CANCEL),
        // A file that can't be read to its end.
        Err(_) => stream.send_reset(Reason::INTERNAL_ERROR),
    }
    sent
}

async fn send_body(
    body: &mut ResponseBody,
    stream: &mut SendStream<Bytes>,
    shared: &Shared,
) -> io::Result<()> {
    let config = &shared.peer.state.config;
    let mut progress = H2Progress::new(shared.socket.clone());
    while let Some(frame) = poll_fn(|cx| poll_body(body, stream, cx)).await {
        let Ok(mut data) = frame?.into_data() else { continue };
        while !data.is_empty() {
            stream.reserve_capacity(data.len().min(SEND_BUFFER));
            let mut taken = Progress::begin(progress.sample(config.send_queue, WAITING));
            let room = loop {
                let room = poll_fn(|cx| match body.poll_cut(cx) {
                    true => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
                    false => poll_room(stream, cx),
                });
                match tokio::time::timeout(config.handshake_timeout, room).await {
                    Ok(room) => break room?.min(data.len()),
                    Err(_) if taken.has_moved(|| progress.sample(config.send_queue, WAITING)) => {}
                    Err(elapsed) => return Err(elapsed.into()),
                }
            };
            progress.add(room);
            stream.send_data(data.split_to(room), false).map_err(lost)?;
        }
        body.flushed();
    }
    let (tail, mut written) = Tail::tracked();
    stream.send_data(tail, true).map_err(lost)?;
    body.flushed();
    let mut taken = Progress::begin(FROM_THE_START);
    while let Err(elapsed) = tokio::time::timeout(config.handshake_timeout, &mut written).await {
        if !taken.has_moved(|| progress.sample(config.send_queue, WAITING)) {
            return Err(elapsed.into());
        }
    }
    Ok(())
}

/// The end of a body, without a byte. The library drops it when it has written everything before it,
/// or the stream has ended otherwise.
struct Tail(#[expect(dead_code, reason = "it is dropped")] oneshot::Sender<()>);

impl Tail {
    /// Also returns what resolves, to an error, when it is dropped.
    fn tracked() -> (Bytes, oneshot::Receiver<()>) {
        let (tail, dropped) = oneshot::channel();
        (Bytes::from_owner(Tail(tail)), dropped)
    }
}

impl AsRef<[u8]> for Tail {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}

/// The next part of a body. A host may be silent for long: meanwhile a client that resets the stream
/// is noticed.
fn poll_body(
    body: &mut ResponseBody,
    stream: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
) -> Poll<Option<io::Result<Frame<Bytes>>>> {
    if let Poll::Ready(reset) = stream.poll_reset(cx) {
        let error = reset.map_or_else(lost, |reason| io::Error::other(h2::Error::from(reason)));
        return Poll::Ready(Some(Err(error)));
    }
    Pin::new(body).poll_frame(cx)
}

/// The body of a request; it opens the windows as it is read.
struct RequestBody(Option<RecvStream>);

impl Body for RequestBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let Some(stream) = &mut self.0 else { return Poll::Ready(None) };
        let data = ready!(stream.poll_data(cx));
        if let Some(Ok(data)) = &data {
            // An error means that the stream is gone; the next read says so.
            let _ = stream.flow_control().release_capacity(data.len());
        }
        Poll::Ready(data.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(RecvStream::is_end_stream)
    }
}
