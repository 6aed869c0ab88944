//! An I/O thread: one `current_thread` runtime, the sessions whose sockets it owns, and the
//! points at which batches are exchanged with the host.
//!
//! Sessions live in a table of the thread and not in their tasks: so commands of the host are
//! carried out, and written to the socket, without waking a task.

mod commands;
mod delivery;
mod streams;
mod vital;

use bytes::Bytes;
use std::cell::RefCell;
use std::io as std_io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle};

use crate::accept;
use crate::admission::Admission;
use crate::bus::{self, Outbound};
use crate::clock;
use crate::conn::Shared;
use crate::deflate::{Agreed, Deflate};
use crate::directory::Directory;
use crate::env::{Env, State};
use crate::event::Event;
use crate::handle::Connection;
use crate::http;
use crate::id::Target;
use crate::id::{ConnId, Ticket};
use crate::listener::Listener;
use crate::publish_socket::PublishListener;
use crate::queue::{Command, Item, Mailbox, NewSocket, Stopping};
use crate::request::Request;
use crate::session::{Early, Session};
use crate::stats::Counters;
use crate::stream::Stream;

use delivery::Turn;
pub(crate) use vital::Vital;

thread_local! {
    static IO: RefCell<Option<Io>> = const { RefCell::new(None) };
}

/// Runs `f` on the I/O state of this thread. `None` when there is none (any more). A panic of `f`
/// may leave the state in disorder, so it ends the server.
pub(crate) fn with<R>(f: impl FnOnce(&mut Io) -> R) -> Option<R> {
    let _vital = Vital;
    IO.with_borrow_mut(|io| io.as_mut().map(f))
}

/// How a thread serves a socket that another one has accepted.
pub(crate) type Serve = fn(&Arc<State>, NewSocket);

/// State of one I/O thread.
pub(crate) struct Io {
    env: Env,
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
    streams: streams::Streams,
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
    /// Topics by name, on the thread that serves other publishers and the bus.
    directory: Directory,
    /// What waits for the hub, on that thread.
    pub(crate) outbound: Outbound,
    /// Other threads were posted something that is not delivered yet.
    posted: bool,
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

/// Body of I/O thread `index`. `ready` is told once sockets can be accepted, or why not.
pub(crate) fn run(
    state: Arc<State>,
    index: u16,
    listeners: Vec<Listener>,
    publish: Option<PublishListener>,
    joined: Option<bus::Joined>,
    ready: impl FnOnce(std_io::Result<()>),
) {
    let _vital = Vital;
    let (park, unpark) = (state.clone(), state.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // For files: certificates that are watched, and what is served from a disk.
        .max_blocking_threads(8)
        .on_thread_park(move || before_park(&park.mailboxes[index as usize]))
        .on_thread_unpark(move || {
            let mailbox = &unpark.mailboxes[index as usize];
            mailbox.unparked();
            if mailbox.is_pending() {
                with(Io::take_commands);
            }
        })
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return ready(Err(error)),
    };
    let io = Io::new(state.clone(), index, http::serve_socket);
    let (first, quit) = (io.first.clone(), io.quit.clone());
    IO.set(Some(io));
    runtime.block_on(async {
        let accepting = listeners.into_iter().map(|l| accept::spawn(l, state.clone()));
        let accepting = accepting.chain(publish.map(|p| p.spawn(state.clone())));
        match accepting.collect::<std_io::Result<Vec<_>>>() {
            Ok(accepting) => with(|io| io.accepting = accepting),
            Err(error) => return ready(Err(error)),
        };
        ready(Ok(()));
        tokio::spawn(collect(state.clone(), index));
        tokio::spawn(keep_alive(state.clone(), first));
        tokio::spawn(crate::closing::watch(with(|io| io.env.closing.began())));
        tokio::spawn(read_again(state.clone(), index));
        if index == 0 {
            tokio::spawn(crate::tls::watch(state.clone()));
            tokio::spawn(crate::reclaim::watch(state.clone()));
        }
        if let Some(joined) = joined {
            let link = bus::link(joined, state.clone());
            tokio::spawn(async move {
                let _vital = Vital;
                link.await;
            });
        }
        quit.notified().await;
        if index == 0 && state.bus.is_some() {
            say_the_last().await;
        }
    });
    // Sockets must go while their runtime is there.
    let io = IO.take();
    drop(io);
}

/// Waits until the hub has what waits for it, for a moment; and, where it is in this process, until
/// the broker has it, for as long as [`bus`] allows.
async fn say_the_last() {
    if let Some(synced) = with(|io| io.outbound.sync()) {
        // An error means that the hub is gone.
        let _ = tokio::time::timeout(Duration::from_secs(1), synced).await;
    }
    if let Some((quit, hub)) = with(|io| io.hub_inside.take()).flatten() {
        drop(quit);
        // It bounds its end itself. A panic of it was reported when it happened.
        let _ = hub.await;
    }
}

/// Publishes what has gathered, and takes what the host has posted, until there is nothing; but
/// not for ever: a host that posts more than the thread gets done must not keep it from its sockets.
fn before_park(mailbox: &Mailbox) {
    const ROUNDS: usize = 4;
    for _ in 0..ROUNDS {
        let more = with(|io| {
            io.env.publish();
            io.has_rest()
        });
        // Then a task is ready, and the thread must not even seem to be at rest.
        if more == Some(true) || mailbox.may_park() {
            return;
        }
        with(Io::take_commands);
    }
    // A task that is ready keeps the thread from parking.
    with(|io| io.overdue = true);
    mailbox.notify.notify_one();
}

/// Wakes the runtime for the mailbox; the commands themselves are taken when it unparks.
async fn collect(state: Arc<State>, index: u16) {
    let _vital = Vital;
    loop {
        state.mailboxes[index as usize].notify.notified().await;
        let overdue = with(|io| {
            io.take_commands();
            std::mem::take(&mut io.overdue)
        });
        // To yield makes the runtime look at the sockets, where going on would not.
        if overdue == Some(true) {
            tokio::task::yield_now().await;
        }
    }
}

/// Looks after the host as long as it is awake: what it sends goes out with its batch, but when
/// one of its handlers takes long, what was sent before must not wait for that.
pub(crate) async fn attend() {
    let _vital = Vital;
    const PATIENCE: Duration = Duration::from_millis(10);
    // It goes on for a while after the host has gone to sleep: to start it anew for each message
    // of a quiet server would cost more than that message.
    const ROUNDS: u32 = 10;
    let mut left = ROUNDS;
    loop {
        tokio::time::sleep(PATIENCE).await;
        let goes_on = with(|io| {
            io.take_commands();
            left = if io.env.server.waker.is_asleep() { left - 1 } else { ROUNDS };
            io.env.attending = left > 0;
            io.env.attending
        });
        if goes_on != Some(true) {
            return;
        }
    }
}

/// Wakes the sessions that wait for room in the backlog when there is some.
async fn read_again(state: Arc<State>, index: u16) {
    loop {
        state.backlog.room(index).await;
        with(|io| {
            for target in io.env.share.take_waiting() {
                io.with_session(target, |session, _| session.wake());
            }
        });
    }
}

/// Scans the sessions in ticks, as long as there are any.
async fn keep_alive(state: Arc<State>, first: Arc<Notify>) {
    let _vital = Vital;
    let Some(interval) = state.config.ping_interval else { return };
    let timeout = state.config.ping_timeout;
    let tick = (interval.min(timeout) / 10).clamp(Duration::from_millis(5), Duration::from_secs(1));
    let ticks =
        |time: Duration| u32::try_from(time.as_nanos() / tick.as_nanos()).unwrap_or(u32::MAX / 2).max(1);
    let (interval, timeout) = (ticks(interval), ticks(timeout));
    loop {
        if with(|io| io.len() == 0).unwrap_or(true) {
            first.notified().await;
        }
        tokio::time::sleep(tick).await;
        with(|io| {
            io.env.tick = io.env.tick.wrapping_add(1);
            for session in io.sessions.iter_mut().flatten() {
                session.keep_alive(&mut io.env, interval, timeout);
            }
        });
    }
}

impl Io {
    fn new(state: Arc<State>, index: u16, serve: Serve) -> Self {
        Self {
            env: Env::new(state, index),
            serve,
            sessions: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            inbox: Vec::new(),
            batches: 0,
            rest: Vec::new().into_iter(),
            turn: Turn::default(),
            http: 0,
            streams: streams::Streams::default(),
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
            directory: Directory::default(),
            outbound: Outbound::default(),
            posted: false,
        }
    }

    /// A task that is no session has been polled, for so long that it has used up its turn.
    pub(crate) fn end_turn(&mut self, long: bool) {
        self.take_pending();
        if long {
            self.env.publish();
        } else {
            self.env.polled();
        }
    }

    /// Takes what the host has posted, if there is anything. What is too much for one turn must not
    /// become one turn for each task.
    fn take_pending(&mut self) {
        if self.env.server.mailboxes[self.env.index as usize].is_pending() && !self.has_rest() {
            self.take_commands();
        }
    }

    fn len(&self) -> usize {
        self.sessions.len() - self.free.len()
    }

    /// An HTTP socket began; it must watch the receiver for the end of the server.
    pub(crate) fn http_began(&mut self) -> watch::Receiver<bool> {
        self.http += 1;
        Counters::one(&self.env.server.counters.http_sockets);
        self.stop.subscribe()
    }

    /// A request of another process is being answered.
    pub(crate) fn answering_began(&mut self) {
        self.answering += 1;
    }

    pub(crate) fn answering_ended(&mut self) {
        self.answering -= 1;
        self.env.ended.notify_one();
    }

    pub(crate) fn http_ended(&mut self) {
        self.http -= 1;
        self.env.server.counters.http_sockets.fetch_sub(1, Ordering::Relaxed);
        self.env.ended.notify_one();
    }

    /// Hands the current batch to the host, for tasks that keep the thread from parking.
    pub(crate) fn hand_over(&mut self) {
        self.env.publish();
    }

    /// Messages sent since the counters were last added up.
    pub(crate) fn messages_out(&self) -> u64 {
        self.env.messages_out
    }

    /// Sends an item to the host with the current batch.
    pub(crate) fn emit(&mut self, item: Item) {
        self.env.emit(item);
    }

    /// What its sessions share.
    pub(crate) fn env(&mut self) -> &mut Env {
        &mut self.env
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
        let shared = Arc::new(Shared::new(id, self.env.index, slot, upgraded.remote, socket));
        Counters::one(&self.env.server.counters.opened);
        self.env.emit(Item::plain(Event::Open {
            conn: Connection(shared.clone()),
            ticket: upgraded.ticket,
            request: upgraded.request,
            subprotocol: upgraded.subprotocol,
        }));
        let early = Early::copy(&upgraded.early, &mut self.env);
        let deflate = upgraded.compression.map(|agreed| Box::new(Deflate::new(agreed)));
        let session = Session::new(shared, stream, early, deflate, upgraded.admission, self.env.tick);
        self.sessions[slot as usize] = Some(Box::new(session));
        self.env.live += 1;
        if self.len() == 1 {
            self.first.notify_one();
        }
        if *self.stop.borrow() {
            let why = if self.env.server.leaving.load(Ordering::Relaxed) {
                Stopping::Leaving
            } else {
                Stopping::ForGood
            };
            self.close(Target { slot, id }, 1001, why.reason());
        }
        tokio::spawn(std::future::poll_fn(move |cx| poll_session(slot, cx)));
    }

    pub(crate) fn with_session(&mut self, target: Target, f: impl FnOnce(&mut Session, &mut Env)) {
        if let Some(Some(session)) = self.sessions.get_mut(target.slot as usize)
            && session.shared.id == target.id
        {
            f(session, &mut self.env);
        }
    }

    fn close(&mut self, target: Target, code: u16, reason: &str) {
        self.with_session(target, |session, env| {
            session.close(env, code, reason);
            session.flush(env);
        });
    }

    /// Goes through the connections whose deadlines are due; tells when the next ones are.
    pub(crate) fn check_closing(&mut self) -> Option<tokio::time::Instant> {
        let now = tokio::time::Instant::now();
        for target in self.env.closing.take_due(now) {
            self.with_session(target, |session, env| session.check_close(env, now));
        }
        self.env.closing.next()
    }

    /// Topics and patterns that have subscribers. On the first thread.
    pub(crate) fn topic_names(&self) -> impl Iterator<Item = &str> {
        self.directory.names()
    }

    pub(crate) fn is_stopping_for_good(&self) -> bool {
        *self.stop.borrow() && !self.env.server.leaving.load(Ordering::Relaxed)
    }

    /// Resolves when the bus has taken all that was published so far; at once without a bus.
    pub(crate) fn bus_synced(&mut self) -> Option<oneshot::Receiver<()>> {
        self.env.server.bus.is_some().then(|| self.outbound.sync())
    }

    /// What this thread has counted so far is part of the counters.
    pub(crate) fn count(&mut self) {
        self.env.count();
    }

    /// A receiver that is told of the end of the server.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    fn notify_at(&mut self, when: Option<Instant>) {
        if let Some(alarm) = self.alarm.take() {
            alarm.abort();
        }
        let Some(when) = when else { return };
        let state = self.env.server.clone();
        let alarm = tokio::spawn(async move {
            tokio::time::sleep_until(when.into()).await;
            state.waker.signal();
        });
        self.alarm = Some(alarm.abort_handle());
    }

    /// Called again, the earlier end counts.
    fn stop(&mut self, grace: Duration, why: Stopping) {
        // Who waits for the end, and not for a leave, looks again.
        self.stop.send_replace(true);
        let deadline = tokio::time::Instant::from_std(clock::ahead(grace));
        if let Some((earlier, waiting)) = &self.stopping {
            if *earlier <= deadline {
                return;
            }
            waiting.abort();
        }
        for accepting in self.accepting.drain(..) {
            accepting.abort();
        }
        for session in self.sessions.iter_mut().flatten() {
            session.going_away(&mut self.env, why, grace / 2);
        }
        let ended = self.env.ended.clone();
        let waiting = tokio::spawn(async move {
            let _vital = Vital;
            let all = async {
                while with(|io| io.env.live + io.env.unwritten + io.http + io.answering > 0) == Some(true) {
                    ended.notified().await;
                }
            };
            let _ = tokio::time::timeout_at(deadline, all).await;
            with(Io::finish);
        });
        self.stopping = Some((deadline, waiting.abort_handle()));
    }

    /// Cuts what is left after the grace period; the last thread tells the host.
    fn finish(&mut self) {
        self.env.server.notices.cut.fetch_add(self.env.live as u64, Ordering::Relaxed);
        for session in self.sessions.iter_mut().flatten() {
            session.terminate(&mut self.env, "the server stopped before the peer answered");
        }
        self.cut_streams();
        self.env.publish();
        if !std::mem::replace(&mut self.finished, true)
            && self.env.server.working.fetch_sub(1, Ordering::AcqRel) == 1
        {
            self.env.log_stopped();
            self.env.emit(Item::plain(Event::Stopped));
            self.env.publish();
        }
    }
}

/// Body of a session's task.
fn poll_session(slot: u32, cx: &mut Context<'_>) -> Poll<()> {
    with(|io| {
        io.take_pending();
        let Some(Some(session)) = io.sessions.get_mut(slot as usize) else { return Poll::Ready(()) };
        let poll = session.poll(&mut io.env, cx);
        if poll.is_ready() {
            io.sessions[slot as usize] = None;
            io.free.push(slot);
        }
        io.env.polled();
        poll
    })
    .unwrap_or(Poll::Ready(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_host_that_never_stops_posting_does_not_hold_the_thread() {
        let (done, returned) = mpsc::channel();
        std::thread::spawn(move || {
            let mailbox = Mailbox::default();
            // Nobody takes it on this thread, as if there were always more.
            mailbox.deliver();
            before_park(&mailbox);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let woken = runtime.block_on(async {
                tokio::time::timeout(Duration::from_secs(5), mailbox.notify.notified()).await.is_ok()
            });
            done.send(woken).unwrap();
        });
        let woken = returned.recv_timeout(Duration::from_secs(10));
        assert_eq!(woken, Ok(true), "it goes on, and comes back to what waits");
    }
}
