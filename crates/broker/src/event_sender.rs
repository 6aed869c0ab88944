//! The thread's end of the channel of events to the host. The channel bounds the number of events; this
//! type bounds their bytes, because the largest messages of a broker are a thousand times as long as
//! typical ones.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::{SendError, TrySendError};

use super::event::FromBroker;

/// Bytes that may wait for the host. A larger event waits until the channel is empty.
const BYTES: usize = 8 << 20;

/// The only sender of the channel, so that `sizes` describes its contents.
#[derive(Debug)]
pub(super) struct EventSender<'a> {
    sender: &'a Sender<FromBroker>,
    /// Sizes of the events in the channel, oldest first. Sizes of events that the host has taken stay
    /// at the front until `surplus` removes them.
    sizes: RefCell<VecDeque<usize>>,
    /// Sum of `sizes`.
    bytes: Cell<usize>,
}

impl<'a> EventSender<'a> {
    pub(super) fn new(sender: &'a Sender<FromBroker>) -> Self {
        Self { sender, sizes: RefCell::default(), bytes: Cell::default() }
    }

    /// Sends, or returns the event if there is no room for it.
    pub(super) fn try_send(&self, event: FromBroker) -> Result<(), TrySendError<FromBroker>> {
        let size = size(&event);
        if self.surplus(size) > 0 {
            return Err(TrySendError::Full(event));
        }
        self.sender.try_send(event)?;
        self.sent(size);
        Ok(())
    }

    /// Sends as soon as there is room.
    pub(super) async fn send(&self, event: FromBroker) -> Result<(), SendError<FromBroker>> {
        let size = size(&event);
        let surplus = self.surplus(size);
        if surplus > 0 {
            let rest = self.sizes.borrow().len() - surplus;
            // The channel has this many free places once the host has taken the surplus.
            let free = self.sender.reserve_many(self.sender.max_capacity() - rest).await;
            if free.is_err() {
                return Err(SendError(event));
            }
        }
        self.sender.send(event).await?;
        self.sent(size);
        Ok(())
    }

    /// Waits until the host has dropped the receiver.
    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }

    fn sent(&self, size: usize) {
        self.sizes.borrow_mut().push_back(size);
        self.bytes.set(self.bytes.get() + size);
    }

    /// Number of events that the host must take before one of this size fits.
    fn surplus(&self, size: usize) -> usize {
        let mut sizes = self.sizes.borrow_mut();
        let waiting = self.sender.max_capacity() - self.sender.capacity();
        while sizes.len() > waiting {
            let taken = sizes.pop_front().unwrap_or(0);
            self.bytes.set(self.bytes.get() - taken);
        }
        let mut bytes = self.bytes.get() + size;
        let surplus = |oldest: &&usize| {
            let exceeds = bytes > BYTES;
            bytes -= **oldest;
            exceeds
        };
        sizes.iter().take_while(surplus).count()
    }
}

/// Memory that an event occupies, in bytes.
fn size(event: &FromBroker) -> usize {
    let held = match event {
        FromBroker::Message { topic, payload, position, previous, .. } => {
            let place = |place: &Option<String>| place.as_ref().map_or(0, String::len);
            topic.len() + payload.len() + place(position) + place(previous)
        }
        FromBroker::Broadcast { payload, .. } | FromBroker::Control { payload, .. } => payload.len(),
        FromBroker::State { reason, .. } => reason.len(),
        FromBroker::Lost { topic, reason, .. } => topic.len() + reason.len(),
    };
    size_of::<FromBroker>() + held
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};
    use tokio::sync::mpsc::channel;

    fn broadcast(bytes: usize) -> FromBroker {
        FromBroker::Broadcast { payload: Bytes::from(vec![0; bytes]), binary: true }
    }

    #[test]
    fn events_are_bounded_in_bytes_until_the_host_takes_some() {
        let (sender, mut receiver) = channel(256);
        let events = EventSender::new(&sender);
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..7 {
            events.try_send(broadcast(1 << 20)).unwrap();
        }
        for _ in 0..20 {
            assert!(matches!(events.try_send(broadcast(1 << 20)), Err(TrySendError::Full(_))));
            let mut sending = pin!(events.send(broadcast(1 << 20)));
            assert!(sending.as_mut().poll(&mut cx).is_pending());
            receiver.try_recv().unwrap();
            assert!(sending.as_mut().poll(&mut cx).is_ready());
        }
        // A small one still fits.
        events.try_send(broadcast(1 << 10)).unwrap();
        // One that exceeds the bound by itself waits for an empty channel.
        let mut sending = pin!(events.send(broadcast(2 * BYTES)));
        for _ in 0..8 {
            assert!(sending.as_mut().poll(&mut cx).is_pending());
            receiver.try_recv().unwrap();
        }
        assert!(sending.as_mut().poll(&mut cx).is_ready());
        assert!(matches!(events.try_send(broadcast(0)), Err(TrySendError::Full(_))));
        receiver.try_recv().unwrap();
        events.try_send(broadcast(0)).unwrap();
        drop(receiver);
        assert!(matches!(events.try_send(broadcast(0)), Err(TrySendError::Closed(_))));
    }
}
