//! A request to the hub, the process that keeps the histories of topics, on behalf of a connection that
//! resumes a topic.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::id::Target;
use crate::topics::registry::TopicId;

/// A request for the publications that a connection has missed. The session holds it while it is deferred,
/// then the first thread until the hub answers.
#[derive(Debug)]
pub(crate) struct Ask {
    /// Index of the connection's I/O thread.
    pub(crate) thread: u16,
    /// The connection.
    pub(crate) target: Target,
    pub(crate) id: TopicId,
    pub(crate) topic: String,
    /// Position (offset in the topic's history) of the last publication that the connection received.
    pub(crate) position: String,
    #[expect(dead_code, reason = "held until the request is answered")]
    pub(crate) room: Room,
}

/// The bytes that one request occupies until it is answered. Dropping it releases them.
#[derive(Debug)]
pub(crate) struct Room {
    /// Bytes of all outstanding requests.
    asking: Arc<AtomicUsize>,
    bytes: usize,
}

impl Room {
    /// Reserves `bytes` for a request. Returns `None` if all outstanding requests together would exceed
    /// `limit`.
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
