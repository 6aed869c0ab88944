//! Merges the messages of several subscriptions into one order.
//!
//! The library preserves the order within each subscription only. But nodes number their
//! publications, and whoever has received a number considers lower ones duplicates. So the messages
//! of one turn of the library are merged into an order that preserves that of each subscription and
//! that of each node's numbers. Such an order exists: the one in which the messages arrived.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::driver::Incoming;

/// The messages of one turn, by subscription.
#[derive(Default)]
pub(super) struct SubscriptionMerger {
    /// In the order of their first messages.
    ears: Vec<VecDeque<Incoming>>,
    places: HashMap<u64, usize>,
}

/// Node and number of a numbered publication.
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
    /// Adds a message of the subscription with this number.
    pub(super) fn push(&mut self, ear: u64, heard: Incoming) {
        let next = self.ears.len();
        let place = *self.places.entry(ear).or_insert(next);
        if place == next {
            self.ears.push(VecDeque::new());
        }
        self.ears[place].push_back(heard);
    }

    /// Appends all messages to `out`.
    pub(super) fn merge(mut self, out: &mut VecDeque<Incoming>) {
        if self.ears.len() < 2 {
            return out.extend(self.ears.into_iter().flatten());
        }
        // For each node: the numbers that are still to come, and the subscriptions that hold them.
        let mut numbers: HashMap<u64, BTreeMap<u64, Vec<usize>>> = HashMap::new();
        for (place, ear) in self.ears.iter().enumerate() {
            for (node, number) in ear.iter().filter_map(key) {
                numbers.entry(node).or_default().entry(number).or_default().push(place);
            }
        }
        for place in 0..self.ears.len() {
            // A chain of subscriptions: each waits for a message of the one behind it.
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
                    // A subscription in the chain can only be found again if a node has repeated a
                    // message.
                    Some(first) if on_it.insert(first) => way.push(first),
                    _ => {
                        if let Some((node, number)) = key {
                            forget(numbers.get_mut(&node), number, place);
                        }
                        out.extend(self.ears[place].pop_front());
                        // The subscription before it may continue.
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

/// Removes a number of a subscription, whose message was taken.
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

    /// Merges messages, each given as subscription, node and number.
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

    /// Sorts messages as the library delivers them: one subscription after the other.
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
                    // Node 0 stands for senders that do not number.
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
        // Received by two subscriptions, and repeated in the same order after a reconnect of the
        // node.
        let said = [(1, 1, 2), (1, 1, 4), (1, 1, 2), (2, 1, 3), (2, 1, 1), (2, 1, 3), (2, 2, 9), (1, 2, 8)];
        let mut out = merged(&said);
        assert_eq!(out.iter().filter(|(ear, ..)| *ear == 1).count(), 4);
        out.sort_unstable();
        let mut all = said.to_vec();
        all.sort_unstable();
        assert_eq!(out, all);
    }
}
