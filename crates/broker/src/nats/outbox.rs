//! Commands that wait to be sent to a NATS server.

use async_nats::message::OutboundMessage;
use async_nats::{HeaderMap, HeaderName};
use bytes::Bytes;
use futures_util::stream::{AbortHandle, AbortRegistration};
use std::collections::VecDeque;
use std::sync::Arc;

use super::headers::HEADROOM;

/// The purpose of a subscription.
#[derive(Debug, Clone)]
pub(super) enum SubscriptionKind {
    /// Messages for every connection.
    Everybody,
    /// Control messages.
    Nodes,
    /// Answers of JetStream.
    Answers,
    /// Sync messages, which the driver sends to itself.
    Sync,
    /// A topic or pattern.
    Name(Arc<str>),
}

/// A command.
pub(super) enum Outgoing {
    /// Subscribe to a subject, until the registration's handle is aborted.
    Subscribe(SubscriptionKind, String, AbortRegistration),
    /// Publish a message. The number is that of a publication which NATS does not answer by itself,
    /// otherwise 0.
    Publish(OutboundMessage, u64),
}

impl Outgoing {
    /// Approximate size in bytes.
    fn size(&self) -> usize {
        HEADROOM
            + match self {
                Self::Subscribe(_, subject, _) => subject.len(),
                Self::Publish(message, _) => message.payload.len(),
            }
    }
}

/// The commands in their order.
#[derive(Default)]
pub(super) struct Outbox {
    commands: VecDeque<Outgoing>,
    /// Approximate sum of their sizes.
    bytes: usize,
}

impl Outbox {
    /// Number of commands.
    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    /// Approximate size of all commands in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn push(&mut self, command: Outgoing) {
        self.bytes += command.size();
        self.commands.push_back(command);
    }

    /// Subscribes to a subject until the returned handle is aborted.
    pub(super) fn subscribe(&mut self, kind: SubscriptionKind, subject: String) -> AbortHandle {
        let (handle, registration) = AbortHandle::new_pair();
        self.push(Outgoing::Subscribe(kind, subject, registration));
        handle
    }

    /// Publishes a message; see [`Outgoing::Publish`] for `number`.
    pub(super) fn publish(
        &mut self,
        subject: String,
        reply: Option<String>,
        headers: &[(HeaderName, &str)],
        payload: Bytes,
        number: u64,
    ) {
        let headers = (!headers.is_empty()).then(|| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(name.clone(), *value);
            }
            map
        });
        let (subject, reply) = (subject.into(), reply.map(Into::into));
        self.push(Outgoing::Publish(OutboundMessage { subject, reply, payload, headers }, number));
    }

    /// Removes the first `count` commands.
    pub(super) fn take(&mut self, count: usize) -> Vec<Outgoing> {
        let batch: Vec<_> = self.commands.drain(..count).collect();
        self.bytes -= batch.iter().map(Outgoing::size).sum::<usize>();
        batch
    }
}
