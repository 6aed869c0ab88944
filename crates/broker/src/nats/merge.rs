//! Merges the messages of several subscriptions into one order.
//!
//! The library preserves the order only within each subscription. But nodes number their publications,
//! and a node that has received a number takes all lower ones for duplicates. Therefore the messages of
//! one turn of the library are merged into an order that preserves both the order of each subscription
//! and the order of each node's numbers. Such an order exists: the one in which the messages arrived.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::driver::Incoming;

/// The messages of one turn, by subscription.
#[derive(Default)]
pub(super) struct SubscriptionMerger {
    /// The queue of each subscription, in the order of their first messages.
    queues: Vec<VecDeque<Incoming>>,
    places: HashMap<u64, usize>,
}

/// Node and number of a numbered publication.
type Key = (u64, u64);

fn key(incoming: &Incoming) -> Option<Key> {
    match incoming {
        Incoming::Message { body, .. } | Incoming::Broadcast(body) if body.number > 0 => {
            Some((body.node, body.number))
        }
        _ => None,
    }
}

impl SubscriptionMerger {
    /// Adds a message of the subscription with this number.
    pub(super) fn push(&mut self, subscription: u64, incoming: Incoming) {
        let next = self.queues.len();
        let place = *self.places.entry(subscription).or_insert(next);
        if place == next {
            self.queues.push(VecDeque::new());
        }
        self.queues[place].push_back(incoming);
    }

    /// Appends all messages to `out`.
    pub(super) fn merge(mut self, out: &mut VecDeque<Incoming>) {
        if self.queues.len() < 2 {
            return out.extend(self.queues.into_iter().flatten());
        }
        // For each node, the numbers not merged yet, with the subscriptions that hold them.
        let mut numbers: HashMap<u64, BTreeMap<u64, Vec<usize>>> = HashMap::new();
        for (place, subscription) in self.queues.iter().enumerate() {
            for (node, number) in subscription.iter().filter_map(key) {
                numbers.entry(node).or_default().entry(number).or_default().push(place);
            }
        }
        for place in 0..self.queues.len() {
            // A chain of subscriptions, each of which waits for a message of the next one.
            let (mut chain, mut in_chain) = (vec![place], HashSet::from([place]));
            while let Some(&place) = chain.last() {
                let Some(head) = self.queues[place].front() else {
                    chain.pop();
                    in_chain.remove(&place);
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
                    Some(first) if in_chain.insert(first) => chain.push(first),
                    _ => {
                        if let Some((node, number)) = key {
                            forget(numbers.get_mut(&node), number, place);
                        }
                        out.extend(self.queues[place].pop_front());
                        // The subscription before it may continue.
                        if chain.len() > 1 {
                            chain.pop();
                            in_chain.remove(&place);
                        }
                    }
                }
            }
        }
    }
}

/// Removes a number whose message was taken from the subscription at `place`.
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

    fn message(subscription: u64, node: u64, number: u64) -> Incoming {
        let body = Body { node, number, ..Body::default() };
        Incoming::Message { via: subscription.to_string().into(), topic: None, body }
    }

    /// Merges messages, each given as subscription, node and number.
    fn merged(received: &[(u64, u64, u64)]) -> Vec<(u64, u64, u64)> {
        let (mut queues, mut out) = (SubscriptionMerger::default(), VecDeque::new());
        for (subscription, node, number) in received {
            queues.push(*subscription, message(*subscription, *node, *number));
        }
        queues.merge(&mut out);
        let described = |incoming| match incoming {
            Incoming::Message { via, body, .. } => (via.parse().unwrap(), body.node, body.number),
            other => panic!("{other:?}"),
        };
        out.into_iter().map(described).collect()
    }

    /// Sorts messages as the library delivers them: one subscription after the other.
    fn by_subscription(mut received: Vec<(u64, u64, u64)>, turn: u64) -> Vec<(u64, u64, u64)> {
        received.sort_by_key(|(subscription, ..)| (subscription + turn) % 5);
        received
    }

    #[test]
    fn each_subscription_and_each_node_keep_their_order() {
        let mut random = 7_u64;
        for turn in 0..200 {
            let mut last = [0; 4];
            let received: Vec<_> = (0..60)
                .map(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let (subscription, node) = ((random >> 33) % 5, (random >> 40) % 4);
                    // Node 0 stands for senders that do not number their messages.
                    last[node as usize] += u64::from(node > 0);
                    (subscription, node, last[node as usize])
                })
                .collect();
            let out = merged(&by_subscription(received.clone(), turn));
            assert_eq!(out.len(), received.len());
            for of in 0..5 {
                let subscription = |all: &[(u64, u64, u64)]| -> Vec<_> {
                    all.iter().copied().filter(|(subscription, ..)| *subscription == of).collect()
                };
                assert_eq!(subscription(&out), subscription(&received));
            }
            for of in 1..4 {
                let numbers: Vec<_> =
                    out.iter().filter(|(_, node, _)| *node == of).map(|received| received.2).collect();
                assert!(numbers.is_sorted(), "{numbers:?}");
            }
        }
    }

    #[test]
    fn repeated_messages_are_all_kept() {
        // Received by two subscriptions, and repeated in the same order after a reconnect of the
        // node.
        let received =
            [(1, 1, 2), (1, 1, 4), (1, 1, 2), (2, 1, 3), (2, 1, 1), (2, 1, 3), (2, 2, 9), (1, 2, 8)];
        let mut out = merged(&received);
        assert_eq!(out.iter().filter(|(subscription, ..)| *subscription == 1).count(), 4);
        out.sort_unstable();
        let mut all = received.to_vec();
        all.sort_unstable();
        assert_eq!(out, all);
    }
}
