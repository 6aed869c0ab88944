//! The hub's event loop: one task accepts the workers, reads and writes their sockets, and passes
//! what arrives to [`Hub`]. A single task gives all publications one order.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdListener;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::net::unix::pipe::Receiver;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Sleep, sleep_until};

use crate::cluster::hub::upstream::{Broker, BrokerConnection};
use crate::cluster::hub::{Hub, WorkerLink, random};
use crate::cluster::hub_config::HubConfig;
use crate::cluster::presence::gossip::Gossip;
use crate::cluster::wire::OVERHEAD;
use crate::cluster::wire::pipe::Pipe;
use crate::metrics::single::Single;
use sprocket_broker;

/// Connections at once. A node has at most 256 workers, and during a reload as many replacements.
const MAX_LINKS: usize = 512;
/// Frames read from one worker before the next one has its turn.
const FRAMES: usize = 64;
/// Messages processed from the broker before the workers have their turn.
const MESSAGES: usize = 256;
/// Rounds over all sockets in one turn of the task, before it yields to others on its thread.
const ROUNDS: usize = 16;
/// Requests to the broker that may wait for answers before the hub stops reading from the workers.
const QUESTIONS: usize = 1000;
/// Time for a new connection to send its `Hello`.
const GREETING: Duration = Duration::from_secs(5);
/// Interval between reports to the workers.
const TICK: Duration = Duration::from_secs(1);
/// Interval between removals of expired publications.
const SWEEP: Duration = Duration::from_secs(5);
/// Time for connected workers to finish after the hub was asked to end, and then for the broker to
/// accept the last publications.
const GRACE: Duration = Duration::from_secs(5);
/// Pause after a failed accept().
const BACK_OFF: Duration = Duration::from_millis(100);

/// A hub with its listening socket and timers.
#[derive(Debug)]
pub(crate) struct Service {
    hub: Hub,
    listener: Option<UnixListener>,
    /// Whether to disconnect workers that do not read. False for a hub inside its only worker.
    cuts: bool,
    /// Timer for the earliest deadline, set by [`Service::arm`].
    sleep: Pin<Box<Sleep>>,
    /// When the next reports are due, if something has changed.
    tick: Option<Instant>,
    /// When expired publications were last removed.
    swept: Instant,
    /// When to call accept() again after a failure.
    accept_again: Option<Instant>,
    /// When the hub ends even if workers are still connected; set when it was asked to end.
    ending: Option<Instant>,
    /// Number of frames and messages processed and of turns of this task. While it does not change,
    /// the hub is idle.
    events: Arc<Single>,
}

/// Runs the hub of a node in a process of its own: serves the workers that connect to `listener`
/// until all writing ends of the pipe `quit` are closed. Workers connected at that moment have some
/// seconds to finish.
///
/// # Errors
/// The runtime can't be created, the listener or the pipe can't be registered with it, or the broker's
/// settings are invalid.
pub fn serve_blocking(config: HubConfig, listener: StdListener, quit: OwnedFd) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let broker = connect(&config)?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let quit = Receiver::from_owned_fd(quit)?;
        let reclaim = config.reclaim;
        let service = Service::new(config, Some(listener), broker)?;
        let events = service.events.clone();
        tokio::spawn(crate::reclaim::watch(reclaim, move || events.read()));
        service.run(closed(quit)).await;
        Ok(())
    })
}

/// Creates the client of the configured broker, if there is one, and a random number for this node.
/// The client connects in the background.
///
/// # Errors
/// The broker's settings are invalid, or the operating system returns no random numbers.
pub(crate) fn connect(config: &HubConfig) -> io::Result<Option<(u64, BrokerConnection)>> {
    let Some(broker) = &config.broker else { return Ok(None) };
    let node = random()?;
    broker.check().map_err(io::Error::other)?;
    let (client, incoming) = sprocket_broker::connect(broker.clone(), node);
    Ok(Some((node, (Arc::new(client), incoming))))
}

/// Resolves when all writing ends of a pipe are closed. Ignores bytes written to it.
async fn closed(pipe: Receiver) {
    loop {
        if pipe.readable().await.is_err() {
            return;
        }
        match pipe.try_read(&mut [0; 64]) {
            Ok(0) => return,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
            Ok(_) | Err(_) => {}
        }
    }
}

impl Service {
    pub(crate) fn new(
        config: HubConfig,
        listener: Option<UnixListener>,
        broker: Option<(u64, BrokerConnection)>,
    ) -> io::Result<Self> {
        let (node, broker) = broker.map_or((0, None), |(node, c)| (node, Some(Broker::new(c))));
        Ok(Self {
            hub: Hub::new(config, node, random()?, broker),
            listener,
            cuts: true,
            sleep: Box::pin(sleep_until(Instant::now().into())),
            tick: None,
            swept: Instant::now(),
            accept_again: None,
            ending: None,
            events: Arc::default(),
        })
    }

    /// Adds the worker that shares this process with the hub, over one end of a socket pair.
    pub(crate) fn for_one(mut self, stream: UnixStream) -> Self {
        self.cuts = false;
        self.add(stream);
        self
    }

    /// Serves workers until `quit` resolves, and the connected ones for up to [`GRACE`] longer.
    pub(crate) async fn run(mut self, quit: impl Future<Output = ()>) {
        let mut quit = pin!(quit);
        poll_fn(|cx| {
            if self.ending.is_none() && quit.as_mut().poll(cx).is_ready() {
                self.ending = Some(Instant::now() + GRACE);
                self.listener = None;
            }
            self.poll(cx)
        })
        .await;
        if let Some(broker) = &self.hub.broker {
            broker.upstream.control(Gossip::bye());
            // Publications already accepted should still reach the other nodes.
            let _ = tokio::time::timeout(GRACE, broker.upstream.flush()).await;
        }
    }

    /// Adds a connection, which must send its `Hello` first.
    fn add(&mut self, stream: UnixStream) {
        let pipe = Pipe::new(stream, self.hub.config.queue.saturating_add(OVERHEAD));
        let id = self.hub.next_link;
        self.hub.next_link += 1;
        self.hub.links.push(WorkerLink::new(id, pipe, Instant::now()));
    }

    /// One turn of the task. `Ready` when the hub ends.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.events.add(1);
        for _ in 0..ROUNDS {
            let now = Instant::now();
            self.timers(now);
            let mut progress = self.accept(cx, now);
            progress |= self.flush(cx, now);
            progress |= self.read(cx, now);
            progress |= self.read_broker(cx, now);
            // A worker in this process sends its last frame before it ends the hub.
            if self.ending.is_some_and(|end| !self.cuts || self.hub.links.is_empty() || now >= end) {
                return Poll::Ready(());
            }
            if !progress && self.arm(cx, now) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Accepts waiting connections. True if there were any.
    fn accept(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut progress = false;
        while let Some(listener) = &self.listener
            && self.hub.links.len() < MAX_LINKS
            && self.accept_again.is_none_or(|at| now >= at)
        {
            self.accept_again = None;
            match listener.poll_accept(cx) {
                Poll::Ready(Ok((stream, _))) => self.add(stream),
                Poll::Ready(Err(_)) => self.accept_again = Some(now + BACK_OFF),
                Poll::Pending => break,
            }
            progress = true;
        }
        progress
    }

    /// Writes the queues of all workers, and removes links that are refused, late with their `Hello`,
    /// or too slow. True if one was removed: its removal queues frames for the other workers.
    fn flush(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let queue = self.hub.config.queue;
        let mut progress = false;
        let mut at = 0;
        while let Some(link) = self.hub.links.get_mut(at) {
            let written = link.pipe.poll_flush(cx);
            link.written(queue, now);
            let stuck = self.cuts && link.cut_at().is_some_and(|at| now >= at);
            let silent = link.worker.is_none() && now >= link.since + GREETING;
            let left = link.leaving && (written.is_ready() || link.pipe.is_broken());
            if stuck {
                self.hub.count_cut();
            }
            if stuck || silent || left {
                self.hub.end(at);
                progress = true;
            } else {
                at += 1;
            }
        }
        progress
    }

    /// Whether a worker's queue is above its high-water mark, so that nothing may be added to it.
    fn is_full(&self) -> bool {
        let queue = self.hub.config.queue;
        self.hub.links.iter().any(|link| link.waiting() > queue)
    }

    /// Whether to stop reading input that may cause a request to the broker or output for workers.
    fn is_congested(&self) -> bool {
        self.is_full() || self.hub.broker.as_ref().is_some_and(|broker| broker.asking >= QUESTIONS)
    }

    /// Reads from all workers, and removes those whose connection failed. True if there was anything.
    fn read(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut progress = false;
        let mut at = 0;
        while at < self.hub.links.len() {
            match self.read_one(at, cx, now) {
                Ok(more) => {
                    progress |= more;
                    at += 1;
                }
                Err(error) => {
                    self.hub.count_end(&error);
                    self.hub.end(at);
                    progress = true;
                }
            }
        }
        progress
    }

    /// Reads and processes up to [`FRAMES`] frames of the link at an index. True if there was any.
    ///
    /// # Errors
    /// The connection has ended, or the worker violated the protocol.
    fn read_one(&mut self, at: usize, cx: &mut Context<'_>, now: Instant) -> io::Result<bool> {
        let id = self.hub.links[at].id;
        for done in 0..FRAMES {
            // A `Hello` is read even while congested: the backlog of others must not cause its timeout.
            let held = self.is_congested() && self.hub.links[at].worker.is_some();
            if held || self.hub.links[at].leaving {
                return Ok(done > 0);
            }
            match self.hub.links[at].pipe.next()? {
                Some(frame) => {
                    self.events.add(1);
                    self.hub.receive(id, &frame, now).map_err(io::Error::other)?;
                }
                None => match self.hub.links[at].pipe.poll_read(cx) {
                    Poll::Ready(read) => read?,
                    Poll::Pending => return Ok(done > 0),
                },
            }
        }
        Ok(true)
    }

    /// Processes replays and messages from the broker. True if there were any.
    fn read_broker(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut progress = false;
        // The limit on open requests does not apply to answers, because they reduce its count.
        for _ in 0..MESSAGES {
            if self.is_full() {
                break;
            }
            let Some(answer) = self.hub.broker.as_mut().and_then(|broker| broker.answer(cx)) else { break };
            self.hub.answered(answer, now);
            progress = true;
        }
        for _ in 0..MESSAGES {
            if self.is_congested() {
                break;
            }
            let Some(broker) = &mut self.hub.broker else { break };
            let Poll::Ready(Some(received)) = broker.incoming.poll_recv(cx) else { break };
            self.events.add(1);
            self.hub.receive_from_broker(received, now);
            progress = true;
        }
        progress
    }

    /// Runs the periodic work that is due: reports, removal of expired publications, and gossip.
    fn timers(&mut self, now: Instant) {
        if self.tick.is_some_and(|at| now >= at) {
            self.tick = None;
            self.hub.tick();
        }
        if now >= self.swept + SWEEP {
            self.swept = now;
            // A removal changes the counters of the history.
            if self.hub.sweep(now) && self.tick.is_none() {
                self.tick = Some(now + TICK);
            }
        }
        if self.hub.gossip.due().is_some_and(|at| now >= at) {
            self.hub.tick_gossip(now);
        }
    }

    /// Sets the timer to the earliest deadline. False if that has already passed.
    fn arm(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if self.tick.is_none() && self.hub.has_changed() {
            self.tick = Some(now + TICK);
        }
        let sweep = self.hub.remembers().then(|| self.swept + SWEEP);
        let links = self.hub.links.iter().flat_map(|link| {
            let greeting = link.worker.is_none().then(|| link.since + GREETING);
            greeting.into_iter().chain(link.cut_at().filter(|_| self.cuts))
        });
        let due = links
            .chain(
                [self.tick, sweep, self.hub.gossip.due(), self.accept_again, self.ending]
                    .into_iter()
                    .flatten(),
            )
            .min();
        let due = due.unwrap_or_else(|| now + Duration::from_secs(86_400));
        self.sleep.as_mut().reset(due.into());
        self.sleep.as_mut().poll(cx).is_pending()
    }
}
