//! Input that a session has read from the socket but not yet decoded: bytes that arrived with the
//! handshake, and those after the frame at which the connection's credit or its turn (one bounded run
//! of its task) ended.
//!
//! These bytes count towards the [backlog](crate::limits::backlog), which says when they are decoded
//! although it is full: decoding them makes room, but with compression they become larger.

use super::Session;
use super::held::Early;
use crate::context::ThreadContext;

impl Session {
    /// Keeps the undecoded rest of a read for a later turn.
    pub(super) fn hold_back(&mut self, context: &mut ThreadContext, rest: &[u8]) {
        if !rest.is_empty() {
            self.early = Early::copy(rest, context);
        }
    }

    /// Whether there is input to decode before the socket is read again.
    #[inline]
    pub(super) fn holds_input(&self) -> bool {
        !self.early.is_empty() || self.decoder.is_unfinished()
    }

    /// Decodes the input that was held back, as far as credit and turn allow.
    #[inline(never)]
    pub(super) fn receive_early(&mut self, context: &mut ThreadContext) {
        let mut early = std::mem::take(&mut self.early);
        let left = self.receive(context, &early.bytes);
        early.keep(context, left);
        self.early = early;
    }

    /// Discards the input that was held back.
    pub(super) fn discard_input(&mut self, context: &mut ThreadContext) {
        self.early.clear(context);
    }
}
