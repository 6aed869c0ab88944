//! The stop of the server on one I/O thread: a grace period in which connections close, after which the
//! remaining ones are cut.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Io, Vital, with};
use crate::channel::event::Event;
use crate::channel::lanes::Lane;
use crate::channel::mailbox::{Item, Stopping};
use crate::clock;

impl Io {
    /// Wakes the host at `when`, in place of any earlier request; `None` only cancels that.
    pub(super) fn notify_at(&mut self, when: Option<Instant>) {
        if let Some(alarm) = self.alarm.take() {
            alarm.abort();
        }
        let Some(when) = when else { return };
        let state = self.context.server.clone();
        let alarm = tokio::spawn(async move {
            tokio::time::sleep_until(when.into()).await;
            state.waker.signal();
        });
        self.alarm = Some(alarm.abort_handle());
    }

    /// Stops accepting, closes all sessions with 1001, and cuts what is left after `grace`. If it is called
    /// again, the earlier of the two deadlines applies.
    pub(super) fn stop(&mut self, grace: Duration, why: Stopping) {
        // Sent even if the value is true already: tasks that continue during a leave must check again
        // whether this stop is for good.
        self.stop.send_replace(true);
        let deadline = tokio::time::Instant::from_std(clock::deadline_after(grace));
        if let Some((earlier, waiting)) = &self.stopping {
            if *earlier <= deadline {
                return;
            }
            waiting.abort();
        }
        for accepting in self.accepting.drain(..) {
            accepting.abort();
        }
        for session in self.sessions.iter_mut().flatten() {
            session.going_away(&mut self.context, why, grace / 2);
        }
        let ended = self.context.ended.clone();
        let waiting = tokio::spawn(async move {
            let _vital = Vital;
            let all = async {
                while with(|io| io.context.live + io.context.unwritten + io.http + io.answering > 0)
                    == Some(true)
                {
                    ended.notified().await;
                }
            };
            let _ = tokio::time::timeout_at(deadline, all).await;
            with(Io::finish);
        });
        self.stopping = Some((deadline, waiting.abort_handle()));
    }

    /// Cuts the connections and streams that remain after the grace period. The last thread to finish
    /// emits the `Stopped` event.
    fn finish(&mut self) {
        self.context.server.notices.cut.fetch_add(self.context.live as u64, Ordering::Relaxed);
        for session in self.sessions.iter_mut().flatten() {
            session.terminate(&mut self.context, "the server stopped before the peer answered");
        }
        self.cut_streams();
        self.context.publish();
        if !std::mem::replace(&mut self.finished, true)
            && self.context.server.working.fetch_sub(1, Ordering::AcqRel) == 1
        {
            self.context.log_stopped();
            // Behind the ends of all connections, in whichever lane they are.
            self.context.emit_in(Lane::Bulk, Item::plain(Event::Stopped));
            self.context.publish();
        }
    }
}
