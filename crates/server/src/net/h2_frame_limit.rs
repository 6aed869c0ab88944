//! Limits how many DATA frames of one HTTP/2 stream wait inside the h2 library.
//!
//! The library limits the bytes that wait in it, but keeps each piece of data as a frame of its own, which
//! costs some 500 bytes in addition to its payload. If a peer does not read, 64 KiB in pieces of three bytes
//! would occupy 11 MB. Data beyond the limit waits where it is joined into larger pieces: in the outbox of
//! the session, or in the queue of the streamed response.

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

/// Maximum number of frames of one stream. Frames of 2 KiB and more reach the limit of bytes first.
const FRAMES: usize = 32;

/// The limit of one stream, held by whoever sends its data.
#[derive(Debug, Default)]
pub(crate) struct FrameLimit(Arc<Frames>);

#[derive(Debug, Default)]
struct Frames {
    /// Number of frames inside the library.
    waiting: AtomicUsize,
    /// The task that sends, woken when `waiting` falls below the limit.
    sender: AtomicWaker,
}

impl FrameLimit {
    /// Makes a frame that counts until the library drops it: once it is written, or when the stream ends.
    pub(crate) fn frame(&self, payload: Bytes) -> Bytes {
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        Bytes::from_owner(Frame { payload, frames: self.0.clone() })
    }

    /// Whether no further frame may be sent now.
    pub(crate) fn is_reached(&self) -> bool {
        self.0.waiting.load(Ordering::Acquire) >= FRAMES
    }

    /// Waits until a frame may be sent.
    pub(crate) fn poll_below(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.is_reached() {
            return Poll::Ready(());
        }
        self.0.sender.register(cx.waker());
        // A frame may have been dropped before the waker was registered.
        if self.is_reached() { Poll::Pending } else { Poll::Ready(()) }
    }
}

/// The payload of a frame, counted until it is dropped.
struct Frame {
    payload: Bytes,
    frames: Arc<Frames>,
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        &self.payload
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        if self.frames.waiting.fetch_sub(1, Ordering::AcqRel) == FRAMES {
            self.frames.sender.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::task::{Wake, Waker};

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_sender_is_woken_when_one_of_the_most_frames_is_dropped() {
        let (limit, woken) = (FrameLimit::default(), Arc::new(Woken::default()));
        let waker = Waker::from(woken.clone());
        let cx = Context::from_waker(&waker);
        let mut frames = Vec::new();
        while !limit.is_reached() {
            assert_eq!(limit.poll_below(&cx), Poll::Ready(()));
            frames.push(limit.frame(Bytes::from_static(b"frame")));
        }
        assert_eq!((frames.len(), &*frames[0]), (FRAMES, &b"frame"[..]));
        assert_eq!(limit.poll_below(&cx), Poll::Pending);
        let rest = frames[0].split_off(2);
        frames.swap_remove(0);
        assert!(limit.is_reached() && !woken.0.load(Ordering::Relaxed), "a part of the frame is left");
        drop(rest);
        assert!(!limit.is_reached() && woken.0.load(Ordering::Relaxed));
        assert_eq!(limit.poll_below(&cx), Poll::Ready(()));
    }
}
