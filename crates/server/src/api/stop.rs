//! The part of [`Server`] that stops it: in an orderly way, or because an I/O thread has died.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Server;
use super::stopper::Stopper;
use crate::channel::event::Event;
use crate::channel::mailbox::{Command, Item, Stopping};
use crate::clock;
use crate::error::ThreadDied;
use crate::metrics::counters::Counters;

impl Server {
    /// Stops accepting connections, closes all of them with code 1001, and cuts those that are still
    /// open after `grace`. [`Event::Stopped`] is the last event.
    ///
    /// Events are handed out as usual until the end of `grace`. Afterwards only those are that a host
    /// needs to clean up: [`Event::Close`] (also for connections whose `Open` was left out),
    /// [`Event::StreamClose`], [`Event::UpgradeGone`], lines for the log, and reports of failures.
    /// Messages that are left out count as undelivered. When called again, the earlier end applies.
    pub fn stop(&self, grace: Duration) {
        self.end(grace, Stopping::ForGood);
    }

    /// Stops as [`Server::stop`] does, for a server whose listening sockets another process continues
    /// to serve. Clients that are already connected may finish their handshakes within `grace`, so
    /// that none is refused; afterwards they are closed with code 1001 like all others.
    pub fn give_way(&self, grace: Duration) {
        self.end(grace, Stopping::Leaving);
    }

    fn end(&self, grace: Duration, why: Stopping) {
        let cut_at = clock::deadline_after(grace);
        self.cut_at.set(Some(self.cut_at.get().map_or(cut_at, |earlier| earlier.min(cut_at))));
        self.state.begin_stop(why);
        for thread in 0..self.state.mailboxes.len() {
            self.post(thread as u16, Command::Stop(grace, why));
        }
        self.flush();
    }

    /// A handle that stops this server from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper::new(self.state.clone())
    }

    /// Checks that all I/O threads are alive. After an error no more events arrive, and the host
    /// should drop the server.
    ///
    /// # Errors
    /// [`ThreadDied`] if a thread has panicked. The host is woken when that happens.
    pub fn check_threads(&self) -> Result<(), ThreadDied> {
        if self.state.died.load(Ordering::Acquire) { Err(ThreadDied) } else { Ok(()) }
    }

    /// Whether the grace period of a stop is over.
    pub(super) fn is_cut(&self) -> bool {
        self.cut_at.get().is_some_and(|at| at <= Instant::now())
    }

    /// Filters items after the grace period: returns those that the host still needs, and counts and
    /// drops the others.
    #[cold]
    pub(super) fn after_cut(&self, item: Item) -> Option<Item> {
        match item {
            Item::Message { conn, payload, .. } => {
                let (taken, bytes) = (&self.state.taken, payload.len() as u64);
                taken.messages.add(1);
                taken.bytes.add(bytes);
                taken.undelivered.add(1);
                taken.undelivered_bytes.add(bytes);
                self.return_credit(&conn, payload.len());
                None
            }
            Item::Pong { conn, payload } => {
                self.return_credit(&conn, payload.len());
                None
            }
            // Dropping the question answers the client at once with an error.
            Item::Upgrade { question, .. } => {
                drop(question.take());
                None
            }
            Item::Request { question, .. } => {
                drop(question.take());
                None
            }
            Item::Ending { .. } | Item::Presence => None,
            Item::Notice(notice) if matches!(notice.1, Event::Refused(_)) => {
                Counters::one(&self.state.counters.refused_unreported);
                None
            }
            Item::RequestGone { .. } | Item::Notice(_) | Item::Closed(_) => Some(item),
            Item::Plain(event) => match *event {
                Event::Open { .. }
                | Event::Drain { .. }
                | Event::StreamDrain { .. }
                | Event::Resumed { .. } => None,
                event => Some(Item::plain(event)),
            },
        }
    }
}
