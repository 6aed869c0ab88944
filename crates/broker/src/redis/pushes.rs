//! Messages that a Redis server sends on its own, on their way from the library to the session.
//!
//! The library delivers them to a function that cannot wait, so the channel between the two is
//! unbounded. The socket bounds it instead: [`Bounded`](super::bounds::Bounded) reads for one turn,
//! and continues when the session has taken all messages of that turn.

use redis::PushInfo;
use redis::aio::{AsyncPushSender, SendError};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::bounds::Bounds;

/// A channel for the messages of the connection with these bounds.
pub(super) fn channel(bounds: Arc<Bounds>) -> (Sender, Pushes) {
    let (sender, receiver) = unbounded_channel();
    (Sender { sender, bounds: bounds.clone() }, Pushes { receiver, bounds })
}

/// The library's end.
#[derive(Debug)]
pub(super) struct Sender {
    sender: UnboundedSender<PushInfo>,
    bounds: Arc<Bounds>,
}

impl AsyncPushSender for Sender {
    fn send(&self, push: PushInfo) -> Result<(), SendError> {
        // The session takes messages from its first subscription on.
        if !self.bounds.is_subscriber() {
            return Ok(());
        }
        self.bounds.put();
        self.sender.send(push).map_err(|_| SendError)
    }
}

/// The session's end.
#[derive(Debug)]
pub(super) struct Pushes {
    receiver: UnboundedReceiver<PushInfo>,
    bounds: Arc<Bounds>,
}

impl Pushes {
    /// Accepts messages from now on.
    pub(super) fn begin(&self) {
        self.bounds.subscribe();
    }

    /// The next message; `None` if the connection has ended.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<PushInfo>> {
        let push = self.receiver.poll_recv(cx);
        if matches!(push, Poll::Ready(Some(_))) {
            self.bounds.taken();
        }
        push
    }
}
