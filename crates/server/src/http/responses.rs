//! Keeps track of where responses begin in the bytes that hyper writes on one connection.
//!
//! Hyper itself answers a head that it cannot parse, and sends `100 Continue`. Only the position
//! tells such bytes from a response of the service, whose body may contain anything. So this ledger
//! records which responses are due and how long each one is.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::http::stream_body::Current;

/// The only interim response that hyper sends, always in one piece (RFC 9110 section 15.2.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The responses of one connection. The service announces each;
/// [`HttpIo`](crate::http::hyper_io::HttpIo) follows them in hyper's output.
#[derive(Debug, Default)]
pub(crate) struct Responses {
    ledger: Mutex<Ledger>,
    /// The response that is being streamed, if any.
    pub(crate) stream: Current,
}

#[derive(Debug, Default)]
struct Ledger {
    /// Lengths in bytes of the bodies of announced responses that have not appeared in the output
    /// yet.
    due: VecDeque<u64>,
    /// Number of bytes, from the next one to be written, that are known to belong to responses of the
    /// service.
    ours: u64,
}

impl Responses {
    /// Announces a response. `body` is the length of the body that is sent, 0 for an answer to HEAD.
    /// `None`: the length is unknown, and everything that follows counts as part of this response
    /// until it has been flushed.
    pub(crate) fn announce(&self, body: Option<u64>) {
        self.ledger().due.push_back(body.unwrap_or(u64::MAX));
    }

    /// Returns how many bytes at the start of `output` belong to responses of the service or are
    /// interim. 0: the output begins with an answer that hyper itself has made.
    pub(crate) fn ours(&self, output: &[u8]) -> usize {
        let mut ledger = self.ledger();
        while let Some(rest) = usize::try_from(ledger.ours).ok().and_then(|at| output.get(at..))
            && !rest.is_empty()
        {
            if rest.starts_with(CONTINUE) {
                ledger.ours += CONTINUE.len() as u64;
                continue;
            }
            // Hyper appends a whole head to its buffer at once.
            let Some(end) = rest.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { break };
            let Some(body) = ledger.due.pop_front() else { break };
            ledger.ours = ledger.ours.saturating_add(end as u64 + 4).saturating_add(body);
        }
        usize::try_from(ledger.ours).unwrap_or(usize::MAX).min(output.len())
    }

    /// Records that the socket has taken this many bytes of the service's responses.
    pub(crate) fn written(&self, bytes: usize) {
        let mut ledger = self.ledger();
        if ledger.ours != u64::MAX {
            ledger.ours = ledger.ours.saturating_sub(bytes as u64);
        }
    }

    /// Records that the socket has taken all of hyper's output.
    pub(crate) fn flushed(&self) {
        if self.stream.flushed() {
            // This was the end of a body of unknown length.
            self.ledger().ours = 0;
        }
    }

    /// Whether all announced responses have been written.
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

    /// Writes up to `step` bytes at a time. Returns what is left when an answer of hyper's own
    /// begins.
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
    fn a_body_that_looks_like_a_response_stays_a_body_in_pieces_of_any_size() {
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
    fn a_body_may_follow_its_head_later_and_in_pieces() {
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
    fn everything_behind_a_body_of_unknown_length_belongs_to_it() {
        let responses = Responses::default();
        responses.announce(None);
        assert_eq!(write(&responses, &[HEAD, BODY, OWN].concat(), 7), b"");
    }
}
