//! A handle by which any thread begins the end of a server.

use std::sync::Arc;
use std::time::Duration;

use crate::channel::mailbox::{Command, Stopping};
use crate::state::State;

/// Begins the end of a server from any thread, where its host may be too busy for it.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<State>);

impl Stopper {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self(state)
    }

    /// Does what [`Server::stop`](crate::Server::stop) does for the I/O threads. The host learns of it from the events
    /// that follow.
    pub fn stop(&self, grace: Duration) {
        self.0.begin_stop(Stopping::ForGood);
        for mailbox in &self.0.mailboxes {
            mailbox.post(Command::Stop(grace, Stopping::ForGood));
            mailbox.deliver();
        }
    }
}
