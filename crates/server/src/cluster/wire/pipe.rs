//! One end of a connection between a worker and the hub: whole frames in both directions.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};
use tokio::net::UnixStream;

use crate::cluster::wire;

/// One read.
const READ: usize = 64 << 10;
/// Frames of one write.
const PIECES: usize = 64;

/// A socket with what was read of it and what waits for it.
#[derive(Debug)]
pub(crate) struct Pipe {
    stream: UnixStream,
    input: BytesMut,
    out: VecDeque<Bytes>,
    /// Of the first frame, written already.
    begun: usize,
    /// Of all frames that wait.
    waiting: usize,
    /// Bytes that the other side, or the socket between, has taken so far.
    taken: u64,
    /// Bytes of a frame that is read.
    limit: usize,
    /// The other side has gone, and reads no more. What it has written before is there still.
    broken: bool,
}

impl Pipe {
    pub(crate) fn new(stream: UnixStream, limit: usize) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            out: VecDeque::new(),
            begun: 0,
            waiting: 0,
            taken: 0,
            limit,
            broken: false,
        }
    }

    /// Queues a frame.
    pub(crate) fn push(&mut self, frame: Bytes) {
        self.waiting += frame.len();
        self.out.push_back(frame);
    }

    /// Whether what is queued can't be written any more. An error follows when all is read.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Bytes that wait to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting - self.begun
    }

    /// Bytes written so far: as long as it is the same, nothing gets on.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// A whole frame that was read.
    pub(crate) fn next(&mut self) -> io::Result<Option<Bytes>> {
        let frame = wire::split(&mut self.input, self.limit).map_err(io::Error::other)?;
        if self.input.is_empty() && self.input.capacity() > 4 * READ {
            self.input = BytesMut::new();
        }
        Ok(frame)
    }

    /// Reads once. An end of the stream is an error.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.stream.poll_read_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return Poll::Pending,
            }
            self.input.reserve(READ);
            match self.stream.try_read_buf(&mut self.input) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Writes until all is written (`Ready`) or the socket takes no more.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.out.is_empty() {
            if self.broken {
                return Poll::Pending;
            }
            match self.stream.poll_write_ready(cx) {
                Poll::Ready(ready) => self.broken |= ready.is_err(),
                Poll::Pending => return Poll::Pending,
            }
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let mut used = 0;
            for (piece, frame) in pieces.iter_mut().zip(&self.out) {
                *piece = IoSlice::new(if used == 0 { &frame[self.begun..] } else { frame });
                used += 1;
            }
            match self.stream.try_write_vectored(&pieces[..used]) {
                Ok(0) => self.broken = true,
                Ok(n) => self.written(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => self.broken = true,
            }
        }
        if self.out.capacity() > 1024 {
            self.out = VecDeque::new();
        }
        Poll::Ready(())
    }

    fn written(&mut self, n: usize) {
        self.begun += n;
        self.taken += n as u64;
        while let Some(front) = self.out.front() {
            if self.begun < front.len() {
                return;
            }
            self.begun -= front.len();
            self.waiting -= front.len();
            self.out.pop_front();
        }
    }

    /// What the other side can't have got whole.
    pub(crate) fn into_unsent(self) -> VecDeque<Bytes> {
        self.out
    }
}
