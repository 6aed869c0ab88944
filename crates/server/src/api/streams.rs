//! The part of [`Server`] for HTTP responses whose body the host writes in pieces.

use std::sync::Arc;

use super::{SendOutcome, Server};
use crate::channel::event::{Event, Response};
use crate::channel::mailbox::{Answer, Command, Item};
use crate::channel::response_stream::{ResponseStream, StreamState, Written};
use crate::id::Ticket;
use crate::metrics::counters::Counters;

impl Server {
    /// Answers a `Request` event with the status and headers of `head`, which are sent at once, and a
    /// body that [`Server::write_stream`] appends to until [`Server::end_stream`].
    /// [`Event::StreamClose`] always follows, at once if the ticket is no longer valid or was
    /// answered before.
    ///
    /// A response without a body (to HEAD, or with status 204 or 304) ends with its head, and cannot
    /// be written to.
    pub fn stream(&self, ticket: Ticket, head: Response) -> ResponseStream {
        let pending = self.requests.borrow_mut().remove(&ticket).filter(|pending| !pending.reply.is_closed());
        let Some(pending) = pending else {
            let stream = ResponseStream(StreamState::void(ticket));
            let close = Event::StreamClose { stream: stream.clone(), complete: false };
            // The batch is stored in reverse: index 0 comes last.
            self.batch.borrow_mut().insert(0, Item::plain(close));
            return stream;
        };
        let head_only = pending.is_head || matches!(head.status, 204 | 304);
        let shared = StreamState::new(ticket, head_only);
        self.post(0, Command::Respond(pending.reply, Answer::Stream(head, shared.clone(), head_only)));
        ResponseStream(shared)
    }

    /// Appends to the body. Returns [`SendOutcome::Overflow`] if the peer reads too slowly; the
    /// stream is then cut whatever the value of
    /// [`Config::slow_consumer`](crate::Config::slow_consumer), because a body with a gap would be
    /// wrong.
    pub fn write_stream(&self, stream: &ResponseStream, data: &[u8]) -> SendOutcome {
        let shared = &stream.0;
        if data.is_empty() {
            return if stream.is_open() { SendOutcome::Sent } else { SendOutcome::Closed };
        }
        let outcome = match shared.write(data, self.state.config.send_buffer_limit) {
            Written::Closed => return SendOutcome::Closed,
            Written::Accepted => {
                Counters::add(&self.state.counters.waiting_bytes, data.len() as u64);
                SendOutcome::Sent
            }
            Written::Overflow(bytes) => {
                self.count_discarded(bytes);
                SendOutcome::Overflow
            }
        };
        self.post_change(shared);
        self.count_posted(data.len());
        outcome
    }

    /// Ends the body behind everything written before. Returns `false` if the stream was not open.
    pub fn end_stream(&self, stream: &ResponseStream) -> bool {
        let ended = stream.0.end();
        if ended {
            self.post_change(&stream.0);
        }
        ended
    }

    /// Cuts the response before its end, so that the client notices that it is incomplete. Data that
    /// has not been written is dropped.
    pub fn cut_stream(&self, stream: &ResponseStream) {
        if let Some(bytes) = stream.0.cut() {
            self.count_discarded(bytes);
            self.post_change(&stream.0);
        }
    }

    /// Has the stream's thread look at it, unless a command for that is already posted.
    fn post_change(&self, shared: &Arc<StreamState>) {
        if shared.must_post() {
            self.post(shared.thread(), Command::Stream(shared.clone()));
        }
    }

    /// Takes discarded bytes off the counter of waiting bytes.
    fn count_discarded(&self, bytes: usize) {
        Counters::add(&self.state.counters.waiting_bytes, (bytes as u64).wrapping_neg());
    }
}
