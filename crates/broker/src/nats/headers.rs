//! Names of the headers in messages of NATS.

use async_nats::{HeaderMap, HeaderName};

/// Number of the node that has sent the message: 16 hexadecimal digits.
pub(super) const NODE: HeaderName = HeaderName::from_static("Sprocket-Node");
/// Number of the message among the publications of that node.
pub(super) const NUMBER: HeaderName = HeaderName::from_static("Sprocket-Number");
/// `1`: the payload is binary.
pub(crate) const BINARY: HeaderName = HeaderName::from_static("Sprocket-Binary");
/// Epoch of the stream, as the sending node knew it.
pub(super) const EPOCH: HeaderName = HeaderName::from_static("Sprocket-Epoch");
/// Set by JetStream: the stream that has stored the message.
pub(super) const STREAM: HeaderName = HeaderName::from_static("Nats-Stream");
/// Set by JetStream: sequence number of the message in the stream.
pub(super) const SEQUENCE: HeaderName = HeaderName::from_static("Nats-Sequence");
/// Set by JetStream: sequence number of the previous message with the same subject.
pub(super) const LAST_SEQUENCE: HeaderName = HeaderName::from_static("Nats-Last-Sequence");
/// Id by which JetStream recognizes a repeated message.
pub(super) const MESSAGE_ID: HeaderName = HeaderName::from_static("Nats-Msg-Id");

/// Bytes reserved for the headers of a message, which count towards the server's limit of a payload.
pub(crate) const HEADROOM: usize = 256;

/// Whether the headers declare the payload binary.
pub(super) fn is_binary(headers: &HeaderMap) -> bool {
    headers.get(BINARY).is_some_and(|value| value.as_str() == "1")
}
