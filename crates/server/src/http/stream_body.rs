//! The sending side of a streamed response, whose body the host writes in pieces.

use bytes::Bytes;
use hyper::body::Frame;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::Notify;

use crate::channel::response_stream::{Flushed, StreamState};
use crate::thread;

/// The body of a streamed response, as hyper or the HTTP/2 task reads it. Dropping it before its end
/// has been sent reports the stream as lost.
#[derive(Debug)]
pub(crate) struct StreamBody {
    shared: Arc<StreamState>,
    /// The response has no body and ends with its head.
    head_only: bool,
    /// The end of the body was returned by [`StreamBody::poll_frame`].
    handed_over: bool,
    /// [`Current`] reports the end of the stream, once the socket has taken it.
    tracked: bool,
}

impl StreamBody {
    pub(crate) fn new(shared: Arc<StreamState>, head_only: bool) -> Self {
        Self { shared, head_only, handed_over: head_only, tracked: false }
    }

    pub(crate) fn shared(&self) -> &Arc<StreamState> {
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

    /// Whether the host has cut it. If not, the task of `cx` is woken when it does.
    pub(crate) fn poll_cut(&self, cx: &Context<'_>) -> bool {
        self.shared.poll_cut(cx)
    }

    /// Records that everything [`StreamBody::poll_frame`] has returned was written.
    pub(crate) fn flushed(&self) {
        flushed(&self.shared);
    }
}

/// A body must not be dropped inside [`thread::with`], which this calls.
impl Drop for StreamBody {
    fn drop(&mut self) {
        if !(self.handed_over && self.tracked) {
            thread::with(|io| io.stream_lost(&self.shared));
        }
    }
}

/// Records that everything read from the stream was written, and informs the host's side. Returns
/// `true` if that was the end of the stream.
fn flushed(shared: &Arc<StreamState>) -> bool {
    let flushed = shared.flushed();
    let over = flushed.complete;
    if flushed != Flushed::default() {
        thread::with(|io| io.stream_flushed(shared, flushed));
    }
    over
}

/// The streamed response that a connection of HTTP/1.1 is sending, if any. Shared by the service,
/// which begins it, and the socket's side, which notices its end.
#[derive(Debug, Default)]
pub(crate) struct Current {
    sending: Mutex<Option<Sending>>,
    /// Notified when the stream has been written.
    over: Notify,
}

/// A stream whose response was handed to hyper.
#[derive(Debug)]
struct Sending {
    shared: Arc<StreamState>,
    /// The end of the connection marks the end of the body, because an HTTP/1.0 client does not
    /// support chunked encoding.
    until_close: bool,
}

impl Current {
    fn get(&self) -> MutexGuard<'_, Option<Sending>> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> Option<Arc<StreamState>> {
        self.get().as_ref().map(|sending| sending.shared.clone())
    }

    /// Whether a stream is being sent.
    pub(crate) fn is_open(&self) -> bool {
        self.get().is_some()
    }

    /// Registers a stream whose response is about to be handed to hyper.
    pub(crate) fn begin(&self, body: &mut StreamBody, version: http::Version) {
        body.tracked = true;
        let until_close = version < http::Version::HTTP_11;
        *self.get() = Some(Sending { shared: body.shared.clone(), until_close });
    }

    /// Waits until the current stream, if any, has been written completely.
    pub(crate) async fn over(&self) {
        while self.get().is_some() {
            self.over.notified().await;
        }
    }

    /// Records that the socket has taken all of hyper's output. Returns `true` if that was the end of
    /// the stream.
    pub(crate) fn flushed(&self) -> bool {
        let over = self.shared().is_some_and(|shared| flushed(&shared));
        if over {
            *self.get() = None;
            self.over.notify_one();
        }
        over
    }

    /// Whether the host has cut the stream; hyper would notice that only when it can write more. If
    /// not, the task of `cx` is woken when it does.
    pub(crate) fn poll_cut(&self, cx: &Context<'_>) -> bool {
        self.get().as_ref().is_some_and(|sending| sending.shared.poll_cut(cx))
    }

    /// Ends the stream with its connection. Returns `true` if the socket must be reset: the body is
    /// incomplete, and the regular end of the connection would tell the client that it is whole (RFC
    /// 9112 section 8).
    pub(crate) fn close(&self) -> bool {
        let Some(sending) = self.get().take() else { return false };
        thread::with(|io| io.stream_lost(&sending.shared));
        sending.until_close
    }
}
