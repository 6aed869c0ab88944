//! The hub's processing of workers' frames that concern topics: publications, interest in topics, and
//! requests to resume.

use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Hub;
use crate::cluster::history::sequence::Positioned;
use crate::cluster::history::{limits_of, stamped};
use crate::cluster::hub::upstream::ReplayPurpose;
use crate::cluster::wire::Down;
use sprocket_broker::{QueueFull, Replay, ReplayEntry};

impl Hub {
    /// Forwards a publication of a worker. One without history goes to the other workers and the
    /// broker at once; one with history goes to its store first, which gives it a position, and then
    /// to all workers, the sender's included. Returns an error if the broker's queue is full.
    pub(super) fn publish(
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
                    broker.will_except(topic, &payload, (link, except), now);
                }
                stored.err()
            }
            (Some(limits), None) => {
                // A copy: a slice would keep the whole read buffer allocated.
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

    /// Sends a publication with a position to all workers. The connection `except` of the worker `link`
    /// does not receive it; 0 if none.
    pub(super) fn deliver(&mut self, topic: &str, message: &Positioned, (link, except): (u32, u64)) {
        let Positioned { position, payload, binary, .. } = message;
        let frame = |except| Down::Deliver { topic, payload, binary: *binary, position, except }.encode();
        if except == 0 {
            self.send_all(&frame(0), 0);
        } else {
            self.send_all(&frame(0), link);
            self.send(link, frame(except));
        }
    }

    /// Reports to a worker that the broker's queue had no space for its publication.
    pub(super) fn refuse(
        &mut self,
        (link, ticket): (u32, u64),
        topic: &str,
        full: &QueueFull,
        delivered_here: bool,
    ) {
        self.count_lost();
        let whom = if delivered_here { "on this machine only" } else { "to nobody" };
        let why = format!("{full}; the message was delivered {whom}");
        let uncertain = delivered_here;
        self.send(link, Down::Refused { ticket, topic, why: &why, uncertain }.encode());
    }

    /// A worker got its first subscriber for a topic or pattern (`on`), or lost its last one.
    pub(super) fn interest(&mut self, link: u32, name: &str, on: bool) {
        let Some(broker) = &mut self.broker else { return };
        let Some(link) = self.links.iter_mut().find(|l| l.id == link) else { return };
        let changed = if on { link.interest.insert(name.to_owned()) } else { link.interest.remove(name) };
        if changed {
            broker.interested(name, on);
        }
    }

    /// Answers a worker's request for the publications after a position: from memory at once, or when
    /// the broker has returned a replay. A topic without history is answered as incomplete.
    pub(super) fn resume(&mut self, link: u32, ticket: u64, topic: &str, position: &str, now: Instant) {
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
                let Some(asker) = self.links.iter().find(|l| l.id == link) else { return };
                let asker_alive = Arc::downgrade(&asker.alive);
                let question = ReplayPurpose::Resume { link, ticket, asker_alive };
                broker.ask(topic, position, limits, question, Duration::ZERO);
            }
        }
    }

    /// Sends the answer to a `Resume` to a worker.
    pub(super) fn resumed(&mut self, link: u32, ticket: u64, topic: &str, replay: &Replay) {
        let with_broker = self.broker.is_some();
        let limits = limits_of(&self.config.history, topic).cloned();
        for ReplayEntry { position, payload, binary } in &replay.entries {
            // Publications in memory were stamped with their position when they were stored.
            let payload = match &limits {
                Some(limits) if with_broker => stamped(limits, payload, *binary, position),
                _ => payload.clone(),
            };
            self.send(link, Down::Missed { ticket, payload: &payload, binary: *binary }.encode());
        }
        let (complete, position) = (replay.complete, &replay.position);
        self.send(link, Down::Resumed { ticket, complete, position }.encode());
    }
}
