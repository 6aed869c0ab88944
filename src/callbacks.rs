//! The callbacks of a server, one of each kind.

use std::cell::RefCell;

use sprocket_server::{Handler, Interest};

use crate::zend::{Callback, Gc};

/// The occasions on which callbacks run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    Upgrade,
    Open,
    Message,
    Close,
    Drain,
    Pong,
    Request,
    Error,
    /// The server listens.
    Start,
    WorkerStart,
    WorkerStop,
    Resume,
    Presence,
    Broker,
    Refused,
    /// The logger of the options: one log line.
    Log,
}

impl Hook {
    pub(crate) const ALL: [Hook; 16] = [
        Hook::Upgrade,
        Hook::Open,
        Hook::Message,
        Hook::Close,
        Hook::Drain,
        Hook::Pong,
        Hook::Request,
        Hook::Error,
        Hook::Start,
        Hook::WorkerStart,
        Hook::WorkerStop,
        Hook::Resume,
        Hook::Presence,
        Hook::Broker,
        Hook::Refused,
        Hook::Log,
    ];

    /// The interest that makes the core send this kind of event; `None` for kinds that it always sends.
    pub(crate) fn interest(self) -> Option<Interest> {
        match self {
            Hook::Upgrade => Some(Interest::UPGRADE),
            Hook::Drain => Some(Interest::DRAIN),
            Hook::Pong => Some(Interest::PONG),
            Hook::Request => Some(Interest::REQUEST),
            Hook::Resume => Some(Interest::RESUME),
            Hook::Presence => Some(Interest::PRESENCE),
            Hook::Broker => Some(Interest::BROKER),
            Hook::Refused => Some(Interest::REFUSED),
            Hook::Log => Some(Interest::LOG),
            Hook::Open | Hook::Message | Hook::Close | Hook::Error => None,
            Hook::Start | Hook::WorkerStart | Hook::WorkerStop => None,
        }
    }

    /// The kind under which the callback's time is counted. Time in onError counts as part of the callback
    /// that failed.
    pub(crate) fn handler(self) -> Option<Handler> {
        match self {
            Hook::Upgrade => Some(Handler::Upgrade),
            Hook::Open => Some(Handler::Open),
            Hook::Message => Some(Handler::Message),
            Hook::Close => Some(Handler::Close),
            Hook::Drain => Some(Handler::Drain),
            Hook::Pong => Some(Handler::Pong),
            Hook::Request => Some(Handler::Request),
            Hook::Resume => Some(Handler::Resume),
            Hook::Presence => Some(Handler::Presence),
            Hook::Broker => Some(Handler::Broker),
            Hook::Refused => Some(Handler::Refused),
            Hook::Log => Some(Handler::Log),
            Hook::Error | Hook::Start | Hook::WorkerStart | Hook::WorkerStop => None,
        }
    }
}

/// One slot for each [`Hook`].
#[derive(Default)]
pub(crate) struct Callbacks {
    slots: RefCell<[Option<Callback>; Hook::ALL.len()]>,
}

impl Callbacks {
    /// Returns the previous callback. The caller drops it while it holds no borrow, because that may run
    /// destructors.
    pub(crate) fn set(&self, hook: Hook, callback: Option<Callback>) -> Option<Callback> {
        std::mem::replace(&mut self.slots.borrow_mut()[hook as usize], callback)
    }

    /// A reference to the callback, which survives that the callback replaces itself.
    pub(crate) fn get(&self, hook: Hook) -> Option<Callback> {
        self.slots.borrow()[hook as usize].as_ref().map(Callback::share)
    }

    pub(crate) fn has(&self, hook: Hook) -> bool {
        self.slots.borrow()[hook as usize].is_some()
    }

    pub(crate) fn visit(&self, gc: &mut Gc) {
        for callback in self.slots.borrow().iter().flatten() {
            gc.add(callback.value());
        }
    }
}
