//! What the broker says: messages of other nodes, answers, and how it is.

use std::time::{Duration, Instant};

use super::Hub;
use crate::cluster::history::sequence::{Positioned, Turn};
use crate::cluster::history::{limits_of, stamped};
use crate::cluster::hub::upstream::{Answer, Question};
use crate::cluster::wire::Down;
use crate::config::History;
use sprocket_broker::FromBroker;

/// When the subscription of a topic is surely in force: until then, what is published may reach
/// neither the answer to a question nor the subscriber.
const SUBSCRIBED: Duration = Duration::from_millis(500);

impl Hub {
    /// The broker's answer to a question.
    pub(crate) fn answered(&mut self, (topic, question, replay): Answer, now: Instant) {
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
    pub(crate) fn hear_broker(&mut self, said: FromBroker, now: Instant) {
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
                if let Ok(outcome) = self.gossip.hear(self.node, node, &payload, &mut self.registry, now) {
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
}
