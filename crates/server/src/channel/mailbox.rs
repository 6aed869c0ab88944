//! The two ways between the host and the I/O threads, in batches.

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};

use crate::channel::ask::Ask;
use crate::channel::event::{Decision, Event, Response};
use crate::channel::notices::Place;
use crate::channel::request::Request;
use crate::channel::response_stream::Shared as Stream;
use crate::channel::upload::Body;
use crate::connection::shared::Shared;
use crate::id::{ConnId, Target, Ticket};
use crate::limits::admission::Admission;
use crate::limits::handshakes::HandshakePlace;
use crate::net::listener::Entry;
use crate::topics::registry::{Change, TopicId};

/// What an I/O thread tells the host. [`backlog`](crate::limits::backlog) says what bounds each kind.
#[derive(Debug)]
pub(crate) enum Item {
    /// The connection is at hand for its credit.
    Message {
        conn: Arc<Shared>,
        payload: Bytes,
        binary: bool,
    },
    Pong {
        conn: Arc<Shared>,
        payload: Bytes,
    },
    /// Behind the last message of a connection that is to end: goes back as [`Command::Answered`].
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
    /// The ticket's reply channel can be forgotten.
    RequestGone {
        ticket: Ticket,
    },
    /// Somebody's presence may have changed.
    Presence,
    /// A log line or a refused request, and the room that it takes up.
    Notice(Box<(Place, Event)>),
    /// The end of a connection. Boxed, as below.
    Closed(Box<Closed>),
    /// Boxed: some are large, and messages are moved with as many bytes.
    Plain(Box<Event>),
}

/// The last item of a connection.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) id: ConnId,
    pub(crate) code: u16,
    pub(crate) reason: String,
    /// Released when the host takes the item: until then the connection counts.
    pub(crate) admission: Admission,
}

/// Contents of [`Item::Upgrade`].
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) request: Arc<Request>,
    pub(crate) reply: oneshot::Sender<Decision>,
}

/// Contents of [`Item::Request`].
#[derive(Debug)]
pub(crate) struct Plain {
    pub(crate) request: Arc<Request>,
    pub(crate) body: Body,
    pub(crate) reply: oneshot::Sender<Answer>,
}

/// Contents of a question to the host, shared with the asker: whoever comes first takes them.
#[derive(Debug)]
pub(crate) struct Question<T>(Arc<Mutex<Option<T>>>);

impl<T> Question<T> {
    pub(crate) fn new(contents: T) -> Self {
        Self(Arc::new(Mutex::new(Some(contents))))
    }

    /// The asker's handle, by which it can take the contents back.
    pub(crate) fn share(&self) -> Self {
        Self(self.0.clone())
    }

    pub(crate) fn take(&self) -> Option<T> {
        self.lock().take()
    }

    /// What `f` makes of the contents; 0 when they have been taken.
    fn size(&self, f: impl FnOnce(&T) -> usize) -> usize {
        self.lock().as_ref().map_or(0, f)
    }

    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Item {
    pub(crate) fn plain(event: Event) -> Self {
        Self::Plain(Box::new(event))
    }

    /// Bytes that it takes up while it waits, for the [backlog](crate::limits::backlog). A body counts
    /// apart, because it is released as soon as the client gives up.
    #[inline(always)]
    pub(crate) fn size(&self) -> usize {
        /// Its place in a batch, whose vector may have twice the room, and what the allocator adds
        /// to a payload.
        const ITEM: usize = 2 * size_of::<Item>() + 32;
        /// Allocations of a question, which stays in the batch when its contents are gone.
        const QUESTION: usize = size_of::<Mutex<Option<Plain>>>() + 64;
        ITEM + match self {
            Self::Message { payload, .. } | Self::Pong { payload, .. } => payload.len(),
            Self::Upgrade { question, .. } => QUESTION + question.size(|asked| asked.request.size()),
            Self::Request { question, .. } => QUESTION + question.size(|asked| asked.request.size()),
            Self::Closed(closed) => size_of::<Closed>() + closed.reason.len(),
            Self::Plain(event) => size_of::<Event>() + event.heap_size(),
            Self::Notice(notice) => notice.0.bytes(),
            Self::Ending { .. } | Self::RequestGone { .. } | Self::Presence => 0,
        }
    }
}

/// Items that are handed to the host together.
#[derive(Debug, Default)]
pub(crate) struct EventBatch {
    pub(crate) items: Vec<Item>,
    /// Their sizes, to be released when the host has dealt with them.
    pub(crate) bytes: u64,
}

pub(crate) type Events = (Sender<EventBatch>, Receiver<EventBatch>);

/// Why a server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopping {
    /// Nobody serves after it.
    ForGood,
    /// Another process goes on with its listening sockets.
    Leaving,
}

impl Stopping {
    /// For close frames.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::ForGood => "the server is shutting down",
            Self::Leaving => "the server is restarting",
        }
    }
}

/// What the host, or another I/O thread, tells an I/O thread.
#[derive(Debug)]
pub(crate) enum Command {
    /// A data frame, already counted in `buffered`.
    Send(Target, Bytes),
    /// The host has written a part of a frame and left the rest.
    Owed(Target),
    /// A ping, or a pong that answers none.
    Ping(Target, Bytes),
    Close(Target, u16, String),
    /// Close with 1013 and forget what waits.
    Overflow(Target),
    Terminate(Target),
    Subscribe(Target, TopicId),
    Unsubscribe(Target, TopicId),
    /// For the directory of the first thread.
    Topic(Change),
    /// To the subscribers of any of these topics, once each.
    Publish {
        topics: Arc<[TopicId]>,
        frame: Bytes,
        except: Option<ConnId>,
    },
    /// The same for a topic with history.
    Sequenced(Box<Sequenced>),
    /// A frame for the hub. For the first thread.
    Bus(Bytes),
    /// A connection resumes a topic, and the hub is to be asked under this ticket. For the first
    /// thread, after [`Command::Resuming`] or [`Command::Replay`].
    Ask(u64, Box<Ask>),
    /// What is published until the answer comes, will be in it. The last value: it may be a replay,
    /// and not only a position.
    Resuming(Target, TopicId, u64, bool),
    /// The same for a replay that the connection asks for by itself, when it has written the one before.
    Replay(u64, Box<Ask>),
    /// The answer.
    Resumed(Box<Resumed>),
    /// To all connections.
    Broadcast {
        frame: Bytes,
        except: Option<ConnId>,
    },
    /// The host has answered all that came before the end of a connection.
    Answered(Target),
    /// The host has taken messages: read again.
    Resume(Target),
    Decide(oneshot::Sender<Decision>, Decision),
    Respond(oneshot::Sender<Answer>, Answer),
    /// The host has written to a streamed response, or has ended it.
    Stream(Arc<Stream>),
    Adopt(NewSocket),
    NotifyAt(Option<Instant>),
    /// The grace period, and why.
    Stop(Duration, Stopping),
    /// End at once.
    Quit,
    /// Panic here, or in a task.
    #[cfg(test)]
    Panic {
        in_task: bool,
    },
}

/// The host's answer to a plain request.
#[derive(Debug)]
pub(crate) enum Answer {
    Whole(Response),
    /// The head, and a body that the host writes in pieces. The last value: the response ends with its
    /// head.
    Stream(Response, Arc<Stream>, bool),
}

/// An accepted socket, for the thread that serves it.
#[derive(Debug)]
pub(crate) struct NewSocket {
    pub(crate) fd: OwnedFd,
    /// The peer's address; `None` for a Unix socket.
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) entry: Entry,
    pub(crate) place: HandshakePlace,
}

/// A publication that has a position.
#[derive(Debug, Clone)]
pub(crate) struct Sequenced {
    pub(crate) topics: Arc<[TopicId]>,
    pub(crate) frame: Bytes,
    pub(crate) except: Option<ConnId>,
    pub(crate) position: Arc<str>,
}

/// What a resuming connection has missed.
#[derive(Debug)]
pub(crate) struct Resumed {
    pub(crate) target: Target,
    pub(crate) ticket: u64,
    pub(crate) topic: String,
    pub(crate) id: TopicId,
    /// It, and the patterns that fit it.
    pub(crate) topics: Arc<[TopicId]>,
    pub(crate) complete: bool,
    pub(crate) position: String,
    pub(crate) frames: Vec<Bytes>,
    /// What is published may come with this position or an earlier one yet.
    pub(crate) skip: bool,
}

impl Command {
    /// Bytes of a publication, which no connection's limit counts yet.
    fn published(&self) -> Option<usize> {
        match self {
            Self::Publish { frame, .. } | Self::Broadcast { frame, .. } => Some(frame.len()),
            Self::Sequenced(sequenced) => Some(sequenced.frame.len()),
            _ => None,
        }
    }
}

/// Publications that wait for a thread before the host has to wait, too. To ten thousand subscribers
/// they are a second's work; and enough that a host that publishes to few seldom waits.
const FULL: usize = 256;
/// Bytes of them likewise.
const FULL_BYTES: usize = 8 << 20;

/// What waits for one I/O thread.
#[derive(Debug, Default)]
struct Batch {
    commands: Vec<Command>,
    publications: usize,
    /// Of these.
    bytes: usize,
    /// Of the commands, those of another I/O thread.
    passed: usize,
    /// The host waits until it is taken.
    awaited: bool,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.publications >= FULL || self.bytes >= FULL_BYTES
    }
}

/// Inbox of one I/O thread.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    queue: Mutex<Batch>,
    /// The batch that the host waits for has been taken.
    room: Condvar,
    /// There is a batch to take. Read without the lock before each park and each poll of a task.
    pending: AtomicBool,
    /// The thread is parked or about to.
    parked: AtomicBool,
    /// Wakes the runtime; used only when the thread is parked, because it costs a system call.
    pub(crate) notify: Notify,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Batch> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a command to the batch. The thread takes it after [`Mailbox::deliver`], or when the
    /// host is busy for long. True: it was a publication, and the batch has enough of them.
    pub(crate) fn post(&self, command: Command) -> bool {
        let published = command.published();
        let mut batch = self.lock();
        batch.commands.push(command);
        let Some(bytes) = published else { return false };
        batch.publications += 1;
        batch.bytes += bytes;
        batch.is_full()
    }

    /// The same from another I/O thread, which must not wait: it sees to it by [`Mailbox::passed`]
    /// that this does not get too much.
    pub(crate) fn pass(&self, command: Command) {
        let mut batch = self.lock();
        batch.passed += 1;
        batch.commands.push(command);
    }

    /// Blocks the host until the thread has taken what was delivered, `patience` at most. False: it
    /// has not.
    pub(crate) fn wait_for_room(&self, patience: Duration) -> bool {
        let full = |batch: &mut Batch| {
            batch.awaited = batch.is_full();
            batch.awaited
        };
        let waited = self.room.wait_timeout_while(self.lock(), patience, full);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Takes the batch back if it is a single message and the thread is at rest, all earlier
    /// batches carried out.
    pub(crate) fn take_back(&self) -> Option<(Target, Bytes)> {
        let commands = &mut self.lock().commands;
        // The thread takes batches under the lock, and only while it is not parked: so this is
        // not what it was before it took the last one.
        if commands.len() != 1 || !self.parked.load(Ordering::Relaxed) {
            return None;
        }
        match commands.pop() {
            Some(Command::Send(target, frame)) => Some((target, frame)),
            other => {
                commands.extend(other);
                None
            }
        }
    }

    /// Puts what was taken back before all that has come meanwhile.
    pub(crate) fn put_back(&self, command: Command) {
        self.lock().commands.insert(0, command);
    }

    /// Lets the thread take the batch.
    pub(crate) fn deliver(&self) {
        self.pending.store(true, Ordering::Relaxed);
        // Pairs with the fence in `may_park`: either we see that it parks, or it sees the flag.
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::AcqRel) {
            self.notify.notify_one();
        }
    }

    /// Whether nothing waits, delivered or not.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().commands.is_empty()
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Relaxed)
    }

    /// Commands of other threads that wait.
    pub(crate) fn passed(&self) -> usize {
        self.lock().passed
    }

    /// Moves the queue into `batch`, which must be empty.
    pub(crate) fn take(&self, batch: &mut Vec<Command>) {
        let mut queue = self.lock();
        self.pending.store(false, Ordering::Relaxed);
        std::mem::swap(&mut queue.commands, batch);
        (queue.publications, queue.bytes, queue.passed) = (0, 0, 0);
        if std::mem::take(&mut queue.awaited) {
            self.room.notify_all();
        }
    }

    /// Announces the park. False: a batch came; take it first.
    pub(crate) fn may_park(&self) -> bool {
        self.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.is_pending() {
            self.unparked();
            return false;
        }
        true
    }

    pub(crate) fn unparked(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(bytes: usize) -> Command {
        Command::Broadcast { frame: vec![0; bytes].into(), except: None }
    }

    #[test]
    fn a_batch_is_full_by_number_or_by_bytes_until_it_is_taken() {
        let mailbox = Mailbox::default();
        assert!((1..FULL).all(|_| !mailbox.post(publication(0))));
        assert!(mailbox.post(publication(0)));
        assert!(!mailbox.wait_for_room(Duration::from_millis(1)), "nobody takes it");
        let mut batch = Vec::new();
        mailbox.take(&mut batch);
        assert_eq!(batch.len(), FULL);
        assert!(mailbox.wait_for_room(Duration::ZERO));
        assert!(!mailbox.post(publication(FULL_BYTES - 1)));
        assert!(mailbox.post(publication(1)));
    }

    #[test]
    fn what_is_no_publication_never_makes_the_host_wait() {
        let mailbox = Mailbox::default();
        let target = Target { slot: 0, id: ConnId(1) };
        let others = || [Command::Send(target, Bytes::new()), Command::Resume(target)];
        assert!((0..FULL).flat_map(|_| others()).all(|command| !mailbox.post(command)));
        assert!((1..FULL).all(|_| !mailbox.post(publication(0))), "nor does it count among them");
    }

    #[test]
    fn what_another_thread_has_passed_on_is_counted_apart() {
        let mailbox = Mailbox::default();
        mailbox.post(publication(1));
        mailbox.pass(publication(1));
        assert_eq!(mailbox.passed(), 1);
        mailbox.take(&mut Vec::new());
        assert_eq!(mailbox.passed(), 0);
    }

    #[test]
    fn the_host_goes_on_when_the_thread_takes_the_batch() {
        let mailbox = Arc::new(Mailbox::default());
        assert!(mailbox.post(publication(FULL_BYTES)));
        let thread = mailbox.clone();
        let taking = std::thread::spawn(move || thread.take(&mut Vec::new()));
        assert!(mailbox.wait_for_room(Duration::from_secs(10)));
        taking.join().unwrap();
    }
}
