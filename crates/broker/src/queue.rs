//! What waits to be published, and what the broker has not confirmed yet: in order, bounded in bytes.

use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::History;
use super::error::QueueFull;

/// What a publication costs beside its bytes.
const OVERHEAD: usize = 128;

/// To whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Topic(Box<str>),
    /// Every connection of every node.
    Everybody,
}

/// One publication.
#[derive(Debug)]
pub(super) struct Item {
    /// Its place among the publications of this node, from 1.
    pub(super) number: u64,
    pub(super) target: Target,
    pub(super) payload: Bytes,
    pub(super) binary: bool,
    /// To be stored, and how much of its topic.
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

    /// For reports.
    pub(super) fn topic(&self) -> &str {
        match &self.target {
            Target::Topic(name) => name,
            Target::Everybody => "",
        }
    }
}

/// Sent, and not confirmed.
#[derive(Debug)]
struct Sent {
    item: Arc<Item>,
    /// For the first time.
    at: Instant,
    /// On another connection before, which broke.
    again: bool,
    /// Confirmed, while one before it is not.
    done: bool,
}

/// Waiting ones behind sent ones.
#[derive(Debug)]
pub(super) struct Queue {
    limit: usize,
    bytes: usize,
    next: u64,
    /// With the time when it was sent on a connection that broke.
    waiting: VecDeque<(Arc<Item>, Option<Instant>)>,
    sent: VecDeque<Sent>,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, bytes: 0, next: 1, waiting: VecDeque::new(), sent: VecDeque::new() }
    }

    /// One that is larger than the whole queue is taken if nothing else is there.
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

    /// The next one to send, which may be one that was sent before.
    pub(super) fn peek(&self) -> Option<Arc<Item>> {
        self.waiting.front().map(|(item, _)| item.clone())
    }

    /// The next one is sent.
    pub(super) fn advance(&mut self) {
        if let Some((item, at)) = self.waiting.pop_front() {
            let again = at.is_some();
            self.sent.push_back(Sent { item, at: at.unwrap_or_else(Instant::now), again, done: false });
        }
    }

    /// The next one will never be sent. True: it was before, and may have been carried out.
    pub(super) fn discard(&mut self) -> bool {
        let Some((item, at)) = self.waiting.pop_front() else { return false };
        self.bytes -= item.size();
        at.is_some()
    }

    /// The broker has dealt with one that was sent. Gives it back if it wasn't known yet, and
    /// whether it was sent before, and may have been carried out then.
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

    /// The broker has dealt with all up to this one that are not to be stored. Gives back how many.
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

    /// The connection broke: what was not confirmed is to be sent again, first and in order. Gives
    /// back what can't, because its first attempt is too long ago for the broker to know it again.
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

    /// Bytes of all that is not confirmed.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Everything is confirmed.
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
    fn it_is_bounded_in_bytes_by_all_that_is_not_confirmed() {
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
    fn what_was_not_confirmed_is_sent_again_in_order() {
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
        // A broker that would not know the stored one again.
        let lost = queue.rewind(|item| item.history.as_ref().map(|_| Duration::ZERO));
        assert_eq!(lost.iter().map(|item| item.number).collect::<Vec<_>>(), [2]);
        // What was sent before may have been carried out then, whatever becomes of it now.
        push(&mut queue, "x", false).expect("room");
        assert!(queue.discard());
        assert_eq!(send(&mut queue), [6, 7]);
        let mut again = |number| queue.settle(number).expect("it is known").1;
        assert_eq!((again(6), again(7)), (true, false));
        assert!(queue.is_empty() && queue.bytes() == 0);
    }
}
