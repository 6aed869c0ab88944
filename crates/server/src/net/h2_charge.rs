//! Accounts for the memory of an HTTP/2 request until its response has been sent.
//!
//! An HTTP/1.1 connection has one request at a time, an HTTP/2 connection up to 128, and a client that keeps
//! its flow-control windows closed makes the server hold all of their responses. Each counts as a body in the
//! [backlog](crate::limits::backlog); a request for which the backlog has no room is refused before it is
//! processed.

use std::sync::Arc;

use crate::limits::backlog::{Backlog, Charge};
use crate::net::h2_progress::H2Socket;

/// Estimated bytes of one request without its body: its task, its parsed head, and the h2 library's state for
/// its stream.
const REQUEST: usize = 6 << 10;
/// A connection whose requests hold more bytes than this is refused further requests once bodies use half of
/// their share of the backlog, so that a light_requests connections cannot use up all of it.
const HEAVY: usize = 1 << 20;

/// The bytes of one request, counted in the backlog and on its connection until this is dropped.
#[derive(Debug)]
pub(crate) struct RequestCharge {
    /// The request's part of the backlog.
    charge: Charge,
    socket: Arc<H2Socket>,
    /// Bytes counted on the connection.
    bytes: usize,
}

impl RequestCharge {
    /// Counts a new request. Returns `None` if there is no room for it.
    pub(crate) fn begin(backlog: &Arc<Backlog>, socket: &Arc<H2Socket>) -> Option<Self> {
        if socket.held() > HEAVY && backlog.has_many_bodies() {
            return None;
        }
        let mut charge = Charge::new(backlog);
        if !charge.raise(REQUEST) {
            return None;
        }
        socket.hold(REQUEST);
        Some(Self { charge, socket: socket.clone(), bytes: REQUEST })
    }

    /// Counts the `bytes` of the response. A response is sent even if the backlog has no room for it.
    pub(crate) fn answered(&mut self, bytes: usize) {
        self.charge.force(bytes);
        self.socket.hold(bytes);
        self.bytes += bytes;
    }
}

impl Drop for RequestCharge {
    fn drop(&mut self) {
        self.socket.let_go(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_with_large_responses_leaves_room_to_others() {
        let backlog = Backlog::new(16 << 20, 1);
        let [heavy, other] = [0, 1].map(|_| Arc::new(H2Socket::new(None, &backlog)));
        let mut heavy_requests = Vec::new();
        while let Some(mut request) = RequestCharge::begin(&backlog, &heavy) {
            request.answered(100 << 10);
            heavy_requests.push(request);
        }
        assert_eq!(
            heavy_requests.len(),
            (4 << 20) / (106 << 10) + 1,
            "a heavy connection stops at half of the share of bodies"
        );
        let mut light_requests = Vec::new();
        while let Some(mut request) = RequestCharge::begin(&backlog, &other) {
            request.answered(100 << 10);
            light_requests.push(request);
        }
        assert_eq!(light_requests.len(), (1 << 20) / (106 << 10) + 1);
        drop(heavy_requests);
        assert!(RequestCharge::begin(&backlog, &heavy).is_some());
        drop(light_requests);
        assert_eq!((heavy.held(), other.held(), backlog.bytes()), (0, 0, 0));
    }
}
