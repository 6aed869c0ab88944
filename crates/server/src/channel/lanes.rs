//! The order in which the host takes batches of items: fair queueing in two lanes.
//!
//! A peer may have hundreds of messages waiting for the host. If all items waited in one queue, a few such
//! peers would hold up the single messages of everybody else by the time that the host takes for all of
//! theirs. The items of such connections therefore wait in a bulk lane, all others in a sparse lane, and the
//! host takes batches of the two lanes alternately. However many messages are in the bulk lane, a batch in
//! the sparse lane waits for one batch of them, and neither lane can starve the other.
//!
//! A session chooses the lane for each message ([`Lane::with_waiting`]). All batches pass through one
//! channel, so that items of one connection keep their order when the connection changes from the sparse
//! lane to the bulk lane; it changes back only when none of its messages waits.

use crossbeam_channel::{Receiver, Sender};
use std::collections::VecDeque;

use crate::channel::item::Item;

/// Number of waiting batches for which the bulk lane keeps memory.
const KEPT: usize = 64;

/// Number of messages of one connection that may wait in the sparse lane. A connection that answers each
/// message, or has a window of 16 messages in flight, never leaves that lane.
const SPARSE: u64 = 16;

/// The lane in which items wait for the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Items of connections with few of them, and those that belong to no connection.
    #[default]
    Sparse,
    /// Items of connections that have many of them waiting.
    Bulk,
}

impl Lane {
    /// Returns the lane for the next message of a connection whose last message was in this lane, and of
    /// which `waiting` messages wait for the host.
    #[inline(always)]
    pub(crate) fn with_waiting(self, waiting: u64) -> Self {
        match waiting {
            0 => Self::Sparse,
            1..SPARSE => self,
            _ => Self::Bulk,
        }
    }
}

/// Items that an I/O thread passes to the host together.
#[derive(Debug, Default)]
pub(crate) struct EventBatch {
    pub(crate) items: Vec<Item>,
    /// The lane in which they wait.
    pub(crate) lane: Lane,
    /// Total size of the items, released from the backlog when the host has processed the batch. If a
    /// thread publishes batches in both lanes together, that of the bulk lane accounts for both.
    pub(crate) bytes: u64,
}

/// The channel by which batches reach the host.
pub(crate) type Events = (Sender<EventBatch>, Receiver<EventBatch>);

/// The host's side of the channel: receives batches, and returns those of the two lanes in turn.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    /// Received batches of the bulk lane. The channel itself holds those of the sparse lane.
    bulk: VecDeque<EventBatch>,
    /// The last batch was a sparse one, so it is the turn of the bulk lane.
    bulk_is_next: bool,
}

impl Lanes {
    /// Returns the next batch; `None` if none is waiting.
    pub(crate) fn next(&mut self, events: &Receiver<EventBatch>) -> Option<EventBatch> {
        if std::mem::take(&mut self.bulk_is_next)
            && let Some(batch) = self.next_bulk()
        {
            return Some(batch);
        }
        while let Ok(batch) = events.try_recv() {
            if batch.lane == Lane::Sparse {
                self.bulk_is_next = true;
                return Some(batch);
            }
            self.bulk.push_back(batch);
        }
        self.next_bulk()
    }

    fn next_bulk(&mut self) -> Option<EventBatch> {
        let batch = self.bulk.pop_front();
        if self.bulk.is_empty() && self.bulk.capacity() > KEPT {
            self.bulk = VecDeque::new();
        }
        batch
    }

    /// Whether no batch waits here; others may wait in the channel.
    pub(crate) fn is_empty(&self) -> bool {
        self.bulk.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::unbounded;

    /// Returns the order in which the host takes batches that were sent in this order; `bytes` tells
    /// them apart.
    fn order(sent: &[(Lane, u64)]) -> Vec<u64> {
        let (sender, receiver) = unbounded();
        for &(lane, bytes) in sent {
            sender.send(EventBatch { items: Vec::new(), lane, bytes }).unwrap();
        }
        let mut lanes = Lanes::default();
        let order = std::iter::from_fn(|| lanes.next(&receiver)).map(|batch| batch.bytes).collect();
        assert!(lanes.is_empty() && receiver.is_empty());
        order
    }

    #[test]
    fn the_lanes_take_turns_and_each_keeps_its_order() {
        use Lane::{Bulk, Sparse};
        assert_eq!(order(&[(Bulk, 1), (Bulk, 2), (Bulk, 3), (Sparse, 4), (Sparse, 5)]), [4, 1, 5, 2, 3]);
        assert_eq!(order(&[(Sparse, 1), (Sparse, 2), (Sparse, 3), (Bulk, 4)]), [1, 2, 3, 4]);
        assert_eq!(order(&[(Sparse, 1), (Bulk, 2), (Sparse, 3), (Bulk, 4)]), [1, 3, 2, 4]);
    }

    #[test]
    fn a_connection_is_in_the_bulk_lane_from_many_waiting_messages_until_none_waits() {
        let mut lane = Lane::default();
        let lanes = [0, 1, SPARSE - 1, SPARSE, SPARSE - 1, 1, 0, 1].map(|waiting| {
            lane = lane.with_waiting(waiting);
            lane == Lane::Bulk
        });
        assert_eq!(lanes, [false, false, false, true, true, true, false, false]);
    }

    #[test]
    fn memory_returns_when_the_bulk_lane_is_empty() {
        let (sender, receiver) = unbounded();
        for _ in 0..4 * KEPT {
            sender.send(EventBatch { lane: Lane::Bulk, ..EventBatch::default() }).unwrap();
        }
        let mut lanes = Lanes::default();
        while lanes.next(&receiver).is_some() {}
        assert!(lanes.bulk.capacity() <= KEPT);
    }
}
