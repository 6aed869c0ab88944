//! What the host can do through the hub: publish to other workers, resume, and be present.

use bytes::Bytes;
use std::sync::atomic::Ordering;

use crate::api::Server;
use crate::channel::ask::Ask;
use crate::channel::event::{Event, Interest, Member};
use crate::channel::mailbox::{Command, EventBatch, Item};
use crate::cluster::history::limits_of;
use crate::cluster::wire::Up;
use crate::connection::handle::Connection;
use crate::error::{PublishFailed, TopicError};
use crate::id::ConnId;
use crate::id::Target;
use crate::metrics::counters::{Counters, Stats};
use crate::topics::registry::Route;
use sprocket_protocol::topic::check_topic;

/// Bytes that a member may say about itself.
const MAX_DATA: usize = 64 << 10;

impl Server {
    /// Subscribes a connection to a topic with history and sends it what was published after
    /// `position`, in order, before anything newer. An empty position means "from now on".
    /// [`Event::Resumed`] tells what it came to.
    ///
    /// On a connection that has got newer messages of the topic already, nothing is sent again.
    ///
    /// One connection gets one replay at a time: the hub is asked for the next one when the earlier
    /// one has been written.
    ///
    /// If questions of [`Config::cluster_queue`](crate::Config) bytes wait for the hub already, this one
    /// is answered at once: incomplete, without a position. The subscription counts from now on.
    ///
    /// # Errors
    /// The name is not that of a topic, or the topic keeps no history.
    pub fn resume(&self, conn: &Connection, topic: &str, position: &str) -> Result<(), TopicError> {
        check_topic(topic)?;
        let (Some(port), Some(_)) = (&self.state.cluster, limits_of(&self.state.config.history, topic))
        else {
            return Err(TopicError::NoHistory(topic.to_owned()));
        };
        let shared = &conn.0;
        if !shared.is_open() {
            return Ok(());
        }
        let Some(room) = port.admit_question(topic, position) else {
            return self.resume_without_answer(conn, topic);
        };
        // The subscription counts from now on; the connection's thread learns of it with what was
        // missed, so that nothing newer comes before.
        self.topics.borrow_mut().subscribe(shared.id, shared.thread, topic)?;
        let Some(id) = self.topics.borrow().id(topic) else { return Ok(()) };
        self.tell_changes();
        let (target, thread, ticket) = (Target::from(&**shared), shared.thread, port.ticket());
        let (topic, position) = (topic.to_owned(), position.to_owned());
        let replay = !position.is_empty();
        let ask = Box::new(Ask { thread, target, id, topic, position, room });
        if replay && shared.replaying.swap(true, Ordering::AcqRel) {
            self.post(thread, Command::Replay(ticket, ask));
        } else {
            // The hub gets the question before what the host publishes next.
            self.post(thread, Command::Resuming(target, id, ticket, replay));
            self.post(0, Command::Ask(ticket, ask));
        }
        Ok(())
    }

    /// The hub is not asked: whoever can't wait for it must get what was missed from elsewhere.
    fn resume_without_answer(&self, conn: &Connection, topic: &str) -> Result<(), TopicError> {
        self.subscribe(conn, topic)?;
        if self.state.wants(Interest::RESUME) {
            let (id, topic, position) = (conn.id(), topic.to_owned(), String::new());
            self.tell(Item::plain(Event::Resumed { id, topic, complete: false, messages: 0, position }));
        }
        Ok(())
    }

    /// Something for the host itself, behind what waits for it already.
    fn tell(&self, item: Item) {
        // The receiver lives in the same State, so the channel is never disconnected.
        let bytes = item.size() as u64;
        self.state.backlog.add(bytes);
        let _ = self.state.events.0.send(EventBatch { items: vec![item], bytes });
        self.state.waker.wake();
    }

    /// A connection makes `member` present in a topic, until it leaves or ends. Joining again
    /// replaces what was said before. Has nothing to do with subscriptions.
    ///
    /// # Errors
    /// The name is not that of a topic; the member's is not 1 to 255 bytes, or its data more than 64 KiB.
    pub fn join(&self, conn: &Connection, topic: &str, member: &str, data: &[u8]) -> Result<(), TopicError> {
        check_topic(topic)?;
        if member.is_empty() || member.len() > 255 {
            return Err(TopicError::Member(member.len()));
        }
        if data.len() > MAX_DATA {
            return Err(TopicError::Data(data.len()));
        }
        if conn.is_open() {
            let changed = self.state.presence().join(conn.id(), topic, member, data);
            self.presence_changed(changed);
            if self.state.cluster.is_some() {
                let frame = Up::Join { conn: conn.id().0, topic, member, data }.encode();
                self.post(0, Command::Bus(frame));
            }
        }
        Ok(())
    }

    /// Takes [`Server::join`] back.
    pub fn leave(&self, conn: &Connection, topic: &str) {
        self.leave_one(conn.id(), topic);
    }

    fn leave_one(&self, conn: ConnId, topic: &str) {
        let Some(changed) = self.state.presence().leave(conn, topic) else { return };
        self.presence_changed(changed);
        if self.state.cluster.is_some() {
            self.post(0, Command::Bus(Up::Leave { conn: conn.0, topic }.encode()));
        }
    }

    /// A connection is over.
    pub(crate) fn absent(&self, conn: ConnId) {
        let joined = self.state.presence().of(conn);
        joined.iter().for_each(|topic| self.leave_one(conn, topic));
    }

    /// There are changes to be told where there were none.
    fn presence_changed(&self, changed: bool) {
        if changed {
            self.tell(Item::Presence);
        }
    }

    /// Who is present in a topic, on all workers and nodes, by name.
    pub fn presence(&self, topic: &str) -> Vec<Member> {
        self.state.presence().members(topic)
    }

    /// The counters of all workers of the node with their slots, this one's exact and the others'
    /// at most some seconds old. [`cluster::HUB`](crate::cluster::config::HUB) as slot stands for the hub itself
    /// and for workers that have ended: the sum of all is that of the node. Without a node it is this server's alone.
    pub fn node_stats(&self) -> Vec<(u16, Stats)> {
        self.state.node_stats()
    }

    /// What is remembered goes to the hub alone, which gives it a position and to everybody.
    #[cold]
    pub(crate) fn publish_on_bus(
        &self,
        route: &Route,
        topic: &str,
        payload: &[u8],
        binary: bool,
        except: Option<&Connection>,
    ) -> Result<(), PublishFailed> {
        let remembered = limits_of(&self.state.config.history, topic).is_some();
        let excepted = except.filter(|_| remembered).map_or(0, |conn| conn.id().0);
        if !remembered {
            self.publish_here(route, payload, binary, except);
        }
        let frame = Up::Publish { topic, payload, binary, except: excepted, ticket: 0 }.encode();
        self.hand_over(frame, !remembered)
    }

    /// Queues a publication for the hub.
    pub(crate) fn hand_over(&self, frame: Bytes, delivered_here: bool) -> Result<(), PublishFailed> {
        let Some(port) = &self.state.cluster else { return Ok(()) };
        let bytes = frame.len();
        if !port.admit(bytes) {
            Counters::one(&self.state.counters.bus_refused);
            return Err(PublishFailed::QueueFull { delivered_here, limit: port.limit() });
        }
        Counters::one(&self.state.counters.bus_sent);
        self.post(0, Command::Bus(frame));
        self.gathered(bytes);
        Ok(())
    }
}
