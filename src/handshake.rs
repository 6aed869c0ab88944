//! `Sprocket\Handshake`.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use ext_php_rs::types::Zval;
use sprocket_server::{Decision, Ticket};

use crate::convert;
use crate::errors;
use crate::link::{Accepted, Answer, Link};
use crate::request::Request;
use crate::response;
use crate::zend::{Call, ClassCell, Native, Owned, Prop, Result, Type, argument_value_error};

static HANDSHAKE: ClassCell = ClassCell::new();

/// The pending handshake behind an object.
#[derive(Default)]
pub(crate) struct Handshake {
    inner: OnceCell<HandshakeState>,
}

struct HandshakeState {
    ticket: Ticket,
    link: Rc<Link>,
    /// Shared with the link, which is notified when the client goes away.
    answer: Rc<Cell<Answer>>,
}

/// Number of the declared property.
const REQUEST: usize = 0;

/// The declared properties, by number.
pub(crate) const PROPS: [Prop; 1] = [Prop::readonly(c"request", Type::class(c"Sprocket\\Request"))];

impl Native for Handshake {
    fn class() -> &'static ClassCell {
        &HANDSHAKE
    }

    fn unconstructed() -> Self {
        Self::default()
    }
}

impl Handshake {
    pub(crate) fn create(ticket: Ticket, link: Rc<Link>, request: &Owned<Request>) -> Owned<Self> {
        let object = Owned::<Self>::create();
        object.init_prop(REQUEST, request.value());
        let answer = Rc::new(Cell::new(Answer::Pending));
        link.waiting.borrow_mut().insert(ticket, Rc::clone(&answer));
        let _ = object.get().inner.set(HandshakeState { ticket, link, answer });
        object
    }

    /// Answers with 500 unless the handshake was answered.
    pub(crate) fn fail(&self) {
        if let Some(inner) = self.inner.get() {
            inner.fail();
        }
    }
}

impl HandshakeState {
    fn fail(&self) {
        if self.answer.get() != Answer::Pending || !self.link.is_native() {
            return;
        }
        drop(self.link.forget(self.ticket, Answer::Given));
        // Fails only in a fork, which was excluded above. `None` means that the server has ended.
        let _ = self.link.command(|core| core.decide(self.ticket, Decision::Reject(response::failure())));
    }

    /// Answers the handshake. Returns false if that is too late.
    fn answer(&self, decision: Decision, accepted: Option<Accepted>) -> Result<bool> {
        match self.answer.get() {
            Answer::Given => return Err(errors::state("This handshake has already been answered")),
            Answer::Gone => return Ok(false),
            Answer::Pending => {}
        }
        self.link.check_process()?;
        drop(self.link.forget(self.ticket, Answer::Given));
        if let Some(accepted) = accepted {
            self.link.accepted.borrow_mut().insert(self.ticket, accepted);
        }
        if self.link.command(|core| core.decide(self.ticket, decision))? == Some(true) {
            return Ok(true);
        }
        drop(self.link.forget(self.ticket, Answer::Gone));
        self.answer.set(Answer::Gone);
        Ok(false)
    }
}

/// An unanswered handshake that is dropped must not keep its client waiting until `handshakeTimeout`.
impl Drop for Handshake {
    fn drop(&mut self) {
        self.fail();
    }
}

pub(crate) fn accept(call: &Call) -> Result<bool> {
    call.arity(0, 3)?;
    let this = call.this_object::<Handshake>();
    let Some(request) = Owned::<Request>::from_value(&this.prop(REQUEST)) else { return Ok(false) };
    let subprotocol = match call.string_or_null(0)? {
        None => None,
        Some(name) => {
            let offered = request
                .get()
                .head()
                .and_then(|h| h.subprotocols().find(|s| s.as_bytes() == name.as_bytes()).map(str::to_owned));
            if offered.is_none() {
                return Err(argument_value_error(
                    0,
                    "must be one of the subprotocols that the client offers",
                ));
            }
            offered
        }
    };
    let headers = convert::headers(1, call.array(1)?)?;
    for ours in ["Connection", "Sec-WebSocket-Protocol"] {
        if headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(ours)) {
            let why = format!("must have valid headers: header {ours} is set by the server");
            return Err(argument_value_error(1, &why));
        }
    }
    let data = call.value(2).map_or_else(Zval::null, Zval::shallow_clone);
    match this.get().inner.get() {
        Some(inner) => inner.answer(
            Decision::Accept { subprotocol, headers },
            Some(Accepted { request: request.value(), data }),
        ),
        None => Ok(false),
    }
}

pub(crate) fn reject(call: &Call) -> Result<bool> {
    let response = response::rejection(call)?;
    match call.this::<Handshake>().inner.get() {
        Some(inner) => inner.answer(Decision::Reject(response), None),
        None => Ok(false),
    }
}

pub(crate) fn is_pending(call: &Call) -> Result<bool> {
    call.arity(0, 0)?;
    let pending = |inner: &HandshakeState| inner.answer.get() == Answer::Pending && inner.link.is_running();
    Ok(call.this::<Handshake>().inner.get().is_some_and(pending))
}
