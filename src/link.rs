//! What a server shares with its connections and handshakes, and they keep beyond its end.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use ext_php_rs::types::Zval;
use sprocket_core::{Server as Core, Ticket};

use crate::by_id::ById;
use crate::errors;
use crate::zend::{Gc, Result, forks};

thread_local! {
    static RUNNING: Cell<usize> = const { Cell::new(0) };
}

/// How many servers run in this process, or in the one that it was forked from, each with threads.
pub(crate) fn running() -> usize {
    RUNNING.get()
}

/// The one reference to the running core, and what waits for its events.
///
/// Connections hold this and not the server object: it must be destroyed when its last user lets
/// go, whatever connections are kept.
#[derive(Default)]
pub(crate) struct Link {
    core: RefCell<Option<Core>>,
    /// [`forks`] when the core was started.
    forks: Cell<u32>,
    /// How often a core was started.
    starts: Cell<u32>,
    /// A batch of callbacks is running: what they send is flushed at its end.
    dispatching: Cell<bool>,
    /// Handshakes that wait for an answer.
    pub(crate) waiting: RefCell<HashMap<Ticket, std::rc::Rc<Cell<Answer>>>>,
    /// What `accept()` was given, until the connection is open.
    pub(crate) accepted: RefCell<HashMap<Ticket, Accepted>>,
    /// Streamed responses that have a callback and have not closed, by the number of their ticket.
    /// Each a `Sprocket\ResponseStream`.
    pub(crate) streams: RefCell<ById<Zval>>,
}

/// Where a handshake stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The client waits.
    Pending,
    /// Accepted or rejected.
    Given,
    /// The client went away, or the time was up.
    Gone,
}

/// What an accepted handshake leaves to its connection.
pub(crate) struct Accepted {
    /// A `Sprocket\Request`.
    pub(crate) request: Zval,
    pub(crate) data: Zval,
}

impl Link {
    /// Runs `f` on the core; `None` if it doesn't run. `f` must not run PHP code: no method of
    /// the core does.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&Core) -> R) -> Option<R> {
        self.core.borrow().as_ref().map(f)
    }

    /// The same behind the fork guard.
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

    /// Whether no fork lies between the start and now.
    pub(crate) fn is_native(&self) -> bool {
        self.forks.get() == forks()
    }

    /// Guarded, and hands the command to the I/O threads at once unless a batch is running.
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

    /// Takes the core out, to be dropped by the caller: that joins the I/O threads.
    pub(crate) fn detach(&self) -> Option<Core> {
        let core = self.core.take();
        if core.is_some() {
            RUNNING.set(RUNNING.get().saturating_sub(1));
        }
        core
    }

    /// Tells the handles of one core from those of another, started after it.
    pub(crate) fn start(&self) -> u32 {
        self.starts.get()
    }

    pub(crate) fn is_dispatching(&self) -> bool {
        self.dispatching.get()
    }

    pub(crate) fn set_dispatching(&self, on: bool) {
        self.dispatching.set(on);
    }

    /// A handshake is void or answered: forgets it. Its value, if any, is for the caller to drop,
    /// with no borrow held.
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
