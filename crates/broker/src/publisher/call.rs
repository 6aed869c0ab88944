//! The parts that all publishers share: a kept connection, a deadline, and the errors of a call.

use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use super::publish_error::PublishError;

/// Longest timeout, about 31 years: adding a longer one to an `Instant` may overflow.
const LONGEST: Duration = Duration::from_secs(1_000_000_000);

/// A connection that is kept between calls, with the id of the process that made it.
#[derive(Debug)]
pub(super) struct Kept<L>(Option<(L, u32)>);

/// The connection if it can be used again, and the reason if the server has refused the message.
pub(super) type Exchanged<L> = Result<(Option<L>, Option<PublishError>), PublishError>;

impl<L> Kept<L> {
    /// No connection yet.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// Publishes on the kept connection. Connects if there is none, or if it turns out to be dead and
    /// the server cannot have acted on the message.
    pub(super) fn publish(
        &mut self,
        connect: impl FnOnce() -> Result<L, PublishError>,
        mut exchange: impl FnMut(L) -> Exchanged<L>,
    ) -> Result<(), PublishError> {
        // A fork must not use the connection of its parent, whose answers it would receive.
        let kept = self.0.take().filter(|(_, process)| *process == std::process::id());
        let exchanged = match kept.map(|(link, _)| exchange(link)) {
            None | Some(Err(PublishError::Closed { .. })) => connect().and_then(exchange),
            Some(done) => done,
        };
        let (link, refusal) = exchanged?;
        self.0 = link.map(|link| (link, std::process::id()));
        refusal.map_or(Ok(()), Err)
    }
}

/// One call of `publish`.
pub(super) struct Call<'a> {
    /// The address, for errors.
    to: &'a dyn Display,
    /// The kind of server that is expected there.
    expected: &'static str,
    pub(super) until: Instant,
    timeout: Duration,
}

impl<'a> Call<'a> {
    /// Starts the timeout.
    pub(super) fn begin(to: &'a dyn Display, expected: &'static str, timeout: Duration) -> Self {
        Self { to, expected, until: Instant::now() + timeout.min(LONGEST), timeout }
    }

    fn to(&self) -> String {
        self.to.to_string()
    }

    pub(super) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    pub(super) fn unreachable(&self, source: io::Error) -> PublishError {
        match source.kind() {
            ErrorKind::TimedOut => self.not_taken(),
            _ => PublishError::Unreachable { to: self.to(), source },
        }
    }

    pub(super) fn closed(&self) -> PublishError {
        PublishError::Closed { to: self.to() }
    }

    pub(super) fn refused(&self, code: &str, reason: String) -> PublishError {
        PublishError::Refused { to: self.to(), code: code.to_owned(), reason }
    }

    pub(super) fn partly(&self, reason: String) -> PublishError {
        PublishError::Partly { to: self.to(), reason }
    }

    /// The timeout passed before the server had the complete message.
    pub(super) fn not_taken(&self) -> PublishError {
        PublishError::NotTaken { to: self.to(), timeout: self.timeout }
    }

    /// The timeout passed after the server had the complete message.
    pub(super) fn silent(&self) -> PublishError {
        PublishError::NoAnswer { to: self.to(), timeout: self.timeout }
    }

    /// The connection ended after the server had the complete message.
    pub(super) fn lost(&self) -> PublishError {
        PublishError::Lost { to: self.to() }
    }

    /// The server does not speak the expected protocol.
    pub(super) fn foreign(&self, input: &[u8]) -> PublishError {
        let answer = String::from_utf8_lossy(input).chars().take(60).collect();
        PublishError::Foreign { to: self.to(), expected: self.expected, answer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call<'static> {
        Call::begin(&"somebody", "something", Duration::from_secs(1))
    }

    #[test]
    fn a_connection_is_kept_as_long_as_it_lives_and_replaced_once() {
        let mut kept = Kept::none();
        let mut made = 0;
        let mut log = Vec::new();
        let mut publish = |answers: &mut dyn FnMut(u32) -> Exchanged<u32>| {
            let connect = || {
                made += 1;
                Ok(made)
            };
            kept.publish(connect, |link| {
                log.push(link);
                answers(link)
            })
        };
        let (fine, dead) = (|link| Ok((Some(link), None)), |_| Err(call().closed()));
        publish(&mut { fine }).unwrap();
        publish(&mut { fine }).unwrap();
        // The server refuses the message, and its connection remains usable.
        let refused = publish(&mut |link| Ok((Some(link), Some(call().refused("no", String::new())))));
        assert!(matches!(refused, Err(PublishError::Refused { .. })));
        publish(&mut |link| if link == 1 { dead(link) } else { fine(link) }).unwrap();
        // There is no second attempt if the new connection is dead, too.
        assert!(matches!(publish(&mut { dead }), Err(PublishError::Closed { .. })));
        // After an uncertain outcome, neither the message nor the connection is used again.
        publish(&mut { fine }).unwrap();
        assert!(matches!(publish(&mut |_| Err(call().silent())), Err(PublishError::NoAnswer { .. })));
        publish(&mut |_| Ok((None, None))).unwrap();
        publish(&mut { fine }).unwrap();
        assert_eq!(log, [1, 1, 1, 1, 2, 2, 3, 4, 4, 5, 6]);
    }

    #[test]
    fn a_fork_makes_a_connection_of_its_own() {
        let mut kept = Kept(Some((1, std::process::id() + 1)));
        let mut on = 0;
        let exchange = |link| {
            on = link;
            Ok((Some(link), None))
        };
        kept.publish(|| Ok(2), exchange).unwrap();
        assert_eq!(on, 2);
    }
}
