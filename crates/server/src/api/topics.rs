//! The part of [`Server`] for topics and broadcasts.

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
use crate::topics::registry::{Change, Route};
use sprocket_protocol::topic::{Kind, check_name, check_topic};

impl Server {
    /// Subscribes a connection to a topic. The call has no effect if the connection is subscribed
    /// already or is not open.
    ///
    /// # Errors
    /// The name is empty, longer than 255 bytes, or a pattern.
    pub fn subscribe(&self, conn: &Connection, topic: &str) -> Result<(), TopicError> {
        check_topic(topic)?;
        self.subscribe_name(conn, topic)
    }

    /// Subscribes a connection to all topics that match a pattern, which has the syntax of NATS
    /// subjects: the token `*` matches one token, and `>` at the end matches one or more. A pattern
    /// without either matches the topic of that name. Everything else is as for
    /// [`Server::subscribe`].
    ///
    /// # Errors
    /// The pattern is empty, longer than 255 bytes, has a token `>` before its end, or has wildcards and more
    /// than 16 tokens.
    pub fn subscribe_pattern(&self, conn: &Connection, pattern: &str) -> Result<(), TopicError> {
        check_name(pattern)?;
        self.subscribe_name(conn, pattern)
    }

    fn subscribe_name(&self, conn: &Connection, name: &str) -> Result<(), TopicError> {
        let shared = &conn.0;
        if shared.is_open() {
            let id = self.topics.borrow_mut().subscribe(shared.id, shared.thread, name)?;
            if let Some(id) = id {
                self.post_topic_changes();
                self.post(shared.thread, Command::Subscribe(Target::from(&**shared), id));
            }
        }
        Ok(())
    }

    /// Ends a subscription to a topic. It is no error if the connection has not subscribed to it.
    ///
    /// # Errors
    /// The name is empty, longer than 255 bytes, or a pattern.
    pub fn unsubscribe(&self, conn: &Connection, topic: &str) -> Result<(), TopicError> {
        check_topic(topic)?;
        self.unsubscribe_name(conn, topic);
        Ok(())
    }

    /// Ends a subscription to a pattern, which must be the same text that was subscribed to, not one
    /// that covers it.
    ///
    /// # Errors
    /// The pattern is empty, longer than 255 bytes, has a token `>` before its end, or has wildcards and more
    /// than 16 tokens.
    pub fn unsubscribe_pattern(&self, conn: &Connection, pattern: &str) -> Result<(), TopicError> {
        check_name(pattern)?;
        self.unsubscribe_name(conn, pattern);
        Ok(())
    }

    fn unsubscribe_name(&self, conn: &Connection, name: &str) {
        let shared = &conn.0;
        let id = self.topics.borrow_mut().unsubscribe(shared.id, name);
        if let Some(id) = id {
            self.post_topic_changes();
            self.post(shared.thread, Command::Unsubscribe(Target::from(&**shared), id));
        }
    }

    /// Updates the counter of topics, and posts new and removed names to thread 0, which needs them
    /// for publications that arrive from the hub and the publish socket.
    pub(crate) fn post_topic_changes(&self) {
        self.state.counters.topics.store(self.topics.borrow().len() as u64, Ordering::Relaxed);
        let changes = self.topics.borrow_mut().take_changes();
        let began = changes.iter().any(|change| matches!(change, Change::Began(..)));
        for change in changes {
            self.post(0, Command::Topic(change));
        }
        if began {
            self.let_hub_catch_up();
        }
    }

    /// The topics that a connection has subscribed to, without patterns, in no particular order.
    pub fn topics(&self, conn: &Connection) -> Vec<String> {
        self.topics.borrow().of(conn.0.id, Kind::Exact)
    }

    /// The patterns that a connection has subscribed to, in no particular order.
    pub fn patterns(&self, conn: &Connection) -> Vec<String> {
        self.topics.borrow().of(conn.0.id, Kind::Pattern)
    }

    /// The number of this server's connections that have subscribed to exactly this topic, or exactly
    /// this pattern.
    pub fn subscriber_count(&self, topic: &str) -> usize {
        self.topics.borrow().count(topic)
    }

    /// Sends a message once to each connection that has subscribed to `topic`, or to a pattern that
    /// matches it. The frame is encoded once and shared by all recipients. `payload` must be as for
    /// [`Server::send`].
    ///
    /// # Errors
    /// The name is empty, longer than 255 bytes, or a pattern; or too many bytes are waiting for the
    /// hub.
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
            return self.publish_to_hub(&route, topic, payload, binary, except);
        }
        self.publish_here(&route, payload, binary, except);
        Ok(())
    }

    /// Publishes to the subscribers on this server's own threads.
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
        self.count_posted(frame.len());
    }

    /// Sends a message to all connections, on all workers and nodes. `payload` must be as for
    /// [`Server::send`].
    ///
    /// # Errors
    /// Too many bytes are waiting for the hub. The connections of this server receive the message
    /// nevertheless.
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
        self.count_posted(frame.len());
        if self.state.cluster.is_none() {
            return Ok(());
        }
        self.queue_for_hub(Up::Broadcast { payload, binary }.encode(), true)
    }
}
