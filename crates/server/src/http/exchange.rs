//! What becomes of a request, over any version of HTTP: a response, or a WebSocket.

use bytes::Bytes;
use futures_util::future::Either;
use http::header::{CONNECTION, CONTENT_LENGTH, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use hyper::body::Body;
use sprocket_protocol::deflate::{self, Agreed};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::channel::event::{Decision, Event, Interest, Response};
use crate::channel::mailbox::{Answer, Handshake, Item, Plain, Question};
use crate::channel::request::Request;
use crate::channel::upload::{self, BodyError};
use crate::http::body::ResponseBody;
use crate::http::handshake::{Kind, asks_for_websocket, examine, negotiate};
use crate::http::refusal::{Cause, Refusal, text};
use crate::http::stream_body::StreamBody;
use crate::http::switching;
use crate::http::target;
use crate::id::Ticket;
use crate::limits::admission::{Admission, Full as NoPlace};
use crate::limits::handshakes::HandshakePlace;
use crate::metrics::counters::Counters;
use crate::metrics::prometheus;
use crate::net::stream::Stream;
use crate::state::State;
use crate::thread::{self, Upgraded};
use sprocket_protocol::forwarded::Origin;

pub(crate) type HttpResponse = http::Response<ResponseBody>;

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
    pub(crate) fn head(&self) -> Vec<u8> {
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
    pub(crate) local: Option<SocketAddr>,
    /// Of the client, verified, in DER.
    pub(crate) certificate: Option<Arc<Vec<u8>>>,
    pub(crate) place: Arc<HandshakePlace>,
}

/// The request that a head was packed into.
#[derive(Clone)]
struct Packed(Arc<Request>);

/// Gives up a parsed head, which takes several times the room of the request that it was packed into:
/// the request is going to wait.
fn give_up(parts: &mut Parts, request: &Arc<Request>) {
    let handshake = asks_for_websocket(parts);
    parts.headers = HeaderMap::new();
    if handshake {
        parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    parts.uri = Uri::default();
    parts.extensions.insert(Packed(request.clone()));
}

impl Peer {
    /// The request as the host sees it.
    fn request(&self, parts: &Parts) -> Arc<Request> {
        if let Some(Packed(request)) = parts.extensions.get() {
            return request.clone();
        }
        let origin = self.state.config.trusted_proxies.origin(&parts.headers, self.origin);
        let request = Request::new(parts, origin.remote, self.local, origin.secure);
        Arc::new(request.with_client_certificate(self.certificate.clone()))
    }

    /// Turns a refusal into the response. Every refusal of a request whose head was parsed passes
    /// here.
    pub(crate) fn refuse(&self, parts: &Parts, refusal: Refusal) -> HttpResponse {
        let handshake = asks_for_websocket(parts);
        refusal.report(&self.state.counters, handshake, || self.request(parts));
        let response = build(refusal.response);
        if refusal.ends { closing(response) } else { response }
    }
}

/// Answers a request, for whose body and for the host there is time until `until`. Over HTTP/2 the
/// `Connection` header of the response has no meaning.
pub(crate) async fn respond<B>(peer: &Peer, mut parts: Parts, body: B, until: Instant) -> Outcome
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
        Ok(Kind::WebSocket { accept }) => match upgrade(peer, &mut parts, accept.as_deref(), until).await {
            Ok(accepted) => return Outcome::Accepted(accepted),
            Err(refusal) => peer.refuse(&parts, refusal),
        },
        Ok(Kind::Plain) => {
            // Hyper has dropped a Content-Length beside it (RFC 9112 section 6.1): what follows such
            // a message may be what a proxy took for its body.
            let ends = parts.headers.contains_key(http::header::TRANSFER_ENCODING);
            let response = plain(peer, &mut parts, body, until)
                .await
                .unwrap_or_else(|refusal| peer.refuse(&parts, refusal));
            if ends || peer.state.leaving.load(Ordering::Relaxed) { closing(response) } else { response }
        }
        Err(refusal) => peer.refuse(&parts, refusal),
    };
    Outcome::Response(response)
}

/// Answers a well-formed handshake. `accept` is the value of `Sec-WebSocket-Accept`, which
/// HTTP/2 doesn't have.
async fn upgrade(
    peer: &Peer,
    parts: &mut Parts,
    accept: Option<&str>,
    until: Instant,
) -> Result<Accepted, Refusal> {
    let state = &peer.state;
    if state.stopping.load(Ordering::Relaxed) && !state.leaving.load(Ordering::Relaxed) {
        return Err(Refusal::new(Cause::Stopping, 503, "The server is shutting down."));
    }
    if state.backlog.is_full() {
        return Err(overloaded());
    }
    let request = peer.request(parts);
    let admission = state.limits.admit(request.remote().map(|a| a.ip())).map_err(full)?;
    let mut subprotocol = negotiate(&request, &state.config)?;
    let offered = state.config.compression.as_ref().map(|ours| {
        let values = parts.headers.get_all("sec-websocket-extensions");
        deflate::negotiate(values.iter().map(|value| value.as_bytes()), ours)
    });
    let params = offered.transpose().map_err(|deflate::Malformed| {
        Refusal::new(Cause::Malformed, 400, "The Sec-WebSocket-Extensions header is malformed.")
    })?;
    let params = params.flatten();
    let mut headers = Vec::new();
    let mut asked = None;
    if state.wants(Interest::UPGRADE) {
        give_up(parts, &request);
        let (question, answer) = Asked::new(state, &request);
        match tokio::time::timeout_at(until, answer).await.ok().and_then(Result::ok) {
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
        thread::with(|io| io.emit(Item::Upgrade { ticket, question }));
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
            thread::with(|io| io.emit(Item::plain(Event::UpgradeGone { ticket: self.ticket })));
        }
    }
}

/// Answers a request that is not a handshake.
async fn plain<B>(peer: &Peer, parts: &mut Parts, body: B, until: Instant) -> Result<HttpResponse, Refusal>
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
        thread::with(|io| io.count());
        let (stats, workers) = state.stats_of_node();
        let text = prometheus::text(&stats, workers);
        let mut response = Response { status: 200, headers: Vec::new(), body: text.into() };
        response.headers.push(("Content-Type".to_owned(), prometheus::CONTENT_TYPE.to_owned()));
        return Ok(build(response));
    }
    // A place among the open files may have to be waited for: HTTP/2 would hold the body meanwhile.
    let body = if is_read && state.files.is_some() && !body.is_end_stream() {
        let head = peer.request(parts).size();
        Either::Right(collect(peer, announced(parts), body, head, until).await?)
    } else {
        Either::Left(body)
    };
    if is_read && let Some(files) = &state.files {
        let found = tokio::time::timeout_at(until, files.answer(parts)).await;
        let busy = |_| {
            let body = "Too many files are being sent.";
            Refusal::new(Cause::OpenFiles, 503, body).header("Retry-After", "5")
        };
        if let Some(response) = found.map_err(busy)? {
            Counters::one(&counters.http_requests);
            return Ok(response.map(ResponseBody::from));
        }
    }
    if !state.wants(Interest::REQUEST) {
        return Err(not_served(state, is_read));
    }
    if state.backlog.is_full() {
        return Err(overloaded());
    }
    let (request, announced) = (peer.request(parts), announced(parts));
    give_up(parts, &request);
    let body = match body {
        Either::Left(body) => collect(peer, announced, body, request.size(), until).await?,
        Either::Right(collected) => collected,
    };
    Counters::one(&counters.http_requests);
    let remote = request.remote().map(|a| a.ip());
    let ticket = Ticket(state.next_ticket.fetch_add(1, Ordering::Relaxed));
    let (reply, response) = oneshot::channel();
    let question = Question::new(Plain { request, body, reply });
    let mut asked = Requested { ticket, question: question.share(), open: true };
    thread::with(|io| io.emit(Item::Request { ticket, question }));
    let mut response = Awaited(response);
    match tokio::time::timeout_at(until, &mut response.0).await {
        Ok(answer) => {
            asked.open = false;
            match answer {
                Ok(Answer::Whole(response)) => Ok(build(response)),
                Ok(Answer::Stream(head, stream, head_only)) => {
                    streamed(peer, remote, head, StreamBody::new(stream, head_only))
                }
                // The host has dropped the request: it stops, or it failed to answer.
                Err(_) => Err(dropped()),
            }
        }
        Err(_) => Err(Refusal::new(Cause::Unanswered, 504, "The server did not answer in time.")),
    }
}

/// The length of its body that a request announces.
fn announced(parts: &Parts) -> Option<u64> {
    parts.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The whole body of a request, whose head takes up `head` bytes.
async fn collect<B>(
    peer: &Peer,
    announced: Option<u64>,
    body: B,
    head: usize,
    until: Instant,
) -> Result<upload::Body, Refusal>
where
    B: Body<Data = Bytes>,
{
    let state = &peer.state;
    let collected = upload::collect(body, announced, state.config.max_body_size, head, &state.backlog);
    match tokio::time::timeout_at(until, collected).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(BodyError::TooLarge)) => Err(Refusal::new(Cause::BodySize, 413, "The body is too large.")),
        Ok(Err(BodyError::Malformed)) => {
            Err(Refusal::new(Cause::Malformed, 400, "The body is malformed or incomplete."))
        }
        Ok(Err(BodyError::Full)) => Err(overloaded()),
        Err(_) => Err(Refusal::new(Cause::BodyTime, 408, "The body did not arrive in time.")),
    }
}

/// The response that a stream begins with. A stream may last as long as a WebSocket, and takes a place
/// like one.
fn streamed(
    peer: &Peer,
    remote: Option<IpAddr>,
    head: Response,
    body: StreamBody,
) -> Result<HttpResponse, Refusal> {
    if body.is_cut() {
        return Err(dropped());
    }
    let admission = peer.state.limits.admit(remote).map_err(full)?;
    thread::with(|io| io.stream_began(body.shared(), admission, peer.place.carry()));
    Ok(build(head).map(|_| ResponseBody::Stream(body)))
}

/// The refusal of a request that the host has let go.
fn dropped() -> Refusal {
    Refusal::new(Cause::Dropped, 500, "The server could not answer.")
}

/// The refusal of a client for which there is no place.
fn full(full: NoPlace) -> Refusal {
    let refusal = match full {
        NoPlace::Server => Refusal::new(Cause::Connections, 503, "Too many connections."),
        NoPlace::Address => Refusal::new(Cause::Address, 429, "Too many connections from this address."),
    };
    refusal.header("Retry-After", "5")
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

/// The answer of the host to a plain request. A stream that nobody has taken when this is dropped
/// is lost.
struct Awaited(oneshot::Receiver<Answer>);

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.close();
        if let Ok(Answer::Stream(_, stream, _)) = self.0.try_recv() {
            thread::with(|io| io.stream_lost(&stream));
        }
    }
}

/// A plain request to the host, taken back like [`Asked`] when it is dropped unanswered.
struct Requested {
    ticket: Ticket,
    question: Question<Plain>,
    open: bool,
}

impl Drop for Requested {
    fn drop(&mut self) {
        if self.open && self.question.take().is_none() {
            thread::with(|io| io.emit(Item::RequestGone { ticket: self.ticket }));
        }
    }
}

/// Too much waits for the host.
pub(crate) fn overloaded() -> Refusal {
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
