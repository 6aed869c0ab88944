//! `Sprocket\Response`.

use std::cell::OnceCell;

use bytes::Bytes;
use ext_php_rs::types::Zval;
use sprocket_server::Response as Answer;

use crate::convert::{self, Headers};
use crate::zend::{
    Call, ClassCell, Native, Prop, Result, Type, argument_value_error, list, string, throw_error,
};

static RESPONSE: ClassCell = ClassCell::new();

/// The checked status and headers. The body is kept by PHP alone, as a property.
#[derive(Default)]
pub(crate) struct Response {
    inner: OnceCell<(u16, Headers)>,
}

const STATUS: usize = 0;
const BODY: usize = 1;
const HEADERS: usize = 2;

/// The declared properties, by number.
pub(crate) const PROPS: [Prop; 3] = [
    Prop::readonly(c"status", Type::INT),
    Prop::readonly(c"body", Type::STRING),
    Prop::readonly(c"headers", Type::ARRAY),
];

impl Native for Response {
    fn class() -> &'static ClassCell {
        &RESPONSE
    }

    fn unconstructed() -> Self {
        Self::default()
    }
}

pub(crate) fn construct(call: &Call) -> Result<()> {
    call.arity(0, 3)?;
    let (status, body, headers) = arguments(call, 200)?;
    let this = call.this_object::<Response>();
    if this.get().inner.set((status, headers)).is_err() {
        return Err(throw_error("Cannot modify readonly properties of Sprocket\\Response"));
    }
    let mut number = Zval::new();
    number.set_long(i64::from(status));
    this.init_prop(STATUS, number);
    this.init_prop(BODY, body);
    this.init_prop(HEADERS, call.value(2).map_or_else(|| list([]), Zval::shallow_clone));
    Ok(())
}

/// Reads `(int $status, string $body, array $headers)`.
fn arguments(call: &Call, default: i64) -> Result<(u16, Zval, Headers)> {
    let status = status(call, default)?;
    let body = match call.string(1)? {
        Some(_) => call.value(1).map_or_else(Zval::null, Zval::shallow_clone),
        None => string(b""),
    };
    let mut headers = convert::headers(2, call.array(2)?)?;
    if body.zend_str().is_some_and(|b| !b.is_empty()) {
        name_type(&mut headers);
    }
    Ok((status, body, headers))
}

/// Reads the status, which is the first argument.
fn status(call: &Call, default: i64) -> Result<u16> {
    let status = call.int(0, default)?;
    match u16::try_from(status) {
        Ok(status) if (200..=599).contains(&status) => Ok(status),
        _ => Err(argument_value_error(0, &format!("must be between 200 and 599, {status} given"))),
    }
}

/// Adds `Content-Type: text/plain` unless the headers name a type.
fn name_type(headers: &mut Headers) {
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        headers.push(("Content-Type".into(), "text/plain; charset=utf-8".into()));
    }
}

/// Reads the arguments of `Request::stream()`.
pub(crate) fn head(call: &Call) -> Result<Answer> {
    let status = status(call, 200)?;
    let mut headers = convert::headers(1, call.array(1)?)?;
    if !matches!(status, 204 | 304) {
        name_type(&mut headers);
    }
    Ok(Answer { status, headers, body: Bytes::new() })
}

/// Reads the arguments of `Handshake::reject()`.
pub(crate) fn rejection(call: &Call) -> Result<Answer> {
    call.arity(0, 3)?;
    let (status, body, mut headers) = arguments(call, 403)?;
    let body = body.zend_str().map_or(&[][..], |b| b.as_bytes());
    if !body.is_empty() {
        return Ok(Answer { status, headers, body: Bytes::copy_from_slice(body) });
    }
    name_type(&mut headers);
    Ok(Answer { status, headers, body: Bytes::from_static(Answer::reason(status).as_bytes()) })
}

/// Converts a response object for the core.
pub(crate) fn answer(response: &crate::zend::Owned<Response>) -> Answer {
    let (status, headers) = response.get().inner.get().cloned().unwrap_or((500, Vec::new()));
    let body = response.prop(BODY);
    Answer { status, headers, body: Bytes::copy_from_slice(body.zend_str().map_or(&[], |b| b.as_bytes())) }
}

/// The answer after a callback has failed. It reveals nothing about the failure.
pub(crate) fn failure() -> Answer {
    Answer {
        status: 500,
        headers: vec![("Content-Type".into(), "text/plain; charset=utf-8".into())],
        body: Bytes::from_static(b"Internal Server Error"),
    }
}
