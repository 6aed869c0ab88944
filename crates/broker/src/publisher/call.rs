//! What publishing has in common, whoever is asked: one connection that is kept, a deadline, and
//! what went wrong.

use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use super::error::PublishError;

/// Longest timeout, about 31 years: adding a longer one to an `Instant` may overflow.
const LONGEST: Duration = Duration::from_secs(1_000_000_000);

/// A connection that is kept between two messages, and by which process.
#[derive(Debug)]
pub(super) struct Kept<L>(Option<(L, u32)>);

/// The link if it can be used again, and why the message was refused if it was.
pub(super) type Exchanged<L> = Result<(Option<L>, Option<PublishError>), PublishError>;

impl<L> Kept<L> {
    /// None yet.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// Publishes on the kept connection, or on a new one: there is none yet, or it turns out to be
    /// dead, and nobody can have acted on the message.
    pub(super) fn publish(
        &mut self,
        connect: impl FnOnce() -> Result<L, PublishError>,
        mut exchange: impl FnMut(L) -> Exchanged<L>,
    ) -> Result<(), PublishError> {
        // A fork must not speak on the connection of its parent: their answers would be mixed up.
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
    /// Whom, for errors.
    to: &'a dyn Display,
    /// What should listen there.
    expected: &'static str,
    pub(super) until: Instant,
    timeout: Duration,
}

impl<'a> Call<'a> {
    /// Its time runs from now on.
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

    /// The time is up before the whole message is there.
    pub(super) fn not_taken(&self) -> PublishError {
        PublishError::NotTaken { to: self.to(), timeout: self.timeout }
    }

    /// The other side has the whole message, and the time is up.
    pub(super) fn silent(&self) -> PublishError {
        PublishError::NoAnswer { to: self.to(), timeout: self.timeout }
    }

    /// The other side has the whole message, and the connection has ended.
    pub(super) fn lost(&self) -> PublishError {
        PublishError::Lost { to: self.to() }
    }

    /// What should speak the protocol doesn't.
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
        // Refused, and good for more.
        let refused = publish(&mut |link| Ok((Some(link), Some(call().refused("no", String::new())))));
        assert!(matches!(refused, Err(PublishError::Refused { .. })));
        publish(&mut |link| if link == 1 { dead(link) } else { fine(link) }).unwrap();
        // Twice is enough.
        assert!(matches!(publish(&mut { dead }), Err(PublishError::Closed { .. })));
        // What may have been published is not repeated, and its connection not used again.
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
