//! The end of a server: in order, by another thread, or because an I/O thread has died.

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
    /// Accepts no more connections, closes all with 1001, and cuts after `grace` what is still
    /// there. Ends with [`Event::Stopped`].
    ///
    /// Until the end of `grace` events are handed out as always. After it only those are that a
    /// host needs for its own order: [`Event::Close`], also of connections whose `Open` was left out,
    /// [`Event::StreamClose`], [`Event::UpgradeGone`], lines for the log, and reports of failures. Messages that are left out count as
    /// undelivered. Called again, the earlier end counts.
    pub fn stop(&self, grace: Duration) {
        self.end(grace, Stopping::ForGood);
    }

    /// Stops likewise, where another process goes on with the same listening sockets: clients that
    /// have connected already may finish their handshakes within `grace`, so that none of them is
    /// refused; all are closed with 1001 and told that the server restarts.
    pub fn give_way(&self, grace: Duration) {
        self.end(grace, Stopping::Leaving);
    }

    fn end(&self, grace: Duration, why: Stopping) {
        let cut_at = clock::ahead(grace);
        self.cut_at.set(Some(self.cut_at.get().map_or(cut_at, |earlier| earlier.min(cut_at))));
        self.state.begin_stop(why);
        for thread in 0..self.state.mailboxes.len() {
            self.post(thread as u16, Command::Stop(grace, why));
        }
        self.flush();
    }

    /// A handle that begins the end of this server from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper::new(self.state.clone())
    }

    /// Checks that all I/O threads work. Where this is an error, no event comes any more: drop the
    /// server.
    ///
    /// # Errors
    /// One has died of a panic. The host is woken when that happens.
    pub fn check_threads(&self) -> Result<(), ThreadDied> {
        if self.state.died.load(Ordering::Acquire) { Err(ThreadDied) } else { Ok(()) }
    }

    /// Whether the grace period of a stop is over.
    pub(super) fn is_cut(&self) -> bool {
        self.cut_at.get().is_some_and(|at| at <= Instant::now())
    }

    /// After the grace period: what is still to be handed out. The rest is counted and dropped.
    #[cold]
    pub(super) fn after_cut(&self, item: Item) -> Option<Item> {
        match item {
            Item::Message { conn, payload, .. } => {
                let (taken, bytes) = (&self.state.taken, payload.len() as u64);
                taken.messages.add(1);
                taken.bytes.add(bytes);
                taken.undelivered.add(1);
                taken.undelivered_bytes.add(bytes);
                self.taken(&conn, payload.len());
                None
            }
            Item::Pong { conn, payload } => {
                self.taken(&conn, payload.len());
                None
            }
            // Whoever asked is told at once that no answer comes.
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
                Counters::one(&self.state.counters.refused_untold);
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
