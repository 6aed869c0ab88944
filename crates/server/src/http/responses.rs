//! Where responses begin in the bytes that hyper writes on one connection.
//!
//! Hyper answers a head that it cannot parse by itself, and sends `100 Continue` by itself. Only
//! their position tells such bytes from a response of ours, whose body may hold anything: this
//! ledger knows which responses are due and how long each one is.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::http::stream_body::Current;

/// The one interim response that hyper sends, in one piece (RFC 9110 section 15.2.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The responses of one connection: the service announces each, the socket's side follows them.
#[derive(Debug, Default)]
pub(crate) struct Responses {
    ledger: Mutex<Ledger>,
    /// The streamed response among them.
    pub(crate) stream: Current,
}

#[derive(Debug, Default)]
struct Ledger {
    /// Body lengths in bytes of the responses that hyper has and that were not seen here yet.
    due: VecDeque<u64>,
    /// Bytes from the next one on that are known to belong to responses of ours.
    ours: u64,
}

impl Responses {
    /// Announces a response. `body` is the length that is sent, 0 for an answer to HEAD. `None`: it
    /// is not known before, and everything that follows counts as part of this response.
    pub(crate) fn announce(&self, body: Option<u64>) {
        self.ledger().due.push_back(body.unwrap_or(u64::MAX));
    }

    /// How many bytes at the start of `output` belong to responses of ours or are interim. 0: hyper
    /// has answered by itself.
    pub(crate) fn ours(&self, output: &[u8]) -> usize {
        let mut ledger = self.ledger();
        while let Some(rest) = usize::try_from(ledger.ours).ok().and_then(|at| output.get(at..))
            && !rest.is_empty()
        {
            if rest.starts_with(CONTINUE) {
                ledger.ours += CONTINUE.len() as u64;
                continue;
            }
            // Hyper appends a head to its buffer as a whole.
            let Some(end) = rest.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { break };
            let Some(body) = ledger.due.pop_front() else { break };
            ledger.ours = ledger.ours.saturating_add(end as u64 + 4).saturating_add(body);
        }
        usize::try_from(ledger.ours).unwrap_or(usize::MAX).min(output.len())
    }

    /// The socket has taken so many of them.
    pub(crate) fn written(&self, bytes: usize) {
        let mut ledger = self.ledger();
        if ledger.ours != u64::MAX {
            ledger.ours = ledger.ours.saturating_sub(bytes as u64);
        }
    }

    /// The socket has taken all that hyper had to write.
    pub(crate) fn flushed(&self) {
        if self.stream.flushed() {
            // The end of a body whose length was not known.
            self.ledger().ours = 0;
        }
    }

    /// Whether all that was announced has been written.
    pub(crate) fn is_done(&self) -> bool {
        let ledger = self.ledger();
        ledger.due.is_empty() && ledger.ours == 0
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n";
    const BODY: &[u8] = b"HTTP/1.1 400 Bad";
    const OWN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";

    /// Writes everything, `step` bytes at once; tells what was left when a foreign answer came.
    fn write<'a>(responses: &Responses, mut output: &'a [u8], step: usize) -> &'a [u8] {
        while !output.is_empty() {
            let ours = responses.ours(output).min(step);
            if ours == 0 {
                break;
            }
            responses.written(ours);
            output = &output[ours..];
        }
        output
    }

    #[test]
    fn a_body_that_looks_like_a_response_is_a_body_however_it_is_cut() {
        let output = [HEAD, BODY, CONTINUE, HEAD, BODY, OWN].concat();
        for step in [1, 3, HEAD.len(), HEAD.len() + BODY.len(), usize::MAX] {
            let responses = Responses::default();
            responses.announce(Some(16));
            responses.announce(Some(16));
            assert_eq!(write(&responses, &output, step), OWN, "{step}");
            assert!(responses.is_done());
        }
    }

    #[test]
    fn a_body_may_come_later_than_its_head_and_in_pieces() {
        let responses = Responses::default();
        responses.announce(Some(32));
        assert_eq!(write(&responses, HEAD, usize::MAX), b"");
        assert!(!responses.is_done());
        assert_eq!(write(&responses, BODY, usize::MAX), b"");
        assert_eq!(write(&responses, BODY, usize::MAX), b"");
        assert!(responses.is_done());
        assert_eq!(write(&responses, OWN, usize::MAX), OWN);
    }

    #[test]
    fn nothing_is_foreign_behind_a_body_of_unknown_length() {
        let responses = Responses::default();
        responses.announce(None);
        assert_eq!(write(&responses, &[HEAD, BODY, OWN].concat(), 7), b"");
    }
}
