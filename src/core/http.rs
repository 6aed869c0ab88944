//! The HTTP side of a socket, until it becomes a WebSocket or ends: HTTP/1.1 (hyper), and the answers
//! to requests of any version.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
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
use tokio::sync::oneshot;

use crate::admission::{Admission, Full as NoPlace};
use crate::body::ResponseBody;
use crate::deflate::Agreed;
use crate::entry::{Arrival, Entry};
use crate::env::State;
use crate::event::{Decision, Event, Interest, Response, Ticket};
use crate::extension;
use crate::handshake::{Kind, asks_for_websocket, examine, negotiate};
use crate::handshakes::HandshakePlace;
use crate::http_io::HttpIo;
use crate::http2;
use crate::io::{self, Upgraded};
use crate::metrics;
use crate::notices::{Trouble, log_trouble};
use crate::proxies::Origin;
use crate::queue::{Handshake, Item, Plain, Question};
use crate::refusal::{Cause, Refusal, text};
use crate::request::Request;
use crate::responses::Responses;
use crate::stats::Counters;
use crate::stream::Stream;
use crate::switching;
use crate::target;
use crate::turn;
use crate::upload::{self, BodyError};

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

pub(crate) type HttpResponse = http::Response<ResponseBody>;
type Reply = Pin<Box<dyn Future<Output = Result<HttpResponse, std::convert::Infallible>> + Send>>;

/// What becomes of a request.
pub(crate) enum Outcome {
    /// It is over with this response.
    Response(HttpResponse),
    /// A WebSocket begins behind the response that [`Accepted`] holds.
    Accepted(Accepted),
}

/// A handshake that has succeeded.
#[derive(Debug)]
pub(crate) struct Accepted {
    admission: Admission,
    request: Arc<Request>,
    subprotocol: Option<String>,
    compression: Option<Agreed>,
    asked: Option<Asked>,
    /// The value of `Sec-WebSocket-Accept`; HTTP/2 has none.
    accept: Option<String>,
    /// The other headers of the response: subprotocol and extension, then those of the host.
    headers: Vec<(String, String)>,
}

impl Accepted {
    /// The head of the 101 of HTTP/1.1.
    fn head(&self) -> Vec<u8> {
        switching::head(self.accept.as_deref().unwrap_or_default(), &self.headers)
    }

    /// The headers of the response over HTTP/2 (RFC 8441 section 5).
    pub(crate) fn take_headers(&mut self) -> HeaderMap {
        let headers = std::mem::take(&mut self.headers);
        build(Response { status: 200, headers, body: Bytes::new() }).into_parts().0.headers
    }

    /// `early`: what has come behind the handshake already.
    pub(crate) fn upgraded(self, stream: Stream, early: Bytes) -> Upgraded {
        Upgraded {
            stream,
            early,
            admission: self.admission,
            remote: self.request.remote(),
            request: self.request,
            subprotocol: self.subprotocol,
            compression: self.compression,
            ticket: self.asked.map(Asked::answered),
        }
    }
}

/// One connection, as its requests see it.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) state: Arc<State>,
    /// Of the connection itself; proxies may know better for each request.
    pub(crate) origin: Origin,
    local: Option<SocketAddr>,
    /// Of the client, verified, in DER.
    certificate: Option<Arc<Vec<u8>>>,
    pub(crate) place: Arc<HandshakePlace>,
}

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

impl Peer {
    fn request(&self, parts: &Parts) -> Arc<Request> {
        let origin = self.state.config.trusted_proxies.origin(&parts.headers, self.origin);
        let request = Request::new(parts, origin.remote, self.local, origin.secure);
        Arc::new(request.with_client_certificate(self.certificate.clone()))
    }

    /// Turns a refusal into the response. Every refusal of a request whose head was parsed passes
    /// here.
    fn refuse(&self, parts: &Parts, refusal: Refusal) -> HttpResponse {
        let handshake = asks_for_websocket(parts);
        refusal.report(&self.state.counters, &parts.headers, handshake, || self.request(parts));
        let response = build(refusal.response);
        if refusal.ends { closing(response) } else { response }
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
        match connection.poll_without_shutdown(cx) {
            Poll::Pending if shared.is_upgraded() => Poll::Ready(Ok(())),
            other => other,
        }
    })
    .await;
    let mut parts = connection.into_parts();
    let accepted = shared.accepted().take();
    match (ended, accepted) {
        (Ok(()), Some(accepted)) => {
            // An error means that the peer is gone; the host hears of it where it was asked.
            if parts.io.send(&accepted.head()).await.is_ok() {
                // Even when empty it would keep hyper's buffer of 8 KiB.
                let early = Some(parts.read_buf).filter(|early| !early.is_empty()).unwrap_or_default();
                io::with(|io| io.open(accepted.upgraded(parts.io.into_inner(), early)));
            }
        }
        (ended, _) => {
            if let Err(error) = ended {
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
            linger(parts.io.into_inner()).await;
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
    let head_only = parts.method == Method::HEAD;
    let place = &shared.peer.place;
    let _owing = place.owes();
    match respond(&shared.peer, parts, place.watch(body)).await {
        Outcome::Response(response) => {
            shared.responses.announce(if head_only { Some(0) } else { length(&response) });
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

/// Answers a request. Over HTTP/2 the `Connection` header of the response has no meaning.
pub(crate) async fn respond<B>(peer: &Peer, mut parts: Parts, body: B) -> Outcome
where
    B: Body<Data = Bytes>,
{
    if parts.headers.len() > target::MAX_HEADERS {
        // Hyper looks by itself, HTTP/2's library does not.
        let refusal = Refusal::new(Cause::Malformed, 431, "The request has too many headers.");
        return Outcome::Response(peer.refuse(&parts, refusal));
    }
    if let Err(why) = target::settle(&mut parts) {
        return Outcome::Response(peer.refuse(&parts, Refusal::new(Cause::Malformed, 400, why)));
    }
    let response = match examine(&parts, &peer.state.config) {
        Ok(Kind::WebSocket { accept }) => match upgrade(peer, &parts, accept.as_deref()).await {
            Ok(accepted) => return Outcome::Accepted(accepted),
            Err(refusal) => peer.refuse(&parts, refusal),
        },
        Ok(Kind::Plain) => {
            // Hyper has dropped a Content-Length beside it (RFC 9112 section 6.1): what follows such
            // a message may be what a proxy took for its body.
            let ends = parts.headers.contains_key(http::header::TRANSFER_ENCODING);
            let response =
                plain(peer, &parts, body).await.unwrap_or_else(|refusal| peer.refuse(&parts, refusal));
            if ends || peer.state.leaving.load(Ordering::Relaxed) { closing(response) } else { response }
        }
        Err(refusal) => peer.refuse(&parts, refusal),
    };
    Outcome::Response(response)
}

/// Answers a well-formed handshake. `accept` is the value of `Sec-WebSocket-Accept`, which
/// HTTP/2 doesn't have.
async fn upgrade(peer: &Peer, parts: &Parts, accept: Option<&str>) -> Result<Accepted, Refusal> {
    let state = &peer.state;
    if state.stopping.load(Ordering::Relaxed) && !state.leaving.load(Ordering::Relaxed) {
        return Err(Refusal::new(Cause::Stopping, 503, "The server is shutting down."));
    }
    if state.backlog.is_full() {
        return Err(overloaded());
    }
    let request = peer.request(parts);
    let full = |cause, status, body| Err(Refusal::new(cause, status, body).header("Retry-After", "5"));
    let admission = match state.limits.admit(request.remote().map(|a| a.ip())) {
        Ok(admission) => admission,
        Err(NoPlace::Server) => return full(Cause::Connections, 503, "Too many connections."),
        Err(NoPlace::Address) => {
            return full(Cause::Address, 429, "Too many connections from this address.");
        }
    };
    let mut subprotocol = negotiate(&request, &state.config)?;
    let offered = state.config.compression.as_ref().map(|ours| extension::negotiate(&parts.headers, ours));
    let params = offered.transpose().map_err(|extension::Malformed| {
        Refusal::new(Cause::Malformed, 400, "The Sec-WebSocket-Extensions header is malformed.")
    })?;
    let params = params.flatten();
    let mut headers = Vec::new();
    let mut asked = None;
    if state.wants(Interest::UPGRADE) {
        let (question, answer) = Asked::new(state, &request);
        match tokio::time::timeout(state.config.handshake_timeout, answer).await.ok().and_then(Result::ok) {
            Some(Decision::Accept { subprotocol: chosen, headers: more }) => {
                subprotocol = chosen.or(subprotocol);
                headers = more;
            }
            Some(Decision::Reject(response)) => {
                question.answered();
                return Err(Refusal::with(Cause::Rejected, response));
            }
            None => {
                let body = "The server did not decide about this handshake in time.";
                return Err(Refusal::new(Cause::Undecided, 503, body));
            }
        }
        asked = Some(question);
    }
    let compression = match (params, &state.config.compression) {
        (Some(params), Some(ours)) => Some(Agreed::new(params, &state.windows, ours)),
        _ => None,
    };
    let own = [
        ("Sec-WebSocket-Protocol", subprotocol.clone()),
        ("Sec-WebSocket-Extensions", compression.as_ref().map(Agreed::answer)),
    ];
    let own = own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let headers = own.chain(headers).collect();
    let accept = accept.map(str::to_owned);
    Ok(Accepted { admission, request, subprotocol, compression, asked, accept, headers })
}

/// A question to the host. When it is dropped before the connection is open, because the peer
/// went away or the time is up, it is taken back; a host that knows of it already gets an event.
#[derive(Debug)]
struct Asked {
    ticket: Ticket,
    question: Question<Handshake>,
    open: bool,
}

impl Asked {
    /// Also returns where the answer comes.
    fn new(state: &State, request: &Arc<Request>) -> (Self, oneshot::Receiver<Decision>) {
        let ticket = Ticket(state.next_ticket.fetch_add(1, Ordering::Relaxed));
        let (reply, answer) = oneshot::channel();
        let question = Question::new(Handshake { request: request.clone(), reply });
        let asked = Self { ticket, question: question.share(), open: true };
        io::with(|io| io.emit(Item::Upgrade { ticket, question }));
        (asked, answer)
    }

    /// The host hears of it by other ways, or has no need to.
    fn answered(mut self) -> Ticket {
        self.open = false;
        self.ticket
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if self.open && self.question.take().is_none() {
            io::with(|io| io.emit(Item::plain(Event::UpgradeGone { ticket: self.ticket })));
        }
    }
}

/// Answers a request that is not a handshake.
async fn plain<B>(peer: &Peer, parts: &Parts, body: B) -> Result<HttpResponse, Refusal>
where
    B: Body<Data = Bytes>,
{
    let state = &peer.state;
    let counters = &state.counters;
    let is_read = matches!(parts.method, Method::GET | Method::HEAD);
    if is_read && state.config.health_path.as_deref() == Some(parts.uri.path()) {
        Counters::one(&counters.http_requests);
        return Ok(build(text(200, "ok")));
    }
    if is_read && state.config.metrics_path.as_deref() == Some(parts.uri.path()) {
        Counters::one(&counters.http_requests);
        io::with(|io| io.count());
        let (stats, workers) = state.stats_of_node();
        let text = metrics::text(&stats, workers);
        let mut response = Response { status: 200, headers: Vec::new(), body: text.into() };
        response.headers.push(("Content-Type".to_owned(), metrics::CONTENT_TYPE.to_owned()));
        return Ok(build(response));
    }
    if is_read && let Some(files) = &state.files {
        let found = tokio::time::timeout(state.config.handshake_timeout, files.answer(parts)).await;
        let busy = |_| {
            let body = "Too many files are being sent.";
            Refusal::new(Cause::OpenFiles, 503, body).header("Retry-After", "5")
        };
        if let Some(response) = found.map_err(busy)? {
            Counters::one(&counters.http_requests);
            return Ok(response);
        }
    }
    if !state.wants(Interest::REQUEST) {
        return Err(not_served(state, is_read));
    }
    if state.backlog.is_full() {
        return Err(overloaded());
    }
    let announced = parts.headers.get(CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse().ok());
    let collected = upload::collect(body, announced, state.config.max_body_size, &state.backlog);
    let body = match tokio::time::timeout(state.config.handshake_timeout, collected).await {
        Ok(Ok(body)) => body,
        Ok(Err(BodyError::TooLarge)) => {
            return Err(Refusal::new(Cause::BodySize, 413, "The body is too large."));
        }
        Ok(Err(BodyError::Malformed)) => {
            return Err(Refusal::new(Cause::Malformed, 400, "The body is malformed or incomplete."));
        }
        Ok(Err(BodyError::Full)) => return Err(overloaded()),
        Err(_) => return Err(Refusal::new(Cause::BodyTime, 408, "The body did not arrive in time.")),
    };
    Counters::one(&counters.http_requests);
    let request = peer.request(parts);
    let ticket = Ticket(state.next_ticket.fetch_add(1, Ordering::Relaxed));
    let (reply, response) = oneshot::channel();
    let question = Question::new(Plain { request, body, reply });
    let mut asked = Requested { ticket, question: question.share(), open: true };
    io::with(|io| io.emit(Item::Request { ticket, question }));
    match tokio::time::timeout(state.config.handshake_timeout, response).await {
        Ok(answer) => {
            asked.open = false;
            // An error means that the host has dropped the request: it stops, or it failed to answer.
            let failed = |_| Refusal::new(Cause::Dropped, 500, "The server could not answer.");
            answer.map(build).map_err(failed)
        }
        Err(_) => Err(Refusal::new(Cause::Unanswered, 504, "The server did not answer in time.")),
    }
}

/// The refusal of a plain request where the host answers none.
fn not_served(state: &State, is_read: bool) -> Refusal {
    let no = |status, body| Refusal::new(Cause::NotServed, status, body);
    if !is_read {
        return no(405, "Only GET is answered here.").header("Allow", "GET");
    }
    if state.files.is_some() {
        return no(404, "There is nothing at this address.").kept();
    }
    no(426, "This is a WebSocket endpoint.").header("Sec-WebSocket-Version", "13")
}

/// A plain request to the host, likewise.
struct Requested {
    ticket: Ticket,
    question: Question<Plain>,
    open: bool,
}

impl Drop for Requested {
    fn drop(&mut self) {
        if self.open && self.question.take().is_none() {
            io::with(|io| io.emit(Item::RequestGone { ticket: self.ticket }));
        }
    }
}

/// Too much waits for the host.
fn overloaded() -> Refusal {
    Refusal::new(Cause::Backlog, 503, "The application is too busy.").header("Retry-After", "5")
}

/// The host's headers have been checked; one that hyper doesn't take is left out.
fn build(response: Response) -> HttpResponse {
    // RFC 9110 section 15: these have no content.
    let empty = matches!(response.status, 204 | 304);
    let mut built = http::Response::new(ResponseBody::from(if empty { Bytes::new() } else { response.body }));
    *built.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in response.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            built.headers_mut().append(name, value);
        }
    }
    if response.status == 426 {
        // RFC 9110 section 15.5.22. Whoever sends Upgrade lists it in Connection (section 7.8).
        let headers = built.headers_mut();
        let connection = if headers.contains_key(CONNECTION) { "Upgrade, close" } else { "Upgrade" };
        headers.insert(CONNECTION, HeaderValue::from_static(connection));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    built
}

/// The connection ends with this response.
fn closing(mut response: HttpResponse) -> HttpResponse {
    let headers = response.headers_mut();
    let connection = if headers.contains_key(UPGRADE) { "Upgrade, close" } else { "close" };
    headers.insert(CONNECTION, HeaderValue::from_static(connection));
    response
}
