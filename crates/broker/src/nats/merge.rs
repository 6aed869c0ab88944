//! The order of what came by several subscriptions.
//!
//! The library keeps it within each of them only. But nodes number what they publish, and whoever
//! has seen a number takes a smaller one for a duplicate. So what was heard in one turn of the
//! library, which is all that was sent up to some time, is put in an order that has each
//! subscription's own, and that of each node's numbers. There is one: that in which it came.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::driver::Incoming;

/// What was heard, by subscription.
#[derive(Default)]
pub(super) struct SubscriptionMerger {
    /// In the order in which they were first heard.
    ears: Vec<VecDeque<Incoming>>,
    places: HashMap<u64, usize>,
}

/// Node and number of a publication that has them.
type Key = (u64, u64);

fn key(heard: &Incoming) -> Option<Key> {
    match heard {
        Incoming::Message { body, .. } | Incoming::Broadcast(body) if body.number > 0 => {
            Some((body.node, body.number))
        }
        _ => None,
    }
}

impl SubscriptionMerger {
    /// By the subscription of this number.
    pub(super) fn push(&mut self, ear: u64, heard: Incoming) {
        let next = self.ears.len();
        let place = *self.places.entry(ear).or_insert(next);
        if place == next {
            self.ears.push(VecDeque::new());
        }
        self.ears[place].push_back(heard);
    }

    /// Appends all of it to `out`.
    pub(super) fn merge(mut self, out: &mut VecDeque<Incoming>) {
        if self.ears.len() < 2 {
            return out.extend(self.ears.into_iter().flatten());
        }
        // Of each node: which numbers are still to come, and from where.
        let mut numbers: HashMap<u64, BTreeMap<u64, Vec<usize>>> = HashMap::new();
        for (place, ear) in self.ears.iter().enumerate() {
            for (node, number) in ear.iter().filter_map(key) {
                numbers.entry(node).or_default().entry(number).or_default().push(place);
            }
        }
        for place in 0..self.ears.len() {
            // Those that are waited for, each for one behind it.
            let (mut way, mut on_it) = (vec![place], HashSet::from([place]));
            while let Some(&place) = way.last() {
                let Some(head) = self.ears[place].front() else {
                    way.pop();
                    on_it.remove(&place);
                    continue;
                };
                let key = key(head);
                let first = key.and_then(|(node, number)| {
                    let (first, places) = numbers.get(&node)?.first_key_value()?;
                    (*first < number).then(|| places.first().copied())?
                });
                match first {
                    // None waits for itself, unless a node has said something again.
                    Some(first) if on_it.insert(first) => way.push(first),
                    _ => {
                        if let Some((node, number)) = key {
                            forget(numbers.get_mut(&node), number, place);
                        }
                        out.extend(self.ears[place].pop_front());
                        // Whoever waited may go on.
                        if way.len() > 1 {
                            way.pop();
                            on_it.remove(&place);
                        }
                    }
                }
            }
        }
    }
}

/// One of a number is no longer to come from there.
fn forget(numbers: Option<&mut BTreeMap<u64, Vec<usize>>>, number: u64, place: usize) {
    let Some(numbers) = numbers else { return };
    if let Some(places) = numbers.get_mut(&number) {
        if let Some(at) = places.iter().position(|other| *other == place) {
            places.remove(at);
        }
        if places.is_empty() {
            numbers.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Body;

    fn message(ear: u64, node: u64, number: u64) -> Incoming {
        let body = Body { node, number, ..Body::default() };
        Incoming::Message { via: ear.to_string().into(), topic: None, body }
    }

    /// Ear, node and number of each, in the order in which they come out.
    fn merged(said: &[(u64, u64, u64)]) -> Vec<(u64, u64, u64)> {
        let (mut ears, mut out) = (SubscriptionMerger::default(), VecDeque::new());
        for (ear, node, number) in said {
            ears.push(*ear, message(*ear, *node, *number));
        }
        ears.merge(&mut out);
        let told = |heard| match heard {
            Incoming::Message { via, body, .. } => (via.parse().unwrap(), body.node, body.number),
            other => panic!("{other:?}"),
        };
        out.into_iter().map(told).collect()
    }

    /// What came, as the library gives it: one subscription after the other.
    fn by_ear(mut said: Vec<(u64, u64, u64)>, turn: u64) -> Vec<(u64, u64, u64)> {
        said.sort_by_key(|(ear, ..)| (ear + turn) % 5);
        said
    }

    #[test]
    fn each_subscription_and_each_node_keep_their_order() {
        let mut random = 7_u64;
        for turn in 0..200 {
            let mut last = [0; 4];
            let said: Vec<_> = (0..60)
                .map(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let (ear, node) = ((random >> 33) % 5, (random >> 40) % 4);
                    // The first is nobody that numbers.
                    last[node as usize] += u64::from(node > 0);
                    (ear, node, last[node as usize])
                })
                .collect();
            let out = merged(&by_ear(said.clone(), turn));
            assert_eq!(out.len(), said.len());
            for of in 0..5 {
                let ear = |all: &[(u64, u64, u64)]| -> Vec<_> {
                    all.iter().copied().filter(|(ear, ..)| *ear == of).collect()
                };
                assert_eq!(ear(&out), ear(&said));
            }
            for of in 1..4 {
                let numbers: Vec<_> =
                    out.iter().filter(|(_, node, _)| *node == of).map(|said| said.2).collect();
                assert!(numbers.is_sorted(), "{numbers:?}");
            }
        }
    }

    #[test]
    fn what_is_said_again_comes_out_all_the_same() {
        // By two subscriptions, and again in the same order after the connection of a node broke.
        let said = [(1, 1, 2), (1, 1, 4), (1, 1, 2), (2, 1, 3), (2, 1, 1), (2, 1, 3), (2, 2, 9), (1, 2, 8)];
        let mut out = merged(&said);
        assert_eq!(out.iter().filter(|(ear, ..)| *ear == 1).count(), 4);
        out.sort_unstable();
        let mut all = said.to_vec();
        all.sort_unstable();
        assert_eq!(out, all);
    }
}
