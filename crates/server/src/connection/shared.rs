//! What the host and an I/O thread both see of a connection.

use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use tokio::net::tcp::OwnedWriteHalf;

use crate::connection::direct_write::{DirectWrite, WriteResult};
use crate::id::{ConnId, Target};

/// Accepting sends.
const OPEN: u8 = 0;
/// The host has closed it: no `Message` event any more, `Close` still to come.
const CLOSED_BY_HOST: u8 = 1;
/// The I/O thread has seen its end.
const ENDED: u8 = 2;

/// Shared by the host's [`Connection`](crate::Connection) and the I/O thread's session.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: ConnId,
    /// Index of the I/O thread that owns the socket.
    pub(crate) thread: u16,
    /// Place in that thread's table; valid together with `id` only.
    pub(crate) slot: u32,
    pub(crate) remote: Option<SocketAddr>,
    state: AtomicU8,
    /// By which the host may write, too.
    pub(crate) direct: DirectWrite,
    /// The host wants to know when all is written.
    pub(crate) drain_wanted: AtomicBool,
    /// The socket is not read until the host has taken some of what waits.
    pub(crate) paused: AtomicBool,
    /// Bytes sent by the host and not yet taken by the kernel.
    buffered: AtomicUsize,
    /// Bytes that were sent at once and may wait beyond the limit: what was missed.
    pub(crate) allowance: AtomicUsize,
    /// A replay was asked for and is not written whole: the next one waits for it.
    pub(crate) replaying: AtomicBool,
    /// Messages and bytes that were received and not yet taken by the host.
    pending_messages: AtomicU32,
    pending_bytes: AtomicUsize,
}

impl Shared {
    /// `socket`: if the host may write to it.
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

    pub(crate) fn is_open(&self) -> bool {
        self.state.load(Ordering::Acquire) == OPEN
    }

    /// Whether messages may still be delivered: the host has not closed it.
    pub(crate) fn delivers(&self) -> bool {
        self.state.load(Ordering::Acquire) != CLOSED_BY_HOST
    }

    /// True the first time, if it was open.
    pub(crate) fn close_by_host(&self) -> bool {
        self.state.compare_exchange(OPEN, CLOSED_BY_HOST, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// A message that was received before the end is still delivered, unless the host has closed.
    pub(crate) fn end(&self) {
        let _ = self.state.compare_exchange(OPEN, ENDED, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Host: writes a whole frame if the connection is open and nothing waits before it; see
    /// [`DirectWrite::write`].
    pub(crate) fn write(&self, frame: Bytes) -> WriteResult {
        self.direct.write(frame, || self.is_open())
    }

    pub(crate) fn buffered(&self) -> usize {
        self.buffered.load(Ordering::Relaxed)
    }

    /// Returns what was buffered before.
    pub(crate) fn add_buffered(&self, bytes: usize) -> usize {
        self.buffered.fetch_add(bytes, Ordering::Relaxed)
    }

    /// Whether so many bytes are too many, beside what may wait anyway. Asked where they exceed
    /// `limit` already.
    pub(crate) fn exceeds(&self, waiting: usize, limit: usize) -> bool {
        waiting > limit.saturating_add(self.allowance.load(Ordering::Relaxed))
    }

    pub(crate) fn sub_buffered(&self, bytes: usize) {
        self.buffered.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// I/O thread: a message goes to the host.
    pub(crate) fn add_pending(&self, bytes: usize) {
        self.pending_messages.fetch_add(1, Ordering::Relaxed);
        self.pending_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Host: a message was taken. True if the I/O thread must be told to read again.
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

/// How much of one connection may wait for the host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Credit {
    pub(crate) messages: u32,
    pub(crate) bytes: usize,
}

impl Credit {
    /// Reading goes on when half is free again, so that a busy connection doesn't stop and go
    /// with every message.
    fn half(self) -> Self {
        Self { messages: self.messages.div_ceil(2), bytes: self.bytes.div_ceil(2) }
    }
}
