//! Writes that give up on a peer that takes nothing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

use crate::net::progress::{Progress, SendQueue, WAITING};
use crate::net::stream::Stream;

/// Watches the writes on one socket.
pub(crate) struct Stall {
    limit: Duration,
    queue: Option<SendQueue>,
    /// Bytes that the kernel has taken.
    written: u64,
    /// Runs while the socket takes no more, anew with each progress.
    timer: Option<(Pin<Box<Sleep>>, Progress)>,
}

impl Stall {
    /// `limit` is the time for which a peer may take nothing.
    pub(crate) fn new(limit: Duration, queue: Option<SendQueue>) -> Self {
        Self { limit, queue, written: 0, timer: None }
    }

    /// Writes, or waits until the socket takes something. Fails with `TimedOut` if it does not for
    /// too long.
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
