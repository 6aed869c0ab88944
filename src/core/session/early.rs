//! Input that a session has read and holds back: what arrived with the handshake, and what follows the
//! frame at which the connection's credit or its turn ended.
//!
//! It counts towards the [backlog](crate::backlog). A full backlog does not keep it from being
//! received, only a lack of credit does; otherwise it could never become less.

use bytes::{Buf, Bytes};

use super::Session;
use crate::env::Env;

/// Bytes in the order received.
#[derive(Debug, Default)]
pub(crate) struct Early {
    bytes: Bytes,
    /// Size of the buffer that `bytes` is the rest of, as counted.
    held: usize,
}

impl Early {
    /// A copy of the rest of a buffer.
    pub(crate) fn copy(rest: &[u8], env: &mut Env) -> Self {
        env.share.hold(rest.len());
        Self { bytes: Bytes::copy_from_slice(rest), held: rest.len() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn clear(&mut self, env: &mut Env) {
        env.share.let_go(std::mem::take(&mut self.held));
        self.bytes = Bytes::new();
    }

    /// Keeps the last `left` bytes.
    fn keep(&mut self, env: &mut Env, left: usize) {
        if left == 0 {
            self.clear(env);
        } else {
            self.bytes.advance(self.bytes.len() - left);
        }
    }
}

impl Session {
    /// Keeps the rest of a read for later.
    pub(super) fn hold_back(&mut self, env: &mut Env, rest: &[u8]) {
        if !rest.is_empty() {
            self.early = Early::copy(rest, env);
        }
    }

    /// Whether something is to be received before the next read.
    #[inline]
    pub(super) fn holds_input(&self) -> bool {
        !self.early.is_empty() || self.decoder.is_unfinished()
    }

    /// Receives what was held back, as far as there is credit.
    #[inline(never)]
    pub(super) fn receive_early(&mut self, env: &mut Env) {
        let mut early = std::mem::take(&mut self.early);
        let left = self.receive(env, &early.bytes);
        early.keep(env, left);
        self.early = early;
    }

    /// Nothing of it is received any more.
    pub(super) fn discard_input(&mut self, env: &mut Env) {
        self.early.clear(env);
    }
}
