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
use std::time::Duration;
use tokio::time::Sleep;

use crate::responses::Responses;
use crate::stream::Stream;

/// A socket in its HTTP phase.
pub(crate) struct HttpIo {
    stream: Stream,
    /// The responses that our service has given.
    responses: Arc<Responses>,
    /// What is written instead of hyper's own answer.
    instead: Vec<u8>,
    stall: Stall,
}

/// Ends a connection whose peer takes nothing of a response for too long.
struct Stall {
    limit: Duration,
    /// Runs while the socket takes no more.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    fn poll_send(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = poll_send(stream, cx, &[IoSlice::new(buf)]);
        if poll.is_ready() {
            self.timer = None;
            return poll;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.limit)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl HttpIo {
    /// `limit` is the time for which a peer may take nothing of a response.
    pub(crate) fn new(stream: Stream, responses: Arc<Responses>, limit: Duration) -> Self {
        Self { stream, responses, instead: Vec::new(), stall: Stall { limit, timer: None } }
    }

    pub(crate) fn into_inner(self) -> Stream {
        self.stream
    }

    /// Writes bytes that hyper does not know of, when it has nothing left to write.
    pub(crate) async fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = poll_fn(|cx| self.stall.poll_send(&mut self.stream, cx, bytes)).await?;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.instead.is_empty() {
            let n = ready!(self.stall.poll_send(&mut self.stream, cx, &self.instead))?;
            self.instead.drain(..n);
        }
        Poll::Ready(Ok(()))
    }
}

/// Writes, or waits until the socket takes something.
pub(crate) fn poll_send(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    loop {
        match stream.try_write_vectored(bufs) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ready!(stream.poll_write_ready(cx))?;
            }
            other => return Poll::Ready(other),
        }
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
        let n = ready!(self.stream.poll_read(cx, &mut chunk[..room]))?;
        buf.put_slice(&chunk[..n]);
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
                this.instead = instead;
                // Hyper's answer, behind which it writes nothing, is swallowed.
                return Poll::Ready(Ok(buf.len()));
            }
            ours = buf.len();
        }
        let n = ready!(this.stall.poll_send(&mut this.stream, cx, &buf[..ours]))?;
        this.responses.written(n);
        Poll::Ready(Ok(n))
    }

    /// Hyper calls it when it has written all that it had.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        self.responses.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        self.stream.shutdown_write();
        Poll::Ready(Ok(()))
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
