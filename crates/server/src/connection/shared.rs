//! The state of a connection that the host and its I/O thread share.

use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use tokio::net::tcp::OwnedWriteHalf;

use crate::connection::direct_write::{DirectWrite, WriteResult};
use crate::id::{ConnId, Target};

/// The connection accepts sends.
const OPEN: u8 = 0;
/// The host has closed the connection: it receives no further `Message` event, only `Close`.
const CLOSED_BY_HOST: u8 = 1;
/// The I/O thread has detected the end of the connection.
const ENDED: u8 = 2;

/// The shared state of one connection, held by the host's [`Connection`](crate::Connection) and by the
/// session on the I/O thread.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: ConnId,
    /// Index of the I/O thread that owns the socket.
    pub(crate) thread: u16,
    /// Slot in that thread's table of sessions. Slots are reused, so it is valid only together with `id`.
    pub(crate) slot: u32,
    /// The peer's address; `None` on a Unix socket.
    pub(crate) remote: Option<SocketAddr>,
    /// [`OPEN`], [`CLOSED_BY_HOST`] or [`ENDED`].
    state: AtomicU8,
    /// The socket, for direct writes of the host.
    pub(crate) direct: DirectWrite,
    /// The host waits for a drain event.
    pub(crate) drain_wanted: AtomicBool,
    /// The credit is used up, so the socket is not read until the host has taken half of it.
    pub(crate) paused: AtomicBool,
    /// Bytes that were sent and not yet accepted by the kernel.
    buffered: AtomicUsize,
    /// Bytes of replayed publications, which may wait in addition to the send buffer limit.
    pub(crate) allowance: AtomicUsize,
    /// A replay was requested and is not completely written; the next one must wait for it.
    pub(crate) replaying: AtomicBool,
    /// Messages that were received and not yet taken by the host, and their bytes; see [`Pending`].
    pending: AtomicU64,
}

impl Shared {
    /// Creates the state of an open connection. `socket` allows direct writes of the host.
    pub(crate) fn new(
        id: ConnId,
        thread: u16,
        slot: u32,
        remote: Option<SocketAddr>,
        socket: Option<OwnedWriteHalf>,
    ) -> Self {
        Self {
            id,
            thread,
            slot,
            remote,
            state: AtomicU8::new(OPEN),
            direct: DirectWrite::new(socket),
            drain_wanted: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            buffered: AtomicUsize::new(0),
            allowance: AtomicUsize::new(0),
            replaying: AtomicBool::new(false),
            pending: AtomicU64::new(0),
        }
    }

    /// Whether the connection accepts sends.
    pub(crate) fn is_open(&self) -> bool {
        self.state.load(Ordering::Acquire) == OPEN
    }

    /// Whether messages are still delivered, that is, the host has not closed the connection.
    pub(crate) fn delivers(&self) -> bool {
        self.state.load(Ordering::Acquire) != CLOSED_BY_HOST
    }

    /// Host: marks the connection as closed. Returns false if it was not open.
    pub(crate) fn close_by_host(&self) -> bool {
        self.state.compare_exchange(OPEN, CLOSED_BY_HOST, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// I/O thread: marks the connection as ended, so that further sends are refused. Messages received
    /// earlier are still delivered, unless the host has closed the connection.
    pub(crate) fn end(&self) {
        let _ = self.state.compare_exchange(OPEN, ENDED, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Host: writes a frame directly if the connection is open and its outbox empty; see
    /// [`DirectWrite::write`].
    pub(crate) fn write(&self, frame: Bytes) -> WriteResult {
        self.direct.write(frame, || self.is_open())
    }

    /// Number of bytes that were sent and not yet accepted by the kernel.
    pub(crate) fn buffered(&self) -> usize {
        self.buffered.load(Ordering::Relaxed)
    }

    /// Adds to the buffered bytes. Returns their previous number.
    pub(crate) fn add_buffered(&self, bytes: usize) -> usize {
        self.buffered.fetch_add(bytes, Ordering::Relaxed)
    }

    /// Whether `waiting` bytes exceed `limit` plus the allowance for replays. Callers first compare
    /// with `limit` alone, which is cheaper.
    pub(crate) fn exceeds(&self, waiting: usize, limit: usize) -> bool {
        waiting > limit.saturating_add(self.allowance.load(Ordering::Relaxed))
    }

    pub(crate) fn sub_buffered(&self, bytes: usize) {
        self.buffered.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// I/O thread: counts a message that is passed to the host. Returns the number of messages that waited
    /// before it, and whether the connection still has credit.
    pub(crate) fn add_pending(&self, bytes: usize, credit: &Credit) -> (u64, bool) {
        let more = Pending::one(bytes);
        let before = self.pending.fetch_add(more.0, Ordering::Relaxed);
        (before >> Pending::BITS, Pending(before + more.0).is_within(credit))
    }

    /// Host: counts a message that was taken. Returns true if the I/O thread must be told to resume
    /// reading.
    pub(crate) fn sub_pending(&self, bytes: usize, credit: &Credit) -> bool {
        let less = Pending::one(bytes);
        let left = Pending(self.pending.fetch_sub(less.0, Ordering::SeqCst) - less.0);
        self.paused.load(Ordering::SeqCst)
            && left.is_within(&credit.half())
            && self.paused.swap(false, Ordering::SeqCst)
    }

    /// Whether messages wait for the host.
    pub(crate) fn has_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire) >= Pending::MESSAGE
    }

    /// Whether the pending messages and bytes are both below `credit`.
    pub(crate) fn has_credit(&self, credit: &Credit) -> bool {
        Pending(self.pending.load(Ordering::SeqCst)).is_within(credit)
    }
}

impl From<&Shared> for Target {
    fn from(conn: &Shared) -> Self {
        Self { slot: conn.slot, id: conn.id }
    }
}

/// A number of messages and of their bytes, in one number, so that one atomic instruction changes both:
/// each message changes them twice, on two threads.
///
/// Neither part can overflow. Reading pauses when the credit is used up, so that at most one message
/// exceeds it, and [`Credit::new`] and [`Pending::one`] limit both to half of the range.
#[derive(Debug, Clone, Copy)]
struct Pending(u64);

impl Pending {
    /// Bits of the number of bytes: 64 GiB. The other 28 bits are those of the number of messages.
    const BITS: u32 = 36;
    /// One message without its bytes.
    const MESSAGE: u64 = 1 << Self::BITS;
    /// Half of the range of bytes, and of messages.
    const MAX_BYTES: u64 = Self::MESSAGE / 2;
    const MAX_MESSAGES: u32 = 1 << (u64::BITS - Self::BITS - 1);

    /// One message.
    fn one(bytes: usize) -> Self {
        Self(Self::MESSAGE + (bytes as u64).min(Self::MAX_BYTES - 1))
    }

    /// Whether the messages and their bytes are both below `credit`.
    fn is_within(self, credit: &Credit) -> bool {
        self.0 >> Self::BITS < u64::from(credit.messages) && self.0 & (Self::MESSAGE - 1) < credit.bytes
    }
}

/// The maximum of messages and bytes of one connection that may wait for the host before the socket is no
/// longer read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Credit {
    messages: u32,
    bytes: u64,
}

impl Credit {
    pub(crate) fn new(messages: usize, bytes: usize) -> Self {
        let messages = u32::try_from(messages).unwrap_or(u32::MAX).min(Pending::MAX_MESSAGES);
        Self { messages, bytes: (bytes as u64).min(Pending::MAX_BYTES) }
    }

    /// Half of the credit. Reading resumes only when less than this is pending, so that a busy connection does
    /// not pause and resume with every message.
    fn half(self) -> Self {
        Self { messages: self.messages.div_ceil(2), bytes: self.bytes.div_ceil(2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_credit_ends_with_the_messages_or_with_their_bytes() {
        let conn = Shared::new(ConnId(1), 0, 0, None, None);
        let credit = Credit::new(4, 100);
        assert!(conn.add_pending(0, &credit).1 && conn.has_pending());
        assert!(conn.add_pending(99, &credit).1);
        assert!(!conn.add_pending(1, &credit).1, "100 bytes");
        conn.paused.store(true, Ordering::Relaxed);
        assert!(!conn.sub_pending(1, &credit), "more than half of the bytes still wait");
        assert!(conn.sub_pending(99, &credit), "the I/O thread is told to resume");
        assert!(!conn.sub_pending(0, &credit), "it is told once");
        assert!(!conn.has_pending());
        assert!((0..3).all(|_| conn.add_pending(0, &credit).1));
        assert!(!conn.add_pending(0, &credit).1, "4 messages");
        assert!(!conn.has_credit(&credit));
    }

    #[test]
    fn the_number_of_bytes_does_not_run_into_the_number_of_messages() {
        let conn = Shared::new(ConnId(1), 0, 0, None, None);
        let credit = Credit::new(usize::MAX, usize::MAX);
        assert!(conn.add_pending(usize::MAX, &credit).1);
        assert!(!conn.add_pending(usize::MAX, &credit).1, "one message may exceed the credit");
        conn.sub_pending(usize::MAX, &credit);
        conn.sub_pending(usize::MAX, &credit);
        assert!(!conn.has_pending() && conn.has_credit(&credit));
        assert_eq!(conn.pending.load(Ordering::Relaxed), 0);
    }
}
