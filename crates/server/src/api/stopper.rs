//! A handle that stops a server from any thread.

use std::sync::Arc;
use std::time::Duration;

use crate::channel::mailbox::{Command, Stopping};
use crate::state::State;

/// Stops a server from any thread, for when its host may be too busy to call
/// [`Server::stop`](crate::Server::stop) itself.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<State>);

impl Stopper {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self(state)
    }

    /// Has the I/O threads stop as [`Server::stop`](crate::Server::stop) does. The host learns of it
    /// from the events that follow.
    pub fn stop(&self, grace: Duration) {
        self.0.begin_stop(Stopping::ForGood);
        for mailbox in &self.0.mailboxes {
            mailbox.post(Command::Stop(grace, Stopping::ForGood));
            mailbox.deliver();
        }
    }
}
