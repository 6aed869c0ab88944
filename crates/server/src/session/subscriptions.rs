//! The topics of one connection.

use std::collections::VecDeque;

use crate::channel::ask::Ask;
use crate::indexed::{Indexed, Keyed};
use crate::topics::registry::TopicId;

/// A topic of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subscription {
    pub(super) id: TopicId,
    /// What [`Subscribers::counted`](crate::topics::subscribers::Subscribers::counted) was when it began; something else if it got
    /// what it had missed since.
    pub(super) since: u64,
}

impl Keyed for Subscription {
    type Key = TopicId;

    fn key(&self) -> &TopicId {
        &self.id
    }
}

/// Tickets of the answers to come about a topic, the next one first.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) id: TopicId,
    pub(super) tickets: VecDeque<u64>,
}

impl Keyed for Pending {
    type Key = TopicId;

    fn key(&self) -> &TopicId {
        &self.id
    }
}

/// The position up to which the connection has got the publications to a topic.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) id: TopicId,
    pub(super) position: String,
}

impl Keyed for Got {
    type Key = TopicId;

    fn key(&self) -> &TopicId {
        &self.id
    }
}

/// What a connection has missed, as far as it is under way.
#[derive(Debug, Default)]
pub(super) struct Resumes {
    pub(super) pending: Indexed<Pending>,
    /// Tickets of the replays that the hub was asked for: one, or two if the host asks for one in the
    /// moment in which another is asked for here.
    pub(super) asked: Vec<u64>,
    /// Further replays, asked for one after the other because each may exceed the send buffer limit.
    pub(super) deferred: VecDeque<(u64, Box<Ask>)>,
    pub(super) got: Indexed<Got>,
}

impl Resumes {
    /// Notes that an answer is to come.
    pub(super) fn expect(&mut self, id: TopicId, ticket: u64) {
        match self.pending.get_mut(&id) {
            Some(pending) => pending.tickets.push_back(ticket),
            None => drop(self.pending.insert(Pending { id, tickets: [ticket].into() })),
        }
    }

    /// False: nobody waits for this answer.
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

/// What became of a published frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    Queued,
    Skipped,
    /// Too much waits for the peer: [`Session::push_or_give_up`](super::Session::push_or_give_up) comes next.
    Full,
}
