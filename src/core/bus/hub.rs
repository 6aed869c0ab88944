//! The hub of a node: what it does with what its workers, the broker and other nodes say. How it
//! reads and writes is in `serve`.

use bytes::Bytes;
use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::bus::HubConfig;
use crate::bus::gossip::{Gossip, Outcome};
use crate::bus::history::{Store, limits_of, stamped};
use crate::bus::pipe::Pipe;
use crate::bus::roster::{Key, Roster};
use crate::bus::seam::{FromBroker, QueueFull, Replay};
use crate::bus::sequence::{Positioned, Turn};
use crate::bus::upstream::{Answer, Broker, Question};
use crate::bus::wire::{Down, Malformed, Up, VERSION};
use crate::config::History;
use crate::stats::Stats;

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
    there: Arc<()>,
    /// Who it is, once it has said so.
    pub(super) worker: Option<Worker>,
    /// Publications, and how many of them it was told of.
    pub(super) handled: u64,
    pub(super) told: u64,
    interest: HashSet<String>,
    stats: Vec<u64>,
    /// They have changed since the others were told.
    stats_news: bool,
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
            there: Arc::default(),
            worker: None,
            handled: 0,
            told: 0,
            interest: HashSet::new(),
            stats: Vec::new(),
            stats_news: false,
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
    roster: Roster,
    pub(super) gossip: Gossip,
    pub(super) stats: Stats,
    told_stats: Vec<u64>,
    /// The hub's own counters have changed.
    news: bool,
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
            roster: Roster::default(),
            gossip: Gossip::default(),
            stats: Stats::default(),
            told_stats: Vec::new(),
            news: false,
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
            Up::Hello { version, slot, instance, history } if !greeted => {
                self.welcome(link, version, Worker { slot, instance }, history);
            }
            _ if !greeted => return Err(Malformed),
            Up::Hello { .. } => return Err(Malformed),
            Up::Publish { topic, payload, binary, except, ticket } => {
                crate::patterns::check_topic(topic).map_err(|_| Malformed)?;
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
                let changed = self.roster.join(link, conn, topic, member, Bytes::copy_from_slice(data));
                self.tell(&changed, link, true);
            }
            Up::Leave { conn, topic } => {
                let changed = self.roster.leave(link, conn, topic);
                self.tell(changed.as_slice(), link, true);
            }
            Up::Stats { values } => {
                if values.len() > 1000 {
                    return Err(Malformed);
                }
                if let Some(link) = self.links.iter_mut().find(|l| l.id == link) {
                    link.stats = values;
                    link.stats_news = true;
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

    fn welcome(&mut self, id: u32, version: u16, worker: Worker, history: &str) {
        let why = if version != VERSION {
            format!(
                "it speaks version {version} of the protocol, and the hub {VERSION}; restart the whole server"
            )
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
        for (topic, member, seat) in self.roster.iter() {
            let connections = seat.elsewhere(id);
            if connections > 0 {
                link.push(Down::Present { topic, member, connections, data: &seat.data }.encode());
            }
        }
        let hub = Down::Stats { link: 0, slot: super::HUB, values: self.told_stats.clone() };
        let mut stats = vec![hub.encode()];
        for link in &self.links {
            if let (Some(worker), false) = (link.worker, link.id == id) {
                let stat = Down::Stats { link: link.id, slot: worker.slot, values: link.stats.clone() };
                stats.push(stat.encode());
            }
        }
        stats.into_iter().for_each(|frame| self.send(id, frame));
    }

    fn publish(
        &mut self,
        link: u32,
        topic: &str,
        payload: &Bytes,
        binary: bool,
        except: u64,
        now: Instant,
    ) -> Option<QueueFull> {
        let limits = limits_of(&self.config.history, topic);
        match (limits, &mut self.broker) {
            (None, broker) => {
                let refused = broker.as_ref().and_then(|broker| {
                    let payload = Bytes::copy_from_slice(payload);
                    broker.upstream.publish(topic, payload, binary).err()
                });
                let frame = Down::Deliver { topic, payload, binary, position: "", except: 0 }.encode();
                self.send_all(&frame, link);
                refused
            }
            (Some(limits), Some(broker)) => {
                let payload = Bytes::copy_from_slice(payload);
                let stored = broker.upstream.store(topic, payload.clone(), binary, limits);
                if except != 0 && stored.is_ok() {
                    broker.will_except(topic, payload, (link, except), now);
                }
                stored.err()
            }
            (Some(limits), None) => {
                // Not a slice of what was read, which would keep all of that.
                let payload = Bytes::copy_from_slice(payload);
                let (position, payload) = self.store.append(topic, limits, &payload, binary, now);
                self.deliver(
                    topic,
                    &Positioned { position, previous: None, payload, binary },
                    (link, except),
                );
                None
            }
        }
    }

    /// A publication with a position, to all workers; one connection of one of them is left out.
    fn deliver(&mut self, topic: &str, message: &Positioned, (link, except): (u32, u64)) {
        let Positioned { position, payload, binary, .. } = message;
        let frame = |except| Down::Deliver { topic, payload, binary: *binary, position, except }.encode();
        if except == 0 {
            self.send_all(&frame(0), 0);
        } else {
            self.send_all(&frame(0), link);
            self.send(link, frame(except));
        }
    }

    /// The broker does not take a publication.
    fn refuse(&mut self, (link, ticket): (u32, u64), topic: &str, full: &QueueFull, delivered_here: bool) {
        self.give_up();
        let whom = if delivered_here { "on this machine only" } else { "to nobody" };
        let why = format!("{full}; the message was delivered {whom}");
        let uncertain = delivered_here;
        self.send(link, Down::Refused { ticket, topic, why: &why, uncertain }.encode());
    }

    /// A publication is lost.
    fn give_up(&mut self) {
        self.stats.unpublished += 1;
        self.news = true;
    }

    fn interest(&mut self, link: u32, name: &str, on: bool) {
        let Some(broker) = &mut self.broker else { return };
        let Some(link) = self.links.iter_mut().find(|l| l.id == link) else { return };
        let changed = if on { link.interest.insert(name.to_owned()) } else { link.interest.remove(name) };
        if changed {
            broker.interested(name, on);
        }
    }

    fn resume(&mut self, link: u32, ticket: u64, topic: &str, position: &str, now: Instant) {
        let Some(limits) = limits_of(&self.config.history, topic) else {
            self.resumed(link, ticket, topic, &Replay::default());
            return;
        };
        match &mut self.broker {
            None => {
                let replay = self.store.replay(topic, limits, position, now);
                self.resumed(link, ticket, topic, &replay);
            }
            Some(broker) => {
                broker.sequences.asking(topic, now);
                let Some(there) = self.links.iter().find(|l| l.id == link) else { return };
                let there = Arc::downgrade(&there.there);
                let question = Question::Resume { link, ticket, there };
                broker.ask(topic, position, limits, question, Duration::ZERO);
            }
        }
    }

    fn resumed(&mut self, link: u32, ticket: u64, topic: &str, replay: &Replay) {
        let with_broker = self.broker.is_some();
        let limits = limits_of(&self.config.history, topic).cloned();
        for (position, payload, binary) in &replay.entries {
            // In memory they are stamped already.
            let payload = match &limits {
                Some(limits) if with_broker => stamped(limits, payload, *binary, position),
                _ => payload.clone(),
            };
            self.send(link, Down::Missed { ticket, payload: &payload, binary: *binary }.encode());
        }
        let (complete, position) = (replay.complete, &replay.position);
        self.send(link, Down::Resumed { ticket, complete, position }.encode());
    }

    /// The broker's answer to a question.
    pub(super) fn answered(&mut self, (topic, question, replay): Answer, now: Instant) {
        let Some(broker) = &mut self.broker else { return };
        match question {
            Question::Resume { link, ticket, .. } => {
                let (replay, first) = broker.sequences.answered(&topic, replay, now);
                if let (Some(from), Some(limits)) = (first, limits_of(&self.config.history, &topic)) {
                    broker.ask(&topic, &from, limits, Question::Look, SUBSCRIBED);
                }
                self.resumed(link, ticket, &topic, &replay);
            }
            Question::Look => {
                let due = broker.sequences.looked(&topic, replay, now);
                due.into_iter().for_each(|message| self.arrived(&topic, message, now));
            }
            Question::Fill => {
                let (due, complete) = broker.sequences.filled(&topic, replay, now);
                due.into_iter().for_each(|message| self.arrived(&topic, message, now));
                if !complete {
                    self.give_up();
                    let why = "messages of other nodes were missed while the broker was away";
                    let lost = Down::Refused { ticket: 0, topic: &topic, why, uncertain: true };
                    self.send_all(&lost.encode(), 0);
                }
            }
        }
    }

    /// Something of a topic did not come in, or may not have.
    fn fill(&mut self, topic: &str, from: &str) {
        let kept = History { messages: usize::MAX, seconds: None, bytes: usize::MAX, stamp: None };
        // Of a topic that another node alone remembers, no limits are known.
        let limits = limits_of(&self.config.history, topic).unwrap_or(&kept);
        if let Some(broker) = &mut self.broker {
            broker.ask(topic, from, limits, Question::Fill, Duration::ZERO);
        }
    }

    /// A publication of the broker's history, in its order.
    fn arrived(&mut self, topic: &str, mut message: Positioned, now: Instant) {
        let Some(broker) = &mut self.broker else { return };
        let except = broker.except(topic, &message.payload, now);
        if let Some(limits) = limits_of(&self.config.history, topic) {
            message.payload = stamped(limits, &message.payload, message.binary, &message.position);
        }
        self.deliver(topic, &message, except);
    }

    /// What the broker says.
    pub(super) fn hear_broker(&mut self, said: FromBroker, now: Instant) {
        let Some(broker) = &mut self.broker else { return };
        match said {
            FromBroker::Message { topic, payload, binary, position: Some(position), previous } => {
                let message = Positioned { position, previous, payload, binary };
                match broker.sequences.take(&topic, message, now) {
                    Turn::Deliver(message) => self.arrived(&topic, message, now),
                    Turn::Nothing => {}
                    Turn::Fill(from) => self.fill(&topic, &from),
                }
            }
            FromBroker::Message { topic, payload, binary, position: None, .. } => {
                let (topic, payload) = (topic.as_str(), &payload[..]);
                let frame = Down::Deliver { topic, payload, binary, position: "", except: 0 }.encode();
                self.send_all(&frame, 0);
            }
            FromBroker::Broadcast { payload, binary } => {
                self.send_all(&Down::Broadcast { payload: &payload, binary }.encode(), 0);
            }
            FromBroker::Control { node, payload } => {
                // Nonsense of others is nobody's fault here.
                if let Ok(outcome) = self.gossip.hear(self.node, node, &payload, &mut self.roster, now) {
                    self.carry_out(outcome);
                }
            }
            FromBroker::State { connected, reason } => {
                let before = broker.state.replace((connected, reason.clone()));
                if connected && !before.is_some_and(|(before, _)| before) {
                    broker.upstream.control(self.gossip.ask_all());
                    for (topic, from) in broker.sequences.fill_all() {
                        self.fill(&topic, &from);
                    }
                }
                self.send_all(&Down::Broker { connected, reason: &reason }.encode(), 0);
            }
            FromBroker::Lost { topic, reason, uncertain } => {
                self.give_up();
                // Without history it was delivered on this machine.
                let uncertain = uncertain || limits_of(&self.config.history, &topic).is_none();
                let lost = Down::Refused { ticket: 0, topic: &topic, why: &reason, uncertain };
                self.send_all(&lost.encode(), 0);
            }
        }
    }

    /// Seats have changed: the workers but the one that knows, and the other nodes, are told.
    fn tell(&mut self, changed: &[Key], but: u32, own: bool) {
        for key in changed {
            if let Some(seat) = self.roster.get(key) {
                for link in self.links.iter_mut().filter(|l| l.id != but && l.worker.is_some()) {
                    let (topic, member) = (&*key.0, &*key.1);
                    let (connections, data) = (seat.elsewhere(link.id), &seat.data[..]);
                    link.push(Down::Present { topic, member, connections, data }.encode());
                }
                if own && let Some(broker) = &self.broker {
                    broker.upstream.control(self.gossip.delta(key, seat.here(), &seat.data));
                }
            }
            self.roster.settle(key);
        }
    }

    pub(super) fn carry_out(&mut self, outcome: Outcome) {
        self.tell(&outcome.changed, 0, false);
        if let Some(broker) = &self.broker {
            outcome.say.into_iter().for_each(|said| broker.upstream.control(said));
        }
    }

    pub(super) fn tick_gossip(&mut self, now: Instant) {
        let outcome = self.gossip.tick(&mut self.roster, now);
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
            self.news = true;
            self.ended.push_back((worker.instance, Stats::from_values(&link.stats).counts_only()));
        }
        if self.ended.len() > ENDED
            && let Some((_, oldest)) = self.ended.pop_front()
        {
            self.stats.add(&oldest);
        }
        self.send_all(&Down::StatsGone { link: link.id }.encode(), 0);
        let changed = self.roster.forget(link.id);
        self.tell(&changed, link.id, true);
    }

    /// Tells what is told once a second. Returns whether there was anything.
    pub(super) fn tick(&mut self) {
        for at in 0..self.links.len() {
            let link = &mut self.links[at];
            if link.told != link.handled {
                link.told = link.handled;
                link.push(Down::Handled { publications: link.handled }.encode());
            }
            if std::mem::take(&mut link.stats_news)
                && let Some(worker) = link.worker
            {
                let values = link.stats.clone();
                let (id, frame) = (link.id, Down::Stats { link: link.id, slot: worker.slot, values });
                self.send_all(&frame.encode(), id);
            }
        }
        let stats = self.all_stats();
        // What waits for the broker gets less by itself.
        self.news = stats.broker_waiting_bytes > 0;
        let values = stats.values();
        if values != self.told_stats {
            self.told_stats.clone_from(&values);
            self.send_all(&Down::Stats { link: 0, slot: super::HUB, values }.encode(), 0);
        }
    }

    fn all_stats(&self) -> Stats {
        let mut stats = self.stats.clone();
        self.ended.iter().for_each(|(_, ended)| stats.add(ended));
        let (topics, bytes) = self.store.size();
        stats.history_topics = topics as u64;
        stats.history_bytes = bytes as u64;
        if let Some(broker) = &self.broker {
            let counts = broker.upstream.counts();
            stats.broker_connected = matches!(broker.state, Some((true, _))).into();
            stats.broker_published = counts.published;
            stats.broker_received = counts.received;
            stats.broker_waiting_bytes = counts.queued_bytes;
            stats.broker_refused = counts.queue_full;
            stats.broker_lost = counts.lost;
            stats.broker_duplicates = counts.duplicates;
            stats.broker_reconnects = counts.reconnects;
        }
        stats
    }

    /// Whether [`Hub::tick`] has something to tell.
    pub(super) fn has_news(&self) -> bool {
        self.news || self.links.iter().any(|l| l.told != l.handled || l.stats_news)
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

    /// Why a worker's connection is over, for its counter.
    pub(super) fn count_end(&mut self, error: &io::Error) {
        if error.kind() == io::ErrorKind::Other {
            self.stats.bus_errors += 1;
            self.news = true;
        }
    }

    pub(super) fn cut(&mut self) {
        self.stats.bus_cut += 1;
        self.news = true;
    }
}

/// When the subscription of a topic is surely in force: until then, what is published may reach
/// neither the answer to a question nor the subscriber.
const SUBSCRIBED: Duration = Duration::from_millis(500);

/// How long a worker for which too much waits may hold up the others before it is cut, where it
/// takes some of it.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same since it took anything at all. No callback holds up a worker's link, and its thread does
/// what it is given in turns, so it is a process that stands still. One that has done so for longer
/// holds up nobody.
const STANDSTILL: Duration = Duration::from_secs(2);
