//! A buffer for input that a session holds back, counted towards the
//! [backlog](crate::limits::backlog).

use bytes::{Buf, Bytes};

use crate::context::ThreadContext;

/// Undecoded input of one session, in the order received. The session holds it; every method that
/// changes its size updates the thread's share of the backlog.
#[derive(Debug, Default)]
pub(crate) struct Early {
    pub(super) bytes: Bytes,
    /// Bytes counted in the backlog: the size of the whole buffer, of which `bytes` may be only the
    /// tail.
    held: usize,
}

impl Early {
    /// Copies the rest of a read buffer and counts it in the backlog.
    pub(crate) fn copy(rest: &[u8], context: &mut ThreadContext) -> Self {
        context.share.hold(rest.len());
        Self { bytes: Bytes::copy_from_slice(rest), held: rest.len() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn clear(&mut self, context: &mut ThreadContext) {
        context.share.let_go(std::mem::take(&mut self.held));
        self.bytes = Bytes::new();
    }

    /// Drops all but the last `left` bytes. The buffer is released, and its size no longer counted, when
    /// no bytes are left.
    pub(super) fn keep(&mut self, context: &mut ThreadContext, left: usize) {
        if left == 0 {
            self.clear(context);
        } else {
            self.bytes.advance(self.bytes.len() - left);
        }
    }
}
