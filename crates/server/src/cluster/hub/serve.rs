//! How the hub reads and writes: one task serves all workers, so that what it does has one order.

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

use crate::cluster::config::HubConfig;
use crate::cluster::hub::upstream::{Broker, Connected};
use crate::cluster::hub::{Hub, Link, random};
use crate::cluster::presence::gossip::Gossip;
use crate::cluster::wire::OVERHEAD;
use crate::cluster::wire::pipe::Pipe;
use crate::metrics::single::Single;
use sprocket_broker;

/// Workers at once: twice 256 while each replaces another.
const MAX_LINKS: usize = 512;
/// Frames of one worker before the next one has its turn.
const FRAMES: usize = 64;
/// What comes from the broker before the workers have their turn.
const MESSAGES: usize = 256;
/// Rounds before other tasks of the thread have their turn.
const ROUNDS: usize = 16;
/// Questions to the broker at once.
const QUESTIONS: usize = 1000;
/// For a worker to say hello.
const GREETING: Duration = Duration::from_secs(5);
/// Between two of what is told now and then.
const TICK: Duration = Duration::from_secs(1);
const SWEEP: Duration = Duration::from_secs(5);
/// Workers that are there when the hub is to end may finish.
const GRACE: Duration = Duration::from_secs(5);
/// Until `accept` is tried again.
const BACK_OFF: Duration = Duration::from_millis(100);

/// A hub with its sockets.
#[derive(Debug)]
pub(crate) struct Service {
    hub: Hub,
    listener: Option<UnixListener>,
    /// Workers that don't read are cut: not the only one, which is in this very process.
    cuts: bool,
    sleep: Pin<Box<Sleep>>,
    tick: Option<Instant>,
    swept: Instant,
    accept_again: Option<Instant>,
    ending: Option<Instant>,
    /// Frames and messages that were taken, and turns of this task.
    events: Arc<Single>,
}

/// The hub of a node, for a process of its own: serves the workers that connect to `listener`,
/// until `quit`, the reading end of a pipe, reports that all its writing ends are closed. Workers
/// that are there then may finish, for some seconds.
///
/// # Errors
/// The runtime can't be had, or the listener can't be used.
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

/// The broker of these settings, if they name one, and who we are there.
pub(crate) fn connect(config: &HubConfig) -> io::Result<Option<(u64, Connected)>> {
    let Some(broker) = &config.broker else { return Ok(None) };
    let node = random()?;
    broker.check().map_err(io::Error::other)?;
    let (client, incoming) = sprocket_broker::connect(broker.clone(), node);
    Ok(Some((node, (Arc::new(client), incoming))))
}

/// Until all writing ends of a pipe are closed; what is written does not matter.
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
        broker: Option<(u64, Connected)>,
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

    /// For the one worker in this process.
    pub(crate) fn for_one(mut self, stream: UnixStream) -> Self {
        self.cuts = false;
        self.add(stream);
        self
    }

    /// Serves until `quit`, and then those that are there until they go, for a while.
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
            // What was accepted should reach the others yet.
            let _ = tokio::time::timeout(GRACE, broker.upstream.flush()).await;
        }
    }

    fn add(&mut self, stream: UnixStream) {
        let pipe = Pipe::new(stream, self.hub.config.queue.saturating_add(OVERHEAD));
        let id = self.hub.next_link;
        self.hub.next_link += 1;
        self.hub.links.push(Link::new(id, pipe, Instant::now()));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.events.add(1);
        for _ in 0..ROUNDS {
            let now = Instant::now();
            self.timers(now);
            let mut progress = self.accept(cx, now);
            progress |= self.flush(cx, now);
            progress |= self.read(cx, now);
            progress |= self.hear_broker(cx, now);
            // A worker in this process has said its last before it ends the hub.
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

    /// Writes to all, and lets those go that are over, or that leave too much unread.
    /// True if some went: the others have been told, and have that to write yet.
    fn flush(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let queue = self.hub.config.queue;
        let mut progress = false;
        let mut at = 0;
        while let Some(link) = self.hub.links.get_mut(at) {
            let written = link.pipe.poll_flush(cx);
            link.written(queue, now);
            let stuck = self.cuts && link.cut_at().is_some_and(|at| now >= at);
            let mute = link.worker.is_none() && now >= link.since + GREETING;
            let left = link.leaving && (written.is_ready() || link.pipe.is_broken());
            if stuck {
                self.hub.cut();
            }
            if stuck || mute || left {
                self.hub.end(at);
                progress = true;
            } else {
                at += 1;
            }
        }
        progress
    }

    /// Whether some worker has to read first, before there is more to write.
    fn is_full(&self) -> bool {
        let queue = self.hub.config.queue;
        self.hub.links.iter().any(|link| link.waiting() > queue)
    }

    /// The same before more is taken in that may become a question to the broker.
    fn is_congested(&self) -> bool {
        self.is_full() || self.hub.broker.as_ref().is_some_and(|broker| broker.asking >= QUESTIONS)
    }

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

    fn read_one(&mut self, at: usize, cx: &mut Context<'_>, now: Instant) -> io::Result<bool> {
        let id = self.hub.links[at].id;
        for done in 0..FRAMES {
            // Who has not said hello may do so: it has no part in what others leave unread.
            let held = self.is_congested() && self.hub.links[at].worker.is_some();
            if held || self.hub.links[at].leaving {
                return Ok(done > 0);
            }
            match self.hub.links[at].pipe.next()? {
                Some(frame) => {
                    self.events.add(1);
                    self.hub.hear(id, &frame, now).map_err(io::Error::other)?;
                }
                None => match self.hub.links[at].pipe.poll_read(cx) {
                    Poll::Ready(read) => read?,
                    Poll::Pending => return Ok(done > 0),
                },
            }
        }
        Ok(true)
    }

    fn hear_broker(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut progress = false;
        // Not held up by too many questions: answers are what makes them fewer.
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
            let Poll::Ready(Some(said)) = broker.incoming.poll_recv(cx) else { break };
            self.events.add(1);
            self.hub.hear_broker(said, now);
            progress = true;
        }
        progress
    }

    fn timers(&mut self, now: Instant) {
        if self.tick.is_some_and(|at| now >= at) {
            self.tick = None;
            self.hub.tick();
        }
        if now >= self.swept + SWEEP {
            self.swept = now;
            // What went is told with the counters.
            if self.hub.sweep(now) && self.tick.is_none() {
                self.tick = Some(now + TICK);
            }
        }
        if self.hub.gossip.due().is_some_and(|at| now >= at) {
            self.hub.tick_gossip(now);
        }
    }

    /// Sleeps until something is due. False if that is now.
    fn arm(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if self.tick.is_none() && self.hub.has_news() {
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
