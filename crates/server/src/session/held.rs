//! Input that a session has read and holds back, as it counts towards the
//! [backlog](crate::limits::backlog).

use bytes::{Buf, Bytes};

use crate::context::ThreadContext;

/// Bytes in the order received.
#[derive(Debug, Default)]
pub(crate) struct Early {
    pub(super) bytes: Bytes,
    /// Size of the buffer that `bytes` is the rest of, as counted.
    held: usize,
}

impl Early {
    /// A copy of the rest of a buffer.
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

    /// Keeps the last `left` bytes.
    pub(super) fn keep(&mut self, context: &mut ThreadContext, left: usize) {
        if left == 0 {
            self.clear(context);
        } else {
            self.bytes.advance(self.bytes.len() - left);
        }
    }
}
