//! Publishing to all servers behind a broker.

use bytes::BytesMut;
use std::fmt;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::socket::Socket;
use super::{PublishError, nats, redis};
use crate::broker::{BrokerKind, BrokerUrl, Place};

/// Publishes to one broker. The connection is made when needed, and kept.
pub struct BrokerPublisher {
    url: BrokerUrl,
    prefix: String,
    link: Option<(Link, u32)>,
}

impl fmt::Debug for BrokerPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerPublisher").field("url", &self.url).finish_non_exhaustive()
    }
}

impl BrokerPublisher {
    /// For the topics of servers with this prefix. Connects to nothing yet.
    pub fn new(url: BrokerUrl, prefix: String) -> Self {
        Self { url, prefix, link: None }
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
        let call = Call { url: &self.url, until: Instant::now() + timeout, timeout };
        // A fork must not speak on the connection of its parent: their answers would be mixed up.
        let kept = self.link.take().filter(|(_, process)| *process == std::process::id());
        let exchange = |link: Link| match self.url.kind() {
            BrokerKind::Redis => redis::publish(&call, link, &self.prefix, topic, payload, binary),
            BrokerKind::Nats => nats::publish(&call, link, &self.prefix, topic, payload, binary),
        };
        let kept = kept.map(|(mut link, _)| {
            link.socket.give(call.until);
            exchange(link)
        });
        let result = match kept {
            None | Some(Err(PublishError::Closed { .. })) => call.connect().and_then(exchange),
            Some(done) => done,
        };
        let (link, result) = match result {
            Ok((link, refusal)) => (Some(link), refusal.map_or(Ok(()), Err)),
            Err(error) => (None, Err(error)),
        };
        self.link = link.map(|link| (link, std::process::id()));
        result
    }
}

/// A connection that was greeted.
pub(super) struct Link {
    pub(super) socket: Socket,
    pub(super) input: BytesMut,
    /// Bytes of a payload that the server takes.
    pub(super) longest: usize,
}

/// The link, to be kept, and why the broker refused the message if it did.
pub(super) type Exchanged = Result<(Link, Option<PublishError>), PublishError>;

/// One call of `publish`.
pub(super) struct Call<'a> {
    pub(super) url: &'a BrokerUrl,
    pub(super) until: Instant,
    timeout: Duration,
}

impl Call<'_> {
    pub(super) fn to(&self) -> String {
        self.url.to_string()
    }

    /// To the first server that can be had. One that refuses is not passed over.
    fn connect(&self) -> Result<Link, PublishError> {
        let mut last = None;
        for place in &self.url.places {
            match self.connect_to(place) {
                Err(error @ PublishError::Unreachable { .. }) => last = Some(error),
                done => return done,
            }
        }
        Err(last.unwrap_or_else(|| self.closed()))
    }

    fn connect_to(&self, place: &Place) -> Result<Link, PublishError> {
        let socket = Socket::connect(place, self.until).map_err(|source| self.unreachable(source))?;
        match self.url.kind() {
            BrokerKind::Redis => redis::greet(self, socket, place),
            BrokerKind::Nats => nats::greet(self, socket, place),
        }
    }

    pub(super) fn unreachable(&self, source: std::io::Error) -> PublishError {
        match source.kind() {
            ErrorKind::TimedOut => PublishError::NotTaken { to: self.to(), timeout: self.timeout },
            _ => PublishError::Unreachable { to: self.to(), source },
        }
    }

    pub(super) fn closed(&self) -> PublishError {
        PublishError::Closed { to: self.to() }
    }

    pub(super) fn refused(&self, code: &str, reason: String) -> PublishError {
        PublishError::Refused { to: self.to(), code: code.to_owned(), reason }
    }

    /// Before the broker can have had the whole message.
    pub(super) fn unsent(&self, error: &std::io::Error) -> PublishError {
        match error.kind() {
            ErrorKind::TimedOut => PublishError::NotTaken { to: self.to(), timeout: self.timeout },
            _ => self.closed(),
        }
    }

    /// After that.
    pub(super) fn unanswered(&self, error: Option<&std::io::Error>) -> PublishError {
        match error.map(std::io::Error::kind) {
            Some(ErrorKind::TimedOut) => PublishError::NoAnswer { to: self.to(), timeout: self.timeout },
            _ => PublishError::Lost { to: self.to() },
        }
    }

    /// What should speak the protocol doesn't.
    pub(super) fn foreign(&self, input: &[u8]) -> PublishError {
        let expected = match self.url.kind() {
            BrokerKind::Redis => "a Redis server",
            BrokerKind::Nats => "a NATS server",
        };
        let answer = String::from_utf8_lossy(input).chars().take(60).collect();
        PublishError::Foreign { to: self.to(), expected, answer }
    }
}

impl Link {
    /// Reads until `parse` finds something. `Err(None)`: the end; `Err(Some)` of the operating
    /// system, or with `InvalidData` because it is not the protocol.
    pub(super) fn next<T>(
        &mut self,
        parse: impl Fn(&mut BytesMut) -> Result<Option<T>, String>,
    ) -> Result<T, Option<std::io::Error>> {
        loop {
            let found = parse(&mut self.input)
                .map_err(|error| Some(std::io::Error::new(ErrorKind::InvalidData, error)))?;
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
}
