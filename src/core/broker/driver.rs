//! The thread that owns the connection: connects, subscribes, publishes, listens, and begins anew.
//!
//! The client libraries read what comes and hand it on through channels that have no bound, or drop
//! what has no room. So they run in a runtime of this thread's own, which is driven only as long as
//! the host takes what is heard: while the host is behind, nobody reads the socket, and TCP slows
//! the broker down. What waits meanwhile is what one turn of a library has read; all of it is taken
//! before the library has its next turn.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{self, Sender, error::TrySendError};
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep, sleep_until};

use super::envelope::Body;
use super::events::Events;
use super::gauge::{Gauge, LOOK};
use super::pause::Pause;
use super::queue::Item;
use super::seen::Seen;
use super::upstream::Change;
use super::url::{BrokerKind, BrokerUrl};
use super::wire::{Heard, Put, Wire, open};
use super::{BrokerConfig, FromBroker, Shared, add};
use crate::patterns::check_topic;

/// Events that are taken from a session in one go.
const EVENTS: usize = 64;

/// Why a session ended.
enum End {
    /// Nobody is there any more for whom to do it.
    Closed,
    Broken(String),
}

/// Until the handle or the receiver is dropped.
pub(super) fn run(config: &BrokerConfig, shared: &Arc<Shared>, events: &Sender<FromBroker>) {
    let mut seen = Seen::default();
    let mut pause = Pause::new();
    let mut told = String::new();
    // One that only waits.
    let host = match Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => Host { runtime, shared, events: Events::new(events) },
        // Like a broker that is away, but there is no hope.
        Err(error) => {
            let reason = format!("cannot make a runtime: {error}");
            let _ = events.blocking_send(FromBroker::State { connected: false, reason });
            return;
        }
    };
    loop {
        let mut ready = false;
        // A fault of a library ends the connection and nothing else.
        let session = AssertUnwindSafe(|| host.session(config, &mut seen, &mut ready));
        let end = catch_unwind(session).unwrap_or_else(|_| {
            unlink(shared, |_| None);
            Err(End::Broken("a fault in the client library".to_owned()))
        });
        let Err(End::Broken(reason)) = end else { return };
        if ready {
            pause = Pause::new();
            told.clear();
        }
        if reason != told {
            let state = FromBroker::State { connected: false, reason: reason.clone() };
            if host.tell(state).is_err() {
                return;
            }
            told = reason;
        }
        let pause = pause.next();
        if host.wait(async { sleep(pause).await }).is_err() {
            return;
        }
    }
}

/// There is no connection any more. What was not confirmed will be sent again, but for what is given
/// back: the broker would not know it again.
fn unlink(shared: &Shared, known: impl Fn(&Item) -> Option<Duration>) -> Vec<Arc<Item>> {
    let mut inner = shared.lock();
    (inner.linked, inner.connected) = (false, false);
    inner.changes.clear();
    inner.control.clear();
    inner.control_bytes = 0;
    inner.queue.rewind(known)
}

/// For whom it is done.
struct Host<'a> {
    runtime: Runtime,
    shared: &'a Arc<Shared>,
    events: Events<'a>,
}

impl Host<'_> {
    /// Makes a connection, and stays until it ends. Whatever a library has left running ends with it.
    fn session(&self, config: &BrokerConfig, seen: &mut Seen, ready: &mut bool) -> Result<(), End> {
        // After each turn of a library what it has read is taken.
        let gauge = Arc::new(Gauge::default());
        let (begun, woken) = (gauge.clone(), self.shared.clone());
        // What Redis sends is bounded below its library.
        let looks = config.check().is_ok_and(|url| url.kind() == BrokerKind::Nats);
        let mut library = Builder::new_current_thread();
        let library = library.enable_all().event_interval(1).on_thread_unpark(move || {
            if looks && begun.begin() {
                woken.wake.notify_one();
            }
        });
        let library = library.build();
        let library = library.map_err(|error| End::Broken(format!("cannot make a runtime: {error}")))?;
        let (events, heard) = mpsc::channel(EVENTS);
        let held_up = Rc::new(Cell::new(Instant::now()));
        let session = async {
            let url = config.check().map_err(|error| End::Broken(error.to_string()))?;
            let wire = open(&url, config, self.shared.node).await.map_err(End::Broken)?;
            let patience = url.patience();
            let held_up = held_up.clone();
            Session { wire, shared: self.shared, events, seen, url, patience, held_up, ready, gauge }
                .run()
                .await
        };
        let end = self.drive(&library, session, heard, &held_up);
        // Without waiting for a name that is being looked up.
        library.shutdown_background();
        end
    }

    /// Lets a session run as long as the host takes what it says.
    fn drive(
        &self,
        library: &Runtime,
        session: impl Future<Output = Result<(), End>>,
        mut heard: mpsc::Receiver<FromBroker>,
        held_up: &Cell<Instant>,
    ) -> Result<(), End> {
        let mut session = pin!(session);
        let mut batch = Vec::with_capacity(EVENTS);
        loop {
            let ended = library.block_on(unconstrained(async {
                tokio::select! {
                    // What it says now is taken before the library has a turn.
                    biased;
                    end = &mut session => Some(end),
                    1.. = heard.recv_many(&mut batch, EVENTS) => None,
                    () = self.gone() => Some(Err(End::Closed)),
                }
            }));
            if ended.is_some() {
                // What it said last.
                while let Ok(event) = heard.try_recv() {
                    batch.push(event);
                }
            }
            for event in batch.drain(..) {
                if self.tell(event)? {
                    held_up.set(Instant::now());
                }
            }
            if let Some(end) = ended {
                return end;
            }
        }
    }

    /// Waits until the host takes it. True: that took time.
    fn tell(&self, event: FromBroker) -> Result<bool, End> {
        match self.events.try_send(event) {
            Ok(()) => Ok(false),
            Err(TrySendError::Closed(_)) => Err(End::Closed),
            Err(TrySendError::Full(event)) => match self.wait(self.events.send(event))? {
                Ok(()) => Ok(true),
                Err(_) => Err(End::Closed),
            },
        }
    }

    /// Waits for something, as long as there is somebody for whom.
    fn wait<T>(&self, what: impl Future<Output = T>) -> Result<T, End> {
        self.runtime.block_on(async {
            tokio::select! {
                done = what => Ok(done),
                () = self.gone() => Err(End::Closed),
            }
        })
    }

    /// The handle or the receiver was dropped.
    async fn gone(&self) {
        let closed = async {
            loop {
                let gone = self.shared.gone.notified();
                if self.shared.lock().closed {
                    return;
                }
                gone.await;
            }
        };
        tokio::select! {
            () = closed => {}
            () = self.events.closed() => {}
        }
    }
}

/// One connection.
struct Session<'a> {
    wire: Box<dyn Wire>,
    shared: &'a Shared,
    events: Sender<FromBroker>,
    seen: &'a mut Seen,
    url: BrokerUrl,
    patience: Duration,
    /// When the host last let us wait.
    held_up: Rc<Cell<Instant>>,
    /// The broker has dealt with the first subscriptions.
    ready: &'a mut bool,
    gauge: Arc<Gauge>,
}

impl Session<'_> {
    async fn run(mut self) -> Result<(), End> {
        self.wire.begin();
        let names = {
            let mut inner = self.shared.lock();
            inner.linked = true;
            inner.upstream.restart()
        };
        for name in names {
            self.wire.subscribe(&name);
        }
        self.wire.ask();
        let result = self.talk().await;
        let lost = unlink(self.shared, |item| self.wire.known_for(item));
        for item in lost {
            self.lost(&item, "the connection broke before it was confirmed, and it is too late to repeat it: it may have been stored".to_owned(), true).await?;
        }
        self.idle();
        result
    }

    async fn talk(&mut self) -> Result<(), End> {
        let mut heard = Instant::now();
        let mut received = self.wire.received();
        let mut looked = received;
        let mut asked = true;
        loop {
            let patience = if asked { self.patience } else { self.patience / 2 };
            // The host may have taken its time.
            let since = heard.max(self.held_up.get());
            tokio::select! {
                biased;
                word = poll_fn(|cx| self.wire.poll_hear(cx)) => {
                    let word = word.map_err(End::Broken)?;
                    asked &= !matches!(word, Heard::Alive);
                    self.take(word).await?;
                    (heard, received) = (Instant::now(), self.wire.received());
                }
                () = self.shared.wake.notified() => {}
                // The next turn of the loop looks.
                () = sleep(LOOK), if self.gauge.is_looked_at() => {
                    if std::mem::replace(&mut looked, self.wire.received()) == looked {
                        self.gauge.end();
                    }
                }
                () = sleep_until(since + patience) => {
                    let before = std::mem::replace(&mut received, self.wire.received());
                    if received != before {
                        heard = Instant::now();
                    } else if since < self.held_up.get() {
                        // Nobody has looked.
                    } else if asked {
                        return Err(End::Broken(format!("the broker was silent for {:?}", self.patience)));
                    } else {
                        self.wire.ask();
                        asked = true;
                    }
                }
            }
            if *self.ready {
                self.fill().await?;
            }
        }
    }

    /// Puts together what is to be sent.
    async fn fill(&mut self) -> Result<(), End> {
        loop {
            let refused = {
                let mut inner = self.shared.lock();
                while let Some(change) = inner.changes.pop_front() {
                    match change {
                        Change::Subscribe(name) => self.wire.subscribe(&name),
                        Change::Unsubscribe(name) => self.wire.unsubscribe(&name),
                    }
                }
                while self.wire.has_room()
                    && let Some(payload) = inner.control.pop_front()
                {
                    inner.control_bytes -= payload.len();
                    self.wire.control(&payload);
                }
                loop {
                    let Some(item) = inner.queue.peek().filter(|_| self.wire.has_room()) else { break None };
                    match self.wire.publish(&item) {
                        Put::Sent => inner.queue.advance(),
                        Put::Later => break None,
                        Put::Refused(reason) => {
                            let again = inner.queue.discard();
                            break Some((item, reason, again));
                        }
                    }
                }
            };
            let Some((item, reason, again)) = refused else { return Ok(()) };
            self.lost(&item, reason, again).await?;
            self.idle();
        }
    }

    async fn take(&mut self, word: Heard) -> Result<(), End> {
        let counters = &self.shared.counters;
        match word {
            Heard::Message { via, topic, body } => {
                let Some(topic) = topic.filter(|topic| check_topic(topic).is_ok()) else {
                    add(&counters.foreign, 1);
                    return Ok(());
                };
                let represents = self.shared.lock().upstream.represents(&via, &topic);
                if represents && self.is_news(&body) {
                    add(&counters.received, 1);
                    let Body { payload, binary, position, previous, .. } = body;
                    self.tell(FromBroker::Message { topic, payload, binary, position, previous }).await?;
                }
            }
            Heard::Broadcast(body) => {
                if self.is_news(&body) {
                    add(&counters.received, 1);
                    let Body { payload, binary, .. } = body;
                    self.tell(FromBroker::Broadcast { payload, binary }).await?;
                }
            }
            Heard::Control(body) => {
                if body.node != self.shared.node && body.node != 0 {
                    self.tell(FromBroker::Control { node: body.node, payload: body.payload }).await?;
                }
            }
            Heard::Done(number) => {
                let known = self.shared.lock().queue.settle(number).is_some();
                add(&counters.published, known.into());
                self.idle();
            }
            Heard::DoneTo(number) => {
                let known = self.shared.lock().queue.settle_to(number);
                add(&counters.published, known);
                self.idle();
            }
            Heard::Refused { number, reason, uncertain } => {
                let settled = self.shared.lock().queue.settle(number);
                if let Some((item, again)) = settled {
                    self.lost(&item, reason, uncertain || again).await?;
                }
                self.idle();
            }
            Heard::Trouble { topic, reason } => {
                add(&counters.lost, 1);
                // Others may have it.
                self.tell(FromBroker::Lost { topic, reason, uncertain: true }).await?;
            }
            Heard::Alive if !*self.ready => {
                *self.ready = true;
                self.shared.lock().connected = true;
                add(&counters.connections, 1);
                let reason = format!("connected to {}", self.url);
                self.tell(FromBroker::State { connected: true, reason }).await?;
            }
            Heard::Alive | Heard::Nothing => {}
        }
        Ok(())
    }

    /// Not our own, and not seen before. What is in a history was checked by the broker, and comes
    /// back to whom it is from.
    fn is_news(&mut self, body: &Body) -> bool {
        if body.position.is_some() {
            return true;
        }
        let new = body.node != self.shared.node && self.seen.is_new(body.node, body.number);
        if !new && body.node != self.shared.node {
            self.shared.counters.duplicates.fetch_add(1, Ordering::Relaxed);
        }
        new
    }

    async fn lost(&self, item: &Item, reason: String, uncertain: bool) -> Result<(), End> {
        add(&self.shared.counters.lost, 1);
        self.tell(FromBroker::Lost { topic: item.topic().to_owned(), reason, uncertain }).await
    }

    async fn tell(&self, event: FromBroker) -> Result<(), End> {
        self.events.send(event).await.map_err(|_| End::Closed)
    }

    /// Wakes those who wait for the queue to be empty.
    fn idle(&self) {
        if self.shared.lock().queue.is_empty() {
            self.shared.idle.notify_waiters();
        }
    }
}
