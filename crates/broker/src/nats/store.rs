//! Publications that JetStream stores, and the streams that they need.

use async_nats::Message;
use bytes::Bytes;
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::headers::{BINARY, EPOCH, MESSAGE_ID, NODE};
use super::jetstream::{self, Described, HistoryStream};
use super::link::NO_JETSTREAM;
use super::outbox::{Outbox, SubscriptionKind};
use crate::driver::{Incoming, SendResult};
use crate::queue::Item;

/// Pause before a stream that could not be created is requested again.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How long JetStream may take to answer a request for a stream.
const PATIENCE: Duration = Duration::from_secs(5);

/// State of a stream, as far as the server has described it on this connection.
#[derive(Debug)]
enum StreamState {
    /// Requested at this time; JetStream has not answered yet.
    Asked(Instant),
    /// It exists and has this epoch.
    Ready(u64),
    /// JetStream could not provide it at this time, for this reason.
    Failed(Instant, String),
}

/// The JetStream state of one driver: its streams, and the publications that they have not confirmed.
pub(super) struct Store {
    /// Number of this node, as in the header.
    node: String,
    /// Subject below which the answers of JetStream arrive.
    inbox: String,
    /// Whether the driver has subscribed to the inbox.
    listening: bool,
    /// The streams by name, with their state.
    streams: HashMap<String, (HistoryStream, StreamState)>,
    /// Numbers of publications that JetStream has not answered, in their order, by subject.
    unanswered: HashMap<String, VecDeque<u64>>,
    /// The subject of each publication in `unanswered`, by number.
    subjects: HashMap<u64, String>,
}

impl Store {
    pub(super) fn new(node: String, inbox: String) -> Self {
        Self {
            node,
            inbox,
            listening: false,
            streams: HashMap::new(),
            unanswered: HashMap::new(),
            subjects: HashMap::new(),
        }
    }

    /// The epoch of a stream, if it is known.
    pub(super) fn epoch(&self, stream: &str) -> Option<u64> {
        match self.streams.get(stream)? {
            (_, StreamState::Ready(epoch)) => Some(*epoch),
            _ => None,
        }
    }

    /// Handles an answer of JetStream to a publication or to a request for a stream.
    pub(super) fn answered(&mut self, message: &Message, outbox: &mut Outbox) -> Incoming {
        let of = message.subject.strip_prefix(self.inbox.as_str()).and_then(|rest| rest.strip_prefix('.'));
        let Some(of) = of else { return Incoming::Nothing };
        let nobody = message.status == Some(async_nats::StatusCode::NO_RESPONDERS);
        if let Ok(number) = of.parse::<u64>() {
            self.settle(number);
            let refused = |reason, uncertain| Incoming::Refused { number, reason, uncertain };
            if nobody {
                // The stream may be gone: the next publication asks for it again.
                self.streams.clear();
                return refused(NO_JETSTREAM.to_owned(), false);
            }
            let answer: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
            return match jetstream::error(&answer) {
                Some(reason) => refused(format!("JetStream refuses it: {reason}"), false),
                None if answer["seq"].is_u64() => Incoming::Confirmed(number),
                None => refused(format!("JetStream answered {answer}"), true),
            };
        }
        let Some((stream, state)) = self.streams.get_mut(of) else { return Incoming::Nothing };
        let described = if nobody {
            Described::Failed(NO_JETSTREAM.to_owned())
        } else {
            stream.described(&message.payload)
        };
        *state = match described {
            Described::Stream { epoch, .. } => StreamState::Ready(epoch),
            Described::Failed(reason) => StreamState::Failed(Instant::now(), reason),
            Described::Exists => {
                outbox.publish(stream.info(), Some(message.subject.to_string()), &[], Bytes::new(), 0);
                StreamState::Asked(Instant::now())
            }
        };
        Incoming::Nothing
    }

    /// Forgets a publication that JetStream has answered, or NATS has refused.
    fn settle(&mut self, number: u64) {
        let Some(subject) = self.subjects.remove(&number) else { return };
        if let Some(numbers) = self.unanswered.get_mut(&subject) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.unanswered.remove(&subject);
            }
        }
    }

    /// Handles the refusal of NATS to publish to this subject. Removes the oldest unanswered publication
    /// there, and returns its number.
    pub(super) fn refused(&mut self, subject: &str) -> Option<u64> {
        let number = self.unanswered.get(subject)?.front().copied()?;
        self.settle(number);
        Some(number)
    }

    /// Handles the refusal of NATS to pass requests to JetStream: no requested stream will be described.
    pub(super) fn fail_requests(&mut self, error: &str) {
        for (_, state) in self.streams.values_mut() {
            if matches!(state, StreamState::Asked(_)) {
                *state = StreamState::Failed(Instant::now(), error.to_owned());
            }
        }
    }

    /// Publishes to a stream, which is created first if necessary.
    pub(super) fn publish(
        &mut self,
        stream: HistoryStream,
        topic: &str,
        item: &Item,
        outbox: &mut Outbox,
    ) -> SendResult {
        if !self.listening {
            self.listening = true;
            outbox.subscribe(SubscriptionKind::Answers, format!("{}.>", self.inbox));
        }
        let epoch = match self.streams.get_mut(&stream.name) {
            Some((_, StreamState::Asked(at))) if at.elapsed() < PATIENCE => return SendResult::Later,
            Some((_, state @ StreamState::Asked(_))) => {
                let reason = format!("JetStream did not answer within {PATIENCE:?}");
                *state = StreamState::Failed(Instant::now(), reason.clone());
                return SendResult::Refused(reason);
            }
            Some((_, StreamState::Failed(at, reason))) if at.elapsed() < RETRY_AFTER => {
                return SendResult::Refused(reason.clone());
            }
            Some((_, StreamState::Ready(epoch))) => epoch.to_string(),
            None | Some((_, StreamState::Failed(..))) => {
                let (subject, payload) = stream.create();
                let reply = format!("{}.{}", self.inbox, stream.name);
                outbox.publish(subject, Some(reply), &[], payload.into(), 0);
                self.streams.insert(stream.name.clone(), (stream, StreamState::Asked(Instant::now())));
                return SendResult::Later;
            }
        };
        let id = format!("{}-{}", self.node, item.number);
        let mut headers = vec![(NODE, self.node.as_str()), (EPOCH, &epoch), (MESSAGE_ID, &id)];
        if item.binary {
            headers.push((BINARY, "1"));
        }
        let reply = format!("{}.{}", self.inbox, item.number);
        let subject = stream.subject(topic);
        self.unanswered.entry(subject.clone()).or_default().push_back(item.number);
        self.subjects.insert(item.number, subject.clone());
        outbox.publish(subject, Some(reply), &headers, item.payload.clone(), 0);
        SendResult::Sent
    }
}
