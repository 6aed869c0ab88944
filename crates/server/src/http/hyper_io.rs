//! The socket as hyper sees it.
//!
//! Hyper answers a head that it can't parse by itself, with an empty body. Those answers are
//! recognised here by their position (see [`Responses`]) and replaced by ones that say what is wrong.

use hyper::rt::{Read, ReadBufCursor, Write};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::time::Sleep;

use crate::http::request_clock::RequestClock;
use crate::http::responses::Responses;
use crate::net::stall::Stall;
use crate::net::stream::Stream;

/// A socket in its HTTP phase.
pub(crate) struct HttpIo {
    stream: Stream,
    /// The responses that our service has given.
    responses: Arc<Responses>,
    /// What is written instead of hyper's own answer.
    instead: Vec<u8>,
    /// Hyper may refuse a head for its size once: another attempt follows.
    first: bool,
    stall: Stall,
    clock: Arc<RequestClock>,
    /// Runs while a head is expected.
    timer: Option<Pin<Box<Sleep>>>,
    /// Nothing of the head that is expected has come.
    idle: bool,
    /// Hyper waits for input.
    wanted: bool,
    /// What was read while hyper did not want any.
    ahead: Vec<u8>,
    /// The peer has ended its side.
    ended: bool,
    /// It has done so with its request.
    half_closed: bool,
}

impl HttpIo {
    /// `stall` watches over a peer that takes nothing of a response.
    pub(crate) fn new(
        stream: Stream,
        responses: Arc<Responses>,
        clock: Arc<RequestClock>,
        stall: Stall,
    ) -> Self {
        Self {
            stream,
            responses,
            instead: Vec::new(),
            first: true,
            stall,
            clock,
            timer: None,
            idle: false,
            wanted: false,
            ahead: Vec::new(),
            ended: false,
            half_closed: false,
        }
    }

    /// The socket, and what was read from it that hyper has not got.
    pub(crate) fn into_parts(self) -> (Stream, Vec<u8>) {
        (self.stream, self.ahead)
    }

    /// Makes what hyper has read, and not taken, come again. `false`: that was done before.
    pub(crate) fn rewind(&mut self, read: &[u8]) -> bool {
        let first = std::mem::take(&mut self.first);
        if first {
            self.ahead.splice(0..0, read.iter().copied());
        }
        first
    }

    /// While a request is being answered: looks whether the peer is still there. One that has ended
    /// only its own side gets the answer to a plain request; to a handshake it has no use for one.
    /// One that ends its side while a response is streamed is gone: streams have no end in sight.
    fn look_for_end(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let streaming = self.responses.stream.is_open();
        if !self.clock.is_answering() && !streaming {
            return Ok(());
        }
        if !self.wanted && !self.ended && self.ahead.is_empty() {
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

    /// Nothing has come, and hyper waits. Ready when that takes too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A body has a time limit elsewhere.
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

    /// Writes bytes that hyper does not know of, when it has nothing left to write.
    pub(crate) async fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = poll_fn(|cx| self.stall.poll_send(&mut self.stream, cx, &[IoSlice::new(bytes)])).await?;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.instead.is_empty() {
            let n = ready!(self.stall.poll_send(&mut self.stream, cx, &[IoSlice::new(&self.instead)]))?;
            self.instead.drain(..n);
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
        self.wanted = false;
        if !self.ahead.is_empty() {
            let n = room.min(self.ahead.len());
            buf.put_slice(&self.ahead[..n]);
            self.ahead.drain(..n);
        } else if !self.ended {
            let Poll::Ready(n) = self.stream.poll_read(cx, &mut chunk[..room])? else {
                self.wanted = true;
                return self.poll_late(cx);
            };
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
        ready!(self.poll_instead(cx))?;
        let this = &mut *self;
        let mut ours = this.responses.ours(buf);
        if ours == 0 && !buf.is_empty() {
            if let Some(instead) = explained(buf) {
                let again = this.first && instead.starts_with(b"HTTP/1.1 431");
                this.instead = if again { Vec::new() } else { instead };
                // Hyper's answer, behind which it writes nothing, is swallowed.
                return Poll::Ready(Ok(buf.len()));
            }
            ours = buf.len();
        }
        let n = ready!(this.stall.poll_send(&mut this.stream, cx, &[IoSlice::new(&buf[..ours])]))?;
        this.responses.written(n);
        Poll::Ready(Ok(n))
    }

    /// Hyper flushes whenever its task is polled and all that it had is written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        self.responses.flushed();
        Poll::Ready(self.look_for_end(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        self.stream.poll_shutdown(cx)
    }
}

/// Our answer in place of an empty one that hyper has made (RFC 9110 section 15.5).
fn explained(answer: &[u8]) -> Option<Vec<u8>> {
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
