//! Writes with a deadline for a peer that takes no data.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

use crate::net::progress::{Progress, SendQueue, WAITING};
use crate::net::stream::Stream;

/// Limits the time for which the writes on one socket may make no progress. Held by the I/O object of an
/// HTTP/1.1 connection.
pub(crate) struct Stall {
    /// How long the peer may take no data.
    limit: Duration,
    /// Reads the kernel's send queue, where the system has a way to.
    queue: Option<SendQueue>,
    /// Bytes that the kernel has accepted.
    written: u64,
    /// The deadline and the progress since it started. Exists while a write waits; restarts whenever the peer
    /// makes progress.
    timer: Option<(Pin<Box<Sleep>>, Progress)>,
}

impl Stall {
    /// `limit` is how long the peer may take no data.
    pub(crate) fn new(limit: Duration, queue: Option<SendQueue>) -> Self {
        Self { limit, queue, written: 0, timer: None }
    }

    /// Writes all of `bytes`. Fails with `TimedOut` if the peer makes no progress within the limit.
    pub(crate) async fn send(&mut self, stream: &mut Stream, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = poll_fn(|cx| self.poll_send(stream, cx, &[IoSlice::new(bytes)])).await?;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    /// Writes, or waits until the socket has room. Fails with `TimedOut` if the peer makes no progress within
    /// the limit.
    pub(crate) fn poll_send(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = poll_send(stream, cx, bufs) {
            self.timer = None;
            self.written += *result.as_ref().unwrap_or(&0) as u64;
            return Poll::Ready(result);
        }
        let (limit, queue, written) = (self.limit, self.queue, self.written);
        let mut sample = || stream.sample(queue, written, WAITING);
        let (timer, progress) = self
            .timer
            .get_or_insert_with(|| (Box::pin(tokio::time::sleep(limit)), Progress::begin(sample())));
        loop {
            ready!(timer.as_mut().poll(cx));
            if !progress.has_moved(&mut sample) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            timer.as_mut().reset(Instant::now() + limit);
        }
    }
}

/// Writes, or waits until the socket has room.
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
