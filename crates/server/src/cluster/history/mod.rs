//! Histories of topics, in the memory of a hub without a broker. (With a broker, its store keeps them,
//! and `sequence` puts the publications that arrive from it in order.)
//!
//! A position is the text `epoch-offset`. The offset counts the publications of a topic; the epoch is
//! new whenever the topic's history starts over, so that an old position is never mistaken for a new
//! one.

pub(crate) mod sequence;

use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::mem::size_of;
use std::time::{Duration, Instant};

use crate::config::History;
use sprocket_broker::{Replay, ReplayEntry};
use sprocket_protocol::topic::fits;

/// Limit in bytes for all topics together, overhead included. Above it topics
/// without publications are dropped, then the least recently used ones.
const MEMORY: usize = 256 << 20;
/// Overhead in bytes of a topic: its slots in the hash table, which is up to half empty and exists
/// twice while it grows, and the allocations of its name and epoch.
const TOPIC: usize = 3 * size_of::<(String, Log)>() + 64;
/// Overhead in bytes of a payload: the header and rounding of its allocation, and the reference
/// counter of [`Bytes`].
const PAYLOAD: usize = 24 + 32;

/// Memory of a payload, in bytes.
fn cost_of(payload: &Bytes) -> usize {
    payload.len() + PAYLOAD
}

/// The limits of a topic's history, from the first pattern that matches its name; `None` for a topic
/// without history.
pub(crate) fn limits_of<'a>(history: &'a [(String, History)], topic: &str) -> Option<&'a History> {
    history.iter().find(|(pattern, _)| fits(pattern, topic)).map(|(_, limits)| limits)
}

/// Replaces the first occurrence of the configured placeholder ([`History::stamp`]) in a text payload
/// by the position of the publication.
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

/// The offset in a position, if the position is valid and of this epoch.
pub(crate) fn offset(position: &str, epoch: &str) -> Option<u64> {
    let digits = position.strip_prefix(epoch)?.strip_prefix('-')?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// The histories of all topics, held by the hub.
#[derive(Debug)]
pub(crate) struct Store {
    /// First epoch, a random number of this start of the hub.
    base: u64,
    /// Number of logs created so far, added to `base` for the next epoch. A topic that was dropped
    /// and returns therefore gets a new epoch.
    begun: u64,
    logs: HashMap<String, Log>,
    /// Memory of all logs in bytes, overhead included.
    bytes: usize,
    /// Limit for `bytes`: [`MEMORY`], except in tests.
    memory: usize,
}

/// The history of one topic.
#[derive(Debug)]
struct Log {
    epoch: String,
    /// Offset of the newest publication, 0 before the first.
    last: u64,
    /// Stored publications with consecutive offsets, the newest last.
    entries: VecDeque<StoredPublication>,
    /// Payload bytes of the entries.
    bytes: usize,
    /// When the topic was last published to or resumed.
    used: Instant,
}

/// Rank in the order of eviction: topics without publications come first, then those that were used
/// least recently. Clients whose requests create topics therefore cannot displace publications.
type Rank = (bool, Instant);

/// A stored publication.
#[derive(Debug)]
struct StoredPublication {
    /// When it was published.
    at: Instant,
    payload: Bytes,
    binary: bool,
}

impl Log {
    fn position(&self, offset: u64) -> String {
        format!("{}-{offset}", self.epoch)
    }

    /// Memory of the entries in bytes, including unused capacity.
    fn cost(&self) -> usize {
        self.bytes + self.entries.len() * PAYLOAD + self.entries.capacity() * size_of::<StoredPublication>()
    }

    /// Drops the oldest entries that exceed the topic's limits.
    fn trim(&mut self, limits: &History, now: Instant) {
        while let Some(oldest) = self.entries.front() {
            let expired = limits.seconds.is_some_and(|time| now.saturating_duration_since(oldest.at) >= time);
            if !expired && self.entries.len() <= limits.messages && self.bytes <= limits.bytes {
                break;
            }
            self.drop_oldest();
        }
        self.shrink();
    }

    /// Drops the oldest entries until the rest needs at most `most` bytes.
    fn trim_to(&mut self, most: usize) {
        while self.cost() > most && !self.entries.is_empty() {
            let excess = self.cost() - most;
            let mut freed = 0;
            while freed < excess
                && let Some(oldest) = self.drop_oldest()
            {
                freed += cost_of(&oldest.payload) + size_of::<StoredPublication>();
            }
            self.entries.shrink_to_fit();
        }
    }

    fn rank(&self) -> Rank {
        (!self.entries.is_empty(), self.used)
    }

    fn drop_oldest(&mut self) -> Option<StoredPublication> {
        let oldest = self.entries.pop_front()?;
        self.bytes -= oldest.payload.len();
        Some(oldest)
    }

    /// Frees unused capacity once less than a quarter is in use.
    fn shrink(&mut self) {
        if self.entries.capacity() > 64 && self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }
}

impl Store {
    pub(crate) fn new(base: u64) -> Self {
        Self { base, begun: 0, logs: HashMap::new(), bytes: 0, memory: MEMORY }
    }

    /// Number of topics, and memory in bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.logs.len(), self.bytes)
    }

    /// Stores a publication. Returns its position, and the payload to deliver, stamped with it.
    pub(crate) fn append(
        &mut self,
        topic: &str,
        limits: &History,
        payload: &Bytes,
        binary: bool,
        now: Instant,
    ) -> (String, Bytes) {
        let log = self.log(topic, now);
        let before = log.cost();
        log.last += 1;
        let position = log.position(log.last);
        let payload = stamped(limits, payload, binary, &position);
        log.entries.push_back(StoredPublication { at: now, payload: payload.clone(), binary });
        log.bytes += payload.len();
        log.trim(limits, now);
        let after = log.cost();
        self.bytes = self.bytes + after - before;
        if self.bytes > self.memory {
            self.evict(topic);
        }
        (position, payload)
    }

    /// Returns the publications of a topic after `position`; none for the empty position, which asks
    /// for the current one. The replay is incomplete if the position is invalid, of another epoch, or
    /// older than the oldest stored publication.
    pub(crate) fn replay(&mut self, topic: &str, limits: &History, position: &str, now: Instant) -> Replay {
        let log = self.log(topic, now);
        let before = log.cost();
        log.trim(limits, now);
        let freed = before - log.cost();
        let newest = log.position(log.last);
        let oldest = log.last - log.entries.len() as u64;
        let from = match position {
            "" => Some(log.last),
            position => offset(position, &log.epoch).filter(|n| (oldest..=log.last).contains(n)),
        };
        let mut replay = Replay { complete: from.is_some(), position: newest, ..Replay::default() };
        if let Some(from) = from {
            let missed = log.entries.iter().skip((from - oldest) as usize);
            replay.entries = missed
                .zip(from + 1..)
                .map(|(entry, n)| ReplayEntry {
                    position: log.position(n),
                    payload: entry.payload.clone(),
                    binary: entry.binary,
                })
                .collect();
        }
        self.bytes -= freed;
        // The request may have created the topic.
        if self.bytes > self.memory {
            self.evict(topic);
        }
        replay
    }

    /// The log of a topic, created if necessary, and marked as used.
    fn log(&mut self, topic: &str, now: Instant) -> &mut Log {
        if !self.logs.contains_key(topic) {
            let epoch = format!("{:x}", self.base.wrapping_add(self.begun));
            self.begun += 1;
            self.bytes += topic.len() + TOPIC;
            let log = Log { epoch, last: 0, entries: VecDeque::new(), bytes: 0, used: now };
            self.logs.insert(topic.to_owned(), log);
        }
        let Some(log) = self.logs.get_mut(topic) else { unreachable!("the log was just inserted") };
        log.used = now;
        log
    }

    /// Drops expired publications, and empty topics that were not used for the time that publications
    /// are kept. The hub calls it every few seconds.
    pub(crate) fn sweep(&mut self, history: &[(String, History)], now: Instant) {
        /// Minimum idle time of a topic, so that positions sent to clients a moment ago stay valid.
        const LEAST: Duration = Duration::from_secs(60);
        let bytes = &mut self.bytes;
        self.logs.retain(|topic, log| {
            let Some(limits) = limits_of(history, topic) else { return false };
            let before = log.cost();
            log.trim(limits, now);
            *bytes -= before - log.cost();
            let idle = limits.seconds.unwrap_or(Duration::MAX).max(LEAST);
            let keep = !log.entries.is_empty() || now.saturating_duration_since(log.used) < idle;
            if !keep {
                *bytes -= topic.len() + TOPIC + log.cost();
            }
            keep
        });
    }

    /// Frees an eighth of the memory limit, so that evictions are rare: drops topics in the order of
    /// [`Rank`], but never `used`, which only loses its oldest entries if it alone exceeds the limit.
    fn evict(&mut self, used: &str) {
        let target = self.memory / 8 * 7;
        let cost = |topic: &str, log: &Log| topic.len() + TOPIC + log.cost();
        let others = self.logs.iter().filter(|(topic, _)| *topic != used);
        let mut ranked: Vec<(Rank, usize)> =
            others.map(|(topic, log)| (log.rank(), cost(topic, log))).collect();
        ranked.sort_unstable();
        let mut left = self.bytes;
        let last = ranked.into_iter().find(|(_, cost)| {
            left -= cost;
            left <= target
        });
        // If even dropping all other topics is not enough, `last` is `None` and all of them are dropped.
        let evicted = |log: &Log| last.is_none_or(|(rank, _)| log.rank() <= rank);
        let bytes = &mut self.bytes;
        self.logs.retain(|topic, log| {
            let keep = topic == used || !evicted(log);
            if !keep {
                *bytes -= cost(topic, log);
            }
            keep
        });
        if *bytes > target
            && let Some(log) = self.logs.get_mut(used)
        {
            let before = log.cost();
            log.trim_to(target.saturating_sub(*bytes - before));
            *bytes -= before - log.cost();
        }
        self.logs.shrink_to(self.logs.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(messages: usize, seconds: u64, bytes: usize) -> History {
        History { messages, seconds: Some(Duration::from_secs(seconds)), bytes, stamp: Some("%p%".into()) }
    }

    fn texts(replay: &Replay) -> Vec<&str> {
        replay.entries.iter().map(|entry| std::str::from_utf8(&entry.payload).unwrap()).collect()
    }

    #[test]
    fn a_replay_is_complete_and_in_order_or_empty() {
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
            assert!(replay.entries.iter().zip(&positions[from + 1..]).all(|(entry, p)| entry.position == *p));
        }
        // A fourth publication displaces the first.
        store.append("t", &limits, &"4".into(), false, now);
        assert!(!store.replay("t", &limits, &positions[0], now).complete);
        assert_eq!(texts(&store.replay("t", &limits, &positions[1], now)), ["2", "3", "4"]);
        for unknown in ["x-1", "9-5", "9-", "9--1", "9-+1", "-", "9", "9-99999999999999999999999"] {
            let replay = store.replay("t", &limits, unknown, now);
            assert!(!replay.complete && replay.entries.is_empty(), "{unknown}");
        }
        // A restarted hub rejects positions of the previous one.
        assert!(!Store::new(10).replay("t", &limits, &positions[3], now).complete);
    }

    #[test]
    fn time_and_byte_limits_hold_and_idle_topics_are_dropped() {
        let (mut store, now) = (Store::new(1), Instant::now());
        let history = vec![("t.*".to_owned(), limits(100, 300, 10))];
        let limits = limits_of(&history, "t.1").unwrap();
        assert!(limits_of(&history, "t").is_none());
        for _ in 0..5 {
            store.append("t.1", limits, &"1234".into(), false, now);
        }
        assert_eq!(store.replay("t.1", limits, "1-3", now).entries.len(), 2);
        assert!(!store.replay("t.1", limits, "1-2", now).complete);
        // A publication larger than the byte limit gets a position but is not stored.
        let (position, _) = store.append("t.1", limits, &"more than ten".into(), false, now);
        assert!(store.replay("t.1", limits, &position, now).complete);
        assert!(!store.replay("t.1", limits, "1-5", now).complete);
        store.append("t.1", limits, &"new".into(), false, now);
        let later = now + Duration::from_secs(299);
        store.sweep(&history, later);
        assert_eq!(store.size().0, 1);
        store.sweep(&history, later + Duration::from_secs(2));
        assert_eq!(store.size(), (0, 0));
        // The returning topic has a new epoch and rejects positions of the old one.
        let (position, _) = store.append("t.1", limits, &"x".into(), false, later);
        assert_eq!(position, "2-1");
        assert!(!store.replay("t.1", limits, "1-0", later).complete);
    }

    fn cost(store: &Store) -> usize {
        store.logs.iter().map(|(topic, log)| topic.len() + TOPIC + log.cost()).sum()
    }

    #[test]
    fn memory_is_bounded_over_all_topics() {
        let mut store = Store { memory: 20_000, ..Store::new(1) };
        let limits = limits(10, 60, 1000);
        let start = Instant::now();
        for i in 0..200 {
            let now = start + Duration::from_millis(i);
            store.append(&format!("t{i}"), &limits, &Bytes::from(vec![b'x'; 500]), false, now);
            assert!(store.size().1 <= 20_000);
        }
        assert!(store.logs.contains_key("t199") && store.logs.contains_key("t195"));
        assert!(!store.logs.contains_key("t0"));
        assert_eq!(cost(&store), store.bytes);
    }

    #[test]
    fn requests_for_topics_without_publications_neither_exceed_the_memory_nor_displace_publications() {
        let mut store = Store { memory: 20_000, ..Store::new(1) };
        let limits = History { seconds: None, ..limits(10, 0, 1000) };
        let start = Instant::now();
        let (position, _) = store.append("news", &limits, &"1".into(), false, start);
        for i in 0..200 {
            let now = start + Duration::from_millis(i);
            assert!(store.replay(&format!("t{i}"), &limits, "", now).complete);
            assert!(store.size().1 <= 20_000, "{:?}", store.size());
        }
        assert_eq!(cost(&store), store.bytes);
        assert!(store.logs.contains_key("t199") && !store.logs.contains_key("t0"));
        assert!(store.replay("news", &limits, &position, start).complete);
    }

    #[test]
    fn a_single_topic_stays_within_the_memory_limit_and_keeps_its_newest_entries() {
        let mut store = Store { memory: 100_000, ..Store::new(1) };
        let (limits, now) = (limits(1_000_000, 60, 1 << 30), Instant::now());
        for i in 1..=5_000 {
            store.append("t", &limits, &format!("{i}").into(), false, now);
            assert!(store.size().1 <= 100_000);
            assert_eq!(cost(&store), store.bytes);
        }
        assert!(store.replay("t", &limits, "1-4900", now).complete);
        assert!(!store.replay("t", &limits, "1-1", now).complete);
    }

    /// Runs an ignored test by its name in a process of its own, so that allocations of other tests
    /// are not measured.
    #[cfg(target_os = "linux")]
    fn alone(name: &str) {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let output = command.args(["--exact", name, "--ignored", "--nocapture"]).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_counted_memory_matches_that_of_the_process() {
        alone("cluster::history::tests::measured_many_entries");
        alone("cluster::history::tests::measured_many_topics");
    }

    #[cfg(target_os = "linux")]
    fn measure(mut fill: impl FnMut(&mut Store, u64)) {
        let memory = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
        };
        const LIMIT: usize = 16 << 20;
        let mut store = Store { memory: LIMIT, ..Store::new(1) };
        let (before, mut most) = (memory(), 0);
        for i in 0..300_000 {
            fill(&mut store, i);
            if i % 10_000 == 0 {
                most = most.max(memory() - before);
            }
        }
        assert!(store.size().1 > LIMIT / 2, "{:?}", store.size());
        assert!(most < LIMIT + LIMIT / 8, "{most} bytes instead of {LIMIT}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    #[ignore = "run by another test, in a process of its own"]
    fn measured_many_entries() {
        let (limits, now) = (limits(100, 60, 1 << 30), Instant::now());
        measure(|store, i| {
            let payload = Bytes::copy_from_slice(b"x");
            store.append(&format!("t{}", i % 4000), &limits, &payload, false, now + Duration::from_micros(i));
        });
    }

    #[cfg(target_os = "linux")]
    #[test]
    #[ignore = "run by another test, in a process of its own"]
    fn measured_many_topics() {
        let (limits, now) = (limits(100, 60, 1 << 30), Instant::now());
        measure(|store, i| {
            let payload = Bytes::copy_from_slice(b"x");
            store.append(&format!("t{i}"), &limits, &payload, false, now + Duration::from_micros(i));
        });
    }

    #[test]
    fn only_the_first_placeholder_of_a_text_is_replaced() {
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
