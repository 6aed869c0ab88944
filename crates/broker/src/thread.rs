//! The thread that keeps the connection: it runs one session after the other.
//!
//! The client libraries read whatever arrives and pass it on through channels that are unbounded, or
//! that drop what does not fit. So a session and its library run in a runtime of their own, which
//! this thread drives only while the host takes the events. While the host is behind, nobody reads
//! the socket, and TCP slows the broker down. Meanwhile only the events of a single turn of the
//! library wait; all of them are taken before the library has its next turn.

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{self, Sender, error::TrySendError};
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep, timeout};

use super::backoff::Backoff;
use super::config::BrokerConfig;
use super::dedup::Dedup;
use super::driver::Driver;
use super::event::FromBroker;
use super::event_sender::EventSender;
use super::gauge::Gauge;
use super::session::{End, Session};
use super::shared::Shared;
use super::url::{BrokerKind, BrokerUrl};
use super::{nats, redis};

/// Maximum number of events that are taken from a session at a time.
const EVENTS: usize = 64;
/// Pauses between attempts to connect: the first one, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The thread's body: returns when the handle or the receiver is dropped.
pub(super) fn run(config: &BrokerConfig, shared: &Arc<Shared>, events: &Sender<FromBroker>) {
    let mut dedup = Dedup::default();
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut reported = String::new();
    // This runtime only waits; sessions have runtimes of their own.
    let host = match Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => Host { runtime, shared, events: EventSender::new(events) },
        // This is reported like an unreachable broker, but not retried.
        Err(error) => {
            let reason = format!("cannot create a runtime: {error}");
            let _ = events.blocking_send(FromBroker::State { connected: false, reason });
            return;
        }
    };
    loop {
        let mut ready = false;
        // A panic of a library ends the connection and nothing else.
        let session = AssertUnwindSafe(|| host.session(config, &mut dedup, &mut ready));
        let end = catch_unwind(session).unwrap_or_else(|_| {
            shared.unlink(|_| None);
            Err(End::Broken("an internal error of the client library".to_owned()))
        });
        let Err(End::Broken(reason)) = end else { return };
        if ready {
            backoff.reset();
            reported.clear();
        }
        if reason != reported {
            let state = FromBroker::State { connected: false, reason: reason.clone() };
            if host.report(state).is_err() {
                return;
            }
            reported = reason;
        }
        let pause = backoff.jittered();
        if host.wait(async { sleep(pause).await }).is_err() {
            return;
        }
    }
}

/// Connects to the first server of the address that accepts, and performs the handshake.
async fn open(url: &BrokerUrl, config: &BrokerConfig, node: u64) -> Result<Box<dyn Driver>, String> {
    let (prefix, largest) = (config.prefix.as_str(), config.largest());
    let mut reasons = Vec::new();
    for place in &url.places {
        let attempt = async {
            match url.kind {
                BrokerKind::Redis => redis::open(url, place, prefix, node, largest).await,
                BrokerKind::Nats => nats::open(url, place, prefix, node, largest).await,
            }
        };
        match timeout(url.patience(), attempt).await {
            Ok(Ok(driver)) => return Ok(driver),
            Ok(Err(reason)) => reasons.push(reason),
            Err(_) => reasons.push(format!("no answer within {:?}", url.patience())),
        }
    }
    Err(reasons.join("; "))
}

/// The host's side, as the thread sees it.
struct Host<'a> {
    runtime: Runtime,
    shared: &'a Arc<Shared>,
    events: EventSender<'a>,
}

impl Host<'_> {
    /// Connects and stays until the connection ends. Tasks that a library has left behind end with
    /// the session's runtime.
    fn session(&self, config: &BrokerConfig, dedup: &mut Dedup, ready: &mut bool) -> Result<(), End> {
        let gauge = Arc::new(Gauge::default());
        let (measured, woken) = (gauge.clone(), self.shared.clone());
        // Redis needs no gauge: its bytes are bounded at the socket, below the library.
        let needs_gauge = config.check().is_ok_and(|url| url.kind() == BrokerKind::Nats);
        let mut library = Builder::new_current_thread();
        // One event per turn: what a turn has read is taken before the next one.
        let library = library.enable_all().event_interval(1).on_thread_unpark(move || {
            if needs_gauge && measured.start() {
                woken.wake.notify_one();
            }
        });
        let library = library.build();
        let library = library.map_err(|error| End::Broken(format!("cannot create a runtime: {error}")))?;
        let (events, taken) = mpsc::channel(EVENTS);
        let held_up = Rc::new(Cell::new(Instant::now()));
        let session = async {
            let url = config.check().map_err(|error| End::Broken(error.to_string()))?;
            let driver = open(&url, config, self.shared.node).await.map_err(End::Broken)?;
            let patience = url.patience();
            let held_up = held_up.clone();
            Session { driver, shared: self.shared, events, dedup, url, patience, held_up, ready, gauge }
                .run()
                .await
        };
        let end = self.drive(&library, session, taken, &held_up);
        // Does not wait for a DNS lookup that is still running.
        library.shutdown_background();
        end
    }

    /// Runs a session while the host takes its events.
    fn drive(
        &self,
        library: &Runtime,
        session: impl Future<Output = Result<(), End>>,
        mut events: mpsc::Receiver<FromBroker>,
        held_up: &Cell<Instant>,
    ) -> Result<(), End> {
        let mut session = pin!(session);
        let mut batch = Vec::with_capacity(EVENTS);
        loop {
            let ended = library.block_on(unconstrained(async {
                tokio::select! {
                    // The order matters: all events are taken before the library has its turn.
                    biased;
                    end = &mut session => Some(end),
                    1.. = events.recv_many(&mut batch, EVENTS) => None,
                    () = self.gone() => Some(Err(End::Closed)),
                }
            }));
            if ended.is_some() {
                // The session's last events.
                while let Ok(event) = events.try_recv() {
                    batch.push(event);
                }
            }
            for event in batch.drain(..) {
                if self.report(event)? {
                    held_up.set(Instant::now());
                }
            }
            if let Some(end) = ended {
                return end;
            }
        }
    }

    /// Passes an event on and waits until the host has room for it. Returns whether it had to wait.
    fn report(&self, event: FromBroker) -> Result<bool, End> {
        match self.events.try_send(event) {
            Ok(()) => Ok(false),
            Err(TrySendError::Closed(_)) => Err(End::Closed),
            Err(TrySendError::Full(event)) => match self.wait(self.events.send(event))? {
                Ok(()) => Ok(true),
                Err(_) => Err(End::Closed),
            },
        }
    }

    /// Waits for a future, unless the host ends the connection first.
    fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, End> {
        self.runtime.block_on(async {
            tokio::select! {
                done = future => Ok(done),
                () = self.gone() => Err(End::Closed),
            }
        })
    }

    /// Waits until the handle or the receiver is dropped.
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
