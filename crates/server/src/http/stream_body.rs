//! The sending side of a streamed response.

use bytes::Bytes;
use hyper::body::Frame;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::Notify;

use crate::channel::response_stream::{Flushed, Shared};
use crate::thread;

/// The body of a streamed response. Dropping it before its end was sent closes the stream.
#[derive(Debug)]
pub(crate) struct StreamBody {
    shared: Arc<Shared>,
    /// The response ends with its head.
    head_only: bool,
    handed_over: bool,
    /// The connection closes the stream once its end was handed over.
    tracked: bool,
}

impl StreamBody {
    pub(crate) fn new(shared: Arc<Shared>, head_only: bool) -> Self {
        Self { shared, head_only, handed_over: head_only, tracked: false }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        let piece = self.shared.poll_piece(cx);
        self.handed_over |= matches!(piece, Poll::Ready(None));
        piece
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.head_only
    }

    /// Whether the host has cut it.
    pub(crate) fn is_cut(&self) -> bool {
        self.shared.is_cut()
    }

    /// The same. If it has not, the task is woken when it does.
    pub(crate) fn poll_cut(&self, cx: &Context<'_>) -> bool {
        self.shared.poll_cut(cx)
    }

    /// All that [`StreamBody::poll_frame`] gave has been taken.
    pub(crate) fn flushed(&self) {
        flushed(&self.shared);
    }
}

/// Must not run inside [`thread::with`].
impl Drop for StreamBody {
    fn drop(&mut self) {
        if !(self.handed_over && self.tracked) {
            thread::with(|io| io.stream_lost(&self.shared));
        }
    }
}

/// True: the stream is over.
fn flushed(shared: &Arc<Shared>) -> bool {
    let flushed = shared.flushed();
    let over = flushed.complete;
    if flushed != Flushed::default() {
        thread::with(|io| io.stream_flushed(shared, flushed));
    }
    over
}

/// The stream that a connection of HTTP/1.1 is sending.
#[derive(Debug, Default)]
pub(crate) struct Current {
    sending: Mutex<Option<Sending>>,
    over: Notify,
}

#[derive(Debug)]
struct Sending {
    shared: Arc<Shared>,
    /// The end of the connection is the end of the body, because the client knows no chunks.
    until_close: bool,
}

impl Current {
    fn get(&self) -> MutexGuard<'_, Option<Sending>> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> Option<Arc<Shared>> {
        self.get().as_ref().map(|sending| sending.shared.clone())
    }

    /// Whether there is one.
    pub(crate) fn is_open(&self) -> bool {
        self.get().is_some()
    }

    /// Its response goes to hyper.
    pub(crate) fn begin(&self, body: &mut StreamBody, version: http::Version) {
        body.tracked = true;
        let until_close = version < http::Version::HTTP_11;
        *self.get() = Some(Sending { shared: body.shared.clone(), until_close });
    }

    /// Waits until all of the stream has been written.
    pub(crate) async fn over(&self) {
        while self.get().is_some() {
            self.over.notified().await;
        }
    }

    /// The socket has taken all that hyper had. True: the stream is over with that.
    pub(crate) fn flushed(&self) -> bool {
        let over = self.shared().is_some_and(|shared| flushed(&shared));
        if over {
            *self.get() = None;
            self.over.notify_one();
        }
        over
    }

    /// Whether the stream has been cut, which hyper notices only when it has room for more. If not,
    /// the task is woken when it is.
    pub(crate) fn poll_cut(&self, cx: &Context<'_>) -> bool {
        self.get().as_ref().is_some_and(|sending| sending.shared.poll_cut(cx))
    }

    /// The connection is over. True: its stream is incomplete, and the socket must be reset, because its regular end would make
    /// the client take what it got for the whole body (RFC 9112 section 8).
    pub(crate) fn close(&self) -> bool {
        let Some(sending) = self.get().take() else { return false };
        thread::with(|io| io.stream_lost(&sending.shared));
        sending.until_close
    }
}
