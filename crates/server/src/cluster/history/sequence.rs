//! Topics whose history a broker keeps: publications come in by subscription and what was missed
//! by question, on two ways that know nothing of each other. Here they become one order again.

use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use sprocket_broker::{Replay, ReplayEntry};

/// Publications of a topic that are held back while a gap is filled, or kept while a question is
/// under way.
const HELD: usize = 10_000;
/// Bytes of them for all topics together.
const MEMORY: usize = 64 << 20;
/// What one costs beside its payload.
const OVERHEAD: usize = 256;
/// A topic that nothing is heard of is forgotten.
const IDLE: Duration = Duration::from_secs(600);

/// A publication with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Positioned {
    pub(crate) position: String,
    /// That of the topic's publication before it. `None`: the number before.
    pub(crate) previous: Option<String>,
    pub(crate) payload: Bytes,
    pub(crate) binary: bool,
}

/// What to do with a publication that came in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Deliver(Positioned),
    /// It was delivered already, or it waits until a gap is filled.
    Nothing,
    /// Ask for what follows this position.
    Fill(String),
}

/// The topics that were heard of.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    topics: HashMap<String, Sequence>,
    /// Of all that is held or kept.
    bytes: usize,
}

#[derive(Debug)]
struct Sequence {
    /// Delivered last.
    seen: Option<String>,
    /// What a resuming connection was told, before anything was delivered: what follows must come.
    base: Option<String>,
    /// A gap is being filled.
    filling: bool,
    held: VecDeque<Positioned>,
    /// Questions of resuming connections under way, and what was delivered meanwhile.
    asking: u32,
    recent: VecDeque<Positioned>,
    /// Some of what was delivered meanwhile could not be kept.
    forgot: bool,
    used: Instant,
}

/// Epoch and number.
fn parse(position: &str) -> Option<(&str, u64)> {
    let (epoch, number) = position.rsplit_once('-')?;
    Some((epoch, number.parse().ok()?))
}

fn same_epoch(a: &str, b: &str) -> bool {
    matches!((parse(a), parse(b)), (Some((a, _)), Some((b, _))) if a == b)
}

/// Whether `position` comes after `other`: so far that something lies between, if `beyond`. In
/// another epoch everything is new, and nothing is between.
pub(crate) fn is_after(position: &str, other: &str, beyond: bool) -> bool {
    match (parse(position), parse(other)) {
        (Some((a, n)), Some((b, m))) if a == b => n > m.saturating_add(beyond.into()),
        _ => !beyond,
    }
}

impl Positioned {
    fn size(&self) -> usize {
        self.payload.len() + OVERHEAD
    }

    fn entry(&self) -> ReplayEntry {
        ReplayEntry { position: self.position.clone(), payload: self.payload.clone(), binary: self.binary }
    }

    /// Whether the topic had publications between `known` and this one.
    fn leaves_gap(&self, known: &str) -> bool {
        match &self.previous {
            Some(previous) => same_epoch(&self.position, known) && is_after(previous, known, false),
            None => is_after(&self.position, known, true),
        }
    }
}

impl Sequences {
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
        let sequence = self.topics.entry(topic.to_owned()).or_insert_with(fresh);
        sequence.used = now;
        sequence
    }

    /// The same, and the bytes of all topics.
    fn counted(&mut self, topic: &str, now: Instant) -> (&mut Sequence, &mut usize) {
        self.of(topic, now);
        let Some(sequence) = self.topics.get_mut(topic) else { unreachable!("it was put there") };
        (sequence, &mut self.bytes)
    }

    /// A publication came in.
    pub(crate) fn take(&mut self, topic: &str, message: Positioned, now: Instant) -> Turn {
        let (sequence, bytes) = self.counted(topic, now);
        if sequence.filling {
            // What has no room leaves a gap behind what is held, which the next one shows. To deliver
            // it now would make all that is held come too late, and nobody would know.
            if sequence.held.len() < HELD && *bytes + message.size() <= MEMORY {
                *bytes += message.size();
                sequence.held.push_back(message);
            }
            return Turn::Nothing;
        }
        match sequence.seen.as_ref().or(sequence.base.as_ref()) {
            // What comes late is new to those who have only subscribed.
            Some(known) if !is_after(&message.position, known, false) && sequence.seen.is_some() => {
                Turn::Nothing
            }
            Some(seen) if message.leaves_gap(seen) => {
                let from = seen.clone();
                sequence.filling = true;
                // Without room, it comes with what fills the gap.
                if *bytes + message.size() <= MEMORY {
                    *bytes += message.size();
                    sequence.held.push_back(message);
                }
                Turn::Fill(from)
            }
            _ => {
                sequence.deliver(&message, bytes);
                Turn::Deliver(message)
            }
        }
    }

    /// What fills a gap has come: all that is to be delivered now, and whether the gap is closed.
    pub(crate) fn filled(&mut self, topic: &str, replay: Replay, now: Instant) -> (Vec<Positioned>, bool) {
        let (sequence, bytes) = self.counted(topic, now);
        sequence.filling = false;
        *bytes -= sequence.held.iter().map(Positioned::size).sum::<usize>();
        let mut due = Vec::new();
        let entries = replay.entries.into_iter();
        // They follow one another, whatever their numbers.
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

    /// The same for a look whether there was a gap at all. Where one is being filled, that does it.
    pub(crate) fn looked(&mut self, topic: &str, replay: Replay, now: Instant) -> Vec<Positioned> {
        if self.of(topic, now).filling { Vec::new() } else { self.filled(topic, replay, now).0 }
    }

    /// The broker was away: topics that are followed, with the position after which something may
    /// be missing.
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

    /// A resuming connection's question goes out.
    pub(crate) fn asking(&mut self, topic: &str, now: Instant) {
        self.of(topic, now).asking += 1;
    }

    /// Its answer came: completed by what was delivered since it was given. If nothing is known of
    /// the topic before, also the position after which to look once more, when the subscription
    /// is surely in force.
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
            // Something is lacking between them, or they can't be compared.
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

    /// Forgets what is idle. While the broker is away, what was followed is remembered, to be asked
    /// for afterwards.
    pub(crate) fn sweep(&mut self, now: Instant, connected: bool) {
        self.topics.retain(|_, s| {
            let idle = now.saturating_duration_since(s.used) >= IDLE;
            s.filling || s.asking > 0 || !idle || !connected && s.seen.is_some()
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }
}

impl Sequence {
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

    /// One whose broker counts over all topics, and says what came before it on this one.
    fn after(previous: u64, n: u64) -> Positioned {
        Positioned { previous: Some(format!("e-{previous}")), ..at(n) }
    }

    fn replay(complete: bool, entries: std::ops::RangeInclusive<u64>, position: u64) -> Replay {
        let entries = entries.map(|n| at(n).entry()).collect();
        Replay { complete, entries, position: format!("e-{position}"), failed: None }
    }

    #[test]
    fn what_all_topics_hold_is_bounded_in_bytes() {
        let (mut all, now) = (Sequences::default(), Instant::now());
        let large = |n| Positioned { payload: vec![0; 4 << 20].into(), ..at(n) };
        for topic in ["a", "b", "c"] {
            all.asking(topic, now);
            all.take(topic, large(1), now);
            assert_eq!(all.take(topic, large(3), now), Turn::Fill("e-1".into()));
            for n in 4..20 {
                assert_eq!(all.take(topic, large(n), now), Turn::Nothing);
                assert!(all.bytes <= MEMORY);
            }
        }
        for topic in ["a", "b", "c"] {
            let (due, _) = all.filled(topic, replay(true, 2..=20, 20), now);
            assert_eq!(due.len(), 19);
            // Not all that was delivered could be kept for the answer.
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
    fn gaps_are_filled_and_doubles_dropped() {
        let (mut all, now) = (Sequences::default(), Instant::now());
        assert_eq!(all.take("t", at(5), now), Turn::Deliver(at(5)));
        assert_eq!(all.take("t", at(5), now), Turn::Nothing);
        assert_eq!(all.take("t", at(6), now), Turn::Deliver(at(6)));
        assert_eq!(all.take("t", at(9), now), Turn::Fill("e-6".into()));
        assert_eq!(all.take("t", at(10), now), Turn::Nothing);
        let (due, complete) = all.filled("t", replay(true, 7..=9, 9), now);
        assert_eq!((places(&due), complete), (vec!["e-7", "e-8", "e-9", "e-10"], true));
        assert_eq!(all.take("t", at(8), now), Turn::Nothing);
        assert_eq!(all.take("t", at(11), now), Turn::Deliver(at(11)));
        // Another epoch begins anew.
        let other = Positioned { position: "f-1".into(), ..at(1) };
        assert_eq!(all.take("t", other.clone(), now), Turn::Deliver(other));
        // After the broker was away.
        assert_eq!(all.fill_all(), [("t".to_owned(), "f-1".to_owned())]);
        assert!(all.fill_all().is_empty());
        assert_eq!(all.filled("t", Replay::default(), now), (vec![], false));
    }

    #[test]
    fn numbers_of_other_topics_are_no_gap() {
        let (mut all, now) = (Sequences::default(), Instant::now());
        assert_eq!(all.take("t", after(0, 3), now), Turn::Deliver(after(0, 3)));
        assert_eq!(all.take("t", after(3, 7), now), Turn::Deliver(after(3, 7)));
        // 9 is under way behind 12.
        assert_eq!(all.take("t", after(9, 12), now), Turn::Fill("e-7".into()));
        let entries = [9, 12].map(|n| at(n).entry()).to_vec();
        let filling = Replay { complete: true, entries, position: "e-12".into(), failed: None };
        assert_eq!(all.filled("t", filling, now).0, [after(7, 9), after(9, 12)]);
        assert_eq!(all.take("t", after(7, 9), now), Turn::Nothing);
        assert_eq!(all.take("t", after(12, 20), now), Turn::Deliver(after(12, 20)));
        // A question is answered while 25 and 31 come in.
        all.asking("t", now);
        all.take("t", after(20, 25), now);
        all.take("t", after(25, 31), now);
        let answer = Replay { complete: true, entries: vec![], position: "e-20".into(), failed: None };
        let (replay, _) = all.answered("t", answer, now);
        assert!(replay.complete);
        assert_eq!(replay.entries.iter().map(|e| e.position.as_str()).collect::<Vec<_>>(), ["e-25", "e-31"]);
    }

    #[test]
    fn what_falls_between_answer_and_subscription_is_looked_for() {
        let (mut all, now) = (Sequences::default(), Instant::now());
        all.asking("t", now);
        let (_, first) = all.answered("t", replay(true, 4..=5, 5), now);
        assert_eq!(first.as_deref(), Some("e-5"));
        // Late, for those who had subscribed before.
        let mut late = Sequences::default();
        late.asking("t", now);
        late.answered("t", replay(true, 4..=5, 5), now);
        assert_eq!(late.take("t", at(5), now), Turn::Deliver(at(5)));
        // 6 has come to nobody; 7 tells.
        assert_eq!(all.take("t", at(7), now), Turn::Fill("e-5".into()));
        assert_eq!(places(&all.filled("t", replay(true, 6..=7, 7), now).0), ["e-6", "e-7"]);
        // Or the question, where nothing follows.
        let (_, first) = late.answered("u", replay(true, 4..=5, 5), now);
        assert!(first.is_some());
        assert_eq!(late.looked("u", replay(true, 6..=6, 6), now), [at(6)]);
        assert_eq!(late.take("u", at(6), now), Turn::Nothing);
    }

    #[test]
    fn an_answer_is_completed_by_what_came_meanwhile() {
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
