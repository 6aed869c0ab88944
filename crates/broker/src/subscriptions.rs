//! The subscriptions of a node at its broker, and the choice of one copy of each message.
//!
//! A broker sends a message once for each matching subscription: a node that is subscribed to `a`,
//! `*` and `>` receives three copies of a message to `a`. It must deliver one of them: **the oldest
//! matching subscription represents the topic**. Its copy is delivered, and the others are dropped.
//!
//! For this to be exact, the representative of a topic must not change while copies may be under
//! way. A new subscription does not change it. Ending a subscription would, if a younger one matches
//! some of the same topics: so it is kept, although it is unwanted, until those are gone. When a
//! subscription does end, none of its topics passes to another subscription that existed beside it;
//! topics that match an older one were represented by that one all along.
//!
//! Copies of a subscription that has ended must not be taken for those of a later subscription to
//! the same name. The drivers drop the copies that arrive before the broker has confirmed the end.
//!
//! A kept subscription was wanted when the youngest pattern that overlaps it was subscribed. Names
//! that come and go later are younger than the pattern and end at once.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use sprocket_protocol::topic::{Kind, Patterns, kind};

/// A change to the subscriptions at the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Subscribe to this topic or pattern.
    Subscribe(Arc<str>),
    /// Unsubscribe from it.
    Unsubscribe(Arc<str>),
}

/// The subscriptions of one node.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    active: HashMap<Arc<str>, Subscription>,
    patterns: Patterns,
    /// The subscribed topics in alphabetical order: those with a common beginning are adjacent.
    topics: BTreeSet<Arc<str>>,
    next_age: u64,
    /// Number of comparisons of a topic with a pattern.
    #[cfg(test)]
    compared: usize,
}

/// A subscription that exists at the broker, or will.
#[derive(Debug, Clone, Copy)]
struct Subscription {
    /// Sequence number: the older of two subscriptions has the lower one.
    age: u64,
    kind: Kind,
    /// Whether the node wants its messages. Otherwise it is kept only because of younger subscriptions.
    wanted: bool,
    /// Number of younger subscriptions that match some of the same topics.
    younger: usize,
}

impl Subscriptions {
    /// Declares that the node wants the messages of a name. An invalid name is ignored.
    pub(super) fn want(&mut self, name: &str) -> Option<Change> {
        if let Some(known) = self.active.get_mut(name) {
            known.wanted = true;
            return None;
        }
        let kind = kind(name).ok()?;
        self.count_on_older(name, kind, self.next_age, 1);
        let name: Arc<str> = name.into();
        match kind {
            Kind::Pattern => self.patterns.insert(&name),
            Kind::Exact => drop(self.topics.insert(name.clone())),
        }
        let fresh = Subscription { age: self.next_age, kind, wanted: true, younger: 0 };
        self.next_age += 1;
        self.active.insert(name.clone(), fresh);
        Some(Change::Subscribe(name))
    }

    /// Declares that the node does not want the messages of a name any more. Subscriptions that were
    /// kept because of it may end, too.
    pub(super) fn unwant(&mut self, name: &str) -> Vec<Change> {
        let mut gone = Vec::new();
        let Some((name, known)) = self.active.get_key_value(name).map(|(n, k)| (n.clone(), *k)) else {
            return gone;
        };
        if let Some(known) = self.active.get_mut(&name) {
            known.wanted = false;
        }
        let mut free = if known.younger == 0 { vec![name] } else { Vec::new() };
        while let Some(name) = free.pop() {
            let Some(removed) = self.active.remove(&name) else { continue };
            match removed.kind {
                Kind::Pattern => self.patterns.remove(&name),
                Kind::Exact => drop(self.topics.remove(&name)),
            }
            free.extend(self.count_on_older(&name, removed.kind, removed.age, -1));
            gone.push(Change::Unsubscribe(name));
        }
        gone
    }

    /// Whether the copy of a message to `topic` that arrived by the subscription `name` must be
    /// delivered.
    pub(super) fn represents(&self, name: &str, topic: &str) -> bool {
        let Some(mine) = self.active.get(name) else { return false };
        let (mut matches, mut oldest, mut wanted) = (false, true, false);
        let mut look = |other: &Subscription| {
            matches |= other.age == mine.age;
            oldest &= other.age >= mine.age;
            wanted |= other.wanted;
        };
        if let Some(exact) = self.active.get(topic) {
            look(exact);
        }
        self.patterns.matches(topic, &mut |pattern| {
            if let Some(known) = self.active.get(pattern) {
                look(known);
            }
        });
        matches && oldest && wanted
    }

    /// Starts anew on a new connection. Returns the names to subscribe to, the oldest first. Kept
    /// subscriptions are dropped: no copies are under way.
    pub(super) fn restart(&mut self) -> Vec<Arc<str>> {
        let mut wanted: Vec<_> = self.active.drain().filter(|(_, known)| known.wanted).collect();
        wanted.sort_unstable_by_key(|(_, known)| known.age);
        self.patterns = Patterns::default();
        self.topics.clear();
        self.next_age = 0;
        for (name, _) in &wanted {
            self.want(name);
        }
        wanted.into_iter().map(|(name, _)| name).collect()
    }

    /// Number of subscriptions at the broker.
    pub(super) fn len(&self) -> usize {
        self.active.len()
    }

    /// Adds `by` to the count of younger ones in all subscriptions that overlap `name` and are older
    /// than `age`. Returns those that are unwanted and have no younger ones left.
    fn count_on_older(&mut self, name: &str, kind: Kind, age: u64, by: isize) -> Vec<Arc<str>> {
        let mut found = Vec::new();
        match kind {
            // Only patterns overlap a topic.
            Kind::Exact => self.patterns.matches(name, &mut |pattern| found.push(pattern.clone())),
            Kind::Pattern => {
                self.patterns.overlapping(name, &mut |pattern| found.push(pattern.clone()));
                self.topics_of(name, &mut found);
            }
        }
        found.retain(|other| {
            let Some(known) = self.active.get_mut(other).filter(|known| known.age < age) else {
                return false;
            };
            known.younger = known.younger.saturating_add_signed(by);
            known.younger == 0 && !known.wanted
        });
        found
    }

    /// Appends the subscribed topics that match a pattern. Only those are compared that share its
    /// beginning up to the first wildcard.
    fn topics_of(&mut self, pattern: &str, found: &mut Vec<Arc<str>>) {
        let tokens = pattern.split_inclusive('.');
        let literal = tokens.take_while(|token| !matches!(token.trim_end_matches('.'), "*" | ">"));
        let beginning = &pattern[..literal.map(str::len).sum()];
        let from = self.topics.range::<str, _>((Bound::Included(beginning), Bound::Unbounded));
        for topic in from.take_while(|topic| topic.starts_with(beginning)) {
            #[cfg(test)]
            {
                self.compared += 1;
            }
            if overlap(pattern, topic) {
                found.push(topic.clone());
            }
        }
    }
}

/// Whether some topic matches both names.
fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            // `>` stands for one token or more, and the other name has one here.
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashSet, VecDeque};

    fn subscribe(name: &str) -> Option<Change> {
        Some(Change::Subscribe(name.into()))
    }

    fn unsubscribe(names: &[&str]) -> Vec<Change> {
        names.iter().map(|name| Change::Unsubscribe((*name).into())).collect()
    }

    #[test]
    fn patterns_overlap_as_topics_can_match_both() {
        let names = [
            "a", "b", "a.b", "*", ">", "a.*", "*.b", "a.>", "*.*", "b.>", "a.b.c", "a.*.c", "*.*.>", "a..",
            "",
        ];
        let topics: Vec<String> = {
            let tokens = ["a", "b", "c", ""];
            let deeper = |topics: &[String]| -> Vec<String> {
                topics.iter().flat_map(|topic| tokens.map(|token| format!("{topic}.{token}"))).collect()
            };
            let one = tokens.map(str::to_owned).to_vec();
            let two = deeper(&one);
            let three = deeper(&two);
            [one, two, three].concat()
        };
        let matches = |name: &str, topic: &str| {
            let mut patterns = Patterns::default();
            patterns.insert(&name.into());
            let mut found = false;
            patterns.matches(topic, &mut |_| found = true);
            found
        };
        for one in names {
            for other in names {
                let both = topics.iter().any(|topic| matches(one, topic) && matches(other, topic));
                assert_eq!(overlap(one, other), both, "{one} and {other}");
                let mut patterns = Patterns::default();
                patterns.insert(&other.into());
                let mut found = 0;
                patterns.overlapping(one, &mut |_| found += 1);
                assert_eq!(found, i32::from(both), "{other} in the set, for {one}");
            }
        }
    }

    #[test]
    fn the_oldest_represents() {
        let mut table = Subscriptions::default();
        assert_eq!(table.want("a.b"), subscribe("a.b"));
        assert_eq!(table.want("a.*"), subscribe("a.*"));
        assert_eq!(table.want("a.*"), None);
        assert_eq!(table.want("a.c"), subscribe("a.c"));
        assert_eq!(table.want("no.>.pattern"), None);
        let by = |topic: &str| {
            ["a.b", "a.*", "a.c", "x"].into_iter().filter(|n| table.represents(n, topic)).collect::<Vec<_>>()
        };
        assert_eq!(by("a.b"), ["a.b"]);
        assert_eq!(by("a.c"), ["a.*"]);
        assert_eq!(by("a.d"), ["a.*"]);
        assert_eq!(by("b"), [""; 0]);
    }

    #[test]
    fn a_representative_is_kept_while_a_younger_subscription_overlaps() {
        let mut table = Subscriptions::default();
        for name in ["a", "*", ">", "b"] {
            table.want(name);
        }
        assert_eq!(table.unwant("a"), []);
        assert!(table.represents("a", "a") && !table.represents("*", "a"));
        assert_eq!(table.unwant("b"), unsubscribe(&["b"]));
        assert_eq!(table.unwant("*"), []);
        assert_eq!(table.want("a"), None);
        assert_eq!(table.unwant("a"), []);
        assert_eq!(table.unwant(">"), unsubscribe(&[">", "*", "a"]));
        assert_eq!((table.len(), table.patterns.is_empty()), (0, true));
        assert_eq!(table.unwant("a"), []);
    }

    #[test]
    fn names_that_come_and_go_beside_a_pattern_are_not_kept() {
        let mut table = Subscriptions::default();
        table.want("old");
        table.want(">");
        table.unwant("old");
        for n in 0..1000 {
            let name = format!("user.{n}");
            assert_eq!(table.want(&name), subscribe(&name));
            assert_eq!(table.unwant(&name), unsubscribe(&[&name]));
        }
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn a_pattern_is_compared_with_the_topics_that_begin_as_it_does() {
        let mut table = Subscriptions::default();
        for n in 0..10_000 {
            table.want(&format!("user.{}.{n}", n % 1000));
        }
        for n in 0..1000 {
            table.want(&format!("user.{n}.*"));
        }
        assert_eq!(table.compared, 10_000);
        for n in 0..10_000 {
            assert_eq!(table.unwant(&format!("user.{}.{n}", n % 1000)), [], "the pattern is younger");
        }
        for n in 0..1000 {
            assert_eq!(table.unwant(&format!("user.{n}.*")).len(), 11);
        }
        assert_eq!((table.compared, table.len(), table.topics.len()), (20_000, 0, 0));
    }

    #[test]
    fn after_a_restart_the_order_is_the_same_and_the_kept_are_gone() {
        let mut table = Subscriptions::default();
        for name in ["a", "c", "*", "b"] {
            table.want(name);
        }
        table.unwant("a");
        assert_eq!(table.restart().iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["c", "*", "b"]);
        assert!(table.represents("*", "a") && table.represents("c", "c") && table.represents("*", "b"));
        assert_eq!(table.unwant("b"), unsubscribe(&["b"]));
    }

    /// A simulated broker with one connection to the node. Commands and copies may be delayed
    /// arbitrarily, but each direction keeps its order.
    #[derive(Default)]
    struct Model {
        table: Subscriptions,
        commands: VecDeque<(Change, usize)>,
        /// In the order of the broker's table.
        known: Vec<(Arc<str>, usize)>,
        /// Subscription, topic, number of the message.
        copies: VecDeque<((Arc<str>, usize), String, usize)>,
        /// The node's current subscription to each name.
        current: HashMap<Arc<str>, usize>,
        subscribed: usize,
        delivered: HashMap<usize, usize>,
        wanted: HashSet<String>,
    }

    impl Model {
        fn command(&mut self, change: Change) {
            if let Change::Subscribe(name) = &change {
                self.subscribed += 1;
                self.current.insert(name.clone(), self.subscribed);
            }
            let number = self.current[change.name()];
            if let Change::Unsubscribe(name) = &change {
                self.current.remove(name);
            }
            self.commands.push_back((change, number));
        }

        fn broker_reads(&mut self) {
            match self.commands.pop_front() {
                Some((Change::Subscribe(name), number)) => self.known.push((name, number)),
                Some((Change::Unsubscribe(name), _)) => self.known.retain(|(known, _)| *known != name),
                None => {}
            }
        }

        /// `turn`: a broker may send the copies in any order.
        fn publish(&mut self, topic: &str, number: usize, turn: usize) {
            let known = self.known.iter();
            let mut copies: Vec<_> =
                known.filter(|(name, _)| **name == *topic || matches_one(name, topic)).cloned().collect();
            if !copies.is_empty() {
                let by = turn % copies.len();
                copies.rotate_left(by);
            }
            self.copies.extend(copies.into_iter().map(|name| (name, topic.to_owned(), number)));
        }

        fn node_reads(&mut self) {
            if let Some(((name, subscription), topic, number)) = self.copies.pop_front()
                && self.current.get(&name) == Some(&subscription)
                && self.table.represents(&name, &topic)
            {
                *self.delivered.entry(number).or_default() += 1;
            }
        }
    }

    impl Change {
        fn name(&self) -> &str {
            match self {
                Self::Subscribe(name) | Self::Unsubscribe(name) => name,
            }
        }
    }

    fn matches_one(name: &str, topic: &str) -> bool {
        kind(name) == Ok(Kind::Pattern) && overlap(name, topic)
    }

    #[test]
    fn whatever_comes_and_goes_each_message_is_delivered_exactly_once() {
        const NAMES: [&str; 12] =
            ["a", "b", "a.a", "a.b", "b.a", "*", ">", "a.*", "*.a", "a.>", "*.*", "b.>"];
        const TOPICS: [&str; 6] = ["a", "b", "a.a", "a.b", "b.a", "b.b"];
        let (mut state, mut deferred, mut checked) = (0x9e37_79b9_7f4a_7c15_u64, 0, 0);
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..150 {
            let mut model = Model::default();
            // Message, and the names that were wanted, and settled with the broker, when it was
            // published; if one is still wanted when all of it has arrived, it must have been
            // delivered.
            let mut open: Vec<(usize, String, HashSet<String>)> = Vec::new();
            for number in 0..300 {
                match random(8) {
                    0 | 1 => {
                        let name = NAMES[random(NAMES.len())];
                        if model.wanted.insert(name.to_owned()) {
                            model.table.want(name).into_iter().for_each(|change| model.command(change));
                        }
                    }
                    2 | 3 => {
                        let name = NAMES[random(NAMES.len())];
                        if model.wanted.remove(name) {
                            let gone = model.table.unwant(name);
                            deferred += usize::from(gone.is_empty());
                            gone.into_iter().for_each(|change| model.command(change));
                            for (_, _, wanting) in &mut open {
                                wanting.remove(name);
                            }
                        }
                    }
                    4 => {
                        let topic = TOPICS[random(TOPICS.len())];
                        model.publish(topic, number, random(4));
                        let wanting = model.wanted.iter().filter(|name| {
                            model.known.iter().any(|(known, _)| **known == ***name)
                                && !model.commands.iter().any(|(command, _)| command.name() == name.as_str())
                                && (*name == topic || matches_one(name, topic))
                        });
                        open.push((number, topic.to_owned(), wanting.cloned().collect()));
                    }
                    5 => model.broker_reads(),
                    _ => model.node_reads(),
                }
                let most = model.delivered.values().max().copied().unwrap_or(0);
                assert!(most <= 1, "a message was delivered {most} times");
                open.retain(|(message, topic, wanting)| {
                    let under_way = model.copies.iter().any(|(_, _, copy)| copy == message);
                    if !under_way && !wanting.is_empty() {
                        checked += 1;
                        assert_eq!(model.delivered.get(message), Some(&1), "{topic} for {wanting:?}");
                    }
                    under_way
                });
                if number % 10 != 0 {
                    continue;
                }
                // The table must match the subscriptions that the broker will have.
                let mut later: HashSet<Arc<str>> = model.known.iter().map(|(name, _)| name.clone()).collect();
                for (command, _) in &model.commands {
                    match command {
                        Change::Subscribe(name) => assert!(later.insert(name.clone())),
                        Change::Unsubscribe(name) => assert!(later.remove(name)),
                    }
                }
                assert_eq!(later, model.table.active.keys().cloned().collect());
            }
        }
        assert!(checked > 1000 && deferred > 1000, "{checked} checked, {deferred} deferred");
    }
}
