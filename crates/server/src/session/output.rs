//! The write side of a session: queueing frames, and writing them as far as the socket accepts them.

use bytes::Bytes;
use sprocket_protocol::frame;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use super::{Phase, Session};
use crate::channel::event::{Event, Interest};
use crate::channel::mailbox::Item;
use crate::context::ThreadContext;

impl Session {
    /// Writes queued frames until all are written or the socket is full; in the latter case the task is
    /// woken when the socket becomes writable.
    pub(super) fn poll_write(&mut self, context: &mut ThreadContext, cx: &mut Context<'_>) {
        loop {
            self.write(context);
            if self.is_dead() || self.is_written() {
                return;
            }
            match self.stream.poll_write_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => self.socket_failed(context, &error),
                Poll::Pending => return,
            }
        }
    }

    /// Queues a message, compressed if that was negotiated and makes it shorter. Returns false if the
    /// session is already closing.
    pub(crate) fn send(&mut self, context: &mut ThreadContext, frame: Bytes) -> bool {
        let (Some(compressor), Phase::Open | Phase::Answering, Some(ours)) =
            (&mut self.compressor, self.phase, &context.server.config.compression)
        else {
            return self.push(frame);
        };
        let counted = frame.len();
        let frame = compressor.compress(&mut context.compressors, ours, frame);
        // The compressor never returns a longer frame.
        self.shared.sub_buffered(counted - frame.len());
        self.push(frame)
    }

    /// Queues `count` messages whose frames follow each other, as [`Session::send`] does.
    pub(crate) fn send_many(&mut self, context: &mut ThreadContext, mut frames: Bytes, count: usize) -> bool {
        if self.compressor.is_some() {
            let mut queued = false;
            while !frames.is_empty() {
                let frame = frames.split_to(frame::first_length(&frames));
                // A part of the buffer would keep the whole of it.
                queued = self.send(context, Bytes::copy_from_slice(&frame));
            }
            return queued;
        }
        if !matches!(self.phase, Phase::Open | Phase::Answering) {
            self.shared.sub_buffered(frames.len());
            return false;
        }
        self.out.push_many(frames, count);
        true
    }

    /// Queues a frame, which [`Session::flush`] writes. Returns false if the session is already closing;
    /// the frame is then no longer counted in `buffered`.
    pub(crate) fn push(&mut self, frame: Bytes) -> bool {
        if !matches!(self.phase, Phase::Open | Phase::Answering) {
            self.shared.sub_buffered(frame.len());
            return false;
        }
        self.out.push(frame);
        true
    }

    /// Takes over the unwritten tail of a frame that the host has partly written itself (see
    /// [`direct_write`](crate::connection::direct_write)). Returns false if the outbox is empty
    /// afterwards.
    pub(crate) fn settle(&mut self) -> bool {
        if !self.is_dead() {
            self.shared.direct.lock().settle(&mut self.out);
        }
        !self.out.is_empty()
    }

    /// Queues a ping, or an unsolicited pong. Returns false if the session is already closing.
    pub(crate) fn push_ping(&mut self, frame: Bytes) -> bool {
        self.flood.allow(1);
        self.push(frame)
    }

    /// Queues a frame and counts it in `buffered`.
    pub(crate) fn push_counted(&mut self, frame: Bytes) {
        self.shared.add_buffered(frame.len());
        self.push(frame);
    }

    /// Writes queued frames from outside the session's task, as far as the socket accepts them. The task
    /// is woken to write the rest when the socket becomes writable.
    pub(crate) fn flush(&mut self, context: &mut ThreadContext) {
        self.write(context);
        if !self.is_written() {
            self.wake();
        }
    }

    /// Whether there is nothing left to write, neither frames nor FIN.
    fn is_written(&self) -> bool {
        self.out.is_empty() && !matches!(self.phase, Phase::Lingering { fin: false, .. })
    }

    /// Writes queued frames as far as the socket accepts them, and updates the thread's counts.
    fn write(&mut self, context: &mut ThreadContext) {
        if self.is_dead() {
            return;
        }
        self.write_out(context);
        self.note(context);
    }

    /// Writes queued frames. Once all are written, requests the next deferred replay, sends FIN if the
    /// session lingers, and emits the drain event that the host waits for.
    fn write_out(&mut self, context: &mut ThreadContext) {
        if !self.out.is_empty() {
            let mut direct = self.shared.direct.lock();
            direct.settle(&mut self.out);
            let result = self.out.write_to(&mut self.stream, &mut context.write);
            let clear = self.out.is_empty() && self.phase == Phase::Open;
            direct.wrote(*result.as_ref().unwrap_or(&0), clear);
            drop(direct);
            match result {
                Ok(written) => {
                    context.bytes_out += written as u64;
                    self.shared.sub_buffered(written);
                }
                Err(error) => return self.socket_failed(context, &error),
            }
        }
        if !self.out.is_empty() {
            return;
        }
        if self.resumes.is_some() {
            self.shared.allowance.store(0, Ordering::Relaxed);
            self.ask_next(context);
        }
        if let Phase::Lingering { fin: false, hung_up } = self.phase
            && self.stream.shutdown_write()
        {
            self.phase = Phase::Lingering { fin: true, hung_up };
            self.written(context);
            if hung_up {
                return self.die(context);
            }
        }
        if self.shared.drain_wanted.load(Ordering::Relaxed)
            && self.phase == Phase::Open
            && self.shared.drain_wanted.swap(false, Ordering::AcqRel)
            && context.wants(Interest::DRAIN)
        {
            context.emit(Item::plain(Event::Drain { id: self.shared.id }));
        }
    }

    /// Updates the thread's counts of waiting frames and bytes by the change in this session since the
    /// last call.
    pub(super) fn note(&mut self, context: &mut ThreadContext) {
        let (frames, bytes) = self.counted_waiting;
        let none = self.out.is_empty() || self.is_dead();
        if none && frames == 0 {
            return;
        }
        let now = if none { (0, 0) } else { (self.out.len() as u32, self.shared.buffered()) };
        context.waiting_frames =
            context.waiting_frames.wrapping_add(now.0.into()).wrapping_sub(frames.into());
        context.waiting_bytes = context.waiting_bytes.wrapping_add(now.1 as u64).wrapping_sub(bytes as u64);
        self.counted_waiting = now;
    }
}
