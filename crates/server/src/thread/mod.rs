//! The state of one I/O thread, [`Io`]: the sessions whose sockets it owns, and what its tasks share.
//!
//! Sessions live in a table of the thread rather than in their tasks. Commands of the host are
//! therefore executed, and their frames written to the sockets, without waking a task. The state is
//! kept in a thread-local variable; tasks access it with [`with`].

mod commands;
mod delivery;
mod load;
mod open_streams;
pub(crate) mod reactor;
pub(crate) mod report;
pub(crate) mod session_task;
mod stopping;
mod streams;
pub(crate) mod task;
mod turn;

use bytes::Bytes;
use sprocket_protocol::deflate::Agreed;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, Sleep};

use crate::channel::mailbox::{Command, Item, NewSocket};
use crate::channel::request::Request;
use crate::cluster::port::Outbound;
use crate::context::ThreadContext;
use crate::id::{Target, Ticket};
use crate::limits::admission::Admission;
use crate::metrics::counters::Counters;
use crate::net::stream::Stream;
use crate::session::Session;
use crate::state::State;
use crate::topics::name_index::NameIndex;

use load::Load;
use open_streams::Streams;
use turn::Turn;

thread_local! {
    static IO: RefCell<Option<Box<Io>>> = const { RefCell::new(None) };
}

/// Calls `f` with the state of the current I/O thread. Returns `None` before [`Io::install`] and after
/// [`Io::uninstall`]. A panic in `f` may leave the state inconsistent, so it ends the server.
pub(crate) fn with<R>(f: impl FnOnce(&mut Io) -> R) -> Option<R> {
    let _vital = Vital;
    IO.with_borrow_mut(|io| io.as_deref_mut().map(f))
}

// The runtime catches a panic in a task and continues without that task. The thread would then no longer
// execute commands, accept connections or serve them, and the host would wait forever.

/// A guard held by code whose panic must end the server. The panic wakes the host, which learns of it
/// from [`Server::check_threads`](crate::Server::check_threads).
pub(crate) struct Vital;

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A second panic would abort the process, so nothing here may panic.
            let _ = IO.try_with(|io| {
                if let Ok(Some(io)) = io.try_borrow().as_deref() {
                    io.context.server.die();
                    // The thread must end as well, even if its commands are no longer executed.
                    io.quit.notify_one();
                }
            });
        }
    }
}

/// The function by which a thread begins to serve a socket that another thread has accepted.
pub(crate) type Serve = fn(&Arc<State>, NewSocket);

/// The state of one I/O thread, owned by that thread. Its parts that sessions use are in the
/// [`ThreadContext`].
pub(crate) struct Io {
    context: ThreadContext,
    serve: Serve,
    /// The table of sessions; a connection's slot is an index into it.
    sessions: Vec<Option<Box<Session>>>,
    /// Free slots of the table. The crate `slab` keeps such a list in its entries, but an entry takes 16
    /// bytes where `Option<Box<Session>>` takes 8.
    free: Vec<u32>,
    /// Slots of the sessions with frames queued by commands and not yet written.
    dirty: Vec<u32>,
    /// Slots of the recipients of the current publication; kept between publications for its capacity.
    recipients: Vec<u32>,
    /// Empty vector that is swapped with that of the mailbox, so that both keep their capacity.
    inbox: Vec<Command>,
    /// Number of command batches taken from the mailbox so far.
    batches: u64,
    /// Remaining commands of a batch that exceeded one turn.
    rest: std::vec::IntoIter<Command>,
    /// Budget of deliveries left in the current turn.
    turn: Turn,
    /// Number of open sockets that carry HTTP, not WebSocket.
    http: usize,
    /// Open streamed responses.
    streams: Streams,
    /// Number of requests on the publish socket that are not answered yet.
    answering: usize,
    /// The thread must serve its sockets before it executes further commands.
    overdue: bool,
    /// The hub, if it runs in this process: dropping the sender ends its task.
    pub(crate) local_hub: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    /// Notified when the number of sessions becomes 1, which starts the keep-alive clock.
    first: Arc<Notify>,
    /// Becomes true when the server stops.
    stop: watch::Sender<bool>,
    /// Notified when the thread must end.
    quit: Arc<Notify>,
    /// The tasks that accept connections.
    accepting: Vec<AbortHandle>,
    /// The end of the grace period of a stop, and the task that waits for it.
    stopping: Option<(tokio::time::Instant, AbortHandle)>,
    /// Whether [`Io::finish`] has run.
    finished: bool,
    /// The task that wakes the host at the time it has requested.
    alarm: Option<AbortHandle>,
    /// Number of publications so far; the sequence number by which sessions deduplicate.
    published: u64,
    /// Topics by name. Maintained only on the first thread, which serves the publish socket and the
    /// link to the hub.
    name_index: NameIndex,
    /// Messages queued for the hub, on the first thread.
    pub(crate) outbound: Outbound,
    /// Commands were put into the mailboxes of other threads, and those threads were not woken yet.
    posted: bool,
    /// Load of the thread, which decides whether the host drives its reactor.
    load: Load,
    /// Ends a wait of the host, while it drives the reactor. It may elapse early.
    wait: Option<Pin<Box<Sleep>>>,
    /// The thread has been woken, and no connection has been served since.
    is_idle: bool,
}

/// The notifications that the long-lived tasks of a thread wait for.
pub(crate) struct Signals {
    /// The thread has its first session.
    pub(crate) first: Arc<Notify>,
    /// The thread must end, because of [`Command::Quit`] or a panic.
    pub(crate) quit: Arc<Notify>,
    /// The list of connections that are about to end is no longer empty.
    pub(crate) closing: Arc<Notify>,
    /// Log lines were suppressed and must be reported later.
    pub(crate) suppressed: Arc<Notify>,
    /// A batch of events was handed to the host.
    pub(crate) attend: Arc<Notify>,
}

/// A completed handshake, from which [`Io::open`] creates a session.
pub(crate) struct Upgraded {
    pub(crate) stream: Stream,
    /// Bytes that arrived after the handshake request.
    pub(crate) early: Bytes,
    /// The connection's place under the connection limits.
    pub(crate) admission: Admission,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) request: Arc<Request>,
    pub(crate) subprotocol: Option<String>,
    pub(crate) compression: Option<Agreed>,
    /// The ticket of the `Upgrade` event, if the host decided on the handshake.
    pub(crate) ticket: Option<Ticket>,
}

impl Io {
    /// Creates the state of the calling thread, which lasts until [`Io::uninstall`].
    pub(crate) fn install(state: Arc<State>, index: u16, serve: Serve) -> Signals {
        let io = Self::new(state, index, serve);
        let signals = Signals {
            first: io.first.clone(),
            quit: io.quit.clone(),
            closing: io.context.closing.began(),
            suppressed: io.context.suppressed.began(),
            attend: io.context.attend.clone(),
        };
        IO.set(Some(Box::new(io)));
        signals
    }

    /// Takes the state from the calling thread, to pass it to another one.
    fn detach() -> Option<Box<Self>> {
        IO.take()
    }

    /// Gives the calling thread the state that another thread has detached.
    fn attach(io: Option<Box<Self>>) {
        IO.set(io);
    }

    /// Drops the state of the calling thread.
    pub(crate) fn uninstall() {
        let io = IO.take();
        drop(io);
    }

    fn new(state: Arc<State>, index: u16, serve: Serve) -> Self {
        Self {
            context: ThreadContext::new(state, index),
            serve,
            sessions: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            recipients: Vec::new(),
            inbox: Vec::new(),
            batches: 0,
            rest: Vec::new().into_iter(),
            turn: Turn::default(),
            http: 0,
            streams: Streams::default(),
            answering: 0,
            overdue: false,
            local_hub: None,
            first: Arc::default(),
            stop: watch::Sender::new(false),
            quit: Arc::default(),
            accepting: Vec::new(),
            stopping: None,
            finished: false,
            alarm: None,
            published: 0,
            name_index: NameIndex::default(),
            outbound: Outbound::default(),
            posted: false,
            load: Load::default(),
            wait: None,
            is_idle: false,
        }
    }

    /// Ends one poll of a task other than a session: executes pending commands and publishes events that
    /// have waited. `long`: the poll used up its turn.
    pub(crate) fn end_turn(&mut self, long: bool) {
        self.is_idle = false;
        self.take_pending();
        if long {
            self.context.publish();
        } else {
            self.context.polled();
        }
    }

    /// The thread is about to park. If it does so a second time without having served a connection, a
    /// signal may have woken it, which a host that drives the reactor must handle.
    pub(crate) fn park(&mut self) {
        if self.is_idle && self.context.server.waker.is_driving() {
            self.context.server.waker.wake();
        }
    }

    /// The thread is running again.
    pub(crate) fn unpark(&mut self) {
        self.is_idle = true;
    }

    /// The host begins to drive the reactor, until `due`.
    fn begin_driving(&mut self, due: Option<Instant>) {
        self.is_idle = false;
        let Some(due) = due else { return };
        match &mut self.wait {
            // Setting a timer costs more than an early end of some waits.
            Some(wait) if wait.deadline() <= due && !wait.is_elapsed() => {}
            Some(wait) => wait.as_mut().reset(due),
            None => self.wait = Some(Box::pin(tokio::time::sleep_until(due))),
        }
    }

    /// Whether the wait of a host that drives the reactor is over.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> bool {
        self.wait.as_mut().is_some_and(|wait| wait.as_mut().poll(cx).is_ready())
    }

    /// Starts to execute the commands of an awake host without being woken for them.
    fn start_attending(&mut self) {
        self.context.start_attending();
    }

    /// Executes pending commands, unless an earlier batch is unfinished: otherwise each task would
    /// execute a whole turn of it.
    fn take_pending(&mut self) {
        if self.context.server.mailboxes[self.context.index as usize].is_pending() && !self.has_rest() {
            self.take_commands();
        }
    }

    /// Number of sessions.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len() - self.free.len()
    }

    /// Counts a new HTTP socket. Its task must watch the returned receiver for the stop of the server.
    pub(crate) fn http_began(&mut self) -> watch::Receiver<bool> {
        self.http += 1;
        Counters::one(&self.context.server.counters.http_sockets);
        self.stop.subscribe()
    }

    /// Counts a request on the publish socket, whose answer a stop waits for.
    pub(crate) fn answering_began(&mut self) {
        self.answering += 1;
    }

    /// The request counted by [`Io::answering_began`] is answered.
    pub(crate) fn answering_ended(&mut self) {
        self.answering -= 1;
        self.context.ended.notify_one();
    }

    /// The socket counted by [`Io::http_began`] is closed, or has become a WebSocket.
    pub(crate) fn http_ended(&mut self) {
        self.http -= 1;
        self.context.server.counters.http_sockets.fetch_sub(1, Ordering::Relaxed);
        self.context.ended.notify_one();
    }

    /// Publishes the current batch of events to the host. Used by tasks that keep the thread from parking.
    pub(crate) fn hand_over(&mut self) {
        self.context.publish();
    }

    /// Number of messages sent since this thread's counts were last added to the shared counters.
    pub(crate) fn messages_out(&self) -> u64 {
        self.context.messages_out
    }

    /// Adds an item to the current batch of events for the host.
    pub(crate) fn emit(&mut self, item: Item) {
        self.context.emit(item);
    }

    /// The context that this thread's sessions share.
    pub(crate) fn context(&mut self) -> &mut ThreadContext {
        &mut self.context
    }

    /// Calls `f` with the target's session, if that still exists.
    pub(crate) fn with_session(&mut self, target: Target, f: impl FnOnce(&mut Session, &mut ThreadContext)) {
        if let Some(Some(session)) = self.sessions.get_mut(target.slot as usize)
            && session.shared.id == target.id
        {
            f(session, &mut self.context);
        }
    }

    /// Starts the closing handshake of the target's session.
    fn close(&mut self, target: Target, code: u16, reason: &str) {
        self.with_session(target, |session, context| {
            session.close(context, code, reason);
            session.flush(context);
        });
    }

    /// Checks the ending connections that are due for a check. Returns the time of the next check.
    pub(crate) fn check_closing(&mut self) -> Option<Instant> {
        let now = Instant::now();
        for target in self.context.closing.take_due(now) {
            self.with_session(target, |session, context| session.check_close(context, now));
        }
        self.context.closing.next()
    }

    /// Reports how many log lines of each kind were suppressed, for the kinds that are due. Returns the
    /// time of the next report.
    pub(crate) fn report_suppressed(&mut self) -> Option<tokio::time::Instant> {
        for kind in self.context.suppressed.take_due(tokio::time::Instant::now()) {
            self.context.report_suppressed(kind);
        }
        self.context.suppressed.next()
    }

    /// Advances the coarse clock by one tick, and pings or ends the sessions whose peers are silent.
    /// `interval` and `timeout` are in ticks.
    pub(crate) fn keep_alive(&mut self, interval: u32, timeout: u32) {
        self.context.tick = self.context.tick.wrapping_add(1);
        for session in self.sessions.iter_mut().flatten() {
            session.keep_alive(&mut self.context, interval, timeout);
        }
    }

    /// Wakes the sessions that wait for room in the backlog.
    pub(crate) fn read_again(&mut self) {
        for target in self.context.share.take_waiting() {
            self.with_session(target, |session, _| session.wake());
        }
    }

    /// Executes the commands of an awake host, without waiting to be woken for them. `left` counts the
    /// further rounds while the host sleeps, and is reset to `rounds` while it is awake. Returns false
    /// when no rounds are left.
    pub(crate) fn attend(&mut self, left: &mut u32, rounds: u32) -> bool {
        self.take_commands();
        *left = if self.context.server.waker.is_asleep() { *left - 1 } else { rounds };
        self.context.attending = *left > 0;
        self.context.attending
    }

    /// Executes the posted commands. Returns true if the thread must serve its sockets before it takes
    /// further commands.
    pub(crate) fn collect(&mut self) -> bool {
        self.take_commands();
        std::mem::take(&mut self.overdue)
    }

    /// Stores the tasks that accept connections; they are aborted when the server stops.
    pub(crate) fn accepts(&mut self, accepting: Vec<AbortHandle>) {
        self.accepting = accepting;
    }

    /// Makes the thread serve its sockets before it parks, because a task is ready.
    pub(crate) fn must_not_park(&mut self) {
        self.overdue = true;
    }

    /// Names of the topics and patterns that have subscribers. Complete only on the first thread.
    pub(crate) fn topic_names(&self) -> impl Iterator<Item = &str> {
        self.name_index.names()
    }

    /// Whether the server stops and no other process continues with its listening sockets.
    pub(crate) fn is_stopping_for_good(&self) -> bool {
        *self.stop.borrow() && !self.context.server.leaving.load(Ordering::Relaxed)
    }

    /// Returns a receiver that resolves when the hub has received everything published so far; `None`
    /// without a cluster.
    pub(crate) fn cluster_synced(&mut self) -> Option<oneshot::Receiver<()>> {
        self.context.server.cluster.is_some().then(|| self.outbound.sync())
    }

    /// Adds this thread's counts to the shared counters.
    pub(crate) fn count(&mut self) {
        self.context.count();
    }

    /// Returns a receiver that becomes true when the server stops.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }
}
