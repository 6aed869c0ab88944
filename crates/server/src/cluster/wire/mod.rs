//! What workers and the hub say to each other: frames of a length, a kind and fields.
//!
//! A length is 32 bits, little-endian as all numbers, and does not count itself. Names have 16
//! bits of length; a payload is the rest of its frame.

pub(crate) mod fields;
pub(crate) mod pipe;

#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};

pub(crate) use fields::Malformed;
use fields::{Reader, Writer};

/// Of the protocol. A worker that speaks another one is refused.
pub(crate) const VERSION: u16 = 3;
/// Bytes of a frame beyond those of its payload: four names of the longest kind and numbers.
pub(crate) const OVERHEAD: usize = 4096;

/// What a worker says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Up<'a> {
    /// The first frame. `instance` differs for each start of a server. `counters` is the
    /// [`layout`](crate::metrics::counters::Stats::layout) of the numbers in `Stats`.
    Hello {
        version: u16,
        slot: u16,
        instance: u64,
        counters: u64,
        history: &'a str,
    },
    /// `except` is a connection of this worker, or 0. `ticket`, unless it is 0, is of somebody who
    /// waits to be told if it is `Refused`.
    Publish {
        topic: &'a str,
        payload: &'a [u8],
        binary: bool,
        except: u64,
        ticket: u64,
    },
    Broadcast {
        payload: &'a [u8],
        binary: bool,
    },
    /// The first subscriber of a topic or pattern came, or the last one went.
    Interest {
        name: &'a str,
        on: bool,
    },
    Resume {
        ticket: u64,
        topic: &'a str,
        position: &'a str,
    },
    Join {
        conn: u64,
        topic: &'a str,
        member: &'a str,
        data: &'a [u8],
    },
    Leave {
        conn: u64,
        topic: &'a str,
    },
    /// Its counters, as the host knows them.
    Stats {
        values: Vec<u64>,
    },
    /// To be answered with `Synced` when all that came before is carried out.
    Sync,
}

/// What the hub says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Down<'a> {
    /// The answer to `Hello`. Interest is to be told if there is a broker. A publication may have
    /// so many bytes. Members follow.
    Welcome {
        broker: bool,
        limit: u64,
    },
    /// The other answer, and the last frame.
    TurnedAway {
        why: &'a str,
    },
    /// The position is empty for a topic without history.
    Deliver {
        topic: &'a str,
        payload: &'a [u8],
        binary: bool,
        position: &'a str,
        except: u64,
    },
    Broadcast {
        payload: &'a [u8],
        binary: bool,
    },
    /// Before `Resumed` of the same ticket, and with nothing else between.
    Missed {
        ticket: u64,
        payload: &'a [u8],
        binary: bool,
    },
    Resumed {
        ticket: u64,
        complete: bool,
        position: &'a str,
    },
    /// With so many connections on other workers and nodes a member is present.
    Present {
        topic: &'a str,
        member: &'a str,
        connections: u32,
        data: &'a [u8],
    },
    /// A publication got lost, for others or for all: uncertain if it may have reached somebody.
    /// With the ticket of the publication, before the answer to a `Sync` behind it; or 0.
    Refused {
        ticket: u64,
        topic: &'a str,
        why: &'a str,
        uncertain: bool,
    },
    Broker {
        connected: bool,
        reason: &'a str,
    },
    Stats {
        link: u32,
        slot: u16,
        values: Vec<u64>,
    },
    /// The answer to the oldest `Sync`.
    Synced,
    /// The worker of these counters is gone.
    StatsGone {
        link: u32,
    },
    /// So many of the worker's publications have been dealt with.
    Handled {
        publications: u64,
    },
}

/// Whether a whole frame is one of a worker's publications.
pub(crate) fn is_publication(frame: &[u8]) -> bool {
    matches!(frame.get(4), Some(2 | 3))
}

/// The next whole frame, without its length, taken off `input`. `limit` is for its bytes.
pub(crate) fn split(input: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, Malformed> {
    let Some(length) = input.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length == 0 || length > limit {
        return Err(Malformed);
    }
    if input.len() < 4 + length {
        // As much as is there already, and no more: who only claims much gets no memory for it.
        input.reserve((4 + length - input.len()).min(input.len().max(64 << 10)));
        return Ok(None);
    }
    let mut frame = input.split_to(4 + length).freeze();
    Ok(Some(frame.split_off(4)))
}

impl Up<'_> {
    pub(crate) fn encode(&self) -> Bytes {
        match *self {
            // A later version may say it differently, but for the kind and the version.
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
    pub(crate) fn decode(frame: &'a [u8]) -> Result<Self, Malformed> {
        let mut from = Reader(frame);
        let [kind] = from.array()?;
        let said = match kind {
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
        Ok(said)
    }
}

/// What a worker says goes to everybody's clients.
fn text_or_binary(payload: &[u8], binary: bool) -> Result<&[u8], Malformed> {
    if binary || std::str::from_utf8(payload).is_ok() { Ok(payload) } else { Err(Malformed) }
}

impl Down<'_> {
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
    pub(crate) fn decode(frame: &'a [u8]) -> Result<Self, Malformed> {
        let mut from = Reader(frame);
        let [kind] = from.array()?;
        let said = match kind {
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
        Ok(said)
    }
}
