//! Bookkeeping of the streamed responses on one I/O thread: their places under the connection limits,
//! their counters, and their events.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Io;
use super::open_streams::Open;
use crate::channel::event::Event;
use crate::channel::mailbox::Item;
use crate::channel::response_stream::{Flushed, Loss, ResponseStream, StreamState};
use crate::limits::admission::Admission;
use crate::limits::handshakes::Carrying;
use crate::metrics::counters::Counters;

impl Io {
    /// Registers a stream whose head is about to be sent.
    pub(crate) fn stream_began(
        &mut self,
        shared: &Arc<StreamState>,
        admission: Admission,
        carrying: Carrying,
    ) {
        shared.belongs_to(self.context.index);
        let counters = &self.context.server.counters;
        Counters::one(&counters.streams);
        Counters::one(&counters.streams_begun);
        self.streams.insert(shared.ticket(), Open::new(shared.clone(), admission, carrying));
    }

    /// The socket has accepted all bytes that the connection had of a stream. Emits the drain event, or
    /// the final one, as `flushed` says.
    pub(crate) fn stream_flushed(&mut self, shared: &Arc<StreamState>, flushed: Flushed) {
        self.context.waiting_bytes = self.context.waiting_bytes.wrapping_sub(flushed.bytes as u64);
        if flushed.drained {
            self.emit(Item::plain(Event::StreamDrain { stream: ResponseStream(shared.clone()) }));
        }
        if flushed.complete {
            self.stream_closed(shared, true);
        }
    }

    /// Ends a stream whose response was not sent completely, and counts the cause. Does nothing if the
    /// stream has ended already.
    pub(crate) fn stream_lost(&mut self, shared: &Arc<StreamState>) {
        let Some((loss, void)) = shared.lost() else { return };
        self.context.waiting_bytes = self.context.waiting_bytes.wrapping_sub(void as u64);
        if self.streams.contains_key(&shared.ticket()) {
            let counters = &self.context.server.counters;
            Counters::one(match loss {
                Loss::Peer => &counters.streams_lost,
                Loss::Slow => &counters.streams_slow,
                Loss::Host => &counters.streams_cut,
            });
        }
        self.stream_closed(shared, false);
    }

    /// Removes a stream from the table and emits its last event.
    fn stream_closed(&mut self, shared: &Arc<StreamState>, complete: bool) {
        if self.streams.remove(&shared.ticket()).is_some() {
            self.context.server.counters.streams.fetch_sub(1, Ordering::Relaxed);
        }
        let stream = ResponseStream(shared.clone());
        self.emit(Item::plain(Event::StreamClose { stream, complete }));
    }

    /// Cuts the streams that are open at the end of a stop's grace period. Their last events precede
    /// `Stopped`.
    pub(super) fn cut_streams(&mut self) {
        let open: Vec<_> = self.streams.values().map(|open| open.shared().clone()).collect();
        for shared in open {
            let void = shared.cut().unwrap_or(0);
            self.context.waiting_bytes = self.context.waiting_bytes.wrapping_sub(void as u64);
            shared.wake();
            self.stream_lost(&shared);
        }
    }
}
