//! `Sprocket\Request`.

use std::cell::{Cell, OnceCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use ext_php_rs::types::{ZendHashTable, Zval};
use percent_encoding::percent_decode;
use sprocket_server::{Request as Head, Response as Answer, Ticket, certificate_text};

use crate::errors;
use crate::link::Link;
use crate::response::{self, Response};
use crate::response_stream::ResponseStream;
use crate::zend::{Call, ClassCell, Native, Owned, Result, list, map_insert, parse_query, string};

static REQUEST: ClassCell = ClassCell::new();

/// A request head, shared with the core, and the body of a plain request.
#[derive(Default)]
pub(crate) struct Request {
    inner: OnceCell<RequestState>,
}

struct RequestState {
    head: Arc<Head>,
    /// Whether the request asks for a WebSocket.
    handshake: bool,
    /// `None` for a handshake, and for a plain request that the core has answered.
    plain: Option<PlainAnswer>,
}

/// The part of a plain request that a handshake does not have.
struct PlainAnswer {
    body: Bytes,
    ticket: Ticket,
    link: Rc<Link>,
    answered: Cell<bool>,
}

impl PlainAnswer {
    /// Answers the request. Returns false if it was answered before, or the client is gone.
    fn answer(&self, answer: Answer) -> Result<bool> {
        self.link.check_process()?;
        if self.answered.replace(true) {
            return Ok(false);
        }
        Ok(self.link.command(|core| core.respond(self.ticket, answer))? == Some(true))
    }
}

/// An unanswered request that is dropped must not keep its client waiting until a timeout.
impl Drop for PlainAnswer {
    fn drop(&mut self) {
        if !self.answered.get() && self.link.is_native() {
            // Fails only in a fork, which was excluded above. `None` means that the server has ended.
            let _ = self.answer(response::failure());
        }
    }
}

impl Native for Request {
    fn class() -> &'static ClassCell {
        &REQUEST
    }

    fn unconstructed() -> Self {
        Self::default()
    }
}

impl Request {
    /// The request of a handshake.
    pub(crate) fn handshake(head: Arc<Head>) -> Owned<Self> {
        Self::create(RequestState { head, handshake: true, plain: None })
    }

    /// A request that the core has refused.
    pub(crate) fn refused(head: Arc<Head>, handshake: bool) -> Owned<Self> {
        Self::create(RequestState { head, handshake, plain: None })
    }

    /// A plain request.
    pub(crate) fn plain(head: Arc<Head>, body: Bytes, ticket: Ticket, link: Rc<Link>) -> Owned<Self> {
        let plain = PlainAnswer { body, ticket, link, answered: Cell::new(false) };
        Self::create(RequestState { head, handshake: false, plain: Some(plain) })
    }

    /// Whether a plain request was answered.
    pub(crate) fn is_answered(&self) -> bool {
        self.inner.get().and_then(|i| i.plain.as_ref()).is_some_and(|plain| plain.answered.get())
    }

    /// Answers a plain request, unless it was answered before.
    pub(crate) fn answer(&self, answer: Answer) {
        if let Some(plain) = self.inner.get().and_then(|i| i.plain.as_ref()) {
            // Fails only in a fork, which `settle` reports next.
            let _ = plain.answer(answer);
        }
    }

    fn create(inner: RequestState) -> Owned<Self> {
        let object = Owned::<Self>::create();
        let _ = object.get().inner.set(inner);
        object
    }

    /// The head; every object that PHP can reach has one.
    pub(crate) fn head(&self) -> Option<&Head> {
        self.inner.get().map(|inner| &*inner.head)
    }
}

/// Runs `f` on the head for a method without parameters.
pub(crate) fn with<R>(call: &Call, f: impl FnOnce(&Head) -> R) -> Result<R> {
    call.arity(0, 0)?;
    read(call, f)
}

fn read<R>(call: &Call, f: impl FnOnce(&Head) -> R) -> Result<R> {
    match call.this::<Request>().head() {
        Some(head) => Ok(f(head)),
        None => Err(crate::zend::throw_error("This request was not created by Sprocket\\Server")),
    }
}

pub(crate) fn bytes(call: &Call, part: impl FnOnce(&Head) -> &[u8]) -> Result<Zval> {
    with(call, |head| string(part(head)))
}

/// An IP address as a PHP string; empty for that of a Unix socket.
pub(crate) fn address(ip: Option<IpAddr>) -> Zval {
    match ip.map(|ip| ip.to_canonical()) {
        None => string(b""),
        Some(IpAddr::V4(ip)) => {
            // Every connection needs this, and the formatter takes ten times as many instructions.
            let mut text = Vec::with_capacity(15);
            for octet in ip.octets() {
                let digits = [octet / 100, octet / 10 % 10, octet % 10].map(|digit| b'0' + digit);
                let zeros = usize::from(octet < 100) + usize::from(octet < 10);
                text.extend_from_slice(&digits[zeros..]);
                text.push(b'.');
            }
            text.pop();
            string(&text)
        }
        Some(IpAddr::V6(ip)) => string(ip.to_string().as_bytes()),
    }
}

pub(crate) fn port(address: Option<SocketAddr>) -> i64 {
    address.map_or(0, |a| i64::from(a.port()))
}

pub(crate) fn query(call: &Call) -> Result<Zval> {
    // The engine may warn (`max_input_vars`) and run an error handler, so the head is not borrowed here.
    call.arity(0, 0)?;
    let query = string(read(call, |h| h.query().to_owned())?.as_bytes());
    let parsed = parse_query(query.zend_str().map_or(&[], |s| s.as_bytes()));
    if crate::zend::pending() { Err(crate::zend::Thrown) } else { Ok(parsed) }
}

pub(crate) fn header(call: &Call) -> Result<Option<Zval>> {
    call.arity(1, 1)?;
    let name = match call.string(0)? {
        Some(name) => String::from_utf8_lossy(name.as_bytes()).to_ascii_lowercase(),
        None => return Ok(None),
    };
    read(call, |head| head.joined_header(&name).map(|v| string(&v)))
}

pub(crate) fn headers(call: &Call) -> Result<Zval> {
    with(call, |head| map(head.joined_headers().into_iter().map(|(n, v)| (n.as_bytes(), string(&v)))))
}

pub(crate) fn cookies(call: &Call) -> Result<Zval> {
    // Malformed sequences stay as they are.
    let decoded = |value: &[u8]| string(&percent_decode(value).collect::<Vec<u8>>());
    with(call, |head| map(head.cookies().into_iter().map(|(name, value)| (name, decoded(value)))))
}

/// An array with these keys.
fn map<'a>(entries: impl Iterator<Item = (&'a [u8], Zval)>) -> Zval {
    let mut table = ZendHashTable::new();
    for (name, value) in entries {
        map_insert(&mut table, name, value);
    }
    let mut array = Zval::new();
    array.set_hashtable(table);
    array
}

pub(crate) fn scheme(call: &Call) -> Result<Zval> {
    let handshake = call.this::<Request>().inner.get().is_some_and(|i| i.handshake);
    with(call, |head| {
        string(match (handshake, head.is_secure()) {
            (true, false) => b"ws",
            (true, true) => b"wss",
            (false, false) => b"http",
            (false, true) => b"https",
        })
    })
}

pub(crate) fn subprotocols(call: &Call) -> Result<Zval> {
    with(call, |head| list(head.subprotocols().map(|s| string(s.as_bytes()))))
}

pub(crate) fn body(call: &Call) -> Result<Zval> {
    call.arity(0, 0)?;
    let plain = call.this::<Request>().inner.get().and_then(|i| i.plain.as_ref());
    Ok(string(plain.map_or(&[], |p| &p.body)))
}

/// The certificate in PEM, as `openssl_x509_parse()` takes it.
pub(crate) fn client_certificate(call: &Call) -> Result<Option<Zval>> {
    with(call, |head| head.client_certificate().map(|der| string(certificate_text(der).as_bytes())))
}

pub(crate) fn respond(call: &Call) -> Result<bool> {
    call.arity(1, 1)?;
    let Some(response) = call.object::<Response>(0)? else { return Ok(false) };
    let request = call.this_object::<Request>();
    unanswered(request.get())?.answer(response::answer(&response))
}

/// Throws if it was answered, or is the request of a handshake.
fn unanswered(request: &Request) -> Result<&PlainAnswer> {
    let inner = request.inner.get();
    match inner.and_then(|i| i.plain.as_ref()) {
        None if inner.is_some_and(|i| !i.handshake) => {
            Err(errors::state("The server has refused this request and has answered it already"))
        }
        None => Err(errors::state(
            "This request belongs to a handshake, which is answered with its \
                 Sprocket\\Handshake instead",
        )),
        Some(plain) if plain.answered.get() => Err(errors::state("This request has already been answered")),
        Some(plain) => Ok(plain),
    }
}

pub(crate) fn stream(call: &Call) -> Result<Owned<ResponseStream>> {
    call.arity(0, 2)?;
    let head = response::head(call)?;
    let request = call.this_object::<Request>();
    let plain = unanswered(request.get())?;
    plain.link.check_process()?;
    plain.answered.set(true);
    ResponseStream::begin(plain.ticket, head, Rc::clone(&plain.link), request.value())
}
