//! The hub of a node: what it does with what its workers, the broker and other nodes say. How it
//! reads and writes is in `serve`.

pub(crate) mod broker;
pub(crate) mod counters;
pub(crate) mod serve;
pub(crate) mod topics;
pub(crate) mod upstream;

use bytes::Bytes;
use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cluster::config::{HUB, HubConfig};
use crate::cluster::history::{Store, limits_of};
use crate::cluster::hub::upstream::Broker;
use crate::cluster::presence::gossip::{Gossip, Outcome};
use crate::cluster::presence::registry::{Key, Registry};
use crate::cluster::wire::pipe::Pipe;
use crate::cluster::wire::{Down, Malformed, Up, VERSION};
use crate::metrics::counters::Stats;

/// Counters of workers that have ended, kept apart in case they were only cut off.
const ENDED: usize = 64;

/// A worker that is connected.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: u32,
    pub(super) pipe: Pipe,
    pub(super) since: Instant,
    /// Since when too much has been waiting for it.
    pub(super) over: Option<Instant>,
    /// When it last had all that there was, or took some of it; and how much it had taken by then.
    moved: (Instant, u64),
    /// It was told to go: what waits is written first.
    pub(super) leaving: bool,
    /// Goes with the link, for those who ask the broker something for it.
    alive: Arc<()>,
    /// Who it is, once it has said so.
    pub(super) worker: Option<Worker>,
    /// Publications, and how many of them it was told of.
    pub(super) handled: u64,
    pub(super) told: u64,
    interest: HashSet<String>,
    stats: Vec<u64>,
    /// They have changed since the others were told.
    stats_changed: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Worker {
    slot: u16,
    instance: u64,
}

impl Link {
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
            told: 0,
            interest: HashSet::new(),
            stats: Vec::new(),
            stats_changed: false,
        }
    }

    fn push(&mut self, frame: Bytes) {
        // Who has gone may have said something before, but hears nothing.
        if !self.pipe.is_broken() {
            self.pipe.push(frame);
        }
    }

    /// Takes note of what was written to it, where more than `queue` bytes are too much.
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

    /// When it is cut if it does not go on: too much waits, and it takes none of it, or too little.
    pub(super) fn cut_at(&self) -> Option<Instant> {
        self.over.map(|since| (since + PATIENCE).min(self.moved.0 + STANDSTILL))
    }

    /// Bytes that wait for it.
    pub(super) fn waiting(&self) -> usize {
        if self.pipe.is_broken() { 0 } else { self.pipe.waiting() }
    }
}

/// All that a hub knows.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) config: HubConfig,
    /// What workers must have for theirs.
    history: String,
    /// Random, of this start.
    pub(super) node: u64,
    pub(super) links: Vec<Link>,
    pub(super) next_link: u32,
    pub(super) broker: Option<Broker>,
    store: Store,
    registry: Registry,
    pub(super) gossip: Gossip,
    pub(super) stats: Stats,
    sent_stats: Vec<u64>,
    /// The hub's own counters have changed.
    stats_changed: bool,
    ended: VecDeque<(u64, Stats)>,
}

/// What the workers' settings are compared by.
pub(crate) fn fingerprint(history: &[(String, crate::config::History)]) -> String {
    format!("{history:?}")
}

/// 64 bits that nobody else has. From the operating system each time: what the standard library
/// seeds its hash maps with is the same in all forks of a process, and so in each new hub.
pub(crate) fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(u64::from_ne_bytes(bytes))
}

impl Hub {
    pub(super) fn new(mut config: HubConfig, node: u64, base: u64, broker: Option<Broker>) -> Self {
        // A frame has 32 bits of length.
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

    fn send(&mut self, link: u32, frame: Bytes) {
        if let Some(link) = self.links.iter_mut().find(|l| l.id == link) {
            link.push(frame);
        }
    }

    /// To all workers that have said hello, but one.
    fn send_all(&mut self, frame: &Bytes, but: u32) {
        for link in self.links.iter_mut().filter(|l| l.id != but && l.worker.is_some() && !l.leaving) {
            link.push(frame.clone());
        }
    }

    /// What a worker says.
    pub(super) fn hear(&mut self, link: u32, frame: &Bytes, now: Instant) -> Result<(), Malformed> {
        let said = Up::decode(frame)?;
        let greeted = self.links.iter().any(|l| l.id == link && l.worker.is_some());
        match said {
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
                self.tell(&changed, link, true);
            }
            Up::Leave { conn, topic } => {
                let changed = self.registry.leave(link, conn, topic);
                self.tell(changed.as_slice(), link, true);
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

    fn handled(&mut self, link: u32) {
        if let Some(link) = self.links.iter_mut().find(|l| l.id == link) {
            link.handled += 1;
        }
    }

    fn welcome(&mut self, id: u32, version: u16, counters: u64, worker: Worker, history: &str) {
        let why = if version != VERSION {
            format!(
                "it speaks version {version} of the protocol, and the hub {VERSION}; restart the whole server"
            )
        } else if counters != Stats::layout() {
            "it has other counters than the hub, so they are of different versions; restart the whole server"
                .to_owned()
        } else if history != self.history {
            "its topics with history are others than those of the hub; restart the whole server".to_owned()
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
        // It was cut off, and counts on.
        self.ended.retain(|(instance, _)| *instance != worker.instance);
        let limit = self.config.queue as u64;
        link.push(Down::Welcome { broker: self.broker.is_some(), limit }.encode());
        if let Some((connected, reason)) = self.broker.as_ref().and_then(|broker| broker.state.as_ref()) {
            link.push(Down::Broker { connected: *connected, reason }.encode());
        }
        for (topic, member, seat) in self.registry.iter() {
            let connections = seat.elsewhere(id);
            if connections > 0 {
                link.push(Down::Present { topic, member, connections, data: &seat.data }.encode());
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

    /// Seats have changed: the workers but the one that knows, and the other nodes, are told.
    fn tell(&mut self, changed: &[Key], but: u32, own: bool) {
        for key in changed {
            if let Some(seat) = self.registry.get(key) {
                for link in self.links.iter_mut().filter(|l| l.id != but && l.worker.is_some()) {
                    let (topic, member) = (&*key.0, &*key.1);
                    let (connections, data) = (seat.elsewhere(link.id), &seat.data[..]);
                    link.push(Down::Present { topic, member, connections, data }.encode());
                }
                if own && let Some(broker) = &self.broker {
                    broker.upstream.control(self.gossip.delta(key, seat.here(), &seat.data));
                }
            }
            self.registry.settle(key);
        }
    }

    pub(super) fn carry_out(&mut self, outcome: Outcome) {
        self.tell(&outcome.changed, 0, false);
        if let Some(broker) = &self.broker {
            outcome.say.into_iter().for_each(|said| broker.upstream.control(said));
        }
    }

    pub(super) fn tick_gossip(&mut self, now: Instant) {
        let outcome = self.gossip.tick(&mut self.registry, now);
        self.carry_out(outcome);
    }

    /// A worker is gone.
    pub(super) fn end(&mut self, at: usize) {
        let link = self.links.swap_remove(at);
        let Some(worker) = link.worker else { return };
        if let Some(broker) = &mut self.broker {
            link.interest.iter().for_each(|name| broker.interested(name, false));
            broker.forget_excepts(link.id);
        }
        // A worker that was cut off may be back already, and counts on.
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
        self.tell(&changed, link.id, true);
    }

    /// Forgets what is too old. True if there is something that will be.
    pub(super) fn sweep(&mut self, now: Instant) -> bool {
        self.store.sweep(&self.config.history, now);
        if let Some(broker) = &mut self.broker {
            let connected = broker.state.as_ref().is_none_or(|(connected, _)| *connected);
            broker.sequences.sweep(now, connected);
        }
        self.remembers()
    }

    pub(super) fn remembers(&self) -> bool {
        self.store.size().0 > 0 || self.broker.as_ref().is_some_and(|b| !b.sequences.is_empty())
    }
}

/// How long a worker for which too much waits may hold up the others before it is cut, where it
/// takes some of it.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same since it took anything at all. No callback holds up a worker's link, and its thread does
/// what it is given in turns, so it is a process that stands still. One that has done so for longer
/// holds up nobody.
const STANDSTILL: Duration = Duration::from_secs(2);
