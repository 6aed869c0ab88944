//! What topics remember, in the memory of the hub.

use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::bus::seam::Replay;
use crate::config::History;
use crate::patterns::fits;

/// Bytes of all topics together. Beyond, those go that were used the longest time ago.
const MEMORY: usize = 256 << 20;
/// Counted for a topic and for an entry beside what they hold.
const TOPIC: usize = 256;
const ENTRY: usize = 64;

/// The history of a topic of this name, if it has one: the first that fits counts.
pub(crate) fn limits_of<'a>(history: &'a [(String, History)], topic: &str) -> Option<&'a History> {
    history.iter().find(|(pattern, _)| fits(pattern, topic)).map(|(_, limits)| limits)
}

/// A payload with its position where it wants to have it.
pub(crate) fn stamped(limits: &History, payload: &Bytes, binary: bool, position: &str) -> Bytes {
    let stamp = limits.stamp.as_deref().unwrap_or_default().as_bytes();
    if binary || stamp.is_empty() || payload.len() < stamp.len() {
        return payload.clone();
    }
    match payload.windows(stamp.len()).position(|bytes| bytes == stamp) {
        None => payload.clone(),
        Some(at) => [&payload[..at], position.as_bytes(), &payload[at + stamp.len()..]].concat().into(),
    }
}

/// The number in a position, if it is one of this epoch.
pub(crate) fn offset(position: &str, epoch: &str) -> Option<u64> {
    let digits = position.strip_prefix(epoch)?.strip_prefix('-')?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// The histories of all topics.
#[derive(Debug)]
pub(crate) struct Store {
    /// Makes the epochs of one start of a hub differ from those of any other.
    base: u64,
    /// Topics begun so far: one that comes again has an epoch of its own.
    begun: u64,
    logs: HashMap<String, Log>,
    bytes: usize,
    memory: usize,
}

#[derive(Debug)]
struct Log {
    epoch: String,
    /// Offset of the newest publication, 0 before the first.
    last: u64,
    entries: VecDeque<Entry>,
    /// Payload bytes of the entries.
    bytes: usize,
    used: Instant,
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    payload: Bytes,
    binary: bool,
}

impl Log {
    fn position(&self, offset: u64) -> String {
        format!("{}-{offset}", self.epoch)
    }

    /// Drops what exceeds the limits. Returns the bytes that this frees.
    fn trim(&mut self, limits: &History, now: Instant) -> usize {
        let mut freed = 0;
        while let Some(oldest) = self.entries.front() {
            let expired = limits.seconds.is_some_and(|time| now.saturating_duration_since(oldest.at) >= time);
            if !expired && self.entries.len() <= limits.messages && self.bytes <= limits.bytes {
                break;
            }
            self.bytes -= oldest.payload.len();
            freed += oldest.payload.len() + ENTRY;
            self.entries.pop_front();
        }
        if self.entries.capacity() > 64 && self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
        freed
    }
}

impl Store {
    pub(crate) fn new(base: u64) -> Self {
        Self { base, begun: 0, logs: HashMap::new(), bytes: 0, memory: MEMORY }
    }

    /// Topics, and bytes in all.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.logs.len(), self.bytes)
    }

    /// Keeps a publication. Returns its position and the payload as it is to be delivered.
    pub(crate) fn append(
        &mut self,
        topic: &str,
        limits: &History,
        payload: &Bytes,
        binary: bool,
        now: Instant,
    ) -> (String, Bytes) {
        let log = self.log(topic, now);
        log.last += 1;
        let position = log.position(log.last);
        let payload = stamped(limits, payload, binary, &position);
        log.entries.push_back(Entry { at: now, payload: payload.clone(), binary });
        log.bytes += payload.len();
        let freed = log.trim(limits, now);
        self.bytes += payload.len() + ENTRY;
        self.bytes -= freed;
        if self.bytes > self.memory {
            self.evict();
        }
        (position, payload)
    }

    /// What was published after `position`.
    pub(crate) fn replay(&mut self, topic: &str, limits: &History, position: &str, now: Instant) -> Replay {
        let log = self.log(topic, now);
        let freed = log.trim(limits, now);
        let newest = log.position(log.last);
        let oldest = log.last - log.entries.len() as u64;
        let from = match position {
            "" => Some(log.last),
            position => offset(position, &log.epoch).filter(|n| (oldest..=log.last).contains(n)),
        };
        let mut replay =
            Replay { complete: from.is_some(), entries: Vec::new(), position: newest, failed: false };
        if let Some(from) = from {
            let missed = log.entries.iter().skip((from - oldest) as usize);
            replay.entries = missed
                .zip(from + 1..)
                .map(|(entry, n)| (log.position(n), entry.payload.clone(), entry.binary))
                .collect();
        }
        self.bytes -= freed;
        replay
    }

    fn log(&mut self, topic: &str, now: Instant) -> &mut Log {
        if !self.logs.contains_key(topic) {
            let epoch = format!("{:x}", self.base.wrapping_add(self.begun));
            self.begun += 1;
            self.bytes += topic.len() + TOPIC;
            let log = Log { epoch, last: 0, entries: VecDeque::new(), bytes: 0, used: now };
            self.logs.insert(topic.to_owned(), log);
        }
        let Some(log) = self.logs.get_mut(topic) else { unreachable!("it was put there") };
        log.used = now;
        log
    }

    /// Drops what is too old, and topics that hold nothing and were not used for as long. To be
    /// called now and then.
    pub(crate) fn sweep(&mut self, history: &[(String, History)], now: Instant) {
        /// So that a position which was given out a moment ago is known.
        const LEAST: Duration = Duration::from_secs(60);
        let bytes = &mut self.bytes;
        self.logs.retain(|topic, log| {
            let Some(limits) = limits_of(history, topic) else { return false };
            *bytes -= log.trim(limits, now);
            let idle = limits.seconds.unwrap_or(Duration::MAX).max(LEAST);
            let keep = !log.entries.is_empty() || now.saturating_duration_since(log.used) < idle;
            if !keep {
                *bytes -= topic.len() + TOPIC;
            }
            keep
        });
    }

    /// Makes room: an eighth at once, so that this is rare.
    fn evict(&mut self) {
        let mut by_use: Vec<_> = self.logs.iter().map(|(topic, log)| (log.used, topic.clone())).collect();
        by_use.sort_unstable();
        // The newest one is in use.
        by_use.pop();
        for (_, topic) in by_use {
            if self.bytes <= self.memory / 8 * 7 {
                return;
            }
            if let Some(log) = self.logs.remove(&topic) {
                self.bytes -= topic.len() + TOPIC + log.bytes + log.entries.len() * ENTRY;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(messages: usize, seconds: u64, bytes: usize) -> History {
        History { messages, seconds: Some(Duration::from_secs(seconds)), bytes, stamp: Some("%p%".into()) }
    }

    fn texts(replay: &Replay) -> Vec<&str> {
        replay.entries.iter().map(|(_, payload, _)| std::str::from_utf8(payload).unwrap()).collect()
    }

    #[test]
    fn what_was_missed_comes_in_order_or_not_at_all() {
        let (mut store, now, limits) = (Store::new(9), Instant::now(), limits(3, 60, 1000));
        let start = store.replay("t", &limits, "", now);
        assert!(start.complete && start.entries.is_empty());
        let mut positions = vec![start.position];
        for i in 1..=3 {
            positions.push(store.append("t", &limits, &format!("{i}").into(), false, now).0);
        }
        for (from, expected) in [(0, &["1", "2", "3"][..]), (1, &["2", "3"]), (2, &["3"]), (3, &[])] {
            let replay = store.replay("t", &limits, &positions[from], now);
            assert!(replay.complete, "{from}");
            assert_eq!(texts(&replay), expected);
            assert_eq!(replay.position, positions[3]);
            assert!(replay.entries.iter().zip(&positions[from + 1..]).all(|(entry, p)| entry.0 == *p));
        }
        // One more, and the first is gone.
        store.append("t", &limits, &"4".into(), false, now);
        assert!(!store.replay("t", &limits, &positions[0], now).complete);
        assert_eq!(texts(&store.replay("t", &limits, &positions[1], now)), ["2", "3", "4"]);
        for unknown in ["x-1", "9-5", "9-", "9--1", "9-+1", "-", "9", "9-99999999999999999999999"] {
            let replay = store.replay("t", &limits, unknown, now);
            assert!(!replay.complete && replay.entries.is_empty(), "{unknown}");
        }
        // A hub that was started anew knows nothing of it.
        assert!(!Store::new(10).replay("t", &limits, &positions[3], now).complete);
    }

    #[test]
    fn time_and_bytes_are_limits_and_idle_topics_go() {
        let (mut store, now) = (Store::new(1), Instant::now());
        let history = vec![("t.*".to_owned(), limits(100, 300, 10))];
        let limits = limits_of(&history, "t.1").unwrap();
        assert!(limits_of(&history, "t").is_none());
        for _ in 0..5 {
            store.append("t.1", limits, &"1234".into(), false, now);
        }
        assert_eq!(store.replay("t.1", limits, "1-3", now).entries.len(), 2);
        assert!(!store.replay("t.1", limits, "1-2", now).complete);
        // One that is too large for the whole history is delivered, and not kept.
        let (position, _) = store.append("t.1", limits, &"more than ten".into(), false, now);
        assert!(store.replay("t.1", limits, &position, now).complete);
        assert!(!store.replay("t.1", limits, "1-5", now).complete);
        store.append("t.1", limits, &"new".into(), false, now);
        let later = now + Duration::from_secs(299);
        store.sweep(&history, later);
        assert_eq!(store.size().0, 1);
        store.sweep(&history, later + Duration::from_secs(2));
        assert_eq!(store.size(), (0, 0));
        // It begins anew, and does not take the old positions for its own.
        let (position, _) = store.append("t.1", limits, &"x".into(), false, later);
        assert_eq!(position, "2-1");
        assert!(!store.replay("t.1", limits, "1-0", later).complete);
    }

    #[test]
    fn memory_is_bounded_over_all_topics() {
        let mut store = Store { memory: 10_000, ..Store::new(1) };
        let limits = limits(10, 60, 1000);
        let start = Instant::now();
        for i in 0..200 {
            let now = start + Duration::from_millis(i);
            store.append(&format!("t{i}"), &limits, &Bytes::from(vec![b'x'; 500]), false, now);
            assert!(store.size().1 <= 10_000);
        }
        assert!(store.logs.contains_key("t199") && store.logs.contains_key("t195"));
        assert!(!store.logs.contains_key("t0"));
        let sum: usize = store
            .logs
            .iter()
            .map(|(t, l)| t.len() + TOPIC + l.entries.iter().map(|e| e.payload.len() + ENTRY).sum::<usize>())
            .sum();
        assert_eq!(sum, store.bytes);
    }

    #[test]
    fn the_first_stamp_of_a_text_is_replaced() {
        let limits = limits(1, 1, 1);
        let stamp = |payload: &str, binary| stamped(&limits, &payload.to_owned().into(), binary, "e-12");
        assert_eq!(stamp("a%p%b%p%", false), "ae-12b%p%");
        assert_eq!(stamp("%p%", false), "e-12");
        assert_eq!(stamp("%p", false), "%p");
        assert_eq!(stamp("a%p%", true), "a%p%");
        let without = History { stamp: None, ..limits.clone() };
        assert_eq!(stamped(&without, &"%p%".into(), false, "e-12"), "%p%");
    }
}
