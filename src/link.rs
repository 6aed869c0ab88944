//! The state that a server shares with its connections and handshakes, and that outlives the server.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use ext_php_rs::types::Zval;
use sprocket_server::{Server as Core, Ticket};

use crate::by_id::ById;
use crate::errors;
use crate::zend::{Gc, Result, forks};

thread_local! {
    static RUNNING: Cell<usize> = const { Cell::new(0) };
}

/// Number of servers that run in this process, copies inherited by a fork included.
pub(crate) fn running() -> usize {
    RUNNING.get()
}

/// The one reference to the running core, and objects that wait for its events.
///
/// Connections hold this instead of the server object, which is thus destroyed when the script drops it,
/// even if the script keeps connections.
#[derive(Default)]
pub(crate) struct Link {
    core: RefCell<Option<Core>>,
    /// The value of [`forks`] at the start of the core.
    forks: Cell<u32>,
    /// Number of cores started so far.
    starts: Cell<u32>,
    /// Whether the pump is running: it flushes messages at the end of its turn.
    dispatching: Cell<bool>,
    /// Handshakes that wait for an answer.
    pub(crate) waiting: RefCell<HashMap<Ticket, std::rc::Rc<Cell<Answer>>>>,
    /// The arguments of `accept()`, until the connection is open.
    pub(crate) accepted: RefCell<HashMap<Ticket, Accepted>>,
    /// Open streamed responses that have a callback: objects of `Sprocket\ResponseStream` by ticket.
    pub(crate) streams: RefCell<ById<Zval>>,
}

/// The state of a handshake.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The client waits for the answer.
    Pending,
    /// Accepted or rejected.
    Given,
    /// The client went away, or `handshakeTimeout` has passed.
    Gone,
}

/// Values that an accepted handshake passes to its connection.
pub(crate) struct Accepted {
    /// A `Sprocket\Request`.
    pub(crate) request: Zval,
    pub(crate) data: Zval,
}

impl Link {
    /// Runs `f` on the core, which is borrowed meanwhile; no method of the core runs PHP code. `None` if
    /// the server does not run.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&Core) -> R) -> Option<R> {
        self.core.borrow().as_ref().map(f)
    }

    /// Like [`Link::with`], but throws in a fork.
    pub(crate) fn guarded<R>(&self, f: impl FnOnce(&Core) -> R) -> Result<Option<R>> {
        self.check_process()?;
        Ok(self.with(f))
    }

    /// Throws in a fork of the process that started the core.
    pub(crate) fn check_process(&self) -> Result<()> {
        if self.is_native() {
            return Ok(());
        }
        match self.with(Core::check_process) {
            Some(Err(error)) => Err(errors::fork(&error)),
            _ => Ok(()),
        }
    }

    /// Whether this is the process that started the core.
    pub(crate) fn is_native(&self) -> bool {
        self.forks.get() == forks()
    }

    /// Like [`Link::guarded`], then flushes, unless the pump is running and does so later.
    pub(crate) fn command<R>(&self, f: impl FnOnce(&Core) -> R) -> Result<Option<R>> {
        self.guarded(|core| {
            let result = f(core);
            if !self.dispatching.get() {
                core.flush();
            }
            result
        })
    }

    pub(crate) fn is_running(&self) -> bool {
        self.core.borrow().is_some()
    }

    pub(crate) fn attach(&self, core: Core) {
        self.forks.set(forks());
        self.starts.set(self.starts.get() + 1);
        RUNNING.set(RUNNING.get() + 1);
        self.core.replace(Some(core));
    }

    /// Takes the core out. The caller drops it, which joins the I/O threads.
    pub(crate) fn detach(&self) -> Option<Core> {
        let core = self.core.take();
        if core.is_some() {
            RUNNING.set(RUNNING.get().saturating_sub(1));
        }
        core
    }

    /// Number of the current core, by which handles of an earlier one are recognised.
    pub(crate) fn start(&self) -> u32 {
        self.starts.get()
    }

    pub(crate) fn is_dispatching(&self) -> bool {
        self.dispatching.get()
    }

    pub(crate) fn set_dispatching(&self, on: bool) {
        self.dispatching.set(on);
    }

    /// Forgets a handshake that was answered or whose client is gone. The caller drops the value while it
    /// holds no borrow.
    pub(crate) fn forget(&self, ticket: Ticket, answer: Answer) -> Option<Accepted> {
        if let Some(state) = self.waiting.borrow_mut().remove(&ticket) {
            state.set(answer);
        }
        self.accepted.borrow_mut().remove(&ticket)
    }

    pub(crate) fn visit(&self, gc: &mut Gc) {
        for accepted in self.accepted.borrow().values() {
            gc.add(&accepted.request);
            gc.add(&accepted.data);
        }
        for stream in self.streams.borrow().values() {
            gc.add(stream);
        }
    }
}
