//! The state of a connection that the host and its I/O thread share.

use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};

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
    /// Messages that were received and not yet taken by the host.
    pending_messages: AtomicU32,
    /// Bytes of these messages.
    pending_bytes: AtomicUsize,
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
            pending_messages: AtomicU32::new(0),
            pending_bytes: AtomicUsize::new(0),
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

    /// I/O thread: counts a message that is passed to the host.
    pub(crate) fn add_pending(&self, bytes: usize) {
        self.pending_messages.fetch_add(1, Ordering::Relaxed);
        self.pending_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Host: counts a message that was taken. Returns true if the I/O thread must be told to resume
    /// reading.
    pub(crate) fn sub_pending(&self, bytes: usize, credit: &Credit) -> bool {
        self.pending_messages.fetch_sub(1, Ordering::SeqCst);
        self.pending_bytes.fetch_sub(bytes, Ordering::SeqCst);
        self.paused.load(Ordering::SeqCst)
            && self.has_credit(&credit.half())
            && self.paused.swap(false, Ordering::SeqCst)
    }

    /// Whether messages wait for the host.
    pub(crate) fn has_pending(&self) -> bool {
        self.pending_messages.load(Ordering::Acquire) > 0
    }

    /// Whether the pending messages and bytes are both below `credit`.
    pub(crate) fn has_credit(&self, credit: &Credit) -> bool {
        self.pending_messages.load(Ordering::SeqCst) < credit.messages
            && self.pending_bytes.load(Ordering::SeqCst) < credit.bytes
    }
}

impl From<&Shared> for Target {
    fn from(conn: &Shared) -> Self {
        Self { slot: conn.slot, id: conn.id }
    }
}

/// The maximum of messages and bytes of one connection that may wait for the host before the socket is no
/// longer read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Credit {
    pub(crate) messages: u32,
    pub(crate) bytes: usize,
}

impl Credit {
    /// Half of the credit. Reading resumes only when less than this is pending, so that a busy connection does
    /// not pause and resume with every message.
    fn half(self) -> Self {
        Self { messages: self.messages.div_ceil(2), bytes: self.bytes.div_ceil(2) }
    }
}
