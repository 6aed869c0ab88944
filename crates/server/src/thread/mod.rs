//! The state of one I/O thread: the sessions whose sockets it owns, and what its tasks share.
//!
//! Sessions live in a table of the thread and not in their tasks: so commands of the host are
//! carried out, and written to the socket, without waking a task.

mod commands;
mod delivery;
mod open_streams;
pub(crate) mod report;
mod stopping;
mod streams;
pub(crate) mod task;
mod turn;

use bytes::Bytes;
use sprocket_protocol::decoder::{self, Decoder, Role};
use sprocket_protocol::deflate::{Agreed, Compressed, Compressor};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle};

use crate::channel::event::Event;
use crate::channel::mailbox::{Command, Item, NewSocket, Stopping};
use crate::channel::request::Request;
use crate::cluster::port::Outbound;
use crate::connection::handle::Connection;
use crate::connection::shared::Shared;
use crate::context::ThreadContext;
use crate::id::{ConnId, Target, Ticket};
use crate::limits::admission::Admission;
use crate::metrics::counters::Counters;
use crate::net::stream::Stream;
use crate::session::{Early, Session};
use crate::state::State;
use crate::topics::name_index::NameIndex;

use open_streams::Streams;
use turn::Turn;

thread_local! {
    static IO: RefCell<Option<Io>> = const { RefCell::new(None) };
}

/// Runs `f` on the I/O state of this thread. `None` when there is none (any more). A panic of `f`
/// may leave the state in disorder, so it ends the server.
pub(crate) fn with<R>(f: impl FnOnce(&mut Io) -> R) -> Option<R> {
    let _vital = Vital;
    IO.with_borrow_mut(|io| io.as_mut().map(f))
}

// The runtime catches the panic of a task and goes on without it: nobody would take the host's
// commands any more, accept, or answer a connection, and the host would wait for ever.

/// Held while something runs whose panic must end the server. The host is then woken, and learns of
/// it from [`Server::check_threads`](crate::Server::check_threads).
pub(crate) struct Vital;

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A second panic would abort the process, so nothing here may cause one.
            let _ = IO.try_with(|io| {
                if let Ok(Some(io)) = io.try_borrow().as_deref() {
                    io.context.server.die();
                    // The thread itself must end, too, even if nobody takes its commands any more.
                    io.quit.notify_one();
                }
            });
        }
    }
}

/// How a thread serves a socket that another one has accepted.
pub(crate) type Serve = fn(&Arc<State>, NewSocket);

/// State of one I/O thread.
pub(crate) struct Io {
    context: ThreadContext,
    serve: Serve,
    sessions: Vec<Option<Box<Session>>>,
    free: Vec<u32>,
    /// Sessions with something to write.
    dirty: Vec<u32>,
    /// Spare vector that is swapped with the mailbox.
    inbox: Vec<Command>,
    /// Of these, so many were taken.
    batches: u64,
    /// Of a batch that was too much for one turn, what is left.
    rest: std::vec::IntoIter<Command>,
    /// How much of one is left.
    turn: Turn,
    /// Sockets that speak HTTP.
    http: usize,
    /// Streamed responses that are open.
    streams: Streams,
    /// Requests on the publish socket that are being answered.
    answering: usize,
    /// The thread has not looked at its sockets for long, because the host keeps it busy.
    overdue: bool,
    /// The hub, where it is in this process, and what ends it when it is dropped.
    pub(crate) hub_inside: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    /// Told when the first session comes.
    first: Arc<Notify>,
    /// True once the server stops.
    stop: watch::Sender<bool>,
    quit: Arc<Notify>,
    accepting: Vec<AbortHandle>,
    /// When what is left is cut, and the task that waits for it.
    stopping: Option<(tokio::time::Instant, AbortHandle)>,
    finished: bool,
    alarm: Option<AbortHandle>,
    /// Publications so far.
    published: u64,
    /// Topics by name, on the thread that serves other publishers and the cluster.
    name_index: NameIndex,
    /// What waits for the hub, on that thread.
    pub(crate) outbound: Outbound,
    /// Other threads were posted something that is not delivered yet.
    posted: bool,
}

/// What the tasks of a thread wait for.
pub(crate) struct Signals {
    /// The first session has come.
    pub(crate) first: Arc<Notify>,
    /// The thread ends.
    pub(crate) quit: Arc<Notify>,
    /// The list of connections that are about to end has an entry.
    pub(crate) closing: Arc<Notify>,
    /// Log lines were left out.
    pub(crate) left_out: Arc<Notify>,
    /// The host has got a batch of events.
    pub(crate) attend: Arc<Notify>,
}

/// What a handshake hands over.
pub(crate) struct Upgraded {
    pub(crate) stream: Stream,
    pub(crate) early: Bytes,
    pub(crate) admission: Admission,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) request: Arc<Request>,
    pub(crate) subprotocol: Option<String>,
    pub(crate) compression: Option<Agreed>,
    pub(crate) ticket: Option<Ticket>,
}

impl Io {
    /// Makes the state of the calling thread, until [`Io::uninstall`].
    pub(crate) fn install(state: Arc<State>, index: u16, serve: Serve) -> Signals {
        let io = Self::new(state, index, serve);
        let signals = Signals {
            first: io.first.clone(),
            quit: io.quit.clone(),
            closing: io.context.closing.began(),
            left_out: io.context.left_out.began(),
            attend: io.context.attend.clone(),
        };
        IO.set(Some(io));
        signals
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
            inbox: Vec::new(),
            batches: 0,
            rest: Vec::new().into_iter(),
            turn: Turn::default(),
            http: 0,
            streams: Streams::default(),
            answering: 0,
            overdue: false,
            hub_inside: None,
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
        }
    }

    /// A task that is no session has been polled, for so long that it has used up its turn.
    pub(crate) fn end_turn(&mut self, long: bool) {
        self.take_pending();
        if long {
            self.context.publish();
        } else {
            self.context.polled();
        }
    }

    /// Takes what the host has posted, if there is anything. What is too much for one turn must not
    /// become one turn for each task.
    fn take_pending(&mut self) {
        if self.context.server.mailboxes[self.context.index as usize].is_pending() && !self.has_rest() {
            self.take_commands();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.len() - self.free.len()
    }

    /// An HTTP socket began; it must watch the receiver for the end of the server.
    pub(crate) fn http_began(&mut self) -> watch::Receiver<bool> {
        self.http += 1;
        Counters::one(&self.context.server.counters.http_sockets);
        self.stop.subscribe()
    }

    /// A request of another process is being answered.
    pub(crate) fn answering_began(&mut self) {
        self.answering += 1;
    }

    pub(crate) fn answering_ended(&mut self) {
        self.answering -= 1;
        self.context.ended.notify_one();
    }

    pub(crate) fn http_ended(&mut self) {
        self.http -= 1;
        self.context.server.counters.http_sockets.fetch_sub(1, Ordering::Relaxed);
        self.context.ended.notify_one();
    }

    /// Hands the current batch to the host, for tasks that keep the thread from parking.
    pub(crate) fn hand_over(&mut self) {
        self.context.publish();
    }

    /// Messages sent since the counters were last added up.
    pub(crate) fn messages_out(&self) -> u64 {
        self.context.messages_out
    }

    /// Sends an item to the host with the current batch.
    pub(crate) fn emit(&mut self, item: Item) {
        self.context.emit(item);
    }

    /// What its sessions share.
    pub(crate) fn env(&mut self) -> &mut ThreadContext {
        &mut self.context
    }

    /// Makes a session of an upgraded socket.
    pub(crate) fn open(&mut self, upgraded: Upgraded) {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.sessions.push(None);
            (self.sessions.len() - 1) as u32
        });
        let id = ConnId(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        // Messages that may have to be compressed are the I/O thread's business.
        let (stream, socket) = match upgraded.compression {
            None => upgraded.stream.share(),
            Some(_) => (upgraded.stream, None),
        };
        let shared = Arc::new(Shared::new(id, self.context.index, slot, upgraded.remote, socket));
        Counters::one(&self.context.server.counters.opened);
        self.context.emit(Item::plain(Event::Open {
            conn: Connection(shared.clone()),
            ticket: upgraded.ticket,
            request: upgraded.request,
            subprotocol: upgraded.subprotocol,
        }));
        let early = Early::copy(&upgraded.early, &mut self.context);
        let decoder = Decoder::new(decoder::Config {
            role: Role::Server,
            max_message_size: self.context.server.config.max_message_size,
            compressed: upgraded.compression.as_ref().map_or(Compressed::Never, Agreed::client_sends),
        });
        let compressor = upgraded.compression.map(|agreed| Box::new(Compressor::new(agreed)));
        let session =
            Session::new(shared, stream, early, decoder, compressor, upgraded.admission, self.context.tick);
        self.sessions[slot as usize] = Some(Box::new(session));
        self.context.live += 1;
        if self.len() == 1 {
            self.first.notify_one();
        }
        if *self.stop.borrow() {
            let why = if self.context.server.leaving.load(Ordering::Relaxed) {
                Stopping::Leaving
            } else {
                Stopping::ForGood
            };
            self.close(Target { slot, id }, 1001, why.reason());
        }
        tokio::spawn(std::future::poll_fn(move |cx| poll_session(slot, cx)));
    }

    pub(crate) fn with_session(&mut self, target: Target, f: impl FnOnce(&mut Session, &mut ThreadContext)) {
        if let Some(Some(session)) = self.sessions.get_mut(target.slot as usize)
            && session.shared.id == target.id
        {
            f(session, &mut self.context);
        }
    }

    fn close(&mut self, target: Target, code: u16, reason: &str) {
        self.with_session(target, |session, context| {
            session.close(context, code, reason);
            session.flush(context);
        });
    }

    /// Goes through the connections whose deadlines are due; tells when the next ones are.
    pub(crate) fn check_closing(&mut self) -> Option<tokio::time::Instant> {
        let now = tokio::time::Instant::now();
        for target in self.context.closing.take_due(now) {
            self.with_session(target, |session, context| session.check_close(context, now));
        }
        self.context.closing.next()
    }

    /// Reports kinds of log lines of which some were left out; tells when the next report is due.
    pub(crate) fn report_left_out(&mut self) -> Option<tokio::time::Instant> {
        for kind in self.context.left_out.take_due(tokio::time::Instant::now()) {
            self.context.report_left_out(kind);
        }
        self.context.left_out.next()
    }

    /// Advances the coarse clock, and looks after the sessions whose peers are silent. Both times are
    /// in ticks.
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

    /// Takes what an awake host has posted. `rounds`: how often more while the host sleeps. False: it
    /// has slept for that long.
    pub(crate) fn attend(&mut self, left: &mut u32, rounds: u32) -> bool {
        self.take_commands();
        *left = if self.context.server.waker.is_asleep() { *left - 1 } else { rounds };
        self.context.attending = *left > 0;
        self.context.attending
    }

    /// Takes what the host has posted. True: the thread must look at its sockets before anything else.
    pub(crate) fn collect(&mut self) -> bool {
        self.take_commands();
        std::mem::take(&mut self.overdue)
    }

    /// Keeps the tasks that accept, to be ended when the server stops.
    pub(crate) fn accepts(&mut self, accepting: Vec<AbortHandle>) {
        self.accepting = accepting;
    }

    /// A task is ready, so the thread does not park.
    pub(crate) fn must_not_park(&mut self) {
        self.overdue = true;
    }

    /// Topics and patterns that have subscribers. On the first thread.
    pub(crate) fn topic_names(&self) -> impl Iterator<Item = &str> {
        self.name_index.names()
    }

    pub(crate) fn is_stopping_for_good(&self) -> bool {
        *self.stop.borrow() && !self.context.server.leaving.load(Ordering::Relaxed)
    }

    /// Resolves when the cluster has taken all that was published so far; at once without a cluster.
    pub(crate) fn cluster_synced(&mut self) -> Option<oneshot::Receiver<()>> {
        self.context.server.cluster.is_some().then(|| self.outbound.sync())
    }

    /// What this thread has counted so far is part of the counters.
    pub(crate) fn count(&mut self) {
        self.context.count();
    }

    /// A receiver that is told of the end of the server.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }
}

/// Body of a session's task.
fn poll_session(slot: u32, cx: &mut Context<'_>) -> Poll<()> {
    with(|io| {
        io.take_pending();
        let Some(Some(session)) = io.sessions.get_mut(slot as usize) else { return Poll::Ready(()) };
        let poll = session.poll(&mut io.context, cx);
        if poll.is_ready() {
            io.sessions[slot as usize] = None;
            io.free.push(slot);
        }
        io.context.polled();
        poll
    })
    .unwrap_or(Poll::Ready(()))
}
