//! The hub of a node: the process that connects the workers. [`Hub`] holds its state and processes
//! the frames of the workers; it does no I/O of its own.
//!
//! `serve` reads and writes the sockets and drives the hub, `topic_frames` publishes and resumes,
//! `upstream` holds the connection to the broker and `broker` processes what arrives there,
//! `reports` sends the statistics.

pub(crate) mod broker;
pub(crate) mod reports;
pub(crate) mod serve;
pub(crate) mod topic_frames;
pub(crate) mod upstream;

use bytes::Bytes;
use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cluster::history::{Store, limits_of};
use crate::cluster::hub::upstream::Broker;
use crate::cluster::hub_config::{HUB, HubConfig};
use crate::cluster::presence::gossip::{Gossip, GossipOutcome};
use crate::cluster::presence::registry::{MemberKey, Registry};
use crate::cluster::wire::pipe::Pipe;
use crate::cluster::wire::{Down, Malformed, Up, VERSION};
use crate::metrics::counters::Stats;

/// Ended workers whose counters are kept apart: a worker that was only disconnected returns with the
/// same counters, which must not be added twice.
const ENDED: usize = 64;

/// The hub's end of the connection to a worker.
#[derive(Debug)]
pub(super) struct WorkerLink {
    /// Number of the link, unique in this start of the hub. 0 stands for no link.
    pub(super) id: u32,
    pub(super) pipe: Pipe,
    /// When the worker connected.
    pub(super) since: Instant,
    /// Since when the output queue has exceeded its high-water mark.
    pub(super) over: Option<Instant>,
    /// When the worker last made progress, by reading or with an empty queue, and the bytes written to
    /// it by then.
    moved: (Instant, u64),
    /// The worker was refused: the link ends once its queue is written.
    pub(super) leaving: bool,
    /// Dropped with the link. Requests to the broker hold weak references, which show whether the
    /// worker that waits for the answer is still connected.
    alive: Arc<()>,
    /// The worker's identity, once it has sent its `Hello`.
    pub(super) worker: Option<Worker>,
    /// Number of the worker's publications processed so far.
    pub(super) handled: u64,
    /// Value of `handled` last sent to the worker.
    pub(super) handled_sent: u64,
    /// Topics and patterns with a subscriber in this worker.
    interest: HashSet<String>,
    /// Counters that the worker last reported.
    stats: Vec<u64>,
    /// `stats` has changed since the other workers received it.
    stats_changed: bool,
}

/// Identity of a worker, from its `Hello`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Worker {
    /// Number of the worker on the node.
    slot: u16,
    /// Random number of this start of its server, the same when it reconnects.
    instance: u64,
}

impl WorkerLink {
    pub(super) fn new(id: u32, pipe: Pipe, now: Instant) -> Self {
        Self {
            id,
            pipe,
            since: now,
            over: None,
            moved: (now, 0),
            leaving: false,
            alive: Arc::default(),
            worker: None,
            handled: 0,
            handled_sent: 0,
            interest: HashSet::new(),
            stats: Vec::new(),
            stats_changed: false,
        }
    }

    fn push(&mut self, frame: Bytes) {
        // Frames that a departed worker sent earlier are still read, but it can't receive any.
        if !self.pipe.is_broken() {
            self.pipe.push(frame);
        }
    }

    /// Updates the progress of a worker after a write. `queue` is the high-water mark in bytes.
    pub(super) fn written(&mut self, queue: usize, now: Instant) {
        let (taken, waiting) = (self.pipe.taken(), self.waiting());
        if waiting == 0 || taken != self.moved.1 {
            self.moved = (now, taken);
        }
        if waiting <= queue {
            self.over = None;
        } else if self.over.is_none() {
            self.over = Some(now);
        }
    }

    /// When to disconnect the worker unless it reads: its queue is above the high-water mark, and it
    /// reads nothing for [`STANDSTILL`], or too little for [`PATIENCE`].
    pub(super) fn cut_at(&self) -> Option<Instant> {
        self.over.map(|since| (since + PATIENCE).min(self.moved.0 + STANDSTILL))
    }

    /// Bytes that wait for the worker.
    pub(super) fn waiting(&self) -> usize {
        if self.pipe.is_broken() { 0 } else { self.pipe.waiting() }
    }
}

/// The state of a hub.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) config: HubConfig,
    /// [`fingerprint`] of the settings for topics with history, which each worker's must equal.
    history: String,
    /// Random number of this start, by which other nodes know this one.
    pub(super) node: u64,
    pub(super) links: Vec<WorkerLink>,
    pub(super) next_link: u32,
    pub(super) broker: Option<Broker>,
    /// Histories of topics, when there is no broker to store them.
    store: Store,
    /// Members present on this and all other nodes.
    registry: Registry,
    pub(super) gossip: Gossip,
    /// The hub's own counters.
    pub(super) stats: Stats,
    /// Counters of the hub that were last sent to the workers.
    sent_stats: Vec<u64>,
    /// The hub's own counters may have changed since.
    stats_changed: bool,
    /// Counters of workers that have ended, by `instance`, oldest first; at most [`ENDED`].
    ended: VecDeque<(u64, Stats)>,
}

/// Text form of the settings for topics with history, to compare a worker's with the hub's.
pub(crate) fn fingerprint(history: &[(String, crate::config::History)]) -> String {
    format!("{history:?}")
}

/// 64 random bits from the operating system. The standard library's hash seeds would not do: they are
/// the same in all forks of a process, and hence in each hub that a supervisor forks.
///
/// # Errors
/// The operating system returns no random numbers.
pub(crate) fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the operating system returns no random numbers"))?;
    Ok(u64::from_ne_bytes(bytes))
}

impl Hub {
    pub(super) fn new(mut config: HubConfig, node: u64, base: u64, broker: Option<Broker>) -> Self {
        // The length of a frame has 32 bits.
        config.queue = config.queue.min(1 << 30);
        Self {
            history: fingerprint(&config.history),
            node,
            links: Vec::new(),
            next_link: 1,
            broker,
            store: Store::new(base),
            registry: Registry::default(),
            gossip: Gossip::default(),
            stats: Stats::default(),
            sent_stats: Vec::new(),
            stats_changed: false,
            ended: VecDeque::new(),
            config,
        }
    }

    /// Queues a frame for one worker.
    fn send(&mut self, link: u32, frame: Bytes) {
        if let Some(link) = self.links.iter_mut().find(|l| l.id == link) {
            link.push(frame);
        }
    }

    /// Queues a frame for all workers that the hub has accepted, except the link `but`.
    fn send_all(&mut self, frame: &Bytes, but: u32) {
        for link in self.links.iter_mut().filter(|l| l.id != but && l.worker.is_some() && !l.leaving) {
            link.push(frame.clone());
        }
    }

    /// Processes a frame from a worker.
    ///
    /// # Errors
    /// The frame is malformed, or not allowed at this point: the worker must be disconnected.
    pub(super) fn receive(&mut self, link: u32, frame: &Bytes, now: Instant) -> Result<(), Malformed> {
        let greeted = self.links.iter().any(|l| l.id == link && l.worker.is_some());
        match Up::decode(frame)? {
            Up::Hello { version, slot, instance, counters, history } if !greeted => {
                self.welcome(link, version, counters, Worker { slot, instance }, history);
            }
            _ if !greeted => return Err(Malformed),
            Up::Hello { .. } => return Err(Malformed),
            Up::Publish { topic, payload, binary, except, ticket } => {
                sprocket_protocol::topic::check_topic(topic).map_err(|_| Malformed)?;
                self.handled(link);
                let refused = self.publish(link, topic, &frame.slice_ref(payload), binary, except, now);
                if let Some(full) = refused {
                    let remembered = limits_of(&self.config.history, topic).is_some();
                    self.refuse((link, ticket), topic, &full, !remembered);
                }
            }
            Up::Broadcast { payload, binary } => {
                self.handled(link);
                self.send_all(&Down::Broadcast { payload, binary }.encode(), link);
                if let Some(broker) = &self.broker
                    && let Err(full) = broker.upstream.broadcast(Bytes::copy_from_slice(payload), binary)
                {
                    self.refuse((link, 0), "", &full, true);
                }
            }
            Up::Interest { name, on } => self.interest(link, name, on),
            Up::Resume { ticket, topic, position } => self.resume(link, ticket, topic, position, now),
            Up::Join { conn, topic, member, data } => {
                let names = 1..=255;
                if !names.contains(&topic.len()) || !names.contains(&member.len()) {
                    return Err(Malformed);
                }
                let changed = self.registry.join(link, conn, topic, member, Bytes::copy_from_slice(data));
                self.announce(&changed, link, true);
            }
            Up::Leave { conn, topic } => {
                let changed = self.registry.leave(link, conn, topic);
                self.announce(changed.as_slice(), link, true);
            }
            Up::Stats { values } => {
                if values.len() > 1000 {
                    return Err(Malformed);
                }
                if let Some(link) = self.links.iter_mut().find(|l| l.id == link) {
                    link.stats = values;
                    link.stats_changed = true;
                }
            }
            Up::Sync => self.send(link, Down::Synced.encode()),
        }
        Ok(())
    }

    /// Counts a publication of a worker as processed.
    fn handled(&mut self, link: u32) {
        if let Some(link) = self.links.iter_mut().find(|l| l.id == link) {
            link.handled += 1;
        }
    }

    /// Accepts a worker and sends it the hub's state, or refuses it.
    fn welcome(&mut self, id: u32, version: u16, counters: u64, worker: Worker, history: &str) {
        let why = if version != VERSION {
            format!(
                "it uses version {version} of the protocol, but the hub {VERSION}; restart the whole server"
            )
        } else if counters != Stats::layout() {
            "its counters differ from the hub's, so their versions differ; restart the whole server"
                .to_owned()
        } else if history != self.history {
            "its topics with history differ from the hub's; restart the whole server".to_owned()
        } else {
            String::new()
        };
        let Some(link) = self.links.iter_mut().find(|l| l.id == id) else { return };
        if !why.is_empty() {
            link.push(Down::TurnedAway { why: &why }.encode());
            link.leaving = true;
            return;
        }
        link.worker = Some(worker);
        // A worker that reconnects reports totals since its start, which replace those kept for it.
        self.ended.retain(|(instance, _)| *instance != worker.instance);
        let limit = self.config.queue as u64;
        link.push(Down::Welcome { broker: self.broker.is_some(), limit }.encode());
        if let Some((connected, reason)) = self.broker.as_ref().and_then(|broker| broker.state.as_ref()) {
            link.push(Down::Broker { connected: *connected, reason }.encode());
        }
        for (topic, member, entry) in self.registry.iter() {
            let connections = entry.elsewhere(id);
            if connections > 0 {
                link.push(Down::Present { topic, member, connections, data: &entry.data }.encode());
            }
        }
        let hub = Down::Stats { link: 0, slot: HUB, values: self.sent_stats.clone() };
        let mut stats = vec![hub.encode()];
        for link in &self.links {
            if let (Some(worker), false) = (link.worker, link.id == id) {
                let stat = Down::Stats { link: link.id, slot: worker.slot, values: link.stats.clone() };
                stats.push(stat.encode());
            }
        }
        stats.into_iter().for_each(|frame| self.send(id, frame));
    }

    /// Announces changed members to all workers except the link `but`, which caused the change, and
    /// with `own`, if a worker of this node caused it, to the other nodes.
    fn announce(&mut self, changed: &[MemberKey], but: u32, own: bool) {
        for key in changed {
            if let Some(entry) = self.registry.get(key) {
                for link in self.links.iter_mut().filter(|l| l.id != but && l.worker.is_some()) {
                    let (topic, member) = (&*key.0, &*key.1);
                    let (connections, data) = (entry.elsewhere(link.id), &entry.data[..]);
                    link.push(Down::Present { topic, member, connections, data }.encode());
                }
                if own && let Some(broker) = &self.broker {
                    broker.upstream.control(self.gossip.delta(key, entry.here(), &entry.data));
                }
            }
            self.registry.settle(key);
        }
    }

    /// Announces the members that a message of another node has changed, and sends the replies.
    pub(super) fn carry_out(&mut self, outcome: GossipOutcome) {
        self.announce(&outcome.changed, 0, false);
        if let Some(broker) = &self.broker {
            outcome.send.into_iter().for_each(|message| broker.upstream.control(message));
        }
    }

    /// Sends this node's heartbeat or a postponed snapshot, and drops silent nodes, where due.
    pub(super) fn tick_gossip(&mut self, now: Instant) {
        let outcome = self.gossip.tick(&mut self.registry, now);
        self.carry_out(outcome);
    }

    /// Removes the link at an index of `links`, and withdraws the worker's interest and members.
    pub(super) fn end(&mut self, at: usize) {
        let link = self.links.swap_remove(at);
        let Some(worker) = link.worker else { return };
        if let Some(broker) = &mut self.broker {
            link.interest.iter().for_each(|name| broker.interested(name, false));
            broker.forget_excepts(link.id);
        }
        // A disconnected worker may already be back on another link, with the same counters.
        let back = self.links.iter().any(|l| l.worker.is_some_and(|w| w.instance == worker.instance));
        if !link.stats.is_empty() && !back {
            self.stats_changed = true;
            self.ended.push_back((worker.instance, Stats::from_values(&link.stats).counts_only()));
        }
        if self.ended.len() > ENDED
            && let Some((_, oldest)) = self.ended.pop_front()
        {
            self.stats.add(&oldest);
        }
        self.send_all(&Down::StatsGone { link: link.id }.encode(), 0);
        let changed = self.registry.forget(link.id);
        self.announce(&changed, link.id, true);
    }

    /// Drops expired publications and idle topics. True if there are others that will expire.
    pub(super) fn sweep(&mut self, now: Instant) -> bool {
        self.store.sweep(&self.config.history, now);
        if let Some(broker) = &mut self.broker {
            let connected = broker.state.as_ref().is_none_or(|(connected, _)| *connected);
            broker.sequences.sweep(now, connected);
        }
        self.remembers()
    }

    /// Whether [`Hub::sweep`] must be called again.
    pub(super) fn remembers(&self) -> bool {
        self.store.size().0 > 0 || self.broker.as_ref().is_some_and(|b| !b.sequences.is_empty())
    }
}

/// Time for which a worker above its high-water mark may hold up the others while it still reads,
/// before it is disconnected.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time without any progress after which a worker above its high-water mark is disconnected. PHP
/// callbacks do not delay a worker's link, and its thread serves all tasks in short turns, so a link
/// without progress means that the whole process is stopped. The time counts from the last progress,
/// so a process that has been stopped for longer is disconnected as soon as its queue passes the mark.
const STANDSTILL: Duration = Duration::from_secs(2);
