//! Input that a session has read and holds back: what arrived with the handshake, and what follows the
//! frame at which the connection's credit or its turn ended.
//!
//! It counts towards the [backlog](crate::limits::backlog). A full backlog does not keep it from being
//! received, only a lack of credit does; otherwise it could never become less.

use super::Session;
use super::held::Early;
use crate::context::ThreadContext;

impl Session {
    /// Keeps the rest of a read for later.
    pub(super) fn hold_back(&mut self, context: &mut ThreadContext, rest: &[u8]) {
        if !rest.is_empty() {
            self.early = Early::copy(rest, context);
        }
    }

    /// Whether something is to be received before the next read.
    #[inline]
    pub(super) fn holds_input(&self) -> bool {
        !self.early.is_empty() || self.decoder.is_unfinished()
    }

    /// Receives what was held back, as far as there is credit.
    #[inline(never)]
    pub(super) fn receive_early(&mut self, context: &mut ThreadContext) {
        let mut early = std::mem::take(&mut self.early);
        let left = self.receive(context, &early.bytes);
        early.keep(context, left);
        self.early = early;
    }

    /// Nothing of it is received any more.
    pub(super) fn discard_input(&mut self, context: &mut ThreadContext) {
        self.early.clear(context);
    }
}
