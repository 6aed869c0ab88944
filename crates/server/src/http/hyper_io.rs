//! The socket as hyper sees it: an adapter between [`Stream`] and hyper's I/O traits.
//!
//! Hyper itself answers a head that it can't parse, with an empty body. This adapter recognises such
//! an answer by its position in the output (see [`Responses`]) and replaces it by one that explains
//! the error.

use hyper::rt::{Read, ReadBufCursor, Write};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::time::Sleep;

use crate::http::request_clock::RequestClock;
use crate::http::request_line::RequestLine;
use crate::http::responses::Responses;
use crate::net::stall::Stall;
use crate::net::stream::Stream;

/// A socket that speaks HTTP/1.1. Hyper's connection owns it until it becomes a WebSocket or ends.
pub(crate) struct HttpIo {
    stream: Stream,
    /// The responses that the service has returned to hyper.
    responses: Arc<Responses>,
    /// Unwritten rest of the answer that replaces hyper's own.
    replacement: Vec<u8>,
    /// A head that hyper refuses for its size is parsed again once, with a larger limit. True until
    /// that has happened.
    first: bool,
    /// Detects a fragment in the target of the first request.
    line: RequestLine,
    /// Detects a peer that does not read.
    stall: Stall,
    /// Time limits of requests, shared with the service.
    clock: Arc<RequestClock>,
    /// Runs out when the expected head has not arrived in time.
    timer: Option<Pin<Box<Sleep>>>,
    /// No byte of the expected head has arrived.
    idle: bool,
    /// Hyper's last read is pending.
    read_pending: bool,
    /// Bytes that were read ahead of hyper's next read.
    ahead: Vec<u8>,
    /// The peer has closed its sending side.
    ended: bool,
    /// The peer has closed its sending side while it waits for the response to a request.
    half_closed: bool,
}

impl HttpIo {
    /// Wraps a stream, of which `ahead` was already read. `stall` detects a peer that reads nothing of a
    /// response.
    pub(crate) fn new(
        stream: Stream,
        ahead: Vec<u8>,
        responses: Arc<Responses>,
        clock: Arc<RequestClock>,
        stall: Stall,
    ) -> Self {
        Self {
            stream,
            responses,
            replacement: Vec::new(),
            first: true,
            line: RequestLine::default(),
            stall,
            clock,
            timer: None,
            idle: false,
            read_pending: false,
            ahead,
            ended: false,
            half_closed: false,
        }
    }

    /// Returns the socket and the bytes that were read from it ahead of hyper.
    pub(crate) fn into_parts(self) -> (Stream, Vec<u8>) {
        (self.stream, self.ahead)
    }

    /// Puts back the bytes that hyper has read without using them, for a second attempt. Returns
    /// `false` if this has been done before.
    pub(crate) fn rewind(&mut self, read: &[u8]) -> bool {
        let first = std::mem::take(&mut self.first);
        if first {
            self.ahead.splice(0..0, read.iter().copied());
        }
        first
    }

    /// Checks, while a request is being answered, whether the peer is still connected. A peer that
    /// has closed only its sending side still receives the response to a plain request, but has no
    /// use for a handshake. A peer that closes its sending side during a streamed response is
    /// regarded as gone, because a stream may have no end.
    fn check_peer(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let streaming = self.responses.stream.is_open();
        if !self.clock.is_answering() && !streaming {
            return Ok(());
        }
        if !self.read_pending && !self.ended && self.ahead.is_empty() {
            let mut chunk = [0u8; 1024];
            match self.stream.poll_read(cx, &mut chunk)? {
                Poll::Ready(0) => (self.ended, self.half_closed) = (true, !streaming),
                Poll::Ready(n) => self.ahead.extend_from_slice(&chunk[..n]),
                Poll::Pending => {}
            }
        }
        if self.ended && (self.clock.is_undecided() || streaming && !self.half_closed) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Polls the time limit while hyper waits for input. An idle connection ends regularly at the
    /// limit, one that has sent part of a head ends with an error.
    fn poll_time_limit(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The service limits the time for a body.
        if self.clock.is_answering() {
            return Poll::Pending;
        }
        let (until, begins) = self.clock.expect_head();
        self.idle |= begins;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        ready!(timer.as_mut().poll(cx));
        if self.idle {
            self.ended = true;
            return Poll::Ready(Ok(()));
        }
        self.clock.set_late();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Writes bytes past hyper. Called only when hyper has nothing left to write.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stall.send(&mut self.stream, bytes).await
    }

    /// Writes the answer that replaces hyper's own.
    fn poll_replacement(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.replacement.is_empty() {
            let n = ready!(self.stall.poll_send(&mut self.stream, cx, &[IoSlice::new(&self.replacement)]))?;
            self.replacement.drain(..n);
        }
        Poll::Ready(Ok(()))
    }
}

impl Read for HttpIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut chunk = [0u8; 4096];
        let room = chunk.len().min(buf.remaining());
        self.read_pending = false;
        if !self.ahead.is_empty() {
            let n = room.min(self.ahead.len());
            let this = &mut *self;
            this.line.scan(&mut this.ahead[..n]);
            buf.put_slice(&this.ahead[..n]);
            this.ahead.drain(..n);
        } else if !self.ended {
            let Poll::Ready(n) = self.stream.poll_read(cx, &mut chunk[..room])? else {
                self.read_pending = true;
                return self.poll_time_limit(cx);
            };
            self.line.scan(&mut chunk[..n]);
            buf.put_slice(&chunk[..n]);
            self.ended = n == 0;
        }
        if std::mem::take(&mut self.idle) {
            self.clock.begin_head();
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for HttpIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_replacement(cx))?;
        let this = &mut *self;
        let mut ours = this.responses.ours(buf);
        if ours == 0 && !buf.is_empty() {
            if let Some(replacement) = explanation_of(buf) {
                let again = this.first && replacement.starts_with(b"HTTP/1.1 431");
                this.replacement = if again { Vec::new() } else { replacement };
                // Pretend that hyper's answer was written. Hyper writes nothing after it.
                return Poll::Ready(Ok(buf.len()));
            }
            ours = buf.len();
        }
        let n = ready!(this.stall.poll_send(&mut this.stream, cx, &[IoSlice::new(&buf[..ours])]))?;
        this.responses.written(n);
        Poll::Ready(Ok(n))
    }

    /// Hyper flushes at each poll of its task after which nothing is left to write.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_replacement(cx))?;
        self.responses.flushed();
        Poll::Ready(self.check_peer(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_replacement(cx))?;
        self.stream.poll_shutdown(cx)
    }
}

/// The answer that replaces an empty one made by hyper (RFC 9110 section 15.5). `None` if hyper's is
/// sent as it is.
fn explanation_of(answer: &[u8]) -> Option<Vec<u8>> {
    let status = std::str::from_utf8(answer.get(9..12)?).ok()?;
    let (line, body) = match status {
        "400" => ("400 Bad Request", "This is not a well-formed HTTP/1.1 request.\n"),
        "414" => ("414 URI Too Long", "The request target is too long.\n"),
        "431" => ("431 Request Header Fields Too Large", "The request head is too large.\n"),
        _ => return None,
    };
    let length = body.len();
    Some(
        format!(
            "HTTP/1.1 {line}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .into_bytes(),
    )
}
