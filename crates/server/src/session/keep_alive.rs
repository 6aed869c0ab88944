//! Keep-alive: pings a silent peer, and ends the session of one that does not answer.

use super::{Phase, Session};
use crate::context::ThreadContext;
use crate::context::log::PING_TIMEOUT;
use crate::metrics::counters::Counters;
use crate::net::progress::Progress;

impl Session {
    /// Sends a ping if nothing has been received for `interval` ticks, and ends the session if nothing is
    /// received for `timeout` ticks after the ping. The thread calls this once per tick of its coarse
    /// clock.
    pub(crate) fn keep_alive(&mut self, context: &mut ThreadContext, interval: u32, timeout: u32) {
        // While the socket is not read, silence says nothing about the peer.
        let halted = self.is_paused() || self.place != 0 || self.stream.is_halted();
        if self.phase != Phase::Open || halted || context.is_full() {
            self.last_received = context.tick;
            self.pinged = None;
            return;
        }
        let mut progress = self.progress;
        // The ping is queued behind earlier frames: while the peer takes those, it has more time.
        if self.pinged.is_some() && progress.has_moved(|| self.sample(context)) {
            self.progress = progress;
            self.pinged = Some(context.tick);
        }
        match self.pinged {
            Some(at) if context.tick.wrapping_sub(at) >= timeout => {
                const REASON: &str = "ping timeout: nothing was received from the peer";
                Counters::one(&context.server.counters.ping_timeouts);
                context.log_close(&self.shared, PING_TIMEOUT, 1006, REASON);
                self.terminate(context, REASON);
            }
            Some(_) => {}
            None => {
                // Pings are spread over a quarter of the interval, so that connections opened together
                // are not all pinged in the same tick.
                let early = (self.shared.id.0 % u64::from(interval / 4 + 1)) as u32;
                if context.tick.wrapping_sub(self.last_received) >= interval - early {
                    self.pinged = Some(context.tick);
                    Counters::one(&context.server.counters.pings);
                    self.flood.allow(1);
                    self.push_counted(context.keep_alive_frame());
                    self.flush(context);
                    self.progress = Progress::begin(self.sample(context));
                }
            }
        }
    }
}
