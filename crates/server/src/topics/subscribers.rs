//! The subscribers on one I/O thread, by topic number. Each I/O thread has its own list, in which it
//! looks up the connections that receive a publication.

use std::collections::HashMap;

use crate::indexed::Indexed;
use crate::topics::registry::TopicId;

/// Subscribers of each topic. A connection is identified by its slot in the thread's list of sessions.
#[derive(Debug, Default)]
pub(crate) struct Subscribers {
    members: HashMap<TopicId, Indexed<u32>>,
    /// Number of publications with a position that each topic's subscribers have received. Without an
    /// entry for 0.
    sequenced: HashMap<TopicId, u64>,
}

impl Subscribers {
    /// Adds a subscriber. The host never subscribes a connection twice.
    pub(crate) fn join(&mut self, topic: TopicId, slot: u32) {
        self.members.entry(topic).or_default().insert(slot);
    }

    /// Removes a subscriber, and with the last one the topic.
    pub(crate) fn leave(&mut self, topic: TopicId, slot: u32) {
        let Some(members) = self.members.get_mut(&topic) else { return };
        members.remove(&slot);
        if members.is_empty() {
            self.members.remove(&topic);
            self.sequenced.remove(&topic);
        }
    }

    /// Counts a publication with a position for a topic that has subscribers.
    pub(crate) fn count(&mut self, topic: TopicId) {
        if self.members.contains_key(&topic) {
            *self.sequenced.entry(topic).or_default() += 1;
        }
    }

    /// Number of publications with a position counted for a topic. A subscriber that remembers an
    /// earlier value knows by comparison whether it has received any since.
    pub(crate) fn counted(&self, topic: TopicId) -> u64 {
        if self.sequenced.is_empty() { 0 } else { self.sequenced.get(&topic).copied().unwrap_or(0) }
    }

    /// Slots of the subscribers of a topic.
    pub(crate) fn members(&self, topic: TopicId) -> &[u32] {
        self.members.get(&topic).map_or(&[], Indexed::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::request::cpu_time;
    use crate::id::ConnId;
    use crate::topics::registry::Topics;
    use std::time::Duration;

    /// CPU time for `count` connections to subscribe to a topic and leave it.
    fn cost(topic: TopicId, count: u32) -> Duration {
        cpu_time(|| {
            let mut subscribers = Subscribers::default();
            (0..count).for_each(|slot| subscribers.join(topic, slot));
            (0..count).rev().step_by(2).for_each(|slot| subscribers.leave(topic, slot));
            (0..count).for_each(|slot| subscribers.leave(topic, slot));
            assert!(subscribers.members.is_empty());
        })
    }

    #[test]
    fn leaving_subscribers_cost_linear_time() {
        let topic = Topics::new(1).subscribe(ConnId(1), 0, "t").unwrap().unwrap();
        let (few, many) = (cost(topic, 4000), cost(topic, 32_000));
        // Quadratic cost would be 64 times as much.
        assert!(many < few * 24, "{few:?} for 4,000, {many:?} for 32,000");
    }
}
