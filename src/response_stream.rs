//! `Sprocket\ResponseStream`.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use ext_php_rs::types::Zval;
use sprocket_server::{Response as Head, ResponseStream as Handle, SendOutcome, Server as Core, Ticket};

use crate::link::Link;
use crate::zend::{Call, Callback, ClassCell, Gc, Native, Owned, Prop, Result, This, Type};

static RESPONSE_STREAM: ClassCell = ClassCell::new();

/// A response whose body PHP writes in pieces.
#[derive(Default)]
pub(crate) struct ResponseStream {
    inner: OnceCell<StreamState>,
    on_drain: RefCell<Option<Callback>>,
    on_close: RefCell<Option<Callback>>,
}

struct StreamState {
    /// `None` if the server had ended.
    handle: Option<Handle>,
    link: Rc<Link>,
    /// Number of the core that the handle belongs to, see [`Link::start`].
    start: u32,
}

/// Number of the declared property.
const REQUEST: usize = 0;

/// The declared properties, by number.
pub(crate) const PROPS: [Prop; 1] = [Prop::readonly(c"request", Type::class(c"Sprocket\\Request"))];

impl Native for ResponseStream {
    fn class() -> &'static ClassCell {
        &RESPONSE_STREAM
    }

    fn unconstructed() -> Self {
        Self::default()
    }

    fn visit(&self, gc: &mut Gc) {
        for callback in [&self.on_drain, &self.on_close] {
            if let Some(callback) = &*callback.borrow() {
                gc.add(callback.value());
            }
        }
    }
}

/// A stream that is dropped open is cut: its body must not look complete, nor its client wait.
impl Drop for ResponseStream {
    fn drop(&mut self) {
        self.terminate();
    }
}

impl ResponseStream {
    /// Begins the response to `request`, a `Sprocket\Request` that was not answered.
    pub(crate) fn begin(ticket: Ticket, head: Head, link: Rc<Link>, request: Zval) -> Result<Owned<Self>> {
        let handle = link.command(|core| core.stream(ticket, head))?;
        let object = Owned::<Self>::create();
        object.init_prop(REQUEST, request);
        let start = link.start();
        let _ = object.get().inner.set(StreamState { handle, link, start });
        Ok(object)
    }

    /// Gives the core a command. `None` if the server has ended.
    fn command<R>(&self, f: impl FnOnce(&Core, &Handle) -> R) -> Result<Option<R>> {
        match self.inner.get() {
            Some(StreamState { handle: Some(handle), link, start }) if link.start() == *start => {
                link.command(|core| f(core, handle))
            }
            _ => Ok(None),
        }
    }

    /// Cuts the response if it is open, except in a fork.
    pub(crate) fn terminate(&self) {
        if self.own_handle().is_some_and(Handle::is_open) {
            // Fails only in a fork, which was excluded above. `None` means that the server has ended.
            let _ = self.command(Core::cut_stream);
        }
    }

    /// The handle; `None` in a fork, where an I/O thread may have left its lock taken.
    fn own_handle(&self) -> Option<&Handle> {
        self.inner.get().filter(|inner| inner.link.is_native()).and_then(|inner| inner.handle.as_ref())
    }

    pub(crate) fn drain_callback(&self) -> Option<Callback> {
        self.on_drain.borrow().as_ref().map(Callback::share)
    }

    /// Takes both callbacks out after the last event. The caller drops them.
    pub(crate) fn take_callbacks(&self) -> (Option<Callback>, Option<Callback>) {
        (self.on_drain.take(), self.on_close.take())
    }

    /// Has the link keep a stream that has a callback, until the stream has closed.
    fn keep(object: &Owned<Self>) {
        let this = object.get();
        let Some(StreamState { handle: Some(handle), link, start }) = this.inner.get() else { return };
        let id = handle.ticket().0;
        let drain = this.on_drain.borrow().is_some();
        if link.is_native() {
            handle.want_drain(drain);
        }
        let wanted = drain || this.on_close.borrow().is_some();
        if !wanted {
            let kept = link.streams.borrow_mut().remove(&id);
            drop(kept);
        } else if link.is_running() && link.start() == *start && !handle.is_closed() {
            let before = link.streams.borrow_mut().insert(id, object.value());
            drop(before);
        }
    }
}

pub(crate) fn write(call: &Call) -> Result<bool> {
    call.arity(1, 1)?;
    let Some(data) = call.string(0)? else { return Ok(false) };
    let outcome = call.this::<ResponseStream>().command(|core, to| core.write_stream(to, data.as_bytes()))?;
    Ok(outcome == Some(SendOutcome::Sent))
}

pub(crate) fn end(call: &Call) -> Result<bool> {
    call.arity(0, 1)?;
    let data = call.string(0)?.map_or(&[][..], |s| s.as_bytes());
    let ended = call
        .this::<ResponseStream>()
        .command(|core, to| core.write_stream(to, data) == SendOutcome::Sent && core.end_stream(to))?;
    Ok(ended == Some(true))
}

pub(crate) fn terminate(call: &Call) -> Result<()> {
    call.arity(0, 0)?;
    call.this::<ResponseStream>().command(Core::cut_stream)?;
    Ok(())
}

pub(crate) fn on_drain(call: &Call) -> Result<This> {
    set(call, |stream| &stream.on_drain)
}

pub(crate) fn on_close(call: &Call) -> Result<This> {
    set(call, |stream| &stream.on_close)
}

fn set(call: &Call, slot: fn(&ResponseStream) -> &RefCell<Option<Callback>>) -> Result<This> {
    call.arity(1, 1)?;
    let callback = call.callback_or_null(0)?;
    let stream = call.this_object::<ResponseStream>();
    let before = slot(stream.get()).replace(callback);
    ResponseStream::keep(&stream);
    drop(before);
    Ok(This)
}

pub(crate) fn is_open(call: &Call) -> Result<bool> {
    call.arity(0, 0)?;
    let stream = call.this::<ResponseStream>();
    let served = stream.inner.get().is_some_and(|i| i.link.is_running() && i.link.start() == i.start);
    Ok(served && stream.own_handle().is_some_and(Handle::is_open))
}

pub(crate) fn buffered_amount(call: &Call) -> Result<i64> {
    call.arity(0, 0)?;
    let bytes = call.this::<ResponseStream>().own_handle().map_or(0, Handle::buffered_amount);
    Ok(i64::try_from(bytes).unwrap_or(i64::MAX))
}
