//! `Sprocket\Connection`.

use std::cell::OnceCell;
use std::rc::Rc;

use ext_php_rs::types::Zval;
use sprocket_server::{Connection as Handle, SendOutcome, Server as Core};

use crate::errors;
use crate::link::Link;
use crate::request::{Request, address};
use crate::zend::{
    Call, ClassCell, Native, Owned, Prop, Result, Type, argument_value_error, string, zstr_is_utf8,
};

static CONNECTION: ClassCell = ClassCell::new();

/// The native state of a connection object.
#[derive(Default)]
pub(crate) struct Connection {
    inner: OnceCell<ConnectionState>,
}

struct ConnectionState {
    handle: Handle,
    link: Rc<Link>,
}

// Numbers of the declared properties.
const ID: usize = 0;
const REQUEST: usize = 1;
const REMOTE_ADDRESS: usize = 2;
const REMOTE_PORT: usize = 3;
const SUBPROTOCOL: usize = 4;
const DATA: usize = 5;

/// RFC 6455 section 5.5: control frames carry at most 125 bytes; a close frame spends two on its code.
const MOST_CONTROL: usize = 125;
const MOST_REASON: usize = 123;

/// The declared properties, by number.
pub(crate) const PROPS: [Prop; 6] = [
    Prop::readonly(c"id", Type::INT),
    Prop::readonly(c"request", Type::class(c"Sprocket\\Request")),
    Prop::readonly(c"remoteAddress", Type::STRING),
    Prop::readonly(c"remotePort", Type::INT),
    Prop::readonly(c"subprotocol", Type::STRING.nullable()),
    Prop::writable(c"data", Type::MIXED),
];

impl Native for Connection {
    fn class() -> &'static ClassCell {
        &CONNECTION
    }

    fn unconstructed() -> Self {
        Self::default()
    }
}

impl Connection {
    pub(crate) fn create(
        handle: Handle,
        link: Rc<Link>,
        request: &Owned<Request>,
        subprotocol: Option<&str>,
        data: Zval,
    ) -> Owned<Self> {
        let object = Owned::<Self>::create();
        let int = |n: i64| {
            let mut value = Zval::new();
            value.set_long(n);
            value
        };
        object.init_prop(ID, int(handle.id().0 as i64));
        object.init_prop(REQUEST, request.value());
        object.init_prop(REMOTE_ADDRESS, address(handle.remote_ip()));
        object.init_prop(REMOTE_PORT, int(i64::from(handle.remote_port())));
        object.init_prop(SUBPROTOCOL, subprotocol.map_or_else(Zval::null, |s| string(s.as_bytes())));
        object.init_prop(DATA, data);
        let _ = object.get().inner.set(ConnectionState { handle, link });
        object
    }

    /// The core's handle.
    pub(crate) fn handle(&self) -> Option<&Handle> {
        self.inner.get().map(|inner| &inner.handle)
    }

    /// Gives the core a command for this connection, flushed at once outside callbacks. `None` if the
    /// server has ended.
    pub(crate) fn command<R>(&self, f: impl FnOnce(&Core, &Handle) -> R) -> Result<Option<R>> {
        match self.inner.get() {
            Some(inner) => inner.link.command(|core| f(core, &inner.handle)),
            None => Ok(None),
        }
    }

    /// Queries the core about this connection. `None` if the server has ended.
    pub(crate) fn ask<R>(&self, f: impl FnOnce(&Core, &Handle) -> R) -> Result<Option<R>> {
        match self.inner.get() {
            Some(inner) => inner.link.guarded(|core| f(core, &inner.handle)),
            None => Ok(None),
        }
    }

    /// Whether the connection is open and its server runs.
    fn is_open(&self) -> bool {
        self.inner.get().is_some_and(|inner| inner.handle.is_open() && inner.link.is_running())
    }
}

pub(crate) fn send(call: &Call) -> Result<bool> {
    call.arity(1, 2)?;
    let binary = call.bool(1, false)?;
    let Some(payload) = call.string(0)? else { return Ok(false) };
    if !binary && !zstr_is_utf8(payload) {
        return Err(errors::invalid_text());
    }
    let outcome = call.this::<Connection>().command(|core, to| core.send(to, payload.as_bytes(), binary))?;
    Ok(matches!(outcome, Some(SendOutcome::Sent)))
}

pub(crate) fn ping(call: &Call) -> Result<bool> {
    control(call, Core::ping)
}

pub(crate) fn pong(call: &Call) -> Result<bool> {
    control(call, Core::pong)
}

fn control(call: &Call, queue: fn(&Core, &Handle, &[u8]) -> bool) -> Result<bool> {
    call.arity(0, 1)?;
    let payload = call.string(0)?.map_or(&[][..], |s| s.as_bytes());
    if payload.len() > MOST_CONTROL {
        let message = format!("must be at most {MOST_CONTROL} bytes, {} given", payload.len());
        return Err(argument_value_error(0, &message));
    }
    let sent = call.this::<Connection>().command(|core, to| queue(core, to, payload))?;
    Ok(sent.unwrap_or(false))
}

pub(crate) fn close(call: &Call) -> Result<()> {
    call.arity(0, 2)?;
    let code = call.int(0, 1000)?;
    let reason = call.string(1)?;
    let code = match u16::try_from(code) {
        Ok(code) if Core::may_send_code(code) => code,
        _ => {
            let message = format!("must be 1000 to 1003, 1007 to 1014, or 3000 to 4999, {code} given");
            return Err(argument_value_error(0, &message));
        }
    };
    let reason = match reason.map(|s| s.as_str()) {
        None => "",
        Some(Ok(reason)) if reason.len() <= MOST_REASON => reason,
        Some(Ok(reason)) => {
            let message = format!("must be at most {MOST_REASON} bytes, {} given", reason.len());
            return Err(argument_value_error(1, &message));
        }
        Some(Err(_)) => return Err(argument_value_error(1, "must be valid UTF-8")),
    };
    call.this::<Connection>().command(|core, to| core.close(to, code, reason))?;
    Ok(())
}

pub(crate) fn terminate(call: &Call) -> Result<()> {
    call.arity(0, 0)?;
    call.this::<Connection>().command(Core::terminate)?;
    Ok(())
}

pub(crate) fn is_open(call: &Call) -> Result<bool> {
    call.arity(0, 0)?;
    Ok(call.this::<Connection>().is_open())
}

pub(crate) fn buffered_amount(call: &Call) -> Result<i64> {
    call.arity(0, 0)?;
    let connection = call.this::<Connection>();
    let bytes = connection.handle().filter(|_| connection.is_open()).map_or(0, Handle::buffered_amount);
    Ok(i64::try_from(bytes).unwrap_or(i64::MAX))
}
