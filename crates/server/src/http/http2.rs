//! HTTP/2 on a TLS connection (RFC 9113). Each stream is a request, or a WebSocket that began with an
//! extended CONNECT (RFC 8441).
//!
//! The library h2 is used directly and not through hyper: a session writes at any time, needs to know
//! how much the peer accepts, and must be able to reset its stream.

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

use crate::channel::notices::SocketFailure;
use crate::http::body::ResponseBody;
use crate::http::exchange::{HttpResponse, Outcome, Peer, overloaded, respond};
use crate::metrics::counters::Counters;
use crate::net::h2_charge::RequestCharge;
use crate::net::h2_frame_limit::FrameLimit;
use crate::net::h2_progress::{H2Progress, H2Socket};
use crate::net::h2_socket::H2Io;
use crate::net::h2_stream::{H2Stream, Incoming, lost, poll_room};
use crate::net::linger::{AFTER_ERROR, linger};
use crate::net::poll_turn;
use crate::net::progress::{OutputSnapshot, Progress, WAITING};
use crate::net::stream::Stream;
use crate::thread as threads;
use crate::thread::report::log_socket_failure;
use crate::thread::task;

/// Most concurrent streams of a connection; RFC 9113 section 6.5.2 recommends at least 100.
const STREAMS: u32 = 128;
/// Receive window of one stream, in bytes.
const STREAM_WINDOW: u32 = 64 << 10;
/// Receive window of a connection, in bytes: the sum of all stream windows, so that a stream that is
/// not read while the host is busy never blocks another one. Bytes that have arrived and are not
/// needed yet count towards the backlog, see [`arrivals`](crate::limits::arrivals).
const CONNECTION_WINDOW: u32 = STREAMS * STREAM_WINDOW;
/// Bytes of one stream that may wait inside h2 for the socket.
const SEND_BUFFER: usize = 64 << 10;
/// Number of requests that a client may reset before they are answered, in excess of the number of
/// answered ones. Opening and resetting streams costs a client nothing and the server much
/// (CVE-2023-44487).
const MAX_EARLY_RESETS: u32 = 100;
/// Starting point for measuring progress after data has been handed to h2. It stands for a socket
/// that has accepted nothing, which saves the system call that would ask for the actual state.
const FROM_THE_START: OutputSnapshot = OutputSnapshot { taken: 0, outstanding: WAITING as u64 };
/// Time that the peer has to read the end of the connection. It starts anew while the peer reads what
/// is left.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The connection preface of HTTP/2, which a client with prior knowledge sends at once (RFC 9113
/// section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The answer to the preface on a connection of HTTP/1.1: empty settings, then GOAWAY with an
/// explanation that debugging tools show (RFC 9113 section 6.8).
pub(crate) fn goaway() -> Vec<u8> {
    const WHY: &[u8] = b"HTTP/2 is available only over TLS, after ALPN has selected it; use HTTP/1.1 here.";
    let mut frames = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
    frames.extend([0, 0, 8 + WHY.len() as u8, 7, 0, 0, 0, 0, 0]);
    frames.extend([0; 4]);
    frames.extend(u32::from(Reason::HTTP_1_1_REQUIRED).to_be_bytes());
    frames.extend_from_slice(WHY);
    frames
}

/// State that the streams of a connection share.
struct Http2Shared {
    peer: Peer,
    socket: Arc<H2Socket>,
    /// Number of requests that were answered.
    answered: AtomicU32,
    /// Number of requests that the client has reset before they were answered.
    early_resets: AtomicU32,
    /// Set by the socket when the peer sends a flood of frames.
    flooded: Arc<AtomicBool>,
}

impl Http2Shared {
    /// Whether the peer has flooded the socket or reset too many requests. Its connection then ends
    /// without waiting for its streams.
    fn is_graceless(&self) -> bool {
        if self.flooded.load(Ordering::Relaxed) {
            return true;
        }
        let answered = self.answered.load(Ordering::Relaxed);
        self.early_resets.load(Ordering::Relaxed) > answered.saturating_add(MAX_EARLY_RESETS)
    }
}

/// Serves a connection until it ends. The first request must arrive before `first`.
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
            log_socket_failure(remote, &SocketFailure::Timeout);
        }
        Ok(Err(error)) => count(&error, &state.counters, remote),
        Ok(Ok(connection)) => {
            let shared =
                Arc::new(Http2Shared { peer, socket, answered: 0.into(), early_resets: 0.into(), flooded });
            let stopped = pin!(async move { drop(stop.wait_for(|stop| *stop).await) });
            let idle = pin!(tokio::time::sleep_until(first));
            let mut serving = Http2Task {
                connection,
                shared,
                timeout,
                first: Some(first),
                idle,
                busy: false,
                remaining: Progress::default(),
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

/// Counts and logs an error of h2 if the peer has violated the protocol.
fn count(error: &h2::Error, counters: &Counters, remote: Option<SocketAddr>) {
    // I/O errors, and errors that the peer itself reports, are no bad requests.
    if !error.is_io() && !error.is_remote() {
        Counters::one(&counters.bad_requests);
        log_socket_failure(remote, &SocketFailure::Http2(&error.to_string()));
    }
}

/// The task of one HTTP/2 connection.
struct Http2Task<'a> {
    connection: h2::server::Connection<H2Io, Bytes>,
    shared: Arc<Http2Shared>,
    timeout: Duration,
    /// Deadline of the first request; `None` once it has arrived.
    first: Option<Instant>,
    /// Time limit of a connection without streams in use; also of its end.
    idle: Pin<&'a mut Sleep>,
    /// A stream was in use at the last poll.
    busy: bool,
    /// Progress of the peer since the last stream task ended: the rest of their output is inside h2.
    remaining: Progress,
    /// Progress of the peer since GOAWAY was sent to it; `None` before.
    ending: Option<Progress>,
    /// [`Http2Shared::is_graceless`] was true, and the connection is ending.
    graceless: bool,
}

impl Http2Task<'_> {
    /// Runs until the connection ends. When `stopped` resolves, the connection refuses new streams
    /// and ends with its last one.
    async fn run(&mut self, mut stopped: Pin<&mut impl Future<Output = ()>>) -> Result<(), h2::Error> {
        let mut shutting_down = false;
        poll_fn(|cx| {
            if !shutting_down && stopped.as_mut().poll(cx).is_ready() {
                shutting_down = true;
                // Refuses new streams; those that are open continue.
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
                let what = if flooded { "a flood of frames" } else { "the client resets too many requests" };
                log_socket_failure(peer.origin.remote, &SocketFailure::Http2(what));
                self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                self.idle.as_mut().reset(Instant::now() + CLOSE_TIMEOUT);
            }
            // A peer that does not read never receives the GOAWAY: do not wait for it any longer.
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
                self.remaining = Progress::begin(FROM_THE_START);
            }
            ready!(self.idle.as_mut().poll(cx));
            if socket.inlet.is_halted() {
                self.idle.as_mut().reset(Instant::now() + self.timeout);
                continue;
            }
            if self.connection.has_streams() {
                // The tasks of these streams have ended, but h2 still holds some of their output.
                if !self.remaining.has_moved(|| socket.sample_waiting(queue)) {
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
            self.idle.as_mut().reset(Instant::now() + CLOSE_TIMEOUT);
        }
    }
}

/// Serves one request, from its head to the end of its response, or until it becomes a WebSocket.
async fn exchange(
    shared: Arc<Http2Shared>,
    request: Request<RecvStream>,
    mut reply: SendResponse<Bytes>,
    until: Instant,
) {
    let _in_use = shared.socket.use_stream();
    let (parts, body) = request.into_parts();
    let peer = &shared.peer;
    let head_only = parts.method == Method::HEAD;
    let Some(mut charge) = RequestCharge::begin(&peer.state.backlog, &shared.socket) else {
        // The response has no body, because sending one would have to wait for the peer's windows.
        let headers = peer.refuse(&parts, overloaded()).into_parts().0.headers;
        // An error means that the stream is gone.
        let _ = reply.send_response(head_of(headers, 503), true);
        return;
    };
    // Bytes after the head of a CONNECT request are not a body but the first frames of the WebSocket.
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
                    // A client must wait for the response before it sends frames (RFC 6455 section
                    // 4.1). The host may take long, and until then nothing would free the memory of
                    // what has arrived.
                    reply.send_reset(Reason::ENHANCE_YOUR_CALM);
                    return Poll::Ready(None);
                }
            }
            Poll::Pending
        })
        .await
    };
    match (outcome, incoming) {
        (None, _) => _ = shared.early_resets.fetch_add(1, Ordering::Relaxed),
        (Some(Outcome::Response(response)), _) => {
            shared.answered.fetch_add(1, Ordering::Relaxed);
            charge.answered(response.body().held());
            // An error means that the stream is gone, or was reset below.
            let _ = send(response, &mut reply, head_only, &shared).await;
        }
        (Some(Outcome::Accepted(mut accepted)), Some(incoming)) => {
            shared.answered.fetch_add(1, Ordering::Relaxed);
            let head = head_of(accepted.take_headers(), 200);
            // On an error the stream is gone. Dropping the handshake then informs the host.
            if let Ok(send) = reply.send_response(head, false) {
                let (socket, carrying) = (shared.socket.clone(), peer.place.carry());
                let stream = Stream::H2(Box::new(H2Stream::new(send, incoming, socket, carrying)));
                threads::with(|io| io.open(accepted.upgraded(stream, Bytes::new()))).map(tokio::spawn);
            }
        }
        // Unreachable: only CONNECT is accepted as a handshake.
        (Some(Outcome::Accepted(..)), None) => reply.send_reset(Reason::INTERNAL_ERROR),
    }
}

/// Makes the head of a response, without the headers that only HTTP/1.1 may have (RFC 9113 section
/// 8.2.2).
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

/// Sends a whole response. The stream is reset if the peer accepts nothing of it within the handshake
/// timeout, or if the body can't be read to its end.
async fn send(
    response: HttpResponse,
    reply: &mut SendResponse<Bytes>,
    head_only: bool,
    shared: &Http2Shared,
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
        // A file could not be read to its end.
        Err(_) => stream.send_reset(Reason::INTERNAL_ERROR),
    }
    sent
}

/// Sends a body and waits until h2 has written all of it to the socket.
async fn send_body(
    body: &mut ResponseBody,
    stream: &mut SendStream<Bytes>,
    shared: &Http2Shared,
) -> io::Result<()> {
    let config = &shared.peer.state.config;
    let mut progress = H2Progress::new(shared.socket.clone());
    let frames = FrameLimit::default();
    while let Some(frame) = poll_fn(|cx| poll_body(body, stream, cx)).await {
        let Ok(mut data) = frame?.into_data() else { continue };
        while !data.is_empty() {
            stream.reserve_capacity(data.len().min(SEND_BUFFER));
            let mut taken = Progress::begin(progress.sample(config.send_queue, WAITING));
            let room = loop {
                let room = poll_fn(|cx| match body.poll_cut(cx) {
                    true => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
                    false => poll_room(stream, &frames, cx),
                });
                match tokio::time::timeout(config.handshake_timeout, room).await {
                    Ok(room) => break room?.min(data.len()),
                    Err(_) if taken.has_moved(|| progress.sample(config.send_queue, WAITING)) => {}
                    Err(elapsed) => return Err(elapsed.into()),
                }
            };
            progress.add(room);
            stream.send_data(frames.frame(data.split_to(room)), false).map_err(lost)?;
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

/// An empty last piece of a body. H2 drops it once it has written everything before it, or when the
/// stream ends for another reason, which shows that the body is no longer in h2.
struct Tail(#[expect(dead_code, reason = "it is dropped")] oneshot::Sender<()>);

impl Tail {
    /// Returns the piece, and a receiver that resolves (to an error) when it is dropped.
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

/// Polls the next part of a body. It also notices when the client resets the stream, because a host
/// may write nothing for a long time.
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

/// The body of a request. Reading it reopens the stream's receive window.
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
