//! The part of [`Server`] that waits for events: in a loop of the core, or in an event loop of the host.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::{Server, Wait};
use crate::channel::mailbox::Command;

impl Server {
    /// Flushes, then blocks until events are waiting, `timeout` has passed, or a signal arrives.
    /// `None` waits without limit.
    pub fn wait(&self, timeout: Option<Duration>) -> Wait {
        self.flush();
        if self.has_events() {
            return Wait::Ready;
        }
        self.reactor.recall();
        self.sleep(timeout)
    }

    /// Waits as [`Server::wait`] does. Under a moderate load, the calling thread meanwhile serves the
    /// connections itself, if the server has a single I/O thread: this saves waking one thread for
    /// the other. The I/O thread takes over when the host has not called again for two milliseconds.
    ///
    /// While the host serves connections, a `timeout` may end up to two milliseconds late, and
    /// [`Wait::Ready`] is returned after a signal.
    pub fn serve(&self, timeout: Option<Duration>) -> Wait {
        self.flush();
        if self.has_events() {
            return Wait::Ready;
        }
        if self.state.mailboxes.len() > 1 {
            return self.sleep(timeout);
        }
        if let Some(slept) = self.reactor.drive(&self.state.waker, timeout, || self.has_events()) {
            return slept.into();
        }
        self.reactor.offer();
        self.sleep(timeout)
    }

    fn sleep(&self, timeout: Option<Duration>) -> Wait {
        self.state.waker.sleep(timeout, || self.has_events()).into()
    }

    fn has_events(&self) -> bool {
        !self.batch.borrow().is_empty() || !self.lanes.borrow().is_empty() || !self.state.events.1.is_empty()
    }

    /// Announces that the host is about to sleep until [`Server::fd`] is readable. Returns `false` if
    /// events are waiting: the host must then not sleep (the descriptor is readable in this case,
    /// too).
    pub fn prepare_sleep(&self) -> bool {
        self.reactor.recall();
        let waker = &self.state.waker;
        waker.reset();
        waker.watch();
        if self.has_events() {
            waker.awake();
            waker.signal();
            return false;
        }
        true
    }

    /// The descriptor by which an event loop of the host (such as PHP's Revolt or React) waits for
    /// events. It is readable while events are waiting, once [`Server::prepare_sleep`] has been
    /// called after the last [`Server::next_event`]. The host must not read from it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.state.waker.fd()
    }

    /// Makes [`Server::fd`] readable at `when`, for a host that runs an event loop of its own and
    /// must wake it for its timers. Each call replaces the previous time; `None` removes it.
    pub fn notify_at(&self, when: Option<Instant>) {
        self.post(0, Command::NotifyAt(when));
        self.flush();
    }
}
