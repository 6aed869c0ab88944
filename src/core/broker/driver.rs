//! The task that owns the connection: connects, subscribes, publishes, listens, and begins anew.

use bytes::{Buf, BytesMut};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, sleep_until};

use super::envelope::Body;
use super::pause::Pause;
use super::queue::Item;
use super::seen::Seen;
use super::upstream::Change;
use super::url::BrokerUrl;
use super::wire::{Heard, Put, Wire, open};
use super::{BrokerConfig, FromBroker, Shared, add};
use crate::patterns::check_topic;

/// Bytes that are put together before they are written: enough for large writes, and little enough
/// that subscriptions and signs of life don't wait long behind publications.
const BATCH: usize = 256 << 10;
/// Room for one read.
const READ: usize = 64 << 10;

/// Why a session ended.
enum End {
    /// Nobody is there any more for whom to do it.
    Closed,
    Broken(String),
}

/// Until the handle or the receiver is dropped.
pub(super) async fn run(config: BrokerConfig, shared: Arc<Shared>, events: Sender<FromBroker>) {
    let mut seen = Seen::default();
    let mut pause = Pause::new();
    let mut told = String::new();
    loop {
        let attempt = async {
            let url = config.check().map_err(|error| End::Broken(error.to_string()))?;
            let (wire, stream, input) = open(&url, &config.prefix, shared.node).await.map_err(End::Broken)?;
            let patience = url.patience();
            let mut session = Session {
                wire,
                shared: &shared,
                events: &events,
                seen: &mut seen,
                url,
                patience,
                ready: false,
            };
            let (reader, writer) = split(stream);
            let end = session.run(reader, writer, input).await;
            if session.ready {
                pause = Pause::new();
                told.clear();
            }
            end
        };
        let end = tokio::select! {
            end = attempt => end,
            () = events.closed() => return,
            () = closed(&shared) => return,
        };
        let Err(End::Broken(reason)) = end else { return };
        if reason != told {
            let state = FromBroker::State { connected: false, reason: reason.clone() };
            if events.send(state).await.is_err() {
                return;
            }
            told = reason;
        }
        tokio::select! {
            () = sleep(pause.next()) => {}
            () = events.closed() => return,
            () = closed(&shared) => return,
        }
    }
}

/// The handle was dropped.
async fn closed(shared: &Shared) {
    loop {
        let gone = shared.gone.notified();
        if shared.lock().closed {
            return;
        }
        gone.await;
    }
}

/// One connection.
struct Session<'a> {
    wire: Box<dyn Wire>,
    shared: &'a Shared,
    events: &'a Sender<FromBroker>,
    seen: &'a mut Seen,
    url: BrokerUrl,
    patience: Duration,
    /// The broker has dealt with the first subscriptions.
    ready: bool,
}

impl Session<'_> {
    async fn run(
        &mut self,
        mut reader: impl AsyncReadExt + Unpin,
        mut writer: impl AsyncWrite + Unpin,
        mut input: BytesMut,
    ) -> Result<(), End> {
        let mut out = BytesMut::new();
        self.wire.begin(&mut out);
        let names = {
            let mut inner = self.shared.lock();
            inner.linked = true;
            inner.upstream.restart()
        };
        for name in names {
            self.wire.subscribe(&name, &mut out);
        }
        self.wire.ask(&mut out);
        let result = self.talk(&mut reader, &mut writer, &mut input, &mut out).await;
        let lost = {
            let mut inner = self.shared.lock();
            (inner.linked, inner.connected) = (false, false);
            inner.changes.clear();
            inner.control.clear();
            inner.control_bytes = 0;
            inner.queue.rewind(|item| self.wire.known_for(item))
        };
        for item in lost {
            self.lost(&item, "the connection broke before it was confirmed, and it is too late to repeat it: it may have been stored".to_owned(), true).await?;
        }
        self.idle();
        result
    }

    async fn talk(
        &mut self,
        reader: &mut (impl AsyncReadExt + Unpin),
        writer: &mut (impl AsyncWrite + Unpin),
        input: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<(), End> {
        let mut heard = Instant::now();
        let mut asked = true;
        let mut unflushed = false;
        let broken = |error: std::io::Error| End::Broken(format!("the connection broke: {error}"));
        loop {
            while let Some(word) = self.wire.hear(input, out).map_err(End::Broken)? {
                asked &= !matches!(word, Heard::Alive);
                self.take(word).await?;
                // The host may have taken its time.
                heard = Instant::now();
            }
            if self.ready {
                self.fill(out).await?;
            }
            let patience = if asked { self.patience } else { self.patience / 2 };
            let writes = !out.is_empty() || unflushed;
            tokio::select! {
                read = async {
                    input.reserve(READ);
                    reader.read_buf(input).await
                } => match read.map_err(broken)? {
                    0 => return Err(End::Broken("the broker closed the connection".to_owned())),
                    _ => heard = Instant::now(),
                },
                written = write(writer, out, &mut unflushed), if writes => written.map_err(broken)?,
                () = self.shared.wake.notified() => {}
                () = sleep_until(heard + patience) => {
                    if asked {
                        return Err(End::Broken(format!("the broker was silent for {:?}", self.patience)));
                    }
                    self.wire.ask(out);
                    asked = true;
                }
            }
        }
    }

    /// Puts together what is to be sent.
    async fn fill(&mut self, out: &mut BytesMut) -> Result<(), End> {
        loop {
            let refused = {
                let mut inner = self.shared.lock();
                while let Some(change) = inner.changes.pop_front() {
                    match change {
                        Change::Subscribe(name) => self.wire.subscribe(&name, out),
                        Change::Unsubscribe(name) => self.wire.unsubscribe(&name, out),
                    }
                }
                while out.len() < BATCH
                    && let Some(payload) = inner.control.pop_front()
                {
                    inner.control_bytes -= payload.len();
                    self.wire.control(&payload, out);
                }
                loop {
                    let Some(item) = inner.queue.peek().filter(|_| out.len() < BATCH) else { break None };
                    match self.wire.publish(&item, out) {
                        Put::Sent => inner.queue.advance(),
                        Put::Later => break None,
                        Put::Refused(reason) => {
                            let again = inner.queue.discard();
                            break Some((item, reason, again));
                        }
                    }
                }
            };
            self.wire.end_batch(out);
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
            Heard::Alive if !self.ready => {
                self.ready = true;
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

/// As much as the socket takes. May be dropped at any time.
async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    out: &mut BytesMut,
    unflushed: &mut bool,
) -> std::io::Result<()> {
    if !out.is_empty() {
        let written = writer.write(out).await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        out.advance(written);
        *unflushed = true;
    }
    if out.is_empty() {
        // With TLS the socket may not have everything yet.
        writer.flush().await?;
        *unflushed = false;
    }
    Ok(())
}
