//! Events and counters of a connection to a broker, for the host.

use bytes::Bytes;

/// An event of the connection. Publications of this node itself are not reported, except
/// [stored](super::BrokerClient::store) ones, whose order the broker decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromBroker {
    /// A message of a topic that the node is interested in. Reported once, however many of the
    /// node's subscriptions match the topic.
    Message {
        /// The topic.
        topic: String,
        /// The payload.
        payload: Bytes,
        /// The payload is binary; otherwise it is valid UTF-8.
        binary: bool,
        /// Position in the topic's history, if the topic has one.
        position: Option<String>,
        /// Position of the previous message of the topic, even if the history no longer keeps that
        /// message. `None`: positions of the topic increase by one from message to message.
        previous: Option<String>,
    },
    /// A message for every connection of every node.
    Broadcast {
        /// The payload.
        payload: Bytes,
        /// The payload is binary; otherwise it is valid UTF-8.
        binary: bool,
    },
    /// A control message that another node sent with [`BrokerClient::control`](super::BrokerClient::control).
    Control {
        /// Number of the sending node.
        node: u64,
        /// The payload.
        payload: Bytes,
    },
    /// The connection was established or has ended, or an attempt to connect failed for another
    /// reason than the attempt before it.
    State {
        /// Whether the connection exists now.
        connected: bool,
        /// The address of the broker, or the reason for the failure.
        reason: String,
    },
    /// A publication was not carried out and is not repeated, or the broker refuses to deliver the
    /// messages of this topic.
    Lost {
        /// The topic; empty for a broadcast.
        topic: String,
        /// The reason.
        reason: String,
        /// The publication may have been carried out all the same.
        uncertain: bool,
    },
}

/// Counters of a connection to a broker, over all reconnects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BrokerStats {
    /// Whether the connection exists now.
    pub connected: bool,
    /// Publications that the broker has confirmed.
    pub published: u64,
    /// Messages received from the broker, without control messages.
    pub received: u64,
    /// Bytes of publications that the broker has not confirmed yet.
    pub queued_bytes: u64,
    /// Publications refused because the queue was full.
    pub queue_full: u64,
    /// Publications reported as [`FromBroker::Lost`].
    pub lost: u64,
    /// Messages dropped as duplicates, which another node had sent again after a reconnect.
    pub duplicates: u64,
    /// Messages dropped because their channel or subject is not a topic of this application.
    pub foreign: u64,
    /// Connections established after the first one.
    pub reconnects: u64,
    /// Subscriptions at the broker.
    pub subscriptions: u64,
}
