//! The items that an I/O thread sends to the host.

use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

use crate::channel::event::{Decision, Event, Response};
use crate::channel::notices::NoticePlace;
use crate::channel::request::Request;
use crate::channel::response_stream::StreamState as Stream;
use crate::channel::upload::Body;
use crate::connection::shared::Shared;
use crate::id::{ConnId, Ticket};
use crate::limits::admission::Admission;

/// An item that an I/O thread sends to the host, which turns most kinds into an [`Event`]. How many items
/// of each kind can wait is documented in [`backlog`](crate::limits::backlog).
#[derive(Debug)]
pub(crate) enum Item {
    /// A message. It holds the connection so that the host can return the message's credit.
    Message {
        conn: Arc<Shared>,
        payload: Bytes,
        binary: bool,
    },
    Pong {
        conn: Arc<Shared>,
        payload: Bytes,
    },
    /// Follows the last message of a connection that is about to end. The host returns it as
    /// `Command::Answered` when it has processed the messages before it.
    Ending {
        conn: Arc<Shared>,
    },
    Upgrade {
        ticket: Ticket,
        question: Question<Handshake>,
    },
    Request {
        ticket: Ticket,
        question: Question<Plain>,
    },
    /// The client of a plain request has disconnected, so the host can drop the ticket's reply channel.
    RequestGone {
        ticket: Ticket,
    },
    /// The presence view has changes, which the host reads as events.
    Presence,
    /// A log line or a refused request, with its place under the limit on notices.
    Notice(Box<(NoticePlace, Event)>),
    /// The end of a connection. Boxed for the same reason as `Plain`.
    Closed(Box<Closed>),
    /// Any other event. It is boxed because some events are large, and an `Item` of that size would make
    /// every message more expensive to move.
    Plain(Box<Event>),
}

/// The end of a connection; the last item of that connection.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) id: ConnId,
    pub(crate) code: u16,
    pub(crate) reason: String,
    /// The connection's place under the limits, released when the host takes the item.
    pub(crate) admission: Admission,
}

/// The contents of [`Item::Upgrade`]: a handshake, and the channel for the host's decision.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) request: Arc<Request>,
    pub(crate) reply: oneshot::Sender<Decision>,
}

/// The contents of [`Item::Request`]: a plain HTTP request, and the channel for the host's answer.
#[derive(Debug)]
pub(crate) struct Plain {
    pub(crate) request: Arc<Request>,
    pub(crate) body: Body,
    pub(crate) reply: oneshot::Sender<Answer>,
}

/// A question to the host (a handshake or a plain request), shared with the task that asks. Either the host
/// takes the contents to answer them, or the task takes them back when the client disconnects.
#[derive(Debug)]
pub(crate) struct Question<T>(Arc<Mutex<Option<T>>>);

impl<T> Question<T> {
    pub(crate) fn new(contents: T) -> Self {
        Self(Arc::new(Mutex::new(Some(contents))))
    }

    /// Returns another handle to the same question, by which the asking task can take the contents back.
    pub(crate) fn share(&self) -> Self {
        Self(self.0.clone())
    }

    /// Takes the contents; `None` if the other side has taken them.
    pub(crate) fn take(&self) -> Option<T> {
        self.lock().take()
    }

    /// Returns the size of the contents as computed by `f`, or 0 if they have been taken.
    fn size(&self, f: impl FnOnce(&T) -> usize) -> usize {
        self.lock().as_ref().map_or(0, f)
    }

    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Item {
    /// Wraps an event that needs no kind of its own.
    pub(crate) fn plain(event: Event) -> Self {
        Self::Plain(Box::new(event))
    }

    /// Number of bytes that the item occupies while it waits, for the
    /// [backlog](crate::limits::backlog). A request body is counted separately, because it is released as
    /// soon as the client disconnects.
    #[inline(always)]
    pub(crate) fn size(&self) -> usize {
        /// The item itself in the vector of a batch, whose capacity may be twice its length, and the
        /// allocator's overhead for a payload.
        const ITEM: usize = 2 * size_of::<Item>() + 32;
        /// The allocations of a question, which stay in the batch even if the contents are taken back.
        const QUESTION: usize = size_of::<Mutex<Option<Plain>>>() + 64;
        ITEM + match self {
            Self::Message { payload, .. } | Self::Pong { payload, .. } => payload.len(),
            Self::Upgrade { question, .. } => {
                QUESTION + question.size(|asked| asked.request.size_with_certificate())
            }
            Self::Request { question, .. } => {
                QUESTION + question.size(|asked| asked.request.size_with_certificate())
            }
            Self::Closed(closed) => size_of::<Closed>() + closed.reason.len(),
            Self::Plain(event) => size_of::<Event>() + event.heap_size(),
            Self::Notice(notice) => notice.0.bytes(),
            Self::Ending { .. } | Self::RequestGone { .. } | Self::Presence => 0,
        }
    }
}

/// The host's answer to a plain HTTP request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A complete response.
    Whole(Response),
    /// The head of a response whose body the host writes in pieces to the stream. The last value is true
    /// if the response has no body.
    Stream(Response, Arc<Stream>, bool),
}
