//! The driver for Redis: publish/subscribe, and streams for topics with history.
//!
//! | what | where |
//! |---|---|
//! | a topic | channel PREFIX + topic |
//! | messages for every connection | channel PREFIX + `>` |
//! | control messages between nodes | channel PREFIX + `>.nodes` |
//! | history of a topic | stream PREFIX + `history:` + topic, hash PREFIX + `state:` + topic |
//! | number of the last publication that a node has stored | string PREFIX + `node:` + number of the node |
//!
//! A single connection in RESP3 (Redis 6) carries publications and subscriptions, so that they keep
//! their order. The channels `>` and `>.nodes` are not those of topics: a topic has no token `>`.

mod bounds;
#[cfg(fuzzing)]
pub(super) mod harness;
pub(crate) mod link;
mod names;
mod pushes;
mod reader;
mod script;

use bytes::Bytes;
use redis::{Cmd, RedisResult, Value};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::config::History;
use super::driver::{BATCH, Driver, Incoming, SendResult, too_large};
use super::envelope;
use super::queue::{Item, Target};
use super::url::{BrokerUrl, Place};

use bounds::Bounds;
use link::{Link, UNDER_WAY, text, words};
use names::Names;
use pushes::Pushes;
use reader::keep;
use sprocket_protocol::topic::Kind;

pub(super) use reader::Reader;

/// Connects, performs the handshake, and loads the script.
pub(super) async fn open(
    url: &BrokerUrl,
    place: &Place,
    prefix: &str,
    node: u64,
    largest: usize,
) -> Result<Box<dyn Driver>, String> {
    let bounds = Bounds::new(largest);
    let (sender, pushes) = pushes::channel(bounds.clone());
    let mut link = Link::open(url, place, Some(sender), bounds).await?;
    let run = link.run().await?;
    let script = link.call(redis::cmd("SCRIPT").arg("LOAD").arg(script::store())).await;
    let script = script.and_then(|sha| text(sha).ok_or_else(|| "no digest".to_owned()));
    Ok(Box::new(Redis::new(prefix, node, run, script, link, pushes, largest)))
}

/// A command whose answer is outstanding.
#[derive(Debug)]
enum PendingReply {
    /// A publication.
    Number(u64),
    /// A control message.
    Control,
    /// A subscription. It is confirmed by a push; only an error is an answer.
    Subscribed(Arc<str>),
    /// The end of a subscription, likewise.
    Unsubscribed,
    /// A ping.
    Pong,
}

type Answer = Pin<Box<dyn Future<Output = RedisResult<Value>>>>;

struct Redis {
    names: Names,
    node: u64,
    /// Id of the server's run, new after each start of the server.
    run: String,
    /// Digest of the script, or the reason why it could not be loaded.
    script: Result<Bytes, String>,
    link: Link,
    /// Messages, and confirmations of subscriptions.
    pushes: Pushes,
    /// Commands that wait to be sent, with their approximate sizes; and the sum of the sizes.
    next: VecDeque<(PendingReply, Cmd, usize)>,
    waiting: usize,
    /// Commands that were sent. Their answers arrive in the same order.
    sent: VecDeque<(PendingReply, Answer)>,
    heard: VecDeque<Incoming>,
    /// The error that has made this connection useless. No further command is sent.
    useless: Option<String>,
    /// Publications refused since then, with the reasons. They are sent again on another connection,
    /// unless a later publication was carried out: there they would be taken for duplicates.
    put_off: Vec<(u64, String)>,
    /// Size in bytes of the largest payload that nodes accept from the server, and so may publish.
    largest: usize,
}

impl Redis {
    fn new(
        prefix: &str,
        node: u64,
        run: String,
        script: Result<Bytes, String>,
        link: Link,
        pushes: Pushes,
        largest: usize,
    ) -> Self {
        Self {
            names: Names::new(prefix),
            node,
            run,
            script,
            link,
            pushes,
            next: VecDeque::new(),
            waiting: 0,
            sent: VecDeque::new(),
            heard: VecDeque::new(),
            useless: None,
            put_off: Vec::new(),
            largest,
        }
    }

    fn answered(&mut self, due: PendingReply, answer: Value) -> Result<(), String> {
        let refused = |(number, reason): (u64, String)| {
            let uncertain = script::may_have_stored(&reason);
            Incoming::Refused { number, reason, uncertain }
        };
        let Value::ServerError(error) = answer else {
            match due {
                PendingReply::Number(number) => {
                    self.heard.extend(self.put_off.drain(..).map(refused));
                    self.heard.push_back(Incoming::Confirmed(number));
                }
                PendingReply::Pong => self.heard.push_back(Incoming::Alive),
                PendingReply::Subscribed(_) | PendingReply::Unsubscribed | PendingReply::Control => {}
            }
            return Ok(());
        };
        let reason = words(&error);
        // Errors of this kind may not occur on another connection.
        let passing = ["NOSCRIPT", "READONLY", "MASTERDOWN", "LOADING"].contains(&error.code());
        let first = passing && self.useless.is_none();
        if first {
            self.useless = Some(reason.clone());
        }
        match due {
            // The first publication is reported as lost, so that the queue moves on in any case.
            PendingReply::Number(number) if passing && !first => self.put_off.push((number, reason)),
            PendingReply::Number(number) => self.heard.push_back(refused((number, reason))),
            PendingReply::Subscribed(name) => self.heard.push_back(Incoming::Loss {
                topic: name.to_string(),
                reason: format!("Redis refuses the subscription: {reason}"),
            }),
            PendingReply::Control => self.heard.push_back(Incoming::Loss {
                topic: String::new(),
                reason: format!("Redis refuses a message to the nodes: {reason}"),
            }),
            PendingReply::Unsubscribed | PendingReply::Pong => return Err(reason),
        }
        Ok(())
    }

    fn push(&mut self, due: PendingReply, command: Cmd, payload: usize) {
        let bytes = payload + ABOUT;
        self.waiting += bytes;
        self.next.push_back((due, command, bytes));
    }

    /// Sends one command per name, so that an error concerns one name.
    fn follow(&mut self, due: PendingReply, verb: &str, place: &[u8]) {
        let mut command = redis::cmd(verb);
        command.arg(place);
        self.push(due, command, place.len());
    }

    fn put(&mut self, due: PendingReply, channel: &[u8], message: &[u8]) {
        let mut command = redis::cmd("PUBLISH");
        command.arg(channel).arg(message);
        self.push(due, command, channel.len() + message.len());
    }

    fn put_store(&mut self, topic: &str, item: &Item, limits: &History, sha: &[u8]) {
        let key = |kind: &str| self.names.channel(&format!("{kind}:{topic}"));
        let age = limits.seconds.map_or(0, |age| age.as_millis().max(1));
        let mut command = redis::cmd("EVALSHA");
        command
            .arg(sha)
            .arg(3)
            .arg(key("history"))
            .arg(key("state"))
            .arg(self.names.channel(&format!("node:{:016x}", self.node)))
            .arg(&self.run)
            .arg(keep(limits).to_string())
            .arg(&envelope::head(self.node, item.number, item.binary)[..])
            .arg(&item.payload[..])
            .arg(if item.binary { "1" } else { "0" })
            .arg(item.number)
            .arg(limits.messages.max(1))
            .arg(age.to_string())
            .arg(limits.bytes)
            .arg(self.names.channel(topic))
            .arg(FORGET_NODE.as_millis().to_string());
        self.push(PendingReply::Number(item.number), command, item.payload.len());
    }
}

/// How long Redis remembers which publications a node has stored.
const FORGET_NODE: Duration = Duration::from_secs(3600);
/// Approximate size of a command without its payload, in bytes.
const ABOUT: usize = 64;
/// The reason if the connection has ended without an error.
const ENDED: &str = "the broker closed the connection";

impl Driver for Redis {
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, String>> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Poll::Ready(Ok(heard));
            }
            if let Poll::Ready(push) = self.pushes.poll_next(cx) {
                match push {
                    Some(push) => return Poll::Ready(self.names.pushed(push)),
                    // If an answer is due, it describes the reason.
                    None if self.sent.is_empty() => return Poll::Ready(Err(ENDED.to_owned())),
                    None => {}
                }
            }
            while self.sent.len() < UNDER_WAY
                && self.useless.is_none()
                && let Some((due, command, bytes)) = self.next.pop_front()
            {
                self.waiting -= bytes;
                let mut connection = self.link.connection();
                let mut answer: Answer =
                    Box::pin(async move { connection.send_packed_command(&command).await });
                // The first poll hands the command to the library, in the order of the commands.
                if let Poll::Ready(Err(error)) = answer.as_mut().poll(cx) {
                    return Poll::Ready(Err(self.link.broken(&error)));
                }
                self.sent.push_back((due, answer));
            }
            let Some((_, first)) = self.sent.front_mut() else {
                return self.useless.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error)));
            };
            let answer = ready!(first.as_mut().poll(cx)).map_err(|error| self.link.broken(&error))?;
            if let Some((due, _)) = self.sent.pop_front() {
                self.answered(due, answer)?;
            }
        }
    }

    fn received(&self) -> u64 {
        self.link.received()
    }

    fn has_room(&self) -> bool {
        self.waiting < BATCH && self.useless.is_none()
    }

    fn start(&mut self) {
        self.pushes.begin();
        for channel in [self.names.everybody(), self.names.nodes()] {
            self.names.asked(&channel);
            self.follow(PendingReply::Subscribed("".into()), "SUBSCRIBE", &channel);
        }
    }

    fn subscribe(&mut self, name: &Arc<str>) {
        let (kind, place) = self.names.subscribe(name);
        let verb = if kind == Kind::Pattern { "PSUBSCRIBE" } else { "SUBSCRIBE" };
        self.follow(PendingReply::Subscribed(name.clone()), verb, &place);
    }

    fn unsubscribe(&mut self, name: &Arc<str>) {
        let (kind, place) = self.names.unsubscribe(name);
        let verb = if kind == Kind::Pattern { "PUNSUBSCRIBE" } else { "UNSUBSCRIBE" };
        self.follow(PendingReply::Unsubscribed, verb, &place);
    }

    fn publish(&mut self, item: &Item) -> SendResult {
        // No node would accept the message, and this node would lose its connection whenever the message
        // came back.
        if item.payload.len() > self.largest {
            return SendResult::Refused(too_large(item.payload.len(), self.largest));
        }
        match (&item.target, &item.history) {
            (Target::Topic(topic), Some(limits)) => match self.script.clone() {
                Ok(sha) => self.put_store(topic, item, limits, &sha),
                Err(error) => {
                    return SendResult::Refused(format!("Redis refuses the script for histories: {error}"));
                }
            },
            (target, _) => {
                let channel = match target {
                    Target::Topic(topic) => self.names.channel(topic),
                    Target::Everybody => self.names.everybody(),
                };
                let message = envelope::seal(self.node, item.number, item.binary, &item.payload);
                self.put(PendingReply::Number(item.number), &channel, &message);
            }
        }
        SendResult::Sent
    }

    fn control(&mut self, payload: &[u8]) {
        self.put(PendingReply::Control, &self.names.nodes(), &envelope::seal(self.node, 0, true, payload));
    }

    fn ping(&mut self) {
        self.push(PendingReply::Pong, redis::cmd("PING"), 0);
    }

    fn retry_window(&self, item: &Item) -> Option<Duration> {
        // Nodes remember publications without a limit of time, but the key of a node in Redis
        // expires.
        item.history.as_ref().map(|_| FORGET_NODE - Duration::from_secs(60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A connection to a server that the test plays.
    async fn redis() -> (Redis, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let url = BrokerUrl::parse(&format!("redis://127.0.0.1:{port}")).expect("an address");
        let bounds = Bounds::new(1 << 20);
        let (sender, pushes) = pushes::channel(bounds.clone());
        let (link, server) =
            tokio::join!(timeout(PATIENCE, Link::open(&url, &url.places[0], Some(sender), bounds)), async {
                let (mut server, _) = listener.accept().await.expect("a client");
                let mut hello = [0; 256];
                let read = server.read(&mut hello).await.expect("a greeting");
                assert!(String::from_utf8_lossy(&hello[..read]).contains("HELLO"));
                server.write_all(b"%1\r\n+proto\r\n:3\r\n+OK\r\n+OK\r\n").await.expect("the driver reads");
                server
            });
        let link = link.expect("it answers in time").expect("it was greeted");
        (Redis::new("p*:", 1, String::new(), Err(String::new()), link, pushes, 1 << 20), server)
    }

    async fn hear(redis: &mut Redis) -> Result<Incoming, String> {
        let incoming = std::future::poll_fn(|cx| redis.poll_incoming(cx));
        timeout(PATIENCE, incoming).await.expect("the driver reports something")
    }

    /// The outcome of publications to be stored, if the server sends these answers.
    async fn stored(answers: &[&str]) -> Vec<String> {
        let (mut redis, mut server) = redis().await;
        redis.script = Ok("sha".into());
        for number in 1..=answers.len() as u64 {
            let target = Target::Topic("t".into());
            let history = Some(History::default());
            redis.publish(&Item { number, target, payload: "x".into(), binary: false, history });
        }
        let mut replies = answers.concat();
        let mut outcomes = Vec::new();
        loop {
            let incoming = std::future::poll_fn(|cx| {
                let incoming = redis.poll_incoming(cx);
                // The server answers when it has all commands.
                let asked = redis.sent.len() == answers.len() && !replies.is_empty();
                if incoming.is_pending() && asked { Poll::Ready(Ok(Incoming::Nothing)) } else { incoming }
            });
            match timeout(PATIENCE, incoming).await.expect("the driver reports something") {
                Ok(Incoming::Nothing) => {
                    server
                        .write_all(std::mem::take(&mut replies).as_bytes())
                        .await
                        .expect("the driver reads");
                }
                Ok(Incoming::Confirmed(number)) => outcomes.push(format!("{number} done")),
                Ok(Incoming::Refused { number, .. }) => outcomes.push(format!("{number} refused")),
                Ok(other) => panic!("{other:?}"),
                Err(reason) => {
                    outcomes.push(reason);
                    return outcomes;
                }
            }
        }
    }

    #[tokio::test]
    async fn transient_refusals_are_deferred_unless_a_later_publication_succeeded() {
        let (gone, stored_it) = ("-NOSCRIPT no\r\n", "$3\r\n1-1\r\n");
        assert_eq!(stored(&[gone, gone, gone]).await, ["1 refused", "NOSCRIPT no"]);
        let outcomes = stored(&[gone, gone, stored_it, gone]).await;
        assert_eq!(outcomes, ["1 refused", "2 refused", "3 done", "NOSCRIPT no"]);
        let outcomes = stored(&["-OOM no\r\n", gone, "-OOM no\r\n", gone]).await;
        assert_eq!(outcomes, ["1 refused", "2 refused", "3 refused", "NOSCRIPT no"]);
    }

    #[tokio::test]
    async fn invalid_input_ends_the_connection() {
        for nonsense in ["HTTP/1.1 400 Bad Request\r\n\r\n", "+PONG\r\n:seven\r\n", ""] {
            let (mut redis, mut server) = redis().await;
            redis.ping();
            server.write_all(nonsense.as_bytes()).await.expect("the driver reads");
            if nonsense.is_empty() {
                drop(server);
            }
            loop {
                match hear(&mut redis).await {
                    Ok(incoming) => {
                        assert!(matches!(incoming, Incoming::Alive | Incoming::Nothing), "{incoming:?}")
                    }
                    Err(reason) => {
                        let known = ["the server does not speak", "the connection broke: ", ENDED];
                        assert!(known.iter().any(|start| reason.starts_with(start)), "{reason}");
                        break;
                    }
                }
            }
        }
    }
}
