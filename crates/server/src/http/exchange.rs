//! Turns a request, over any version of HTTP, into a response or a WebSocket.

use bytes::Bytes;
use futures_util::future::Either;
use http::header::{CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_EXTENSIONS, UPGRADE};
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
use crate::http::handshake::{RequestKind, asks_for_websocket, examine, negotiate};
use crate::http::refusal::{Cause, Refusal, full, text};
use crate::http::stream_body::StreamBody;
use crate::http::switching;
use crate::http::target;
use crate::http::transfer_coding;
use crate::id::Ticket;
use crate::limits::admission::Admission;
use crate::limits::handshakes::HandshakePlace;
use crate::metrics::counters::Counters;
use crate::metrics::prometheus;
use crate::net::stream::Stream;
use crate::state::State;
use crate::thread::{self, Upgraded};
use sprocket_protocol::forwarded::Origin;

pub(crate) type HttpResponse = http::Response<ResponseBody>;

/// The outcome of a request.
pub(crate) enum Outcome {
    /// The request is answered with this response.
    Response(HttpResponse),
    /// The request becomes a WebSocket, behind the response that [`Accepted`] holds.
    Accepted(Accepted),
}

/// A handshake that has succeeded.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The connection's place among those that `maxConnections` allows.
    admission: Admission,
    request: Arc<Request>,
    subprotocol: Option<String>,
    compression: Option<Agreed>,
    /// The question to the host, if it decided about this handshake.
    pending: Option<PendingHandshake>,
    /// The value of `Sec-WebSocket-Accept`; `None` over HTTP/2.
    accept: Option<String>,
    /// The other headers of the response: subprotocol and extensions, then those that the host has
    /// set.
    headers: Vec<(String, String)>,
}

impl Accepted {
    /// The head of the 101 response over HTTP/1.1.
    pub(crate) fn head(&self) -> Vec<u8> {
        switching::head(self.accept.as_deref().unwrap_or_default(), &self.headers)
    }

    /// The headers of the response over HTTP/2 (RFC 8441 section 5).
    pub(crate) fn take_headers(&mut self) -> HeaderMap {
        let headers = std::mem::take(&mut self.headers);
        build(Response { status: 200, headers, body: Bytes::new() }).into_parts().0.headers
    }

    /// Makes the connection ready for its session. `early`: bytes received behind the handshake.
    pub(crate) fn upgraded(self, stream: Stream, early: Bytes) -> Upgraded {
        Upgraded {
            stream,
            early,
            admission: self.admission,
            remote: self.request.remote(),
            request: self.request,
            subprotocol: self.subprotocol,
            compression: self.compression,
            ticket: self.pending.map(PendingHandshake::answered),
        }
    }
}

/// The properties of one HTTP connection that its requests need.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) state: Arc<State>,
    /// Address and security of the connection itself; trusted proxies may state others for each
    /// request.
    pub(crate) origin: Origin,
    pub(crate) local: Option<SocketAddr>,
    /// The client's verified certificate, in DER.
    pub(crate) certificate: Option<Arc<Vec<u8>>>,
    /// The connection's place among the sockets without a WebSocket, which `maxHandshakes` limits.
    pub(crate) place: Arc<HandshakePlace>,
}

/// Request extension: the compact form of a request whose parsed head has been discarded.
#[derive(Clone)]
struct Packed(Arc<Request>);

/// Discards a parsed head before the request waits for the host, because it takes several times as
/// much memory as the compact `request`. Leaves only what shows whether the request is a handshake.
fn discard_head(parts: &mut Parts, request: &Arc<Request>) {
    let handshake = asks_for_websocket(parts);
    parts.headers = HeaderMap::new();
    if handshake {
        parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    parts.uri = Uri::default();
    parts.extensions.insert(Packed(request.clone()));
}

impl Peer {
    /// The compact form of a request, which the host receives.
    fn request(&self, parts: &Parts) -> Arc<Request> {
        if let Some(Packed(request)) = parts.extensions.get() {
            return request.clone();
        }
        let origin = self.state.config.trusted_proxies.origin(&parts.headers, self.origin);
        let request = Request::new(parts, origin.remote, self.local, origin.secure);
        Arc::new(request.with_client_certificate(self.certificate.clone()))
    }

    /// Reports a refusal and turns it into a response. Every refusal of a request whose head has been
    /// parsed goes through this function.
    pub(crate) fn refuse(&self, parts: &Parts, refusal: Refusal) -> HttpResponse {
        let handshake = asks_for_websocket(parts);
        refusal.report(&self.state.counters, handshake, || self.request(parts));
        let response = build(refusal.response);
        if refusal.ends { closing(response) } else { response }
    }
}

/// Answers a request. The arrival of its body and the answer of the host have until `until`. Over
/// HTTP/2 the caller removes the `Connection` header of the response.
pub(crate) async fn respond<B>(peer: &Peer, mut parts: Parts, body: B, until: Instant) -> Outcome
where
    B: Body<Data = Bytes>,
{
    if parts.headers.len() > target::MAX_HEADERS {
        // Hyper checks this limit itself; h2 does not.
        let refusal = Refusal::new(Cause::Malformed, 431, "The request has too many headers.");
        return Outcome::Response(peer.refuse(&parts, refusal));
    }
    if let Err(why) = target::settle(&mut parts) {
        return Outcome::Response(peer.refuse(&parts, Refusal::new(Cause::Malformed, 400, why)));
    }
    if let Err(refusal) = transfer_coding::check(&parts.headers) {
        return Outcome::Response(peer.refuse(&parts, refusal));
    }
    let response = match examine(&parts, &peer.state.config) {
        Ok(RequestKind::WebSocket { accept }) => match upgrade(peer, &mut parts, accept, until).await {
            Ok(accepted) => return Outcome::Accepted(accepted),
            Err(refusal) => peer.refuse(&parts, refusal),
        },
        Ok(RequestKind::Plain) => {
            // Hyper ignores a Content-Length next to Transfer-Encoding (RFC 9112 section 6.1). A
            // proxy may have used it, and so regard what follows this request as a part of its body:
            // close the connection.
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

/// A well-formed handshake for which there is room.
struct Candidate {
    admission: Admission,
    request: Arc<Request>,
    subprotocol: Option<String>,
    /// The negotiated parameters of compression.
    params: Option<deflate::Params>,
}

impl Candidate {
    /// Applies the limits, and negotiates the subprotocol and the compression.
    fn admit(peer: &Peer, parts: &Parts) -> Result<Self, Refusal> {
        let state = &peer.state;
        if state.stopping.load(Ordering::Relaxed) && !state.leaving.load(Ordering::Relaxed) {
            return Err(Refusal::new(Cause::Stopping, 503, "The server is shutting down."));
        }
        if state.backlog.is_full() {
            return Err(overloaded());
        }
        let request = peer.request(parts);
        let admission = state.limits.admit(request.remote().map(|a| a.ip())).map_err(full)?;
        let subprotocol = negotiate(&request, &state.config)?;
        let offered = state.config.compression.as_ref().map(|ours| {
            let values = parts.headers.get_all(SEC_WEBSOCKET_EXTENSIONS);
            deflate::negotiate(values.iter().map(|value| value.as_bytes()), ours)
        });
        let params = offered.transpose().map_err(|deflate::Malformed| {
            Refusal::new(Cause::Malformed, 400, "The Sec-WebSocket-Extensions header is malformed.")
        })?;
        Ok(Self { admission, request, subprotocol, params: params.flatten() })
    }

    /// Accepts the handshake. `accept` is the value of `Sec-WebSocket-Accept`, `None` over HTTP/2;
    /// `host` holds the headers that the host has set.
    fn accept(
        self,
        state: &State,
        accept: Option<String>,
        host: Vec<(String, String)>,
        pending: Option<PendingHandshake>,
    ) -> Accepted {
        let Self { admission, request, subprotocol, params } = self;
        let compression = match (params, &state.config.compression) {
            (Some(params), Some(ours)) => Some(Agreed::new(params, &state.windows, ours)),
            _ => None,
        };
        let mut headers = Vec::new();
        if let Some(subprotocol) = &subprotocol {
            headers.push(("Sec-WebSocket-Protocol".to_owned(), subprotocol.clone()));
        }
        if let Some(agreed) = &compression {
            headers.push(("Sec-WebSocket-Extensions".to_owned(), agreed.answer()));
        }
        headers.extend(host);
        Accepted { admission, request, subprotocol, compression, pending, accept, headers }
    }
}

/// Accepts the handshake of an HTTP/1.1 request at once. Returns `None` for every other request: one
/// that is refused, is no handshake, or waits for the host's decision. In that case nothing has
/// happened yet, and [`respond`] must answer the request.
pub(crate) fn accept_at_once(peer: &Peer, parts: &mut Parts) -> Option<Accepted> {
    if peer.state.wants(Interest::UPGRADE) {
        return None;
    }
    target::settle(parts).ok()?;
    let Ok(RequestKind::WebSocket { accept }) = examine(parts, &peer.state.config) else { return None };
    let candidate = Candidate::admit(peer, parts).ok()?;
    Some(candidate.accept(&peer.state, accept, Vec::new(), None))
}

/// Answers a well-formed handshake, after asking the host if it wants to decide. `accept` is the
/// value of `Sec-WebSocket-Accept`, `None` over HTTP/2.
async fn upgrade(
    peer: &Peer,
    parts: &mut Parts,
    accept: Option<String>,
    until: Instant,
) -> Result<Accepted, Refusal> {
    let state = &peer.state;
    let mut candidate = Candidate::admit(peer, parts)?;
    if !state.wants(Interest::UPGRADE) {
        return Ok(candidate.accept(state, accept, Vec::new(), None));
    }
    discard_head(parts, &candidate.request);
    let (question, answer) = PendingHandshake::new(state, &candidate.request);
    match tokio::time::timeout_at(until, answer).await.ok().and_then(Result::ok) {
        Some(Decision::Accept { subprotocol: chosen, headers }) => {
            candidate.subprotocol = chosen.or(candidate.subprotocol);
            Ok(candidate.accept(state, accept, headers, Some(question)))
        }
        Some(Decision::Reject(response)) => {
            question.answered();
            Err(Refusal::with(Cause::Rejected, response))
        }
        None => {
            let body = "The server did not decide about this handshake in time.";
            Err(Refusal::new(Cause::Undecided, 503, body))
        }
    }
}

/// A handshake about which the host is asked. If it is dropped before the connection opens, because
/// the peer has gone away or the time limit has passed, the question is withdrawn; a host that has
/// received it already gets an [`Event::UpgradeGone`].
#[derive(Debug)]
struct PendingHandshake {
    ticket: Ticket,
    /// Shared with the event batch until the host takes it.
    question: Question<Handshake>,
    /// Dropping this value withdraws the question.
    open: bool,
}

impl PendingHandshake {
    /// Asks the host. Also returns the receiver of its answer.
    fn new(state: &State, request: &Arc<Request>) -> (Self, oneshot::Receiver<Decision>) {
        let ticket = Ticket(state.next_ticket.fetch_add(1, Ordering::Relaxed));
        let (reply, answer) = oneshot::channel();
        let question = Question::new(Handshake { request: request.clone(), reply });
        let pending = Self { ticket, question: question.share(), open: true };
        thread::with(|io| io.emit(Item::Upgrade { ticket, question }));
        (pending, answer)
    }

    /// Marks the question as settled: from here on the host learns of the connection by other events,
    /// or need not learn of it.
    fn answered(mut self) -> Ticket {
        self.open = false;
        self.ticket
    }
}

impl Drop for PendingHandshake {
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
    // Waiting for a free place among the open files may take long, and over HTTP/2 the body would
    // occupy its window meanwhile: read it first.
    let body = if is_read && state.files.is_some() && !body.is_end_stream() {
        let head = peer.request(parts).size_with_certificate();
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
    discard_head(parts, &request);
    let body = match body {
        Either::Left(body) => collect(peer, announced, body, request.size_with_certificate(), until).await?,
        Either::Right(collected) => collected,
    };
    Counters::one(&counters.http_requests);
    let remote = request.remote().map(|a| a.ip());
    let ticket = Ticket(state.next_ticket.fetch_add(1, Ordering::Relaxed));
    let (reply, response) = oneshot::channel();
    let question = Question::new(Plain { request, body, reply });
    let mut pending = PendingRequest { ticket, question: question.share(), open: true };
    thread::with(|io| io.emit(Item::Request { ticket, question }));
    let mut response = PendingAnswer(response);
    match tokio::time::timeout_at(until, &mut response.0).await {
        Ok(answer) => {
            pending.open = false;
            match answer {
                Ok(Answer::Whole(response)) => Ok(build(response)),
                Ok(Answer::Stream(head, stream, head_only)) => {
                    begin_stream(peer, remote, head, StreamBody::new(stream, head_only))
                }
                // The host has dropped the request: it is stopping, or its callback failed.
                Err(_) => Err(dropped()),
            }
        }
        Err(_) => Err(Refusal::new(Cause::Unanswered, 504, "The server did not answer in time.")),
    }
}

/// The value of the request's `Content-Length` header.
fn announced(parts: &Parts) -> Option<u64> {
    parts.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads the whole body of a request. `head`: bytes of memory that the request's head occupies, which
/// count towards the backlog as well.
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

/// Begins a begin_stream response. A stream may last as long as a WebSocket, so it takes a place among
/// the connections.
fn begin_stream(
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

/// The refusal of a request that the host has dropped.
fn dropped() -> Refusal {
    Refusal::new(Cause::Dropped, 500, "The server could not answer.")
}

/// The refusal of a plain request that neither the host nor a file answers.
fn not_served(state: &State, is_read: bool) -> Refusal {
    let refuse = |status, body| Refusal::new(Cause::NotServed, status, body);
    if !is_read {
        return refuse(405, "Only GET is answered here.").header("Allow", "GET");
    }
    if state.files.is_some() {
        return refuse(404, "There is nothing at this address.").kept();
    }
    refuse(426, "This is a WebSocket endpoint.").header("Sec-WebSocket-Version", "13")
}

/// Receives the host's answer to a plain request. If it is dropped while it holds an answer with a
/// stream, the stream is reported as lost.
struct PendingAnswer(oneshot::Receiver<Answer>);

impl Drop for PendingAnswer {
    fn drop(&mut self) {
        self.0.close();
        if let Ok(Answer::Stream(_, stream, _)) = self.0.try_recv() {
            thread::with(|io| io.stream_lost(&stream));
        }
    }
}

/// A plain request to the host, withdrawn like [`PendingHandshake`] when it is dropped unanswered.
struct PendingRequest {
    ticket: Ticket,
    question: Question<Plain>,
    /// Dropping this value withdraws the question.
    open: bool,
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        if self.open && self.question.take().is_none() {
            thread::with(|io| io.emit(Item::RequestGone { ticket: self.ticket }));
        }
    }
}

/// The refusal of a request when the backlog is full.
pub(crate) fn overloaded() -> Refusal {
    Refusal::new(Cause::Backlog, 503, "The application is too busy.").header("Retry-After", "5")
}

/// Converts a response. Its headers have been checked; one that hyper refuses nevertheless is left
/// out.
fn build(response: Response) -> HttpResponse {
    // RFC 9110 section 15: responses with these status codes have no content.
    let empty = matches!(response.status, 204 | 304);
    let mut built = http::Response::new(ResponseBody::from(if empty { Bytes::new() } else { response.body }));
    *built.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in response.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            built.headers_mut().append(name, value);
        }
    }
    if response.status == 426 {
        // RFC 9110 section 15.5.22. A sender of Upgrade must list it in Connection (section 7.8).
        let headers = built.headers_mut();
        let connection = if headers.contains_key(CONNECTION) { "Upgrade, close" } else { "Upgrade" };
        headers.insert(CONNECTION, HeaderValue::from_static(connection));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    built
}

/// Makes the response the last one on its connection.
fn closing(mut response: HttpResponse) -> HttpResponse {
    let headers = response.headers_mut();
    let connection = if headers.contains_key(UPGRADE) { "Upgrade, close" } else { "close" };
    headers.insert(CONNECTION, HeaderValue::from_static(connection));
    response
}
