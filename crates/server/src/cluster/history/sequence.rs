//! Ordering of topics whose history a broker stores.
//!
//! A hub receives the publications of such a topic in two ways that are not synchronized: new ones
//! through its subscription, older ones as replays that it requests. [`Sequences`] merges both by
//! their positions. It drops duplicates, and on a gap holds back newer publications until a replay
//! has filled it (*filling*). It also keeps what is delivered while a connection's resume request
//! waits for its replay, and completes the replay with it, because the connection is not subscribed
//! until the answer arrives.

use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use sprocket_broker::{Replay, ReplayEntry};

/// Limit per topic for the publications held back while a gap is filled, and likewise for those kept
/// while a resume request waits for its answer.
const HELD: usize = 10_000;
/// Limit in bytes for these publications of all topics together.
const MEMORY: usize = 64 << 20;
/// Overhead in bytes of such a publication.
const OVERHEAD: usize = 256;
/// Limit in bytes for the states of all topics, without these publications. Beyond it, states of topics that
/// nobody waits for are dropped early; see [`Sequences::evict`].
const STATES: usize = 64 << 20;
/// Memory of one topic's state in bytes, in addition to its name: its place in the table, whose capacity may
/// be twice its length, two positions, and allocations.
const STATE: usize = 2 * size_of::<(String, Sequence)>() + 160;
/// Time without publications or requests after which the state of a topic is dropped.
const IDLE: Duration = Duration::from_secs(600);

/// A publication with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Positioned {
    pub(crate) position: String,
    /// Position of the topic's previous publication. `None` if the broker numbers each topic without
    /// gaps, so that the previous number is one less.
    pub(crate) previous: Option<String>,
    pub(crate) payload: Bytes,
    pub(crate) binary: bool,
}

/// Instruction to the hub after a publication has arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Deliver the publication to the workers.
    Deliver(Positioned),
    /// Nothing: the publication is a duplicate, or is held back until a gap is filled.
    Nothing,
    /// Request the publications after this position to fill a gap.
    Fill(String),
}

/// The state of all topics with history. The hub's `upstream::Broker` holds it.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    topics: HashMap<String, Sequence>,
    /// Bytes of the publications in `held` and `recent` of all topics.
    bytes: usize,
    /// Bytes of the states of all topics, without these publications.
    states: usize,
}

/// The state of a topic.
#[derive(Debug)]
struct Sequence {
    /// Position of the last delivered publication.
    seen: Option<String>,
    /// Position sent to the first resuming connection, if nothing was delivered before. The next
    /// publication must follow it without a gap.
    base: Option<String>,
    /// A gap is being filled: a replay was requested.
    filling: bool,
    /// Publications held back while a gap is filled.
    held: VecDeque<Positioned>,
    /// Number of resume requests without an answer.
    asking: u32,
    /// Publications delivered while resume requests wait.
    recent: VecDeque<Positioned>,
    /// Publications are missing from `recent` because of the limits.
    forgot: bool,
    /// When the topic last had a publication or a request.
    used: Instant,
}

/// Splits a position into epoch and number.
fn parse(position: &str) -> Option<(&str, u64)> {
    let (epoch, number) = position.rsplit_once('-')?;
    Some((epoch, number.parse().ok()?))
}

fn same_epoch(a: &str, b: &str) -> bool {
    matches!((parse(a), parse(b)), (Some((a, _)), Some((b, _))) if a == b)
}

/// Whether `position` is greater than `other`; with `beyond`, by more than one, so that there is a
/// gap between them. A position of another epoch counts as greater, but without a gap.
pub(crate) fn is_after(position: &str, other: &str, beyond: bool) -> bool {
    match (parse(position), parse(other)) {
        (Some((a, n)), Some((b, m))) if a == b => n > m.saturating_add(beyond.into()),
        _ => !beyond,
    }
}

impl Positioned {
    /// Memory of the publication in bytes.
    fn size(&self) -> usize {
        self.payload.len() + OVERHEAD
    }

    fn entry(&self) -> ReplayEntry {
        ReplayEntry { position: self.position.clone(), payload: self.payload.clone(), binary: self.binary }
    }

    /// Whether the topic had publications between the position `known` and this publication.
    fn leaves_gap(&self, known: &str) -> bool {
        match &self.previous {
            Some(previous) => same_epoch(&self.position, known) && is_after(previous, known, false),
            None => is_after(&self.position, known, true),
        }
    }
}

impl Sequences {
    /// The state of a topic, created if necessary, and marked as used.
    fn of(&mut self, topic: &str, now: Instant) -> &mut Sequence {
        let fresh = || Sequence {
            seen: None,
            base: None,
            filling: false,
            held: VecDeque::new(),
            asking: 0,
            recent: VecDeque::new(),
            forgot: false,
            used: now,
        };
        if !self.topics.contains_key(topic) {
            if self.states + topic.len() + STATE > STATES {
                self.evict();
            }
            self.states += topic.len() + STATE;
            self.topics.insert(topic.to_owned(), fresh());
        }
        let Some(sequence) = self.topics.get_mut(topic) else { unreachable!("it was just inserted") };
        sequence.used = now;
        sequence
    }

    /// Frees an eighth of the memory for states, so that evictions are rare. Topics that were only resumed go
    /// first, then those whose last publication or request is the longest ago. A gap in a dropped topic is
    /// not noticed, but the position of each connection stays valid. Topics for which an answer is
    /// outstanding stay: requests are bounded by the number of connections, and by what the hub accepts.
    #[cold]
    fn evict(&mut self) {
        let target = STATES / 8 * 7;
        let idle = self.topics.iter().filter(|(_, sequence)| sequence.is_idle());
        let mut ranked: Vec<_> =
            idle.map(|(topic, sequence)| (sequence.rank(), topic.len() + STATE)).collect();
        ranked.sort_unstable();
        let mut left = self.states;
        let last = ranked.into_iter().find(|(_, cost)| {
            left -= cost;
            left <= target
        });
        // If dropping all of them is not enough, `last` is `None`.
        self.retain(|sequence| !sequence.is_idle() || last.is_some_and(|(rank, _)| sequence.rank() > rank));
        self.topics.shrink_to(self.topics.len() * 2);
    }

    /// Keeps only the topics for which `keep` returns true.
    fn retain(&mut self, mut keep: impl FnMut(&Sequence) -> bool) {
        let states = &mut self.states;
        self.topics.retain(|topic, sequence| {
            let keep = keep(sequence);
            if !keep {
                *states -= topic.len() + STATE;
            }
            keep
        });
    }

    /// The state of a topic as [`Sequences::of`] returns it, and the byte count of all topics.
    fn counted(&mut self, topic: &str, now: Instant) -> (&mut Sequence, &mut usize) {
        self.of(topic, now);
        let Some(sequence) = self.topics.get_mut(topic) else { unreachable!("`of` has inserted it") };
        (sequence, &mut self.bytes)
    }

    /// Processes a publication that arrived through the subscription.
    pub(crate) fn take(&mut self, topic: &str, message: Positioned, now: Instant) -> Action {
        let (sequence, bytes) = self.counted(topic, now);
        if sequence.filling {
            // If there is no space, the publication is dropped: the gap that this leaves after those held
            // back shows when the next one arrives. If it were delivered now instead, those held back
            // would count as duplicates later and be lost unnoticed.
            if sequence.held.len() < HELD && *bytes + message.size() <= MEMORY {
                *bytes += message.size();
                sequence.held.push_back(message);
            }
            return Action::Nothing;
        }
        match sequence.seen.as_ref().or(sequence.base.as_ref()) {
            // An old position is a duplicate only if this hub has delivered publications of the topic.
            // With `base` alone, connections that subscribed earlier have not received this one.
            Some(known) if !is_after(&message.position, known, false) && sequence.seen.is_some() => {
                Action::Nothing
            }
            Some(seen) if message.leaves_gap(seen) => {
                let from = seen.clone();
                sequence.filling = true;
                // If there is no space, the replay that fills the gap contains the publication.
                if *bytes + message.size() <= MEMORY {
                    *bytes += message.size();
                    sequence.held.push_back(message);
                }
                Action::Fill(from)
            }
            _ => {
                sequence.deliver(&message, bytes);
                Action::Deliver(message)
            }
        }
    }

    /// Processes the replay that fills a gap. Returns the publications to deliver now, those held back
    /// included, and whether the gap is closed.
    pub(crate) fn filled(&mut self, topic: &str, replay: Replay, now: Instant) -> (Vec<Positioned>, bool) {
        let (sequence, bytes) = self.counted(topic, now);
        sequence.filling = false;
        *bytes -= sequence.held.iter().map(Positioned::size).sum::<usize>();
        let mut due = Vec::new();
        let entries = replay.entries.into_iter();
        // The entries of a replay are consecutive publications even if their numbers are not.
        let mut before = sequence.seen.clone();
        let entries = entries.map(|ReplayEntry { position, payload, binary }| {
            let previous = before.replace(position.clone());
            Positioned { position, previous, payload, binary }
        });
        for message in entries.chain(std::mem::take(&mut sequence.held)) {
            if sequence.seen.as_ref().is_none_or(|seen| is_after(&message.position, seen, false)) {
                sequence.deliver(&message, bytes);
                due.push(message);
            }
        }
        (due, replay.complete)
    }

    /// Processes the replay of a check for missed publications, as [`Sequences::filled`] does. If a gap
    /// is being filled meanwhile, its replay covers the check, and this one is ignored.
    pub(crate) fn looked(&mut self, topic: &str, replay: Replay, now: Instant) -> Vec<Positioned> {
        if self.of(topic, now).filling { Vec::new() } else { self.filled(topic, replay, now).0 }
    }

    /// Starts filling all followed topics after the broker's connection was interrupted. Returns each
    /// topic with the position after which publications may be missing.
    pub(crate) fn fill_all(&mut self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for (topic, sequence) in &mut self.topics {
            if let (Some(seen), false) = (&sequence.seen, sequence.filling) {
                sequence.filling = true;
                all.push((topic.clone(), seen.clone()));
            }
        }
        all
    }

    /// Records that a resume request is about to be sent to the broker.
    pub(crate) fn asking(&mut self, topic: &str, now: Instant) {
        self.of(topic, now).asking += 1;
    }

    /// Processes the replay for a resume request. Returns it completed with the publications delivered
    /// since the broker made it, or as incomplete if some of those were not kept. If the topic is new
    /// here, also returns the position after which to check once more, when the subscription is
    /// certainly active.
    pub(crate) fn answered(
        &mut self,
        topic: &str,
        mut replay: Replay,
        now: Instant,
    ) -> (Replay, Option<String>) {
        let (sequence, bytes) = self.counted(topic, now);
        let mut first = None;
        if sequence.seen.is_none() && sequence.base.is_none() && !replay.position.is_empty() {
            sequence.base = Some(replay.position.clone());
            first = Some(replay.position.clone());
        }
        for message in &sequence.recent {
            // There is a gap between replay and publication, or their positions can't be compared.
            if message.leaves_gap(&replay.position) || !same_epoch(&message.position, &replay.position) {
                replay.complete = false;
                replay.position.clone_from(&message.position);
            }
            if is_after(&message.position, &replay.position, false) {
                replay.entries.push(message.entry());
                replay.position.clone_from(&message.position);
            }
        }
        if sequence.forgot {
            replay.complete = false;
            if let Some(seen) = &sequence.seen {
                replay.position.clone_from(seen);
            }
        }
        if !replay.complete {
            replay.entries.clear();
        }
        sequence.asking = sequence.asking.saturating_sub(1);
        if sequence.asking == 0 {
            sequence.forget_recent(bytes);
            sequence.forgot = false;
        }
        (replay, first)
    }

    /// Drops idle topics. While the broker is disconnected, topics with delivered publications stay, so
    /// that [`Sequences::fill_all`] can fill their gaps afterwards.
    pub(crate) fn sweep(&mut self, now: Instant, connected: bool) {
        self.retain(|s| {
            let idle = now.saturating_duration_since(s.used) >= IDLE;
            s.filling || s.asking > 0 || !idle || !connected && s.seen.is_some()
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }
}

impl Sequence {
    /// Whether no answer is outstanding. The state then holds no publications either.
    fn is_idle(&self) -> bool {
        !self.filling && self.asking == 0
    }

    /// Order in which idle topics are dropped when memory is short, lowest first.
    fn rank(&self) -> (bool, Instant) {
        (self.seen.is_some(), self.used)
    }

    /// Records a publication as delivered, and keeps it for waiting resume requests.
    fn deliver(&mut self, message: &Positioned, bytes: &mut usize) {
        self.seen = Some(message.position.clone());
        if self.asking == 0 || self.forgot {
            return;
        }
        if self.recent.len() == HELD || *bytes + message.size() > MEMORY {
            self.forget_recent(bytes);
            self.forgot = true;
            return;
        }
        *bytes += message.size();
        self.recent.push_back(message.clone());
    }

    fn forget_recent(&mut self, bytes: &mut usize) {
        *bytes -= self.recent.iter().map(Positioned::size).sum::<usize>();
        self.recent = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u64) -> Positioned {
        let position = format!("e-{n}");
        Positioned { position, previous: None, payload: n.to_string().into(), binary: false }
    }

    fn places(messages: &[Positioned]) -> Vec<&str> {
        messages.iter().map(|message| message.position.as_str()).collect()
    }

    /// A publication of a broker that numbers all topics together, and names the topic's previous one.
    fn after(previous: u64, n: u64) -> Positioned {
        Positioned { previous: Some(format!("e-{previous}")), ..at(n) }
    }

    fn replay(complete: bool, entries: std::ops::RangeInclusive<u64>, position: u64) -> Replay {
        let entries = entries.map(|n| at(n).entry()).collect();
        Replay { complete, entries, position: format!("e-{position}"), failed: None }
    }

    #[test]
    fn the_memory_of_held_publications_is_bounded_over_all_topics() {
        let (mut all, now) = (Sequences::default(), Instant::now());
        let large = |n| Positioned { payload: vec![0; 4 << 20].into(), ..at(n) };
        for topic in ["a", "b", "c"] {
            all.asking(topic, now);
            all.take(topic, large(1), now);
            assert_eq!(all.take(topic, large(3), now), Action::Fill("e-1".into()));
            for n in 4..20 {
                assert_eq!(all.take(topic, large(n), now), Action::Nothing);
                assert!(all.bytes <= MEMORY);
            }
        }
        for topic in ["a", "b", "c"] {
            let (due, _) = all.filled(topic, replay(true, 2..=20, 20), now);
            assert_eq!(due.len(), 19);
            // The delivered publications exceed the limit for those kept for the answer.
            assert!(all.bytes <= MEMORY);
        }
        for n in 21..40 {
            all.take("a", large(n), now);
        }
        let (answer, _) = all.answered("a", replay(true, 1..=1, 1), now);
        assert!(!answer.complete && answer.entries.is_empty() && answer.position == "e-39");
        for topic in ["b", "c"] {
            let (answer, _) = all.answered(topic, replay(true, 1..=1, 1), now);
            assert!(!answer.complete || answer.entries.len() == 20, "{}", answer.entries.len());
        }
        assert_eq!(all.bytes, 0);
    }

    #[test]
    fn the_memory_of_topics_is_bounded_and_those_that_were_only_resumed_are_dropped_first() {
        let (mut all, mut now) = (Sequences::default(), Instant::now());
        all.take("published", at(1), now);
        all.asking("asked", now);
        let name = |i: usize| format!("{i:0255}");
        for i in 0..=2 * STATES / (255 + STATE) {
            now += Duration::from_micros(1);
            all.asking(&name(i), now);
            all.answered(&name(i), replay(true, 7..=7, 7), now);
            assert!(all.states <= STATES);
        }
        assert_eq!(all.states, all.topics.keys().map(|topic| topic.len() + STATE).sum::<usize>());
        let newest = name(2 * STATES / (255 + STATE));
        for topic in ["published", "asked", newest.as_str()] {
            assert!(all.topics.contains_key(topic), "{topic}");
        }
        assert!(!all.topics.contains_key(&name(0)));
        assert_eq!(all.take("published", at(3), now), Action::Fill("e-1".into()), "its gap is still noticed");
        all.sweep(now + IDLE, true);
        assert_eq!((all.topics.len(), all.states), (2, 14 + 2 * STATE), "those that wait for an answer stay");
    }

    #[test]
    fn gaps_are_filled_and_duplicates_dropped() {
        let (mut all, now) = (Sequences::default(), Instant::now());
        assert_eq!(all.take("t", at(5), now), Action::Deliver(at(5)));
        assert_eq!(all.take("t", at(5), now), Action::Nothing);
        assert_eq!(all.take("t", at(6), now), Action::Deliver(at(6)));
        assert_eq!(all.take("t", at(9), now), Action::Fill("e-6".into()));
        assert_eq!(all.take("t", at(10), now), Action::Nothing);
        let (due, complete) = all.filled("t", replay(true, 7..=9, 9), now);
        assert_eq!((places(&due), complete), (vec!["e-7", "e-8", "e-9", "e-10"], true));
        assert_eq!(all.take("t", at(8), now), Action::Nothing);
        assert_eq!(all.take("t", at(11), now), Action::Deliver(at(11)));
        // A publication of another epoch is delivered.
        let other = Positioned { position: "f-1".into(), ..at(1) };
        assert_eq!(all.take("t", other.clone(), now), Action::Deliver(other));
        // The broker reconnects.
        assert_eq!(all.fill_all(), [("t".to_owned(), "f-1".to_owned())]);
        assert!(all.fill_all().is_empty());
        assert_eq!(all.filled("t", Replay::default(), now), (vec![], false));
    }

    #[test]
    fn numbers_used_by_other_topics_are_not_gaps() {
        let (mut all, now) = (Sequences::default(), Instant::now());
        assert_eq!(all.take("t", after(0, 3), now), Action::Deliver(after(0, 3)));
        assert_eq!(all.take("t", after(3, 7), now), Action::Deliver(after(3, 7)));
        // 12 arrives before 9.
        assert_eq!(all.take("t", after(9, 12), now), Action::Fill("e-7".into()));
        let entries = [9, 12].map(|n| at(n).entry()).to_vec();
        let filling = Replay { complete: true, entries, position: "e-12".into(), failed: None };
        assert_eq!(all.filled("t", filling, now).0, [after(7, 9), after(9, 12)]);
        assert_eq!(all.take("t", after(7, 9), now), Action::Nothing);
        assert_eq!(all.take("t", after(12, 20), now), Action::Deliver(after(12, 20)));
        // 25 and 31 arrive while a resume request waits.
        all.asking("t", now);
        all.take("t", after(20, 25), now);
        all.take("t", after(25, 31), now);
        let answer = Replay { complete: true, entries: vec![], position: "e-20".into(), failed: None };
        let (replay, _) = all.answered("t", answer, now);
        assert!(replay.complete);
        assert_eq!(replay.entries.iter().map(|e| e.position.as_str()).collect::<Vec<_>>(), ["e-25", "e-31"]);
    }

    #[test]
    fn publications_between_replay_and_subscription_are_found() {
        let (mut all, now) = (Sequences::default(), Instant::now());
        all.asking("t", now);
        let (_, first) = all.answered("t", replay(true, 4..=5, 5), now);
        assert_eq!(first.as_deref(), Some("e-5"));
        // A late publication is delivered to connections that subscribed before.
        let mut late = Sequences::default();
        late.asking("t", now);
        late.answered("t", replay(true, 4..=5, 5), now);
        assert_eq!(late.take("t", at(5), now), Action::Deliver(at(5)));
        // 6 was lost; 7 reveals it.
        assert_eq!(all.take("t", at(7), now), Action::Fill("e-5".into()));
        assert_eq!(places(&all.filled("t", replay(true, 6..=7, 7), now).0), ["e-6", "e-7"]);
        // If no publication follows, the check finds the lost one.
        let (_, first) = late.answered("u", replay(true, 4..=5, 5), now);
        assert!(first.is_some());
        assert_eq!(late.looked("u", replay(true, 6..=6, 6), now), [at(6)]);
        assert_eq!(late.take("u", at(6), now), Action::Nothing);
    }

    #[test]
    fn an_answer_includes_publications_delivered_meanwhile() {
        let (mut all, now) = (Sequences::default(), Instant::now());
        all.asking("t", now);
        (5..=7).for_each(|n| drop(all.take("t", at(n), now)));
        let answer = all.answered("t", replay(true, 3..=5, 5), now);
        assert_eq!(answer, (replay(true, 3..=7, 7), None));
        all.asking("t", now);
        all.take("t", at(8), now);
        assert_eq!(all.answered("t", replay(true, 7..=9, 9), now), (replay(true, 7..=9, 9), None));
        all.sweep(now + IDLE, false);
        assert!(!all.is_empty());
        all.sweep(now + IDLE, true);
        assert!(all.is_empty());
    }
}
