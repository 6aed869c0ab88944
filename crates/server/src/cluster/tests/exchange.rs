//! A fake broker in memory, which can be made to lose publications, to refuse them, to delay replays
//! and to disconnect.

use bytes::Bytes;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

use crate::config::History;
use sprocket_broker::{BrokerClient, FromBroker, QueueFull, Replay, ReplayEntry, Replaying};
use sprocket_protocol::topic::fits;

/// The broker's state, which the clients of all nodes share.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    pub(super) nodes: HashMap<u64, Attached>,
    logs: HashMap<String, Vec<(Bytes, bool)>>,
    /// Loses the next publication on its way to the nodes, after storing it.
    pub(super) lose: bool,
    /// Refuses publications, as with a full queue.
    pub(super) full: bool,
    /// Holds replays back.
    pub(super) hold: bool,
    /// Number of replays returned.
    pub(super) replays: usize,
}

/// A node that is attached to the broker.
#[derive(Debug)]
pub(super) struct Attached {
    /// Channel to the node's hub.
    pub(super) to: mpsc::Sender<FromBroker>,
    /// Topics and patterns that the node has subscribed to.
    pub(super) interest: BTreeSet<String>,
    /// The node is disconnected and receives no messages.
    pub(super) away: bool,
}

impl Attached {
    fn send(&self, message: FromBroker) {
        if !self.away || matches!(message, FromBroker::State { .. }) {
            // The channel of a node that has ended is closed, which is no failure.
            let full = matches!(self.to.try_send(message), Err(mpsc::error::TrySendError::Full(_)));
            assert!(!full);
        }
    }
}

/// A node's client of the broker: the shared state, and the node's number.
#[derive(Debug, Clone)]
pub(super) struct Fake(pub(super) Arc<Mutex<Exchange>>, pub(super) u64);

impl Fake {
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Exchange) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends a publication to all interested nodes; to this one only if `own`.
    fn spread(&self, own: bool, topic: &str, payload: &Bytes, binary: bool, position: Option<String>) {
        self.with(|exchange| {
            if std::mem::take(&mut exchange.lose) {
                return;
            }
            for (id, node) in &exchange.nodes {
                if (own || *id != self.1) && node.interest.iter().any(|name| fits(name, topic)) {
                    let (topic, payload, position) = (topic.to_owned(), payload.clone(), position.clone());
                    node.send(FromBroker::Message { topic, payload, binary, position, previous: None });
                }
            }
        });
    }

    /// Sends a message to all other nodes.
    fn others(&self, message: FromBroker) {
        self.with(|exchange| {
            exchange.nodes.iter().filter(|(id, _)| **id != self.1).for_each(|(_, n)| n.send(message.clone()));
        });
    }

    /// Fails while the broker refuses publications.
    fn room(&self) -> Result<(), QueueFull> {
        if self.with(|exchange| exchange.full) { Err(QueueFull { queued: 1, limit: 1 }) } else { Ok(()) }
    }

    /// Connects or disconnects a node.
    pub(super) fn connect(&self, node: u64, connected: bool) {
        self.with(|exchange| {
            let node = exchange.nodes.get_mut(&node).unwrap();
            node.away = !connected;
            node.send(FromBroker::State { connected, reason: "requested by the test".to_owned() });
        });
    }
}

impl BrokerClient for Fake {
    fn interest(&self, name: &str, on: bool) {
        self.with(|exchange| {
            let node = exchange.nodes.get_mut(&self.1).unwrap();
            assert!(if on { node.interest.insert(name.to_owned()) } else { node.interest.remove(name) });
        });
    }

    fn publish(&self, topic: &str, payload: Bytes, binary: bool) -> Result<(), QueueFull> {
        self.room()?;
        self.spread(false, topic, &payload, binary, None);
        Ok(())
    }

    fn broadcast(&self, payload: Bytes, binary: bool) -> Result<(), QueueFull> {
        self.room()?;
        self.others(FromBroker::Broadcast { payload, binary });
        Ok(())
    }

    fn control(&self, payload: Bytes) {
        self.others(FromBroker::Control { node: self.1, payload });
    }

    fn store(&self, topic: &str, payload: Bytes, binary: bool, _: &History) -> Result<(), QueueFull> {
        self.room()?;
        let number = self.with(|exchange| {
            let log = exchange.logs.entry(topic.to_owned()).or_default();
            log.push((payload.clone(), binary));
            log.len()
        });
        self.spread(true, topic, &payload, binary, Some(format!("f-{number}")));
        Ok(())
    }

    fn flush(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }

    fn replay(&self, topic: &str, position: &str, _: &History) -> Replaying {
        let (fake, topic, position) = (self.clone(), topic.to_owned(), position.to_owned());
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            while fake.with(|exchange| exchange.hold) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            fake.with(|exchange| {
                exchange.replays += 1;
                let log = exchange.logs.entry(topic).or_default();
                let newest = format!("f-{}", log.len());
                let after = match position.as_str() {
                    "" => Some(log.len()),
                    position => position.strip_prefix("f-").and_then(|n| n.parse().ok()),
                };
                let Some(after) = after.filter(|n| *n <= log.len()) else {
                    return Replay { position: newest, ..Replay::default() };
                };
                let missed = log.iter().enumerate().skip(after);
                let entry = |(n, (payload, binary)): (usize, &(Bytes, bool))| ReplayEntry {
                    position: format!("f-{}", n + 1),
                    payload: payload.clone(),
                    binary: *binary,
                };
                Replay {
                    complete: true,
                    entries: missed.map(entry).collect(),
                    position: newest,
                    failed: None,
                }
            })
        })
    }
}
