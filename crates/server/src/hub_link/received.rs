//! Processing of the frames that a worker's link receives from the hub.

use bytes::Bytes;
use std::io;

use super::{Link, LinkPhase, report_loss};
use crate::channel::event::{Event, Interest};
use crate::channel::mailbox::Item;
use crate::cluster::port::FailedForward;
use crate::cluster::wire::Down;
use crate::metrics::counters::{Counters, Stats};
use crate::thread as io_thread;
use crate::thread::report::log_broker;

impl Link {
    /// Processes all complete frames in the pipe, then lets the thread deliver the publications among
    /// them.
    ///
    /// # Errors
    /// A frame is malformed; those before it are processed.
    pub(super) fn take_frames(&mut self) -> io::Result<()> {
        let result = loop {
            let LinkPhase::Up(pipe) = &mut self.phase else { return Ok(()) };
            match pipe.next() {
                Ok(Some(frame)) => {
                    if let Err(error) = self.take(&frame) {
                        break Err(error);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        io_thread::with(|io| io.deliver_all());
        result
    }

    /// Processes one frame.
    fn take(&mut self, frame: &Bytes) -> io::Result<()> {
        let state = &self.state;
        match Down::decode(frame).map_err(io::Error::other)? {
            Down::Deliver { topic, payload, binary, position, except } => {
                Counters::one(&state.counters.bus_received);
                io_thread::with(|io| io.deliver_named(topic, payload, binary, position, except));
            }
            Down::Broadcast { payload, binary } => {
                Counters::one(&state.counters.bus_received);
                io_thread::with(|io| io.deliver_broadcast(payload, binary));
            }
            Down::Missed { payload, binary, .. } => {
                self.missed.push((sprocket_protocol::frame::message(payload, binary), binary));
            }
            Down::Resumed { ticket, complete, position } => {
                let entries = std::mem::take(&mut self.missed).into_iter().map(|(frame, _)| frame).collect();
                io_thread::with(|io| io.resumed(ticket, complete, position, entries));
            }
            Down::Present { topic, member, connections, data } => {
                let changed = state.presence().set(topic, member, connections, data);
                if changed {
                    io_thread::with(|io| io.emit(Item::Presence));
                }
            }
            Down::Refused { ticket, topic, why, uncertain } => {
                let refused = FailedForward { why: why.to_owned(), uncertain };
                // If a publisher on the publish socket waits for the outcome, it receives the refusal.
                if !io_thread::with(|io| io.outbound.refused(ticket, refused)).unwrap_or(false) {
                    report_loss(state, topic, why, uncertain);
                }
            }
            Down::Broker { connected, reason } => {
                // All workers of a node receive this; only the first one logs it.
                if state.config.cluster.as_ref().is_none_or(|cluster| cluster.slot == 0) {
                    log_broker(connected, reason);
                }
                if state.wants(Interest::BROKER) {
                    let event = Event::Broker { connected, reason: reason.to_owned() };
                    io_thread::with(|io| io.emit(Item::plain(event)));
                }
            }
            Down::Stats { link, slot, values } => {
                if let Some(port) = &state.cluster {
                    port.stats().insert(link, (slot, Stats::from_values(&values)));
                }
            }
            Down::StatsGone { link } => {
                if let Some(port) = &state.cluster {
                    port.stats().remove(&link);
                }
            }
            Down::Handled { publications } => self.handled = publications,
            Down::Synced => {
                io_thread::with(|io| io.outbound.synced());
            }
            Down::Welcome { .. } | Down::TurnedAway { .. } => {
                return Err(io::Error::other("the hub answered the greeting twice"));
            }
        }
        Ok(())
    }
}
