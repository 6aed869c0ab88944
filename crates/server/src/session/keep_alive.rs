//! Pings to a peer that is silent, and the end of one that does not answer.

use super::{Phase, Session};
use crate::context::ThreadContext;
use crate::context::log::PING_TIMEOUT;
use crate::metrics::counters::Counters;
use crate::net::progress::Progress;

impl Session {
    /// Once a tick: sends a ping when nothing was heard, ends the session when that did not help.
    pub(crate) fn keep_alive(&mut self, context: &mut ThreadContext, interval: u32, timeout: u32) {
        // While we don't read, we can't hear.
        let halted = self.is_paused() || self.place != 0 || self.stream.is_halted();
        if self.phase != Phase::Open || halted || context.is_full() {
            self.heard = context.tick;
            self.pinged = None;
            return;
        }
        let mut progress = self.progress;
        // The ping waits behind what the peer is taking.
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
                // Spread over a quarter of the interval, so that connections that came together
                // are not all pinged in the same tick.
                let early = (self.shared.id.0 % u64::from(interval / 4 + 1)) as u32;
                if context.tick.wrapping_sub(self.heard) >= interval - early {
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
