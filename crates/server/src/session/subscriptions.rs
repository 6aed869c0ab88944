//! The subscriptions of one connection, and the state of the topics that it resumes.

use std::collections::VecDeque;

use crate::channel::ask::Ask;
use crate::indexed::{Indexed, Keyed};
use crate::topics::registry::TopicId;

/// One subscription of a connection, held by its session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subscription {
    pub(super) id: TopicId,
    /// Value of [`Subscribers::counted`](crate::topics::subscribers::Subscribers::counted) when the
    /// subscription began. As long as the two are equal, the connection has received no publication with
    /// a position; a replay that contained publications makes them differ.
    pub(super) since: u64,
}

impl Keyed for Subscription {
    type Key = TopicId;

    fn key(&self) -> &TopicId {
        &self.id
    }
}

/// The outstanding resume requests of one topic.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) id: TopicId,
    /// Tickets of the expected answers, in the order of the requests.
    pub(super) tickets: VecDeque<u64>,
}

impl Keyed for Pending {
    type Key = TopicId;

    fn key(&self) -> &TopicId {
        &self.id
    }
}

/// The end of a topic's replay. Publications up to this position may also arrive by the normal way, and
/// are then skipped as duplicates.
#[derive(Debug)]
pub(super) struct Replayed {
    pub(super) id: TopicId,
    /// Position of the last publication that the replay contained.
    pub(super) position: String,
}

impl Keyed for Replayed {
    type Key = TopicId;

    fn key(&self) -> &TopicId {
        &self.id
    }
}

/// The topics that a connection resumes or has resumed. Its session creates this with the first resume.
#[derive(Debug, Default)]
pub(super) struct Resumes {
    /// Topics for which an answer of the hub is outstanding.
    pub(super) pending: Indexed<Pending>,
    /// Tickets of the replays requested from the hub: usually one, two if the host requests one at the
    /// same moment as the session.
    pub(super) asked: Vec<u64>,
    /// Tickets and requests of further replays. They are sent one at a time, because each replay may
    /// exceed the send buffer limit.
    pub(super) deferred: VecDeque<(u64, Box<Ask>)>,
    /// Topics whose replayed publications may still arrive a second time.
    pub(super) replayed: Indexed<Replayed>,
}

impl Resumes {
    /// Records that an answer with this ticket is expected.
    pub(super) fn expect(&mut self, id: TopicId, ticket: u64) {
        match self.pending.get_mut(&id) {
            Some(pending) => pending.tickets.push_back(ticket),
            None => drop(self.pending.insert(Pending { id, tickets: [ticket].into() })),
        }
    }

    /// Removes an expected answer. Returns false if it is not expected, for example because the
    /// connection has unsubscribed in the meantime.
    pub(super) fn take(&mut self, id: TopicId, ticket: u64) -> bool {
        let Some(pending) = self.pending.get_mut(&id) else { return false };
        let Some(at) = pending.tickets.iter().position(|other| *other == ticket) else { return false };
        pending.tickets.remove(at);
        if pending.tickets.is_empty() {
            self.pending.remove(&id);
        }
        true
    }
}

/// The result of queueing a published frame in one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    Queued,
    /// The session is closing, or has already received this publication.
    Skipped,
    /// The send buffer limit is reached. The caller flushes the session and then calls
    /// [`Session::push_or_give_up`](super::Session::push_or_give_up).
    Full,
}
