//! The part of [`Server`] that needs the hub: publishing to other workers, resuming topics with
//! history, presence, and the counters of the node.

use bytes::Bytes;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::api::Server;
use crate::channel::ask::Ask;
use crate::channel::event::{Event, Interest, PresenceMember};
use crate::channel::lanes::{EventBatch, Lane};
use crate::channel::mailbox::{Command, Item};
use crate::cluster::history::limits_of;
use crate::cluster::port::Port;
use crate::cluster::wire::Up;
use crate::connection::handle::Connection;
use crate::error::{PublishFailed, TopicError};
use crate::id::ConnId;
use crate::id::Target;
use crate::metrics::counters::{Counters, Stats};
use crate::topics::registry::Route;
use sprocket_protocol::topic::check_topic;

/// Longest position in bytes that is looked up. The positions of histories are much shorter.
const MAX_POSITION: usize = 255;
/// A position that no history assigns; it stands for all longer ones, which may come from a client and would
/// otherwise be kept in full until the hub has answered.
const UNKNOWN_POSITION: &str = "?";
/// Most bytes of data that a member may attach to its presence.
const MAX_DATA: usize = 64 << 10;

impl Server {
    /// Subscribes a connection to a topic with history, and sends it the publications after
    /// `position`, in order, before any newer one. An empty position subscribes without a replay. One of
    /// more than 255 bytes counts as unknown, like any other that the topic never had.
    /// [`Event::Resumed`] reports the result.
    ///
    /// Publications that the connection has already received are not repeated.
    ///
    /// A connection has at most one replay at a time: the hub receives the next question when the
    /// previous replay has been written.
    ///
    /// When questions of [`Config::cluster_queue`](crate::Config) bytes are waiting for the hub, a
    /// further one is answered at once, as incomplete and without a position; the connection is
    /// subscribed nevertheless.
    ///
    /// # Errors
    /// `topic` is not a valid name of a topic, or keeps no history.
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
        let position = if position.len() > MAX_POSITION { UNKNOWN_POSITION } else { position };
        let Some(room) = port.admit_question(topic, position) else {
            return self.resume_without_answer(conn, topic);
        };
        // The topic counts the subscription from now on. The connection's thread learns of it
        // together with the replay, so that nothing newer is delivered before.
        self.topics.borrow_mut().subscribe(shared.id, shared.thread, topic)?;
        let Some(id) = self.topics.borrow().id(topic) else { return Ok(()) };
        self.post_topic_changes();
        let (target, thread, ticket) = (Target::from(&**shared), shared.thread, port.ticket());
        let (topic, position) = (topic.to_owned(), position.to_owned());
        let replay = !position.is_empty();
        let ask = Box::new(Ask { thread, target, id, topic, position, room });
        if replay && shared.replaying.swap(true, Ordering::AcqRel) {
            self.post(thread, Command::Replay(ticket, ask));
        } else {
            // This order brings the question to the hub before anything that the host publishes next.
            self.post(thread, Command::Resuming(target, id, ticket, replay));
            self.post(0, Command::Ask(ticket, ask));
        }
        Ok(())
    }

    /// Subscribes without asking the hub, and reports an incomplete replay; the client must get the
    /// missed messages by other means.
    fn resume_without_answer(&self, conn: &Connection, topic: &str) -> Result<(), TopicError> {
        self.subscribe(conn, topic)?;
        if self.state.wants(Interest::RESUME) {
            let (id, topic, position) = (conn.id(), topic.to_owned(), String::new());
            self.queue_item(Item::plain(Event::Resumed {
                id,
                topic,
                complete: false,
                messages: 0,
                position,
            }));
        }
        Ok(())
    }

    /// Queues an item for the host itself, behind those that are waiting already.
    fn queue_item(&self, item: Item) {
        // The receiver lives in the same State, so the channel is never disconnected.
        let bytes = item.size() as u64;
        self.state.backlog.add(bytes);
        let _ = self.state.events.0.send(EventBatch { items: vec![item], lane: Lane::Sparse, bytes });
        self.state.waker.wake();
    }

    /// Makes `member` present in a topic until the connection leaves it or ends. Joining again
    /// replaces the data. Presence is independent of subscriptions.
    ///
    /// # Errors
    /// `topic` is not a valid name of a topic, the name of the member is not 1 to 255 bytes long, or
    /// its data is longer than 64 KiB.
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
                let bytes = frame.len();
                self.post(0, Command::ToHub(frame));
                self.count_posted(bytes);
                self.let_hub_catch_up();
            }
        }
        Ok(())
    }

    /// Waits for a moment if subscriptions and changes of presence arrive faster than the hub takes them, so
    /// that they cannot pile up without bound. A hub that hangs delays the host no further.
    pub(crate) fn let_hub_catch_up(&self) {
        if let Some(port) = self.state.cluster.as_ref().filter(|port| port.is_behind()) {
            self.wait_for_hub(port);
        }
    }

    #[cold]
    fn wait_for_hub(&self, port: &Port) {
        /// Longest wait of one call.
        const LONGEST: Duration = Duration::from_millis(100);
        /// Pause between two looks at the queue.
        const PAUSE: Duration = Duration::from_millis(1);
        self.flush();
        Counters::one(&self.state.counters.host_waits);
        let end = Instant::now() + LONGEST;
        while port.is_behind() && Instant::now() < end && self.check_threads().is_ok() {
            std::thread::sleep(PAUSE);
        }
    }

    /// Ends the presence that [`Server::join`] has begun.
    pub fn leave(&self, conn: &Connection, topic: &str) {
        self.leave_one(conn.id(), topic);
    }

    fn leave_one(&self, conn: ConnId, topic: &str) {
        let Some(changed) = self.state.presence().leave(conn, topic) else { return };
        self.presence_changed(changed);
        if self.state.cluster.is_some() {
            let frame = Up::Leave { conn: conn.0, topic }.encode();
            let bytes = frame.len();
            self.post(0, Command::ToHub(frame));
            self.count_posted(bytes);
        }
    }

    /// Removes a closed connection from all topics that it has joined.
    pub(crate) fn leave_all(&self, conn: ConnId) {
        let joined = self.state.presence().of(conn);
        joined.iter().for_each(|topic| self.leave_one(conn, topic));
    }

    /// Queues the item by which the host fetches changes of presence. `changed`: no such item is
    /// queued yet.
    fn presence_changed(&self, changed: bool) {
        if changed {
            self.queue_item(Item::Presence);
        }
    }

    /// The members present in a topic, on all workers and nodes, ordered by name.
    pub fn presence(&self, topic: &str) -> Vec<PresenceMember> {
        self.state.presence().members(topic)
    }

    /// The counters of all workers of the node, each with its slot number; those of other workers are
    /// up to a few seconds old. The slot [`cluster::HUB`](crate::cluster::hub_config::HUB) stands for the
    /// hub itself together with workers that have ended, so that the sum of all is that of the node.
    /// Without a hub the result holds this server alone.
    pub fn node_stats(&self) -> Vec<(u16, Stats)> {
        self.state.node_stats()
    }

    /// Publishes to the other workers, through the hub. A publication to a topic with history is
    /// delivered to this worker's own connections by the hub as well, because only the hub can give
    /// it its position.
    #[cold]
    pub(crate) fn publish_to_hub(
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
        self.queue_for_hub(frame, !remembered)
    }

    /// Queues an encoded publication for the hub. `delivered_here`: this worker's own connections
    /// have received it already, which the error reports.
    ///
    /// # Errors
    /// [`PublishFailed::QueueFull`] if too many bytes are waiting for the hub.
    pub(crate) fn queue_for_hub(&self, frame: Bytes, delivered_here: bool) -> Result<(), PublishFailed> {
        let Some(port) = &self.state.cluster else { return Ok(()) };
        let bytes = frame.len();
        if !port.admit(bytes) {
            Counters::one(&self.state.counters.bus_refused);
            return Err(PublishFailed::QueueFull { delivered_here, limit: port.limit() });
        }
        Counters::one(&self.state.counters.bus_sent);
        self.post(0, Command::ToHub(frame));
        self.count_posted(bytes);
        Ok(())
    }
}
