//! A worker's link to its hub, the process that connects the workers of a machine: a task on the first
//! I/O thread.
//!
//! The link moves frames from the thread's queue ([`Outbound`](crate::cluster::port::Outbound)) to the
//! hub's socket, and `received` processes the frames of the hub. When the connection is lost, the link
//! reconnects and sends the worker's complete state: interest in topics, members, and open resume
//! requests. A hub that serves this worker alone runs as another task on the same thread.

mod greeting;
mod received;

use bytes::Bytes;
use std::future::{Future, poll_fn};
use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

use crate::channel::event::Event;
use crate::channel::mailbox::Item;
use crate::cluster::hub::serve::{Service, connect};
use crate::cluster::hub_config::HubConfig;
use crate::cluster::wire::Up;
use crate::cluster::wire::pipe::Pipe;
use crate::metrics::counters::Counters;
use crate::net::socket::lift;
use crate::state::State;
use crate::thread as io_thread;
use crate::thread::report::log_unpublished;
use sprocket_broker::Backoff;

pub(crate) use crate::hub_link::greeting::HubConnection;
use crate::hub_link::greeting::{GREETING, SHORTEST_PAUSE, Welcome, WorkerIdentity, greeted};

/// Longest pause between attempts to connect to the hub.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// Delay of publications after reconnecting, so that the other workers can reconnect first: a new hub
/// does not store publications for workers that are still absent.
const GATHERING: Duration = Duration::from_millis(400);
/// Interval between reports of the counters.
const REPORT: Duration = Duration::from_secs(1);
/// Backlog in bytes above which reports are skipped.
const REPORTS: usize = 64 << 10;
/// Time for a new hub to confirm the members that the previous one reported.
const SETTLED: Duration = Duration::from_secs(3);
/// Time without progress after which a link with too many queued frames is dropped. It exceeds the
/// time for which a hub may leave all workers unread because of a slow one; the crate's own tests use
/// a shorter time. The timer of the reports makes the task check it at least once a second.
const STALLED: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 6 });
/// Bytes of the largest frame accepted from the hub: any, as the worker trusts its hub.
const LIMIT: usize = u32::MAX as usize;
/// Reads in one turn of the task, before it yields to others on its thread.
const READS: usize = 4;

type Connecting = Pin<Box<dyn Future<Output = io::Result<UnixStream>> + Send>>;

/// Phases of a connection to the hub.
enum LinkPhase {
    /// Waits for the end of the pause and for the connection.
    Connecting(Connecting),
    /// The `Hello` is sent; the timer limits the wait for the answer.
    Greeting(Pipe, Pin<Box<Sleep>>),
    /// The hub has accepted this worker.
    Up(Pipe),
    /// The link ends: a hub in this process can't be connected to again.
    Over,
}

/// State of the link's task.
struct Link {
    state: Arc<State>,
    identity: WorkerIdentity,
    /// Path of the hub's socket; `None` for a hub in this process.
    path: Option<PathBuf>,
    phase: LinkPhase,
    /// Pauses between attempts to connect.
    backoff: Backoff,
    /// Number of publications moved to the pipe of this connection.
    sent: u64,
    /// Number of them that the hub has processed, according to its last report.
    handled: u64,
    /// Publications for the resuming connection whose `Resumed` has not arrived yet, as encoded
    /// WebSocket frames, and whether each is binary.
    missed: Vec<(Bytes, bool)>,
    /// When the backlog was last below its limit or the hub last read, and the bytes written by then.
    moved: (Instant, u64),
    /// Timer of the next report.
    report: Pin<Box<Sleep>>,
    /// Counters last reported on this connection.
    reported: Vec<u64>,
    /// Timer until which publications are held back.
    hold: Option<Pin<Box<Sleep>>>,
    /// Timer after which members that the hub has not confirmed are dropped.
    settle: Option<Pin<Box<Sleep>>>,
    /// Timer of a pause in reading, while the other I/O threads have too many commands queued.
    pause: Option<Pin<Box<Sleep>>>,
}

/// Body of the link's task. Ends only if the link can't be set up, or with a hub in this process.
pub(crate) async fn run(joined: HubConnection, state: Arc<State>) {
    let HubConnection { identity, path, stream, welcome, hub } = joined;
    let begun = hub.map(|(config, stream)| begin_hub(config, stream)).transpose();
    let stream = match begun.and_then(|_| lifted(stream)) {
        Ok(stream) => stream,
        Err(error) => {
            return report_loss(&state, "", &format!("the link to the hub can't be set up: {error}"), false);
        }
    };
    let mut pipe = Pipe::new(stream, LIMIT);
    let greeted = path.is_some();
    if !greeted {
        pipe.push(identity.hello());
    }
    let mut link = Link {
        state,
        identity,
        path,
        phase: LinkPhase::Greeting(pipe, Box::pin(sleep(GREETING))),
        backoff: Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE),
        sent: 0,
        handled: 0,
        missed: Vec::new(),
        moved: (Instant::now(), 0),
        report: Box::pin(sleep(REPORT)),
        reported: Vec::new(),
        hold: None,
        settle: None,
        pause: None,
    };
    if greeted && let LinkPhase::Greeting(pipe, _) = std::mem::replace(&mut link.phase, LinkPhase::Over) {
        link.begin(pipe, welcome);
    }
    poll_fn(|cx| link.poll(cx)).await;
}

/// Starts a hub for this worker alone, as a task of this thread.
fn begin_hub(config: HubConfig, stream: StdStream) -> io::Result<()> {
    let stream = lifted(stream)?;
    let broker = connect(&config)?;
    let service = Service::new(config, None, broker)?.for_one(stream);
    let (quit, end) = oneshot::channel::<()>();
    let hub = tokio::spawn(async move {
        let _vital = io_thread::Vital;
        // Dropping the sender also ends the hub.
        service.run(async move { drop(end.await) }).await;
    });
    io_thread::with(|io| io.local_hub = Some((quit, hub)));
    Ok(())
}

/// Registers a socket with the runtime, under a high descriptor number where possible: the low ones
/// are left to PHP, whose select() can't use high ones.
fn lifted(stream: StdStream) -> io::Result<UnixStream> {
    let stream = StdStream::from(lift(stream.into()));
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Logs the loss of publications and reports it to the host, unless too many reports already wait
/// there. `topic` is empty if none in particular is affected.
fn report_loss(state: &State, topic: &str, reason: &str, uncertain: bool) {
    log_unpublished(topic, reason, uncertain);
    if state.cluster.as_ref().is_some_and(|port| port.may_report_loss()) {
        let event = Event::Unpublished { topic: topic.to_owned(), reason: reason.to_owned(), uncertain };
        io_thread::with(|io| io.emit(Item::plain(event)));
    }
}

impl Link {
    /// Drives the link through its phases. `Ready` when it ends.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.phase {
                LinkPhase::Over => return Poll::Ready(()),
                LinkPhase::Connecting(connecting) => match ready!(connecting.as_mut().poll(cx)) {
                    Ok(stream) => {
                        let mut pipe = Pipe::new(stream, LIMIT);
                        pipe.push(self.identity.hello());
                        self.phase = LinkPhase::Greeting(pipe, Box::pin(sleep(GREETING)));
                    }
                    Err(_) => self.connect(),
                },
                LinkPhase::Greeting(pipe, deadline) => {
                    let greeted = if deadline.as_mut().poll(cx).is_ready() {
                        Err(io::ErrorKind::TimedOut.into())
                    } else {
                        ready!(greeted(pipe, cx))
                    };
                    match (greeted, std::mem::replace(&mut self.phase, LinkPhase::Over)) {
                        (Ok(welcome), LinkPhase::Greeting(pipe, _)) => self.begin(pipe, welcome),
                        (Err(error), _) if error.kind() == io::ErrorKind::PermissionDenied => {
                            if self.backoff.raise() {
                                report_loss(
                                    &self.state,
                                    "",
                                    &format!("the hub refused this worker: {error}"),
                                    false,
                                );
                            }
                            self.connect();
                        }
                        _ => self.connect(),
                    }
                }
                LinkPhase::Up(_) => match ready!(self.poll_up(cx)) {
                    Ok(()) => {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Err(error) => self.lost(&error),
                },
            }
        }
    }

    /// Begins the next attempt to connect, after a pause. Ends the link if the hub is in this process.
    fn connect(&mut self) {
        let Some(path) = self.path.clone() else {
            self.phase = LinkPhase::Over;
            return;
        };
        let pause = self.backoff.full();
        self.phase = LinkPhase::Connecting(Box::pin(async move {
            sleep(pause).await;
            UnixStream::connect(path).await
        }));
    }

    /// Begins a connection that the hub has accepted, and queues the worker's complete state.
    fn begin(&mut self, mut pipe: Pipe, welcome: Welcome) {
        let Welcome { broker, limit } = welcome;
        if let Some(port) = &self.state.cluster {
            port.largest.store(limit, std::sync::atomic::Ordering::Relaxed);
        }
        self.backoff.reset();
        (self.sent, self.handled) = (0, 0);
        self.reported.clear();
        io_thread::with(|io| {
            io.outbound.begin(broker);
            if broker {
                io.topic_names().for_each(|name| pipe.push(Up::Interest { name, on: true }.encode()));
            }
            for (ticket, ask) in &io.outbound.asks {
                let (topic, position) = (ask.topic.as_str(), ask.position.as_str());
                pipe.push(Up::Resume { ticket: *ticket, topic, position }.encode());
            }
        });
        for (conn, topic, member, data) in self.state.presence().own() {
            pipe.push(Up::Join { conn: conn.0, topic, member, data }.encode());
        }
        self.settle = Some(Box::pin(sleep(SETTLED)));
        if self.hold.is_some() {
            self.hold = Some(Box::pin(sleep(GATHERING)));
        }
        self.phase = LinkPhase::Up(pipe);
    }

    /// Processes the loss of the connection: requeues unsent publications, reports those that may be
    /// lost, and reconnects.
    fn lost(&mut self, error: &io::Error) {
        let LinkPhase::Up(pipe) = std::mem::replace(&mut self.phase, LinkPhase::Over) else { return };
        let Some(port) = &self.state.cluster else { return };
        let requeued = io_thread::with(|io| io.outbound.interrupt(port, pipe)).unwrap_or(0);
        let lost = self.sent.saturating_sub(self.handled).saturating_sub(requeued);
        let counters = &self.state.counters;
        Counters::one(&counters.bus_lost_links);
        Counters::add(&counters.bus_lost, lost);
        let reason = format!(
            "the connection to the hub was lost ({error}): messages from other workers were missed, and up \
             to {lost} messages from this worker may be lost"
        );
        report_loss(&self.state, "", &reason, true);
        self.missed = Vec::new();
        self.settle = None;
        self.hold = Some(Box::pin(sleep(GATHERING)));
        self.state.presence().doubt();
        port.stats().clear();
        self.connect();
    }

    /// One turn of an established link: timers, output, then input. `Ready(Ok)` if there may be more
    /// input after other tasks have had their turn.
    ///
    /// # Errors
    /// The connection is lost, or the hub does not read.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.settle.as_mut().is_some_and(|s| s.as_mut().poll(cx).is_ready()) {
            self.settle = None;
            let changed = self.state.presence().give_up();
            if changed {
                io_thread::with(|io| io.emit(Item::Presence));
            }
        }
        while self.report.as_mut().poll(cx).is_ready() {
            self.report.as_mut().reset(tokio::time::Instant::now() + REPORT);
            self.report();
        }
        let LinkPhase::Up(pipe) = &mut self.phase else { return Poll::Pending };
        let Some(port) = &self.state.cluster else { return Poll::Pending };
        if self.hold.as_mut().is_some_and(|hold| hold.as_mut().poll(cx).is_ready()) {
            self.hold = None;
        }
        let held = self.hold.is_some();
        loop {
            if !held {
                self.sent += io_thread::with(|io| io.outbound.fill(port, pipe, cx.waker())).unwrap_or(0);
            }
            let flushed = pipe.poll_flush(cx);
            let more = io_thread::with(|io| !held && !io.outbound.is_empty());
            if flushed.is_pending() || more != Some(true) {
                break;
            }
        }
        let state = io_thread::with(|io| (io.outbound.is_beyond(port), io.outbound.is_far_beyond(port)));
        let (beyond, far_beyond) = state.unwrap_or_default();
        // A hub in this process cannot be connected to again; it reads as long as this thread runs.
        if far_beyond && self.path.is_some() {
            return Poll::Ready(Err(io::Error::other("it reads too slowly")));
        }
        if !beyond || pipe.taken() != self.moved.1 {
            self.moved = (Instant::now(), pipe.taken());
        } else if self.moved.0.elapsed() >= STALLED {
            return Poll::Ready(Err(io::Error::other("it does not read")));
        }
        for _ in 0..READS {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            if self.state.is_crowded() {
                self.pause = Some(Box::pin(sleep(Duration::from_millis(1))));
                continue;
            }
            let LinkPhase::Up(pipe) = &mut self.phase else { return Poll::Pending };
            ready!(pipe.poll_read(cx))?;
            self.take_frames()?;
        }
        Poll::Ready(Ok(()))
    }

    /// Queues the worker's counters for the hub, if they have changed.
    fn report(&mut self) {
        let values = self.state.stats().values();
        // Reports must not add to the backlog of a hub that does not read.
        if let LinkPhase::Up(pipe) = &mut self.phase
            && pipe.waiting() < REPORTS
            && values != self.reported
        {
            pipe.push(Up::Stats { values: values.clone() }.encode());
            self.reported = values;
        }
    }
}
