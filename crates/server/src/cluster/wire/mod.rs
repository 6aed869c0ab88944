//! The protocol between workers and the hub, over a Unix socket: [`Up`] is a frame from a worker to
//! the hub, [`Down`] a frame from the hub to a worker.
//!
//! A frame is a 32-bit length, which does not count itself, a byte for the kind, and the fields of
//! that kind. All numbers are little-endian. A name has a 16-bit length; a payload is the rest of
//! its frame. [`split`] cuts the byte stream into frames, `fields` reads and writes the fields, and
//! `pipe` is one end of the socket.

pub(crate) mod fields;
pub(crate) mod pipe;

#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};

pub(crate) use fields::Malformed;
use fields::{Reader, Writer};

/// Version of the protocol. The hub refuses a worker with a different one.
pub(crate) const VERSION: u16 = 3;
/// Upper bound for the bytes of a frame other than its payload: up to four names of full length, and
/// the numbers.
pub(crate) const OVERHEAD: usize = 4096;

/// A frame from a worker to the hub. `topic`, `payload` and `binary` (a binary rather than a text
/// message) mean the same in every kind; `conn` is the number of a connection of the worker.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Up<'a> {
    /// Greeting, the first frame. `slot` is the worker's number on the node; `instance` is a random
    /// number drawn at each start of a server. `counters` is the
    /// [`layout`](crate::metrics::counters::Stats::layout) of the numbers in `Stats`, and `history`
    /// the fingerprint of the worker's settings for topics with history: the hub refuses a worker
    /// whose values differ from its own.
    Hello { version: u16, slot: u16, instance: u64, counters: u64, history: &'a str },
    /// A publication to a topic. The connection `except` of this worker does not receive it; 0 if
    /// none. With a `ticket` other than 0 a publisher waits for the outcome, and a [`Down::Refused`]
    /// repeats the ticket.
    Publish { topic: &'a str, payload: &'a [u8], binary: bool, except: u64, ticket: u64 },
    /// A message to every connection of the other workers and nodes.
    Broadcast { payload: &'a [u8], binary: bool },
    /// A topic or pattern got its first subscriber in this worker (`on`) or lost its last one.
    Interest { name: &'a str, on: bool },
    /// Request for the publications of a topic after `position`, which the hub answers with
    /// [`Down::Missed`] and [`Down::Resumed`] of the same ticket.
    Resume { ticket: u64, topic: &'a str, position: &'a str },
    /// A connection joins a topic's presence list as `member`, with the application's `data` about it.
    Join { conn: u64, topic: &'a str, member: &'a str, data: &'a [u8] },
    /// A connection leaves a topic's presence list.
    Leave { conn: u64, topic: &'a str },
    /// The worker's counters, in the order of the layout announced in `Hello`.
    Stats { values: Vec<u64> },
    /// Request for a [`Down::Synced`] once every earlier frame is processed.
    Sync,
}

/// A frame from the hub to a worker. `topic`, `payload` and `binary` mean the same as in [`Up`];
/// `link` is the number that the hub gives to the connection of a worker.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Down<'a> {
    /// The hub accepts the worker's `Hello`. If there is a `broker`, the worker must announce its
    /// interest in topics. `limit` is the size in bytes of the largest publication that the hub
    /// accepts. The members present elsewhere follow as `Present`.
    Welcome { broker: bool, limit: u64 },
    /// The hub refuses the worker; no frame follows.
    TurnedAway { why: &'a str },
    /// A publication for the worker's subscribers. `position` is empty for a topic without history;
    /// the connection `except` does not receive the publication, unless it is 0.
    Deliver { topic: &'a str, payload: &'a [u8], binary: bool, position: &'a str, except: u64 },
    /// A message to every connection of the worker.
    Broadcast { payload: &'a [u8], binary: bool },
    /// A publication that a resuming connection missed. All those of one ticket and their `Resumed`
    /// come without any other frame in between.
    Missed { ticket: u64, payload: &'a [u8], binary: bool },
    /// The end of the answer to `Resume`. `complete` is true if no publication after the requested
    /// position is missing; `position` is that of the newest publication.
    Resumed { ticket: u64, complete: bool, position: &'a str },
    /// Number of connections that a member of a topic has on other workers and nodes.
    Present { topic: &'a str, member: &'a str, connections: u32, data: &'a [u8] },
    /// A publication was lost for some or all recipients; `uncertain` if it may have reached some.
    /// `ticket` is that of the publication, or 0. The frame precedes the answer to any `Sync` sent
    /// after the publication.
    Refused { ticket: u64, topic: &'a str, why: &'a str, uncertain: bool },
    /// The hub's connection to the broker was established, or failed for a reason.
    Broker { connected: bool, reason: &'a str },
    /// Counters of another worker, or of the hub itself (link 0).
    Stats { link: u32, slot: u16, values: Vec<u64> },
    /// The hub has processed every frame before the oldest unanswered `Sync`.
    Synced,
    /// The worker with these counters has disconnected.
    StatsGone { link: u32 },
    /// Number of publications and broadcasts of this worker that the hub has processed since the
    /// link was established.
    Handled { publications: u64 },
}

/// Whether a complete encoded frame is a worker's `Publish` or `Broadcast`.
pub(crate) fn is_publication(frame: &[u8]) -> bool {
    matches!(frame.get(4), Some(2 | 3))
}

/// Takes the next complete frame, without its length field, from the front of `input`. `None` if the
/// frame is still incomplete.
///
/// # Errors
/// The length is 0 or exceeds `limit`.
pub(crate) fn split(input: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, Malformed> {
    let Some(length) = input.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length == 0 || length > limit {
        return Err(Malformed);
    }
    if input.len() < 4 + length {
        // At most doubles the buffer, so that a large length alone allocates little memory.
        input.reserve((4 + length - input.len()).min(input.len().max(64 << 10)));
        return Ok(None);
    }
    let mut frame = input.split_to(4 + length).freeze();
    Ok(Some(frame.split_off(4)))
}

impl Up<'_> {
    /// Encodes the frame with its length field.
    pub(crate) fn encode(&self) -> Bytes {
        match *self {
            // Only the kind and the version number must keep their place in later protocol versions.
            Self::Hello { version, slot, instance, counters, history } => Writer::new(1, history.len())
                .number(version.into())
                .number(slot.into())
                .number(instance)
                .number(counters)
                .end(history.as_bytes()),
            Self::Publish { topic, payload, binary, except, ticket } => {
                Writer::new(2, topic.len() + payload.len())
                    .flag(binary)
                    .number(except)
                    .number(ticket)
                    .name(topic)
                    .end(payload)
            }
            Self::Broadcast { payload, binary } => Writer::new(3, payload.len()).flag(binary).end(payload),
            Self::Interest { name, on } => Writer::new(4, name.len()).flag(on).name(name).end(&[]),
            Self::Resume { ticket, topic, position } => {
                Writer::new(5, topic.len()).number(ticket).name(topic).name(position).end(&[])
            }
            Self::Join { conn, topic, member, data } => {
                Writer::new(6, data.len() + topic.len()).number(conn).name(topic).name(member).end(data)
            }
            Self::Leave { conn, topic } => Writer::new(7, topic.len()).number(conn).name(topic).end(&[]),
            Self::Stats { ref values } => Writer::new(8, values.len() * 8).numbers(values).end(&[]),
            Self::Sync => Writer::new(9, 0).end(&[]),
        }
    }
}

impl<'a> Up<'a> {
    /// Decodes a frame without its length field. A `Hello` of another protocol version has only its
    /// version filled in.
    pub(crate) fn decode(frame: &'a [u8]) -> Result<Self, Malformed> {
        let mut from = Reader(frame);
        let [kind] = from.array()?;
        let decoded = match kind {
            1 => {
                let version: u16 = from.small()?;
                if version != VERSION {
                    return Ok(Self::Hello { version, slot: 0, instance: 0, counters: 0, history: "" });
                }
                let (slot, instance, counters) = (from.small()?, from.number()?, from.number()?);
                let history = std::str::from_utf8(from.rest()).map_err(|_| Malformed)?;
                Self::Hello { version, slot, instance, counters, history }
            }
            2 => {
                let (binary, except, ticket) = (from.flag()?, from.number()?, from.number()?);
                let topic = from.name()?;
                Self::Publish { topic, payload: text_or_binary(from.rest(), binary)?, binary, except, ticket }
            }
            3 => {
                let binary = from.flag()?;
                Self::Broadcast { payload: text_or_binary(from.rest(), binary)?, binary }
            }
            4 => Self::Interest { on: from.flag()?, name: from.name()? },
            5 => Self::Resume { ticket: from.number()?, topic: from.name()?, position: from.name()? },
            6 => {
                let (conn, topic, member) = (from.number()?, from.name()?, from.name()?);
                Self::Join { conn, topic, member, data: from.rest() }
            }
            7 => Self::Leave { conn: from.number()?, topic: from.name()? },
            8 => Self::Stats { values: from.numbers()? },
            9 => Self::Sync,
            _ => return Err(Malformed),
        };
        from.end()?;
        Ok(decoded)
    }
}

/// Returns the payload unless it is a text message with invalid UTF-8. The hub checks this because
/// the payload goes to clients of every worker, which would fail the connection (RFC 6455 8.1).
fn text_or_binary(payload: &[u8], binary: bool) -> Result<&[u8], Malformed> {
    if binary || std::str::from_utf8(payload).is_ok() { Ok(payload) } else { Err(Malformed) }
}

impl Down<'_> {
    /// Encodes the frame with its length field.
    pub(crate) fn encode(&self) -> Bytes {
        match *self {
            Self::Welcome { broker, limit } => Writer::new(65, 0).flag(broker).number(limit).end(&[]),
            Self::TurnedAway { why } => Writer::new(66, why.len()).name(why).end(&[]),
            Self::Deliver { topic, payload, binary, position, except } => {
                Writer::new(67, topic.len() + payload.len() + position.len())
                    .flag(binary)
                    .number(except)
                    .name(topic)
                    .name(position)
                    .end(payload)
            }
            Self::Broadcast { payload, binary } => Writer::new(68, payload.len()).flag(binary).end(payload),
            Self::Missed { ticket, payload, binary } => {
                Writer::new(69, payload.len()).number(ticket).flag(binary).end(payload)
            }
            Self::Resumed { ticket, complete, position } => {
                Writer::new(70, position.len()).number(ticket).flag(complete).name(position).end(&[])
            }
            Self::Present { topic, member, connections, data } => {
                Writer::new(71, topic.len() + member.len() + data.len())
                    .number(connections.into())
                    .name(topic)
                    .name(member)
                    .end(data)
            }
            Self::Refused { ticket, topic, why, uncertain } => Writer::new(72, topic.len() + why.len())
                .number(ticket)
                .flag(uncertain)
                .name(topic)
                .name(why)
                .end(&[]),
            Self::Broker { connected, reason } => {
                Writer::new(73, reason.len()).flag(connected).name(reason).end(&[])
            }
            Self::Stats { link, slot, ref values } => Writer::new(74, values.len() * 8)
                .number(link.into())
                .number(slot.into())
                .numbers(values)
                .end(&[]),
            Self::StatsGone { link } => Writer::new(75, 0).number(link.into()).end(&[]),
            Self::Handled { publications } => Writer::new(76, 0).number(publications).end(&[]),
            Self::Synced => Writer::new(77, 0).end(&[]),
        }
    }
}

impl<'a> Down<'a> {
    /// Decodes a frame without its length field.
    pub(crate) fn decode(frame: &'a [u8]) -> Result<Self, Malformed> {
        let mut from = Reader(frame);
        let [kind] = from.array()?;
        let decoded = match kind {
            65 => Self::Welcome { broker: from.flag()?, limit: from.number()? },
            66 => Self::TurnedAway { why: from.name()? },
            67 => {
                let (binary, except, topic) = (from.flag()?, from.number()?, from.name()?);
                let position = from.name()?;
                Self::Deliver { topic, payload: from.rest(), binary, position, except }
            }
            68 => Self::Broadcast { binary: from.flag()?, payload: from.rest() },
            69 => Self::Missed { ticket: from.number()?, binary: from.flag()?, payload: from.rest() },
            70 => Self::Resumed { ticket: from.number()?, complete: from.flag()?, position: from.name()? },
            71 => {
                let (connections, topic, member) = (from.small()?, from.name()?, from.name()?);
                Self::Present { topic, member, connections, data: from.rest() }
            }
            72 => {
                let (ticket, uncertain) = (from.number()?, from.flag()?);
                Self::Refused { ticket, topic: from.name()?, why: from.name()?, uncertain }
            }
            73 => Self::Broker { connected: from.flag()?, reason: from.name()? },
            74 => Self::Stats { link: from.small()?, slot: from.small()?, values: from.numbers()? },
            75 => Self::StatsGone { link: from.small()? },
            76 => Self::Handled { publications: from.number()? },
            77 => Self::Synced,
            _ => return Err(Malformed),
        };
        from.end()?;
        Ok(decoded)
    }
}
