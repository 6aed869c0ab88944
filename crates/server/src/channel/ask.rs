//! A question to the hub on behalf of a connection that resumes a topic.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::id::Target;
use crate::topics::registry::TopicId;

/// What a connection that resumes a topic asks for.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) thread: u16,
    pub(crate) target: Target,
    pub(crate) id: TopicId,
    pub(crate) topic: String,
    pub(crate) position: String,
    #[expect(dead_code, reason = "held until it is answered")]
    pub(crate) room: Room,
}

/// Room that a question takes up until it is answered.
#[derive(Debug)]
pub(crate) struct Room {
    asking: Arc<AtomicUsize>,
    bytes: usize,
}

impl Room {
    /// Takes room among what all questions take up, if `limit` allows it.
    pub(crate) fn take(asking: &Arc<AtomicUsize>, bytes: usize, limit: usize) -> Option<Self> {
        let room = Self { asking: asking.clone(), bytes };
        let before = asking.fetch_add(bytes, Ordering::Relaxed);
        (before.saturating_add(bytes) <= limit).then_some(room)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.asking.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
