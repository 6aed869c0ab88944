//! The mailboxes by which the host, and other threads, send commands to an I/O thread in batches. The
//! opposite direction is in [`item`](crate::channel::item).

use bytes::Bytes;
use sprocket_protocol::frame;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};

use crate::channel::ask::Ask;
use crate::channel::event::Decision;
use crate::channel::response_stream::StreamState as Stream;
use crate::id::{ConnId, Target};
use crate::limits::handshakes::HandshakePlace;
use crate::net::listener::Preamble;
use crate::topics::registry::{Change, TopicId};

pub(crate) use crate::channel::item::{Answer, Closed, Handshake, Item, Plain, Question};

/// Why a server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopping {
    /// The service ends with this server.
    ForGood,
    /// Another process continues with its listening sockets.
    Leaving,
}

impl Stopping {
    /// The reason in close frames.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::ForGood => "the server is shutting down",
            Self::Leaving => "the server is restarting",
        }
    }
}

/// A command to an I/O thread, from the host or from another I/O thread.
#[derive(Debug)]
pub(crate) enum Command {
    /// Send a data frame or message, which is already counted in `buffered`.
    Send(Target, Bytes),
    /// Send this number of such frames, which follow each other in the buffer.
    SendMany(Target, Vec<u8>, u32),
    /// Write the rest of a frame that the host has partly written itself.
    Unwritten(Target),
    /// Send a ping, or an unsolicited pong.
    Ping(Target, Bytes),
    /// Start the closing handshake with this code and reason.
    Close(Target, u16, String),
    /// Discard the frames that wait for a slow peer, and close with 1013.
    Overflow(Target),
    /// Cut the connection without a closing handshake.
    Terminate(Target),
    Subscribe(Target, TopicId),
    Unsubscribe(Target, TopicId),
    /// Update the first thread's index of topic names.
    Topic(Change),
    /// Deliver a frame to the subscribers of any of these topics, once each, except to `except`.
    Publish {
        topics: Arc<[TopicId]>,
        frame: Bytes,
        except: Option<ConnId>,
    },
    /// Deliver a publication to a topic with history.
    Sequenced(Box<Sequenced>),
    /// Send a message to the hub. Only for the first thread.
    ToHub(Bytes),
    /// Ask the hub, under this ticket, for what a resuming connection has missed. Only for the first
    /// thread, after the session has received [`Command::Resuming`] or [`Command::Replay`].
    Ask(u64, Box<Ask>),
    /// Begin to resume a topic: until the answer with this ticket arrives, the session must not receive
    /// publications to the topic, because the answer contains them. The last value is true if the answer
    /// may contain publications, not only a position.
    Resuming(Target, TopicId, u64, bool),
    /// Begin to resume a topic, for which the session itself asks the hub when it has written its previous
    /// replay.
    Replay(u64, Box<Ask>),
    /// The hub's answer to [`Command::Ask`].
    Resumed(Box<Resumed>),
    /// Deliver a frame to all connections, except to `except`.
    Broadcast {
        frame: Bytes,
        except: Option<ConnId>,
    },
    /// The host has answered all messages received before the end of a connection.
    Answered(Target),
    /// Resume reading, because the host has returned credit.
    Resume(Target),
    /// Pass the host's decision on a handshake to the task that waits for it.
    Decide(oneshot::Sender<Decision>, Decision),
    /// Pass the host's answer to a plain request to the task that waits for it.
    Respond(oneshot::Sender<Answer>, Answer),
    /// The host has written to a streamed response or has ended it.
    Stream(Arc<Stream>),
    /// Serve a socket that another thread has accepted.
    Adopt(NewSocket),
    /// Wake the host at this time; `None` cancels that.
    NotifyAt(Option<Instant>),
    /// Stop within this grace period, for this reason.
    Stop(Duration, Stopping),
    /// End the thread at once.
    Quit,
    /// Panic in the command itself or in a task.
    #[cfg(test)]
    Panic {
        in_task: bool,
    },
}

/// An accepted socket on its way to the thread that serves it.
#[derive(Debug)]
pub(crate) struct NewSocket {
    pub(crate) fd: OwnedFd,
    /// The peer's address; `None` for a Unix socket.
    pub(crate) remote: Option<SocketAddr>,
    /// How connections of its listener begin (TLS, PROXY header).
    pub(crate) preamble: Preamble,
    /// Its place under the limit on sockets without a WebSocket.
    pub(crate) place: HandshakePlace,
}

/// A publication that has a position, that is, an offset in the history of its topic.
#[derive(Debug, Clone)]
pub(crate) struct Sequenced {
    pub(crate) topics: Arc<[TopicId]>,
    pub(crate) frame: Bytes,
    pub(crate) except: Option<ConnId>,
    pub(crate) position: Arc<str>,
}

/// The hub's answer to a resuming connection: the publications that it has missed.
#[derive(Debug)]
pub(crate) struct Resumed {
    pub(crate) target: Target,
    pub(crate) ticket: u64,
    pub(crate) topic: String,
    pub(crate) id: TopicId,
    /// The topic and all patterns that match it.
    pub(crate) topics: Arc<[TopicId]>,
    /// Whether the history still held everything after the requested position.
    pub(crate) complete: bool,
    /// Position of the last publication to the topic.
    pub(crate) position: String,
    /// The missed publications, as frames.
    pub(crate) frames: Vec<Bytes>,
    /// Whether the session must skip publications up to `position` from now on. With a broker they may still
    /// arrive separately, although this answer contains them.
    pub(crate) skip: bool,
}

impl Command {
    /// The size of the frame if this is a publication. The limits of connections do not count it until it
    /// is delivered.
    fn published(&self) -> Option<usize> {
        match self {
            Self::Publish { frame, .. } | Self::Broadcast { frame, .. } => Some(frame.len()),
            Self::Sequenced(sequenced) => Some(sequenced.frame.len()),
            _ => None,
        }
    }
}

/// Number of publications in one mailbox above which the host must wait. With ten thousand subscribers
/// each, they are a second's work for the thread; with few subscribers, the host seldom waits.
const MAX_PUBLICATIONS: usize = 256;
/// Number of bytes in these publications above which the host must wait.
const MAX_PUBLICATION_BYTES: usize = 8 << 20;
/// Number of commands of any kind in one mailbox above which the host must wait. The frames in them count
/// towards the limits of their connections, but a tiny frame is a small part of its command: without this
/// limit, commands that a busy thread has not taken yet would need thirty times the bytes that are counted.
const MAX_COMMANDS: usize = 32 << 10;

/// Longest payload, in bytes, of a message that [`Mailbox::merge`] should append: the copy of a longer one
/// costs more than its command.
pub(crate) const MERGE_UP_TO: usize = 1024;
/// Number of bytes in one [`Command::SendMany`], about, above which no message is appended.
const MAX_MERGED: usize = 16 << 10;

/// The commands that wait for one I/O thread.
#[derive(Debug, Default)]
struct Batch {
    commands: Vec<Command>,
    /// Number of publications of the host among the commands.
    publications: usize,
    /// Bytes of these publications.
    bytes: usize,
    /// Number of commands from other I/O threads.
    passed: usize,
    /// The host waits until the thread takes the batch.
    awaited: bool,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.publications >= MAX_PUBLICATIONS
            || self.bytes >= MAX_PUBLICATION_BYTES
            || self.commands.len() >= MAX_COMMANDS
    }
}

/// The mailbox of one I/O thread. [`State`](crate::state::State) holds one for each thread.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    queue: Mutex<Batch>,
    /// Signaled when the thread has taken the batch that the host waits for.
    room: Condvar,
    /// A batch was delivered and not taken yet. Read without the lock before each park and each poll of a
    /// task.
    pending: AtomicBool,
    /// The thread is parked or about to park.
    parked: AtomicBool,
    /// Wakes the thread. Notified only when the thread is parked, because that costs a system call.
    pub(crate) notify: Notify,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Batch> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a command to the batch. The thread takes the batch after [`Mailbox::deliver`], or on its own if
    /// the host is busy for long. Returns true if the batch holds too many commands, or if the command was a
    /// publication and the batch is full, so that the host should wait for room.
    pub(crate) fn post(&self, command: Command) -> bool {
        let published = command.published();
        let mut batch = self.lock();
        batch.commands.push(command);
        let Some(bytes) = published else { return batch.commands.len() >= MAX_COMMANDS };
        batch.publications += 1;
        batch.bytes += bytes;
        batch.is_full()
    }

    /// Appends a message to the last command if that sends messages to the same connection, so that
    /// consecutive small messages share one command and one allocation. Returns false if the message needs
    /// a command of its own.
    pub(crate) fn merge(&self, target: Target, payload: &[u8], binary: bool) -> bool {
        let mut batch = self.lock();
        let Some(last) = batch.commands.last_mut() else { return false };
        match last {
            Command::SendMany(to, frames, count)
                if *to == target && frames.len() + payload.len() <= MAX_MERGED =>
            {
                frame::append_message(frames, payload, binary);
                *count += 1;
                true
            }
            Command::Send(to, first) if *to == target && first.len() <= MERGE_UP_TO => {
                let mut frames = Vec::with_capacity(first.len() + 2 * (payload.len() + 4));
                frames.extend_from_slice(first);
                frame::append_message(&mut frames, payload, binary);
                *last = Command::SendMany(target, frames, 2);
                true
            }
            _ => false,
        }
    }

    /// Another I/O thread: adds a command without ever blocking. Before producing more commands, that thread
    /// checks with [`Mailbox::passed`] how many of them still wait.
    pub(crate) fn pass(&self, command: Command) {
        let mut batch = self.lock();
        batch.passed += 1;
        batch.commands.push(command);
    }

    /// Blocks the host while the batch is full, for at most `patience`. Returns false if the batch is still
    /// full.
    pub(crate) fn wait_for_room(&self, patience: Duration) -> bool {
        let full = |batch: &mut Batch| {
            batch.awaited = batch.is_full();
            batch.awaited
        };
        let waited = self.room.wait_timeout_while(self.lock(), patience, full);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Takes back a batch that is a single message, if the thread is parked and has executed all earlier
    /// batches. The host then writes the message itself.
    pub(crate) fn take_back(&self) -> Option<(Target, Bytes)> {
        let commands = &mut self.lock().commands;
        // The thread takes batches under this lock and only while it is not parked. Read under the lock,
        // the flag therefore cannot predate the last batch that the thread took.
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

    /// Returns a command to the front of the batch, before those posted since [`Mailbox::take_back`].
    pub(crate) fn put_back(&self, command: Command) {
        self.lock().commands.insert(0, command);
    }

    /// Makes the thread take the batch, and wakes the thread if it is parked.
    pub(crate) fn deliver(&self) {
        self.pending.store(true, Ordering::Relaxed);
        // Pairs with the fence in `may_park`: either this thread sees `parked`, or the I/O thread sees
        // `pending`.
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::AcqRel) {
            self.notify.notify_one();
        }
    }

    /// Whether no commands wait, delivered or not.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().commands.is_empty()
    }

    /// Whether a batch was delivered and not taken yet.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Relaxed)
    }

    /// Number of waiting commands from other I/O threads.
    pub(crate) fn passed(&self) -> usize {
        self.lock().passed
    }

    /// I/O thread: moves the waiting commands into `batch`, which must be empty.
    pub(crate) fn take(&self, batch: &mut Vec<Command>) {
        let mut queue = self.lock();
        self.pending.store(false, Ordering::Relaxed);
        std::mem::swap(&mut queue.commands, batch);
        (queue.publications, queue.bytes, queue.passed) = (0, 0, 0);
        if std::mem::take(&mut queue.awaited) {
            self.room.notify_all();
        }
    }

    /// I/O thread: announces that it is about to park. Returns false if a batch was delivered, which the
    /// thread must take first.
    pub(crate) fn may_park(&self) -> bool {
        self.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.is_pending() {
            self.unparked();
            return false;
        }
        true
    }

    /// Whether the thread is parked or about to park.
    pub(crate) fn is_parked(&self) -> bool {
        self.parked.load(Ordering::Relaxed)
    }

    /// I/O thread: announces that it is running again.
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
    fn a_batch_is_full_by_count_or_bytes_until_it_is_taken() {
        let mailbox = Mailbox::default();
        assert!((1..MAX_PUBLICATIONS).all(|_| !mailbox.post(publication(0))));
        assert!(mailbox.post(publication(0)));
        assert!(!mailbox.wait_for_room(Duration::from_millis(1)), "nobody takes it");
        let mut batch = Vec::new();
        mailbox.take(&mut batch);
        assert_eq!(batch.len(), MAX_PUBLICATIONS);
        assert!(mailbox.wait_for_room(Duration::ZERO));
        assert!(!mailbox.post(publication(MAX_PUBLICATION_BYTES - 1)));
        assert!(mailbox.post(publication(1)));
    }

    #[test]
    fn only_publications_make_the_host_wait() {
        let mailbox = Mailbox::default();
        let target = Target { slot: 0, id: ConnId(1) };
        let others = || [Command::Send(target, Bytes::new()), Command::Resume(target)];
        assert!((0..MAX_PUBLICATIONS).flat_map(|_| others()).all(|command| !mailbox.post(command)));
        assert!(
            (1..MAX_PUBLICATIONS).all(|_| !mailbox.post(publication(0))),
            "other commands do not count as publications"
        );
    }

    #[test]
    fn the_host_waits_when_very_many_commands_of_any_kind_wait() {
        let mailbox = Mailbox::default();
        let send = || Command::Send(Target { slot: 0, id: ConnId(1) }, Bytes::new());
        assert!((1..MAX_COMMANDS).all(|_| !mailbox.post(send())));
        assert!(mailbox.post(send()));
        assert!(!mailbox.wait_for_room(Duration::from_millis(1)), "nobody takes it");
        mailbox.take(&mut Vec::new());
        assert!(mailbox.wait_for_room(Duration::ZERO));
    }

    #[test]
    fn consecutive_messages_to_one_connection_share_a_command() {
        let mailbox = Mailbox::default();
        let (target, other) = (Target { slot: 0, id: ConnId(1) }, Target { slot: 0, id: ConnId(2) });
        let merge = |target| mailbox.merge(target, b"more", false);
        assert!(!merge(target), "there is no message");
        mailbox.post(Command::Send(target, frame::message(b"first", true)));
        assert!(!merge(other) && merge(target) && merge(target));
        mailbox.pass(Command::Resume(other));
        assert!(!merge(target), "another command follows");
        let mut batch = Vec::new();
        mailbox.take(&mut batch);
        assert!(!merge(target), "the batch is taken");
        let Some(Command::SendMany(to, frames, 3)) = batch.first() else { panic!("{batch:?}") };
        assert_eq!((*to, &frames[..]), (target, &b"\x82\x05first\x81\x04more\x81\x04more"[..]));
    }

    #[test]
    fn the_size_of_a_command_with_many_messages_is_limited() {
        let mailbox = Mailbox::default();
        let target = Target { slot: 0, id: ConnId(1) };
        mailbox.post(Command::Send(target, frame::message(&[0; MERGE_UP_TO + 1], true)));
        assert!(!mailbox.merge(target, b"", true), "the first message is long");
        mailbox.post(Command::Send(target, frame::message(&[0; 1000], true)));
        assert_eq!((0..100).take_while(|_| mailbox.merge(target, &[0; 1000], true)).count(), 15);
        assert!(mailbox.take_back().is_none(), "the host does not write several messages itself");
    }

    #[test]
    fn commands_of_other_threads_are_counted_separately() {
        let mailbox = Mailbox::default();
        mailbox.post(publication(1));
        mailbox.pass(publication(1));
        assert_eq!(mailbox.passed(), 1);
        mailbox.take(&mut Vec::new());
        assert_eq!(mailbox.passed(), 0);
    }

    #[test]
    fn the_host_continues_when_the_thread_takes_the_batch() {
        let mailbox = Arc::new(Mailbox::default());
        assert!(mailbox.post(publication(MAX_PUBLICATION_BYTES)));
        let thread = mailbox.clone();
        let taking = std::thread::spawn(move || thread.take(&mut Vec::new()));
        assert!(mailbox.wait_for_room(Duration::from_secs(10)));
        taking.join().unwrap();
    }
}
