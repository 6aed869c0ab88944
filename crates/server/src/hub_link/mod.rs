//! A worker's end of the cluster: a task on the first I/O thread.

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
use crate::cluster::config::HubConfig;
use crate::cluster::hub::serve::{Service, connect};
use crate::cluster::wire::Up;
use crate::cluster::wire::pipe::Pipe;
use crate::metrics::counters::Counters;
use crate::net::socket::lift;
use crate::state::State;
use crate::thread as io_thread;
use crate::thread::report::log_unpublished;
use sprocket_broker::Backoff;

pub(crate) use crate::hub_link::greeting::Joined;
use crate::hub_link::greeting::{GREETING, Identity, SHORTEST_PAUSE, Welcome, greeted};

/// The longest pause between attempts to reach the hub.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// A new hub gets no publication before the other workers had time to come back to it.
const GATHERING: Duration = Duration::from_millis(400);
/// Between two reports of the counters.
const REPORT: Duration = Duration::from_secs(1);
/// Bytes that wait for the hub when it is not sent another one.
const REPORTS: usize = 64 << 10;
/// What a new hub has not said so long after its start, it will not say.
const SETTLED: Duration = Duration::from_secs(3);
/// For a hub to take something, if too much waits that is not published: longer than it may leave
/// all workers unread for the sake of one, but where the crate tests itself. The reports see to it
/// that this is looked at.
const DEAF: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 6 });
/// Bytes of a frame of the hub.
const LIMIT: usize = u32::MAX as usize;
/// Reads before other tasks of the thread have their turn.
const READS: usize = 4;

type Connecting = Pin<Box<dyn Future<Output = io::Result<UnixStream>> + Send>>;

enum Phase {
    Connecting(Connecting),
    Greeting(Pipe, Pin<Box<Sleep>>),
    Up(Pipe),
    /// A hub in this process ends with it.
    Over,
}

/// The task.
struct Link {
    state: Arc<State>,
    identity: Identity,
    path: Option<PathBuf>,
    phase: Phase,
    backoff: Backoff,
    /// Publications handed over on this connection, and how many the hub has dealt with.
    sent: u64,
    handled: u64,
    /// What a resuming connection has missed, until it is whole.
    missed: Vec<(Bytes, bool)>,
    /// When the hub last took something, and how much it had taken by then, where too much waits.
    moved: (Instant, u64),
    report: Pin<Box<Sleep>>,
    reported: Vec<u64>,
    /// Until publications go out.
    hold: Option<Pin<Box<Sleep>>>,
    /// When what the hub has not confirmed is given up.
    settle: Option<Pin<Box<Sleep>>>,
    /// The other threads have too much to do.
    pause: Option<Pin<Box<Sleep>>>,
}

/// Body of the task.
pub(crate) async fn run(joined: Joined, state: Arc<State>) {
    let Joined { identity, path, stream, welcome, hub } = joined;
    let begun = hub.map(|(config, stream)| begin_hub(config, stream)).transpose();
    let stream = match begun.and_then(|_| lifted(stream)) {
        Ok(stream) => stream,
        Err(error) => return report_loss(&state, "", &format!("the cluster can't be used: {error}"), false),
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
        phase: Phase::Greeting(pipe, Box::pin(sleep(GREETING))),
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
    if greeted && let Phase::Greeting(pipe, _) = std::mem::replace(&mut link.phase, Phase::Over) {
        link.begin(pipe, welcome);
    }
    poll_fn(|cx| link.poll(cx)).await;
}

/// The hub of this process alone, as a task of this thread.
fn begin_hub(config: HubConfig, stream: StdStream) -> io::Result<()> {
    let stream = lifted(stream)?;
    let broker = connect(&config)?;
    let service = Service::new(config, None, broker)?.for_one(stream);
    let (quit, end) = oneshot::channel::<()>();
    let hub = tokio::spawn(async move {
        let _vital = io_thread::Vital;
        // A sender that is dropped is an end, too.
        service.run(async move { drop(end.await) }).await;
    });
    io_thread::with(|io| io.hub_inside = Some((quit, hub)));
    Ok(())
}

/// Leaves the low descriptors to PHP.
fn lifted(stream: StdStream) -> io::Result<UnixStream> {
    let stream = StdStream::from(lift(stream.into()));
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Tells the host of a publication that is lost without its doing; `topic` is empty where none is known.
fn report_loss(state: &State, topic: &str, reason: &str, uncertain: bool) {
    log_unpublished(topic, reason, uncertain);
    if state.cluster.as_ref().is_some_and(|port| port.may_report_loss()) {
        let event = Event::Unpublished { topic: topic.to_owned(), reason: reason.to_owned(), uncertain };
        io_thread::with(|io| io.emit(Item::plain(event)));
    }
}

impl Link {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.phase {
                Phase::Over => return Poll::Ready(()),
                Phase::Connecting(connecting) => match ready!(connecting.as_mut().poll(cx)) {
                    Ok(stream) => {
                        let mut pipe = Pipe::new(stream, LIMIT);
                        pipe.push(self.identity.hello());
                        self.phase = Phase::Greeting(pipe, Box::pin(sleep(GREETING)));
                    }
                    Err(_) => self.connect(),
                },
                Phase::Greeting(pipe, deadline) => {
                    let greeted = if deadline.as_mut().poll(cx).is_ready() {
                        Err(io::ErrorKind::TimedOut.into())
                    } else {
                        ready!(greeted(pipe, cx))
                    };
                    match (greeted, std::mem::replace(&mut self.phase, Phase::Over)) {
                        (Ok(welcome), Phase::Greeting(pipe, _)) => self.begin(pipe, welcome),
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
                Phase::Up(_) => match ready!(self.poll_up(cx)) {
                    Ok(()) => {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Err(error) => self.lost(&error),
                },
            }
        }
    }

    fn connect(&mut self) {
        let Some(path) = self.path.clone() else {
            self.phase = Phase::Over;
            return;
        };
        let pause = self.backoff.full();
        self.phase = Phase::Connecting(Box::pin(async move {
            sleep(pause).await;
            UnixStream::connect(path).await
        }));
    }

    /// The hub has said hello: it is told all that it must know.
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
        self.phase = Phase::Up(pipe);
    }

    fn lost(&mut self, error: &io::Error) {
        let Phase::Up(pipe) = std::mem::replace(&mut self.phase, Phase::Over) else { return };
        let Some(port) = &self.state.cluster else { return };
        let again = io_thread::with(|io| io.outbound.interrupt(port, pipe)).unwrap_or(0);
        let lost = self.sent.saturating_sub(self.handled).saturating_sub(again);
        let counters = &self.state.counters;
        Counters::one(&counters.bus_lost_links);
        Counters::add(&counters.bus_lost, lost);
        let reason = format!(
            "the connection to the hub was lost ({error}): messages of other workers were missed, \
             and up to {lost} of this worker"
        );
        report_loss(&self.state, "", &reason, true);
        self.missed = Vec::new();
        self.settle = None;
        self.hold = Some(Box::pin(sleep(GATHERING)));
        self.state.presence().doubt();
        port.stats().clear();
        self.connect();
    }

    /// `Ready(Ok)`: others have their turn before this goes on.
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
        let Phase::Up(pipe) = &mut self.phase else { return Poll::Pending };
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
        let beyond = io_thread::with(|io| io.outbound.is_beyond(port)) == Some(true);
        if !beyond || pipe.taken() != self.moved.1 {
            self.moved = (Instant::now(), pipe.taken());
        } else if self.moved.0.elapsed() >= DEAF {
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
            let Phase::Up(pipe) = &mut self.phase else { return Poll::Pending };
            ready!(pipe.poll_read(cx))?;
            self.take_frames()?;
        }
        Poll::Ready(Ok(()))
    }

    fn report(&mut self) {
        let values = self.state.stats().values();
        // A hub that does not read gets no more of them.
        if let Phase::Up(pipe) = &mut self.phase
            && pipe.waiting() < REPORTS
            && values != self.reported
        {
            pipe.push(Up::Stats { values: values.clone() }.encode());
            self.reported = values;
        }
    }
}
