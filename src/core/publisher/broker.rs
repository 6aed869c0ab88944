//! Publishing to all servers behind a broker.

use bytes::BytesMut;
use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;

use super::call::{Call, Kept};
use super::socket::Socket;
use super::{PublishError, nats, redis};
use crate::broker::{BrokerKind, BrokerUrl, Place};

/// Publishes to one broker. The connection is made when needed, and kept.
pub struct BrokerPublisher {
    url: BrokerUrl,
    prefix: String,
    link: Kept<Link>,
}

impl fmt::Debug for BrokerPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerPublisher").field("url", &self.url).finish_non_exhaustive()
    }
}

impl BrokerPublisher {
    /// For the topics of servers with this prefix. Connects to nothing yet.
    pub fn new(url: BrokerUrl, prefix: String) -> Self {
        Self { url, prefix, link: Kept::none() }
    }

    /// Publishes and waits for the broker's word that it has passed the message on to the servers
    /// that are connected to it. `payload` must be valid UTF-8 unless `binary`.
    ///
    /// A kept connection that turns out to be dead is replaced once; a message that may have been
    /// published is never sent again.
    ///
    /// # Errors
    /// See [`PublishError`]: each tells whether the message may have been published.
    pub fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        binary: bool,
        timeout: Duration,
    ) -> Result<(), PublishError> {
        let expected = match self.url.kind() {
            BrokerKind::Redis => "a Redis server",
            BrokerKind::Nats => "a NATS server",
        };
        let call = Call::begin(&self.url, expected, timeout);
        let exchange = |mut link: Link| {
            link.socket.give(call.until);
            match self.url.kind() {
                BrokerKind::Redis => redis::publish(&call, link, &self.prefix, topic, payload, binary),
                BrokerKind::Nats => nats::publish(&call, link, &self.prefix, topic, payload, binary),
            }
        };
        self.link.publish(|| connect(&self.url, &call), exchange)
    }
}

/// To the first server that can be had. One that refuses is not passed over.
fn connect(url: &BrokerUrl, call: &Call<'_>) -> Result<Link, PublishError> {
    let mut last = None;
    for place in &url.places {
        match connect_to(url, place, call) {
            Err(error @ PublishError::Unreachable { .. }) => last = Some(error),
            done => return done,
        }
    }
    Err(last.unwrap_or_else(|| call.closed()))
}

fn connect_to(url: &BrokerUrl, place: &Place, call: &Call<'_>) -> Result<Link, PublishError> {
    let socket = Socket::connect(place, call.until).map_err(|source| call.unreachable(source))?;
    let link = Link { socket, input: BytesMut::new(), longest: usize::MAX };
    match url.kind() {
        BrokerKind::Redis => redis::greet(url, place, call, link),
        BrokerKind::Nats => nats::greet(url, place, call, link),
    }
}

/// A connection that was greeted.
pub(super) struct Link {
    pub(super) socket: Socket,
    pub(super) input: BytesMut,
    /// Bytes of a payload that the server takes.
    pub(super) longest: usize,
}

impl Link {
    /// Reads until `parse` finds something. `Err(None)`: the end; `Err(Some)` of the operating
    /// system, or with `InvalidData` because it is not the protocol.
    pub(super) fn next<T>(
        &mut self,
        parse: impl Fn(&mut BytesMut) -> Result<Option<T>, String>,
    ) -> Result<T, Option<io::Error>> {
        loop {
            let found = parse(&mut self.input)
                .map_err(|error| Some(io::Error::new(ErrorKind::InvalidData, error)))?;
            if let Some(found) = found {
                return Ok(found);
            }
            let mut chunk = [0; 4096];
            match self.socket.receive(&mut chunk)? {
                0 => return Err(None),
                n => self.input.extend_from_slice(&chunk[..n]),
            }
        }
    }
    /// The same during the greeting, before there is a message.
    pub(super) fn hear<T>(
        &mut self,
        call: &Call<'_>,
        parse: impl Fn(&mut BytesMut) -> Result<Option<T>, String>,
    ) -> Result<T, PublishError> {
        self.next(parse).map_err(|error| match error {
            Some(error) if error.kind() == ErrorKind::InvalidData => call.foreign(&self.input),
            Some(error) => call.unsent(&error),
            None => call.closed(),
        })
    }

    /// Puts TLS on it.
    pub(super) fn secure(
        self,
        url: &BrokerUrl,
        place: &Place,
        call: &Call<'_>,
    ) -> Result<Self, PublishError> {
        let socket = self.socket.secure(url, place).map_err(|source| call.unreachable(source))?;
        Ok(Self { socket, ..self })
    }
}
