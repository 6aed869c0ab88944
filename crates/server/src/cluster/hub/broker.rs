//! The hub's handling of what arrives from the broker: messages of other nodes, replays of stored
//! publications, and changes of the connection's state.

use std::time::{Duration, Instant};

use super::Hub;
use crate::cluster::history::sequence::{Action, Positioned};
use crate::cluster::history::{limits_of, stamped};
use crate::cluster::hub::upstream::{ReplayAnswer, ReplayPurpose};
use crate::cluster::wire::Down;
use crate::config::History;
use sprocket_broker::FromBroker;

/// Time after which a new subscription at the broker is certainly active. A publication stored before
/// that may be both too late for the replay and too early for the subscription, so the hub requests
/// another replay then.
const SUBSCRIBED: Duration = Duration::from_millis(500);

impl Hub {
    /// Processes a replay that the broker returned.
    pub(crate) fn answered(&mut self, (topic, question, replay): ReplayAnswer, now: Instant) {
        let Some(broker) = &mut self.broker else { return };
        match question {
            ReplayPurpose::Resume { link, ticket, .. } => {
                let (replay, first) = broker.sequences.answered(&topic, replay, now);
                if let (Some(from), Some(limits)) = (first, limits_of(&self.config.history, &topic)) {
                    broker.ask(&topic, &from, limits, ReplayPurpose::Look, SUBSCRIBED);
                }
                self.resumed(link, ticket, &topic, &replay);
            }
            ReplayPurpose::Look => {
                let due = broker.sequences.looked(&topic, replay, now);
                due.into_iter().for_each(|message| self.arrived(&topic, message, now));
            }
            ReplayPurpose::Fill => {
                let (due, complete) = broker.sequences.filled(&topic, replay, now);
                due.into_iter().for_each(|message| self.arrived(&topic, message, now));
                if !complete {
                    self.count_lost();
                    let why = "messages of other nodes were missed while the broker was disconnected";
                    let lost = Down::Refused { ticket: 0, topic: &topic, why, uncertain: true };
                    self.send_all(&lost.encode(), 0);
                }
            }
        }
    }

    /// Requests the publications of a topic after the position `from`, because some did not arrive or
    /// may not have arrived. The sequence holds back newer ones until [`Hub::answered`].
    fn fill(&mut self, topic: &str, from: &str) {
        let kept = History { messages: usize::MAX, seconds: None, bytes: usize::MAX, stamp: None };
        // The topic may have history in the settings of another node only, whose limits are unknown.
        let limits = limits_of(&self.config.history, topic).unwrap_or(&kept);
        if let Some(broker) = &mut self.broker {
            broker.ask(topic, from, limits, ReplayPurpose::Fill, Duration::ZERO);
        }
    }

    /// Delivers a publication from the broker's history to the workers. The caller has put it in order.
    fn arrived(&mut self, topic: &str, mut message: Positioned, now: Instant) {
        let Some(broker) = &mut self.broker else { return };
        let except = broker.except(topic, &message.payload, now);
        if let Some(limits) = limits_of(&self.config.history, topic) {
            message.payload = stamped(limits, &message.payload, message.binary, &message.position);
        }
        self.deliver(topic, &message, except);
    }

    /// Processes a message or a state change from the broker.
    pub(crate) fn receive_from_broker(&mut self, received: FromBroker, now: Instant) {
        let Some(broker) = &mut self.broker else { return };
        match received {
            FromBroker::Message { topic, payload, binary, position: Some(position), previous } => {
                let message = Positioned { position, previous, payload, binary };
                match broker.sequences.take(&topic, message, now) {
                    Action::Deliver(message) => self.arrived(&topic, message, now),
                    Action::Nothing => {}
                    Action::Fill(from) => self.fill(&topic, &from),
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
                // Malformed messages of other nodes are ignored: no worker of this node can act on them.
                if let Ok(outcome) = self.gossip.receive(self.node, node, &payload, &mut self.registry, now) {
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
                self.count_lost();
                // A publication without history has already reached the workers of this node.
                let uncertain = uncertain || limits_of(&self.config.history, &topic).is_none();
                let lost = Down::Refused { ticket: 0, topic: &topic, why: &reason, uncertain };
                self.send_all(&lost.encode(), 0);
            }
        }
    }
}
