//! Who gets what is published: the subscribers of one I/O thread.

use std::collections::HashMap;

use crate::topics::TopicId;

/// Slots of the subscribers of each topic.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    members: HashMap<TopicId, Vec<u32>>,
}

impl Hub {
    /// The host does not subscribe a connection twice.
    pub(crate) fn join(&mut self, topic: TopicId, slot: u32) {
        self.members.entry(topic).or_default().push(slot);
    }

    /// The memory of a topic goes with its last subscriber.
    pub(crate) fn leave(&mut self, topic: TopicId, slot: u32) {
        let Some(members) = self.members.get_mut(&topic) else { return };
        if let Some(at) = members.iter().position(|s| *s == slot) {
            members.swap_remove(at);
        }
        if members.is_empty() {
            self.members.remove(&topic);
        } else if members.capacity() > 64 && members.len() < members.capacity() / 4 {
            members.shrink_to(members.len() * 2);
        }
    }

    /// Slots that subscribe to a topic.
    pub(crate) fn members(&self, topic: TopicId) -> &[u32] {
        self.members.get(&topic).map_or(&[], Vec::as_slice)
    }
}
