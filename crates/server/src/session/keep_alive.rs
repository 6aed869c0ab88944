//! Pings to a peer that is silent, and the end of one that does not answer.

use super::{Phase, Session};
use crate::context::Env;
use crate::context::log::PING_TIMEOUT;
use crate::metrics::counters::Counters;
use crate::net::progress::Progress;

impl Session {
    /// Once a tick: sends a ping when nothing was heard, ends the session when that did not help.
    pub(crate) fn keep_alive(&mut self, env: &mut Env, interval: u32, timeout: u32) {
        // While we don't read, we can't hear.
        let halted = self.is_paused() || self.place != 0 || self.stream.is_halted();
        if self.phase != Phase::Open || halted || env.is_full() {
            self.heard = env.tick;
            self.pinged = None;
            return;
        }
        let mut progress = self.progress;
        // The ping waits behind what the peer is taking.
        if self.pinged.is_some() && progress.has_moved(|| self.sample(env)) {
            self.progress = progress;
            self.pinged = Some(env.tick);
        }
        match self.pinged {
            Some(at) if env.tick.wrapping_sub(at) >= timeout => {
                const REASON: &str = "ping timeout: nothing was received from the peer";
                Counters::one(&env.server.counters.ping_timeouts);
                env.log_close(&self.shared, PING_TIMEOUT, 1006, REASON);
                self.terminate(env, REASON);
            }
            Some(_) => {}
            None => {
                // Spread over a quarter of the interval, so that connections that came together
                // are not all pinged in the same tick.
                let early = (self.shared.id.0 % u64::from(interval / 4 + 1)) as u32;
                if env.tick.wrapping_sub(self.heard) >= interval - early {
                    self.pinged = Some(env.tick);
                    Counters::one(&env.server.counters.pings);
                    self.flood.allow(1);
                    self.push_counted(env.keep_alive_frame());
                    self.flush(env);
                    self.progress = Progress::begin(self.sample(env));
                }
            }
        }
    }
}
