//! A session: one connection, from the handshake to its end.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, sleep_until};

use super::dedup::Dedup;
use super::driver::{Driver, Incoming, SendResult};
use super::envelope::Body;
use super::event::FromBroker;
use super::gauge::{Gauge, LOOK};
use super::queue::Item;
use super::shared::{Shared, add};
use super::subscriptions::Change;
use super::url::BrokerUrl;
use sprocket_protocol::topic::check_topic;

/// Why a session has ended.
pub(super) enum End {
    /// The host has dropped its handle or receiver.
    Closed,
    /// The connection broke, or could not be established, for this reason.
    Broken(String),
}

/// One connection. The thread makes it and runs it to its end.
pub(super) struct Session<'a> {
    pub(super) driver: Box<dyn Driver>,
    pub(super) shared: &'a Shared,
    pub(super) events: Sender<FromBroker>,
    pub(super) dedup: &'a mut Dedup,
    pub(super) url: BrokerUrl,
    /// Maximum time that the broker may be silent. The session sends a ping after half of it.
    pub(super) patience: Duration,
    /// The last time that the host made the thread wait; the session could not receive anything before
    /// that.
    pub(super) held_up: Rc<Cell<Instant>>,
    /// The broker has processed the first subscriptions: publications are sent from then on.
    pub(super) ready: &'a mut bool,
    pub(super) gauge: Arc<Gauge>,
}

impl Session<'_> {
    /// Subscribes, publishes and receives until the connection ends.
    pub(super) async fn run(mut self) -> Result<(), End> {
        self.driver.start();
        let names = {
            let mut inner = self.shared.lock();
            inner.linked = true;
            inner.subscriptions.restart()
        };
        for name in names {
            self.driver.subscribe(&name);
        }
        self.driver.ping();
        let result = self.exchange().await;
        let lost = self.shared.unlink(|item| self.driver.retry_window(item));
        for item in lost {
            self.lost(
                &item,
                "the connection broke before the message was confirmed, and it is too late to \
                send it again: it may have been stored"
                    .to_owned(),
                true,
            )
            .await?;
        }
        self.shared.notify_if_idle();
        result
    }

    /// Sends and receives; returns only with the reason of the end.
    async fn exchange(&mut self) -> Result<(), End> {
        let mut heard = Instant::now();
        let mut received = self.driver.received();
        let mut looked = received;
        let mut pinged = true;
        loop {
            let patience = if pinged { self.patience } else { self.patience / 2 };
            // The time during which the host held the thread up does not count as silence.
            let since = heard.max(self.held_up.get());
            tokio::select! {
                biased;
                incoming = poll_fn(|cx| self.driver.poll_incoming(cx)) => {
                    let incoming = incoming.map_err(End::Broken)?;
                    pinged &= !matches!(incoming, Incoming::Alive);
                    self.handle(incoming).await?;
                    (heard, received) = (Instant::now(), self.driver.received());
                }
                () = self.shared.wake.notified() => {}
                // The next round polls the driver, which compares the bytes with their limit.
                () = sleep(LOOK), if self.gauge.is_measuring() => {
                    if std::mem::replace(&mut looked, self.driver.received()) == looked {
                        self.gauge.stop();
                    }
                }
                () = sleep_until(since + patience) => {
                    let before = std::mem::replace(&mut received, self.driver.received());
                    if received != before {
                        heard = Instant::now();
                    } else if since < self.held_up.get() {
                        // The host has held the thread up in the meantime.
                    } else if pinged {
                        return Err(End::Broken(format!("the broker was silent for {:?}", self.patience)));
                    } else {
                        self.driver.ping();
                        pinged = true;
                    }
                }
            }
            if *self.ready {
                self.fill().await?;
            }
        }
    }

    /// Passes waiting subscriptions, control messages and publications to the driver, as far as it
    /// has room.
    async fn fill(&mut self) -> Result<(), End> {
        loop {
            let refused = {
                let mut inner = self.shared.lock();
                while let Some(change) = inner.changes.pop_front() {
                    match change {
                        Change::Subscribe(name) => self.driver.subscribe(&name),
                        Change::Unsubscribe(name) => self.driver.unsubscribe(&name),
                    }
                }
                while self.driver.has_room()
                    && let Some(payload) = inner.control.pop_front()
                {
                    inner.control_bytes -= payload.len();
                    self.driver.control(&payload);
                }
                loop {
                    let Some(item) = inner.queue.peek().filter(|_| self.driver.has_room()) else {
                        break None;
                    };
                    match self.driver.publish(&item) {
                        SendResult::Sent => inner.queue.advance(),
                        SendResult::Later => break None,
                        SendResult::Refused(reason) => {
                            let repeated = inner.queue.discard();
                            break Some((item, reason, repeated));
                        }
                    }
                }
            };
            let Some((item, reason, repeated)) = refused else { return Ok(()) };
            self.lost(&item, reason, repeated).await?;
            self.shared.notify_if_idle();
        }
    }

    async fn handle(&mut self, incoming: Incoming) -> Result<(), End> {
        let counters = &self.shared.counters;
        match incoming {
            Incoming::Message { via, topic, body } => {
                let Some(topic) = topic.filter(|topic| check_topic(topic).is_ok()) else {
                    add(&counters.foreign, 1);
                    return Ok(());
                };
                let represents = self.shared.lock().subscriptions.represents(&via, &topic);
                if represents && self.is_new(&body) {
                    add(&counters.received, 1);
                    let Body { payload, binary, position, previous, .. } = body;
                    self.report(FromBroker::Message { topic, payload, binary, position, previous }).await?;
                }
            }
            Incoming::Broadcast(body) => {
                if self.is_new(&body) {
                    add(&counters.received, 1);
                    let Body { payload, binary, .. } = body;
                    self.report(FromBroker::Broadcast { payload, binary }).await?;
                }
            }
            Incoming::Control(body) => {
                if body.node != self.shared.node && body.node != 0 {
                    self.report(FromBroker::Control { node: body.node, payload: body.payload }).await?;
                }
            }
            Incoming::Confirmed(number) => {
                let known = self.shared.lock().queue.settle(number).is_some();
                add(&counters.published, known.into());
                self.shared.notify_if_idle();
            }
            Incoming::ConfirmedUpTo(number) => {
                let count = self.shared.lock().queue.settle_to(number);
                add(&counters.published, count);
                self.shared.notify_if_idle();
            }
            Incoming::Refused { number, reason, uncertain } => {
                let settled = self.shared.lock().queue.settle(number);
                if let Some((item, repeated)) = settled {
                    self.lost(&item, reason, uncertain || repeated).await?;
                }
                self.shared.notify_if_idle();
            }
            Incoming::Loss { topic, reason } => {
                add(&counters.lost, 1);
                // Other nodes may have received it.
                self.report(FromBroker::Lost { topic, reason, uncertain: true }).await?;
            }
            Incoming::Alive if !*self.ready => {
                *self.ready = true;
                self.shared.lock().connected = true;
                add(&counters.connections, 1);
                let reason = format!("connected to {}", self.url);
                self.report(FromBroker::State { connected: true, reason }).await?;
            }
            Incoming::Alive | Incoming::Nothing => {}
        }
        Ok(())
    }

    /// Whether a message is neither this node's own nor a duplicate. A message with a position is
    /// always new: the broker has deduplicated it, and it comes back to its sender on purpose.
    fn is_new(&mut self, body: &Body) -> bool {
        if body.position.is_some() {
            return true;
        }
        let new = body.node != self.shared.node && self.dedup.is_new(body.node, body.number);
        if !new && body.node != self.shared.node {
            self.shared.counters.duplicates.fetch_add(1, Ordering::Relaxed);
        }
        new
    }

    async fn lost(&self, item: &Item, reason: String, uncertain: bool) -> Result<(), End> {
        add(&self.shared.counters.lost, 1);
        self.report(FromBroker::Lost { topic: item.topic().to_owned(), reason, uncertain }).await
    }

    async fn report(&self, event: FromBroker) -> Result<(), End> {
        self.events.send(event).await.map_err(|_| End::Closed)
    }
}
