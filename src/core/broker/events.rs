//! The driver's end of the queue of events to the host: bounded in events by the channel, and in
//! bytes here, because the largest message that a broker may send is a thousand times a usual one.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::{SendError, TrySendError};

use super::FromBroker;

/// Bytes that may wait for the host. A larger event waits until the queue is empty.
const BYTES: usize = 8 << 20;

/// Holds the only sender, so that the sizes tell what the channel holds.
#[derive(Debug)]
pub(super) struct Events<'a> {
    sender: &'a Sender<FromBroker>,
    /// Sizes of the events in the channel, the oldest first, and perhaps of some that were taken.
    sizes: RefCell<VecDeque<usize>>,
    /// Their sum.
    bytes: Cell<usize>,
}

impl<'a> Events<'a> {
    pub(super) fn new(sender: &'a Sender<FromBroker>) -> Self {
        Self { sender, sizes: RefCell::default(), bytes: Cell::default() }
    }

    /// Sends, or gives the event back when the queue has no room for it.
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
            // As many are free when the surplus has been taken.
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

    /// Number of events that the host must take before there are bytes for one of this size.
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

/// Bytes that an event holds.
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
    fn the_queue_is_full_in_bytes_until_the_host_takes_some() {
        let (sender, mut receiver) = channel(256);
        let events = Events::new(&sender);
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
        // What is small still fits.
        events.try_send(broadcast(1 << 10)).unwrap();
        // One that is larger than the bound goes alone.
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
