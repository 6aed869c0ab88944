//! What a request over HTTP/2 takes up while it is answered.
//!
//! A connection of HTTP/1.1 has one request at a time, one of HTTP/2 up to 128, and a client whose
//! windows are closed keeps all of their responses waiting. They count as bodies in the
//! [backlog](crate::limits::backlog); a request for which there is no room is refused without being looked at.

use std::sync::Arc;

use crate::limits::backlog::{Backlog, Charge};
use crate::net::h2_progress::H2Socket;

/// A request beside what counts elsewhere: its task, its parsed head, and the library's account of
/// its stream.
const REQUEST: usize = 6 << 10;
/// A connection that holds more than this is refused further requests while bodies take half of what
/// they may: so a few connections do not take all of it.
const HEAVY: usize = 1 << 20;

/// The charge of one request, until it is dropped.
#[derive(Debug)]
pub(crate) struct RequestCharge {
    charge: Charge,
    socket: Arc<H2Socket>,
    bytes: usize,
}

impl RequestCharge {
    /// `None` where there is no room for a request.
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

    /// It is answered by a response of so many bytes, which is sent whatever room there is.
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
        let mut held = Vec::new();
        while let Some(mut request) = RequestCharge::begin(&backlog, &heavy) {
            request.answered(100 << 10);
            held.push(request);
        }
        assert_eq!(held.len(), (4 << 20) / (106 << 10) + 1, "it stops at half of what bodies may take");
        let mut few = Vec::new();
        while let Some(mut request) = RequestCharge::begin(&backlog, &other) {
            request.answered(100 << 10);
            few.push(request);
        }
        assert_eq!(few.len(), (1 << 20) / (106 << 10) + 1);
        drop(held);
        assert!(RequestCharge::begin(&backlog, &heavy).is_some());
        drop(few);
        assert_eq!((heavy.held(), other.held(), backlog.bytes()), (0, 0, 0));
    }
}
