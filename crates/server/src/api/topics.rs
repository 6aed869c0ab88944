//! Topics and broadcast, as the host uses them.

use sprocket_protocol::frame;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Server;
use crate::channel::mailbox::Command;
use crate::cluster::wire::Up;
use crate::connection::handle::Connection;
use crate::error::{PublishFailed, TopicError};
use crate::id::Target;
use crate::metrics::counters::Counters;
use crate::topics::registry::Route;
use sprocket_protocol::topic::{Kind, check_name, check_topic};

impl Server {
    /// Subscribes a connection to a topic. Subscribing again changes nothing, and neither does a
    /// connection that is not open.
    ///
    /// # Errors
    /// The name is empty, longer than 255 bytes, or a pattern.
    pub fn subscribe(&self, conn: &Connection, topic: &str) -> Result<(), TopicError> {
        check_topic(topic)?;
        self.subscribe_name(conn, topic)
    }

    /// Subscribes a connection to all topics that match a pattern, as in NATS subjects: the token
    /// `*` stands for one token, `>` at the end for one or more. A pattern without either is the
    /// topic of that name. Otherwise as [`Server::subscribe`].
    ///
    /// # Errors
    /// The pattern is empty, longer than 255 bytes, or has a token `>` before its end.
    pub fn subscribe_pattern(&self, conn: &Connection, pattern: &str) -> Result<(), TopicError> {
        check_name(pattern)?;
        self.subscribe_name(conn, pattern)
    }

    fn subscribe_name(&self, conn: &Connection, name: &str) -> Result<(), TopicError> {
        let shared = &conn.0;
        if shared.is_open() {
            let id = self.topics.borrow_mut().subscribe(shared.id, shared.thread, name)?;
            if let Some(id) = id {
                self.tell_changes();
                self.post(shared.thread, Command::Subscribe(Target::from(&**shared), id));
            }
        }
        Ok(())
    }

    /// Takes [`Server::subscribe`] back. A topic that was not subscribed is no error.
    ///
    /// # Errors
    /// The name is empty, longer than 255 bytes, or a pattern.
    pub fn unsubscribe(&self, conn: &Connection, topic: &str) -> Result<(), TopicError> {
        check_topic(topic)?;
        self.unsubscribe_name(conn, topic);
        Ok(())
    }

    /// Takes [`Server::subscribe_pattern`] back: the pattern as it was subscribed, not one that
    /// covers it.
    ///
    /// # Errors
    /// The pattern is empty, longer than 255 bytes, or has a token `>` before its end.
    pub fn unsubscribe_pattern(&self, conn: &Connection, pattern: &str) -> Result<(), TopicError> {
        check_name(pattern)?;
        self.unsubscribe_name(conn, pattern);
        Ok(())
    }

    fn unsubscribe_name(&self, conn: &Connection, name: &str) {
        let shared = &conn.0;
        let id = self.topics.borrow_mut().unsubscribe(shared.id, name);
        if let Some(id) = id {
            self.tell_changes();
            self.post(shared.thread, Command::Unsubscribe(Target::from(&**shared), id));
        }
    }

    /// Topics may have begun or ended: the thread that serves other publishers must know them by name.
    pub(crate) fn tell_changes(&self) {
        self.state.counters.topics.store(self.topics.borrow().len() as u64, Ordering::Relaxed);
        for change in self.topics.borrow_mut().take_changes() {
            self.post(0, Command::Topic(change));
        }
    }

    /// The topics that a connection has subscribed to, without patterns, in no order.
    pub fn topics(&self, conn: &Connection) -> Vec<String> {
        self.topics.borrow().of(conn.0.id, Kind::Exact)
    }

    /// The patterns that a connection has subscribed to, in no order.
    pub fn patterns(&self, conn: &Connection) -> Vec<String> {
        self.topics.borrow().of(conn.0.id, Kind::Pattern)
    }

    /// How many connections have subscribed to exactly this topic, or to exactly this pattern.
    pub fn subscriber_count(&self, topic: &str) -> usize {
        self.topics.borrow().count(topic)
    }

    /// Sends a message to all that have subscribed to `topic`, or to a pattern that matches it,
    /// once each. It is encoded once and all share its bytes. `payload` as in [`Server::send`].
    ///
    /// # Errors
    /// The name is empty, longer than 255 bytes, or a pattern; or too much waits for the other workers.
    pub fn publish(
        &self,
        topic: &str,
        payload: &[u8],
        binary: bool,
        except: Option<&Connection>,
    ) -> Result<(), PublishFailed> {
        let route = self.topics.borrow().route(topic)?;
        Counters::one(&self.state.counters.published);
        if self.state.cluster.is_some() {
            return self.publish_on_bus(&route, topic, payload, binary, except);
        }
        self.publish_here(&route, payload, binary, except);
        Ok(())
    }

    #[inline]
    pub(crate) fn publish_here(
        &self,
        route: &Route,
        payload: &[u8],
        binary: bool,
        except: Option<&Connection>,
    ) {
        if route.threads == 0 {
            return;
        }
        let (topics, frame): (Arc<[_]>, _) =
            (route.topics.as_slice().into(), frame::message(payload, binary));
        let except = except.map(Connection::id);
        for thread in (0..self.state.mailboxes.len()).filter(|t| route.threads >> t & 1 == 1) {
            let (topics, frame) = (topics.clone(), frame.clone());
            self.post(thread as u16, Command::Publish { topics, frame, except });
        }
        self.gathered(frame.len());
    }

    /// Sends a message to all connections, on all workers and nodes. `payload` as in [`Server::send`].
    ///
    /// # Errors
    /// Too much waits for the other workers; the connections of this one have got it.
    pub fn broadcast(
        &self,
        payload: &[u8],
        binary: bool,
        except: Option<&Connection>,
    ) -> Result<(), PublishFailed> {
        Counters::one(&self.state.counters.published);
        let (frame, except) = (frame::message(payload, binary), except.map(Connection::id));
        for thread in 0..self.state.mailboxes.len() {
            self.post(thread as u16, Command::Broadcast { frame: frame.clone(), except });
        }
        self.gathered(frame.len());
        if self.state.cluster.is_none() {
            return Ok(());
        }
        self.hand_over(Up::Broadcast { payload, binary }.encode(), true)
    }
}
