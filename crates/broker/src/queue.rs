//! The queue of publications: those that wait to be sent, and those that the broker has not confirmed
//! yet. It keeps their order and is bounded in bytes.

use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::History;
use super::error::QueueFull;

/// Bytes counted for each publication in addition to its topic and payload.
const OVERHEAD: usize = 128;

/// The recipients of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Topic(Box<str>),
    /// Every connection of every other node.
    Everybody,
}

/// A publication.
#[derive(Debug)]
pub(super) struct Item {
    /// Sequence number among the publications of this node, starting at 1.
    pub(super) number: u64,
    pub(super) target: Target,
    pub(super) payload: Bytes,
    pub(super) binary: bool,
    /// The limits of the topic's history, if the publication is to be stored.
    pub(super) history: Option<History>,
}

impl Item {
    fn size(&self) -> usize {
        let name = match &self.target {
            Target::Topic(name) => name.len(),
            Target::Everybody => 0,
        };
        OVERHEAD + name + self.payload.len()
    }

    /// The topic, for reports; empty for a broadcast.
    pub(super) fn topic(&self) -> &str {
        match &self.target {
            Target::Topic(name) => name,
            Target::Everybody => "",
        }
    }
}

/// A publication that was sent and is not confirmed.
#[derive(Debug)]
struct Sent {
    item: Arc<Item>,
    /// When it was sent for the first time.
    at: Instant,
    /// Whether it was already sent on an earlier connection that broke.
    again: bool,
    /// Whether it is confirmed although an earlier one is not.
    done: bool,
}

/// The publications of a node: `sent` ones first, then `waiting` ones.
#[derive(Debug)]
pub(super) struct Queue {
    limit: usize,
    bytes: usize,
    next: u64,
    /// Publications to send, each with the time of its first attempt if it was sent on a connection that
    /// broke.
    waiting: VecDeque<(Arc<Item>, Option<Instant>)>,
    sent: VecDeque<Sent>,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, bytes: 0, next: 1, waiting: VecDeque::new(), sent: VecDeque::new() }
    }

    /// Appends a publication. One that exceeds the limit by itself is accepted if the queue is empty.
    pub(super) fn push(
        &mut self,
        target: Target,
        payload: Bytes,
        binary: bool,
        history: Option<History>,
    ) -> Result<(), QueueFull> {
        let item = Arc::new(Item { number: self.next, target, payload, binary, history });
        if self.bytes + item.size() > self.limit && self.bytes > 0 {
            return Err(QueueFull { queued: self.bytes, limit: self.limit });
        }
        self.next += 1;
        self.bytes += item.size();
        self.waiting.push_back((item, None));
        Ok(())
    }

    /// The next publication to send, which may be a repetition.
    pub(super) fn peek(&self) -> Option<Arc<Item>> {
        self.waiting.front().map(|(item, _)| item.clone())
    }

    /// Moves the next publication to those that were sent.
    pub(super) fn advance(&mut self) {
        if let Some((item, at)) = self.waiting.pop_front() {
            let again = at.is_some();
            self.sent.push_back(Sent { item, at: at.unwrap_or_else(Instant::now), again, done: false });
        }
    }

    /// Removes the next publication, which cannot be sent. Returns whether it was sent before, on a
    /// connection that broke, and may have been carried out then.
    pub(super) fn discard(&mut self) -> bool {
        let Some((item, at)) = self.waiting.pop_front() else { return false };
        self.bytes -= item.size();
        at.is_some()
    }

    /// Removes a publication that the broker has answered. Returns it, unless it was answered before,
    /// and whether it is a repetition, whose first attempt may have been carried out.
    pub(super) fn settle(&mut self, number: u64) -> Option<(Arc<Item>, bool)> {
        let at = self.sent.binary_search_by_key(&number, |sent| sent.item.number).ok()?;
        let sent = &mut self.sent[at];
        if sent.done {
            return None;
        }
        sent.done = true;
        let settled = (sent.item.clone(), sent.again);
        self.bytes -= settled.0.size();
        while self.sent.front().is_some_and(|sent| sent.done) {
            self.sent.pop_front();
        }
        Some(settled)
    }

    /// Removes all publications up to this number, except those to be stored, because the broker has
    /// carried them out. Returns how many of them were not confirmed before.
    pub(super) fn settle_to(&mut self, number: u64) -> u64 {
        let mut count = 0;
        for sent in self.sent.iter_mut().take_while(|sent| sent.item.number <= number) {
            if !sent.done && sent.item.history.is_none() {
                sent.done = true;
                self.bytes -= sent.item.size();
                count += 1;
            }
        }
        while self.sent.front().is_some_and(|sent| sent.done) {
            self.sent.pop_front();
        }
        count
    }

    /// Moves unconfirmed publications back to the front, in their order, after the connection broke.
    /// Removes and returns those that cannot be repeated: their first attempt is longer ago than
    /// `known`, the time for which the broker recognizes a repetition.
    pub(super) fn rewind(&mut self, known: impl Fn(&Item) -> Option<Duration>) -> Vec<Arc<Item>> {
        let mut lost = Vec::new();
        while let Some(sent) = self.sent.pop_back() {
            if sent.done {
                continue;
            }
            self.waiting.push_front((sent.item, Some(sent.at)));
        }
        self.waiting.retain(|(item, at)| {
            let late = at.is_some_and(|at| known(item).is_some_and(|known| at.elapsed() >= known));
            if late {
                self.bytes -= item.size();
                lost.push(item.clone());
            }
            !late
        });
        lost
    }

    /// Size of all unconfirmed publications in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether every publication is confirmed.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.sent.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(queue: &mut Queue, payload: &'static str, history: bool) -> Result<(), QueueFull> {
        let target = Target::Topic("t".into());
        queue.push(target, payload.into(), false, history.then(History::default))
    }

    fn send(queue: &mut Queue) -> Vec<u64> {
        let mut numbers = Vec::new();
        while let Some(item) = queue.peek() {
            numbers.push(item.number);
            queue.advance();
        }
        numbers
    }

    #[test]
    fn unconfirmed_publications_are_bounded_in_bytes() {
        let mut queue = Queue::new(2 * (OVERHEAD + 4));
        push(&mut queue, "abc", false).expect("room");
        push(&mut queue, "abc", false).expect("room");
        let full = QueueFull { queued: 2 * (OVERHEAD + 4), limit: 2 * (OVERHEAD + 4) };
        assert_eq!(push(&mut queue, "", false), Err(full.clone()));
        assert_eq!(send(&mut queue), [1, 2]);
        assert_eq!(push(&mut queue, "", false), Err(full));
        assert!(queue.settle(2).is_some());
        assert!(queue.settle(2).is_none());
        push(&mut queue, "abc", false).expect("room");
        assert_eq!(send(&mut queue), [3]);
        assert!(queue.settle(1).is_some() && queue.settle(3).is_some() && queue.settle(4).is_none());
        assert!(queue.is_empty() && queue.bytes() == 0);
        let long = "x".repeat(1000).leak();
        push(&mut queue, long, false).expect("it is alone");
        assert!(push(&mut queue, "", false).is_err());
        queue.discard();
        assert!(queue.is_empty() && queue.bytes() == 0);
    }

    #[test]
    fn unconfirmed_publications_are_sent_again_in_order() {
        let mut queue = Queue::new(10_000);
        for stored in [false, true, false, true, false, false] {
            push(&mut queue, "x", stored).expect("room");
        }
        for _ in 0..5 {
            queue.advance();
        }
        assert_eq!(queue.settle_to(3), 2);
        assert!(queue.settle(4).is_some_and(|(_, again)| !again));
        assert!(queue.rewind(|_| None).is_empty());
        assert_eq!(send(&mut queue), [2, 5, 6]);
        // The broker would not recognize the stored publication any more.
        let lost = queue.rewind(|item| item.history.as_ref().map(|_| Duration::ZERO));
        assert_eq!(lost.iter().map(|item| item.number).collect::<Vec<_>>(), [2]);
        // A publication that was sent before may have been carried out, even if it is discarded now.
        push(&mut queue, "x", false).expect("room");
        assert!(queue.discard());
        assert_eq!(send(&mut queue), [6, 7]);
        let mut again = |number| queue.settle(number).expect("it is known").1;
        assert_eq!((again(6), again(7)), (true, false));
        assert!(queue.is_empty() && queue.bytes() == 0);
    }
}
