//! Redis: publish/subscribe, and streams for topics with history.
//!
//! | what | where |
//! |---|---|
//! | a topic | channel PREFIX + topic |
//! | messages for everybody | channel PREFIX + `>` |
//! | nodes among themselves | channel PREFIX + `>.nodes` |
//! | history of a topic | stream PREFIX + `history:` + topic, hash PREFIX + `state:` + topic |
//! | what a node has stored | string PREFIX + `node:` + its number |
//!
//! One connection that speaks RESP3 (Redis 6) does it all, so that publications and subscriptions
//! keep their order. No topic has a token `>` followed by another, or is `>`.

mod client;
#[cfg(fuzzing)]
pub(super) mod harness;
pub(crate) mod resp;
mod script;

use bytes::{Bytes, BytesMut};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::envelope::{self, Body};
use super::queue::{Item, Target};
use super::replay::{Entry, Replay};
use super::url::{BrokerUrl, Place};
use super::wire::{Heard, Opened, Put, Wire};
use super::{FORGET_NODE, History};
use crate::patterns::{Kind, kind};
use client::Client;
use resp::{Value, command};

/// What remains of a topic with history when nothing is published to it any more: as long as its
/// messages may get old and an hour, or a week.
fn keep(limits: &History) -> u128 {
    let keep = match limits.seconds {
        Some(age) => age.saturating_add(Duration::from_secs(3600)),
        None => Duration::from_secs(7 * 86_400),
    };
    keep.as_millis()
}

/// Connects, introduces itself, and leaves the script.
pub(super) async fn open(url: &BrokerUrl, place: &Place, prefix: &str, node: u64) -> Result<Opened, String> {
    let mut client = Client::connect(url, place).await?;
    let run = client.run().await?;
    let script = client.call(&[b"SCRIPT", b"LOAD", script::store().as_bytes()]).await;
    let script = script.and_then(|sha| sha.as_text().cloned().ok_or_else(|| "no digest".to_owned()));
    let wire = Redis::new(prefix, node, run, script);
    let (stream, input) = client.into_parts();
    Ok((Box::new(wire), stream, input))
}

/// An answer that is due: they come in the order of the commands.
#[derive(Debug)]
enum Due {
    /// Of a publication.
    Number(u64),
    /// Of a control message.
    Control,
    /// A confirmation, which comes as a push; or an error, which doesn't.
    Subscribed(Arc<str>),
    /// Likewise.
    Unsubscribed(Arc<str>),
    /// A sign of life.
    Asked,
}

struct Redis {
    prefix: String,
    node: u64,
    /// Of the server, new with each start of it.
    run: String,
    /// Digest of the script, or why there is none.
    script: Result<Bytes, String>,
    /// By glob.
    patterns: HashMap<Bytes, Arc<str>>,
    due: VecDeque<Due>,
    /// Names, each with how many unsubscriptions the server has not confirmed: copies that come
    /// before are those of a subscription that is no more.
    leaving: HashMap<Arc<str>, usize>,
    /// The server has said something after which nothing can be expected of this connection.
    useless: Option<String>,
}

/// Text that stands for itself in a pattern of Redis.
fn escape(text: &str, glob: &mut Vec<u8>) {
    for byte in text.bytes() {
        if b"*?[]\\".contains(&byte) {
            glob.push(b'\\');
        }
        glob.push(byte);
    }
}

impl Redis {
    fn new(prefix: &str, node: u64, run: String, script: Result<Bytes, String>) -> Self {
        Self {
            prefix: prefix.to_owned(),
            node,
            run,
            script,
            patterns: HashMap::new(),
            due: VecDeque::new(),
            leaving: HashMap::new(),
            useless: None,
        }
    }

    fn channel(&self, name: &str) -> Vec<u8> {
        [self.prefix.as_bytes(), name.as_bytes()].concat()
    }

    fn everybody(&self) -> Vec<u8> {
        self.channel(">")
    }

    fn nodes(&self) -> Vec<u8> {
        self.channel(">.nodes")
    }

    /// A pattern of Redis that matches at least what ours does: its `*` stands for dots, too.
    fn glob(&self, pattern: &str) -> Vec<u8> {
        let mut glob = Vec::new();
        escape(&self.prefix, &mut glob);
        for (n, token) in pattern.split('.').enumerate() {
            if n > 0 {
                glob.push(b'.');
            }
            match token {
                "*" => glob.push(b'*'),
                // Means the same, and is another text, by which copies are told apart.
                ">" => glob.extend_from_slice(b"**"),
                token => escape(token, &mut glob),
            }
        }
        glob
    }

    fn topic(&self, channel: &Bytes) -> Option<String> {
        let name = channel.strip_prefix(self.prefix.as_bytes())?;
        Some(std::str::from_utf8(name).ok()?.to_owned())
    }

    fn pushed(&mut self, push: &[Value]) -> Result<Heard, String> {
        let texts: Vec<_> = push.iter().map(|value| value.as_text().cloned().unwrap_or_default()).collect();
        match texts.as_slice() {
            [kind, channel, payload] if &kind[..] == b"message" => {
                let body = envelope::open(payload.clone());
                if channel[..] == self.everybody() {
                    return Ok(Heard::Broadcast(body));
                }
                if channel[..] == self.nodes() {
                    return Ok(Heard::Control(body));
                }
                let topic = self.topic(channel);
                let via = topic.as_deref().unwrap_or_default().into();
                Ok(self.copy(via, topic, body))
            }
            [kind, glob, channel, payload] if &kind[..] == b"pmessage" => {
                let topic = self.topic(channel);
                // What is for everybody or for nodes was subscribed to by name.
                if channel[..] == self.everybody() || channel[..] == self.nodes() {
                    return Ok(Heard::Nothing);
                }
                let Some(via) = self.patterns.get(glob).cloned() else { return Ok(Heard::Nothing) };
                Ok(self.copy(via, topic, envelope::open(payload.clone())))
            }
            [kind, ..] if kind.ends_with(b"subscribe") => match self.due.pop_front() {
                Some(Due::Subscribed(_)) => Ok(Heard::Nothing),
                Some(Due::Unsubscribed(name)) => {
                    self.has_left(&name);
                    Ok(Heard::Nothing)
                }
                other => Err(format!(
                    "it answers out of order: {} for {other:?}",
                    Value::Text(kind.clone()).start()
                )),
            },
            _ => Ok(Heard::Nothing),
        }
    }

    fn copy(&self, via: Arc<str>, topic: Option<String>, body: Body) -> Heard {
        if self.leaving.contains_key(&via) { Heard::Nothing } else { Heard::Message { via, topic, body } }
    }

    fn has_left(&mut self, name: &Arc<str>) {
        if let Some(count) = self.leaving.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                self.leaving.remove(name);
            }
        }
    }

    fn answered(&mut self, value: Value) -> Result<Heard, String> {
        let Some(due) = self.due.pop_front() else {
            return Err(format!("it answers what was not asked: {}", value.start()));
        };
        if let Value::Error(error) = &value {
            // Another connection may do better. The one that this answers can't be repeated there:
            // if one behind it was carried out, it would be taken for a duplicate.
            let passing = ["NOSCRIPT", "READONLY", "MASTERDOWN", "LOADING"];
            if passing.iter().any(|kind| error.starts_with(kind)) {
                self.useless = Some(error.clone());
            }
        }
        match (due, value) {
            (Due::Number(number), Value::Error(reason)) => {
                let uncertain = script::may_have_stored(&reason);
                Ok(Heard::Refused { number, reason, uncertain })
            }
            (Due::Number(number), _) => Ok(Heard::Done(number)),
            (Due::Subscribed(name), Value::Error(error)) => {
                let reason = format!("Redis refuses the subscription: {error}");
                Ok(Heard::Trouble { topic: name.to_string(), reason })
            }
            (Due::Unsubscribed(_), Value::Error(error)) => Err(error),
            (Due::Subscribed(_) | Due::Unsubscribed(_), value) => {
                Err(format!("it answers out of order: {}", value.start()))
            }
            (Due::Control, Value::Error(error)) => Ok(Heard::Trouble {
                topic: String::new(),
                reason: format!("Redis refuses a message to the nodes: {error}"),
            }),
            (Due::Asked, Value::Error(error)) => Err(error),
            (Due::Asked, _) => Ok(Heard::Alive),
            (Due::Control, _) => Ok(Heard::Nothing),
        }
    }

    /// One command for each name, so that an error answers for one name.
    fn follow(&self, verbs: [&[u8]; 2], name: &Arc<str>, out: &mut BytesMut) -> Option<Vec<u8>> {
        if kind(name) == Ok(Kind::Pattern) {
            let glob = self.glob(name);
            command(out, &[verbs[1], &glob]);
            return Some(glob);
        }
        command(out, &[verbs[0], &self.channel(name)]);
        None
    }

    fn put_store(&self, topic: &str, item: &Item, limits: &History, sha: &[u8], out: &mut BytesMut) {
        let key = |kind: &str| self.channel(&format!("{kind}:{topic}"));
        let number = |n: u128| n.to_string().into_bytes();
        let age = limits.seconds.map_or(0, |age| age.as_millis().max(1));
        command(
            out,
            &[
                b"EVALSHA",
                sha,
                b"3",
                &key("history"),
                &key("state"),
                &self.channel(&format!("node:{:016x}", self.node)),
                self.run.as_bytes(),
                &number(keep(limits)),
                &envelope::head(self.node, item.number, item.binary),
                &item.payload,
                if item.binary { b"1" } else { b"0" },
                &number(item.number.into()),
                &number(limits.messages.max(1) as u128),
                &number(age),
                &number(limits.bytes as u128),
                &self.channel(topic),
                &number(FORGET_NODE.as_millis()),
            ],
        );
    }
}

impl Wire for Redis {
    fn hear(&mut self, input: &mut BytesMut, _: &mut BytesMut) -> Result<Option<Heard>, String> {
        if let Some(error) = self.useless.take() {
            return Err(error);
        }
        Ok(match resp::read(input)? {
            None => None,
            Some(Value::Push(push)) => Some(self.pushed(&push)?),
            Some(value) => Some(self.answered(value)?),
        })
    }

    fn begin(&mut self, out: &mut BytesMut) {
        for channel in [self.everybody(), self.nodes()] {
            self.due.push_back(Due::Subscribed("".into()));
            command(out, &[b"SUBSCRIBE", &channel]);
        }
    }

    fn subscribe(&mut self, name: &Arc<str>, out: &mut BytesMut) {
        self.due.push_back(Due::Subscribed(name.clone()));
        if let Some(glob) = self.follow([b"SUBSCRIBE", b"PSUBSCRIBE"], name, out) {
            self.patterns.insert(glob.into(), name.clone());
        }
    }

    fn unsubscribe(&mut self, name: &Arc<str>, out: &mut BytesMut) {
        self.due.push_back(Due::Unsubscribed(name.clone()));
        *self.leaving.entry(name.clone()).or_default() += 1;
        if let Some(glob) = self.follow([b"UNSUBSCRIBE", b"PUNSUBSCRIBE"], name, out) {
            self.patterns.remove(&glob[..]);
        }
    }

    fn publish(&mut self, item: &Item, out: &mut BytesMut) -> Put {
        match (&item.target, &item.history) {
            (Target::Topic(topic), Some(limits)) => match &self.script {
                Ok(sha) => self.put_store(topic, item, limits, sha, out),
                Err(error) => {
                    return Put::Refused(format!("Redis refuses the script for histories: {error}"));
                }
            },
            (target, _) => {
                let channel = match target {
                    Target::Topic(topic) => self.channel(topic),
                    Target::Everybody => self.everybody(),
                };
                let message = envelope::seal(self.node, item.number, item.binary, &item.payload);
                command(out, &[b"PUBLISH", &channel, &message]);
            }
        }
        self.due.push_back(Due::Number(item.number));
        Put::Sent
    }

    fn end_batch(&mut self, _: &mut BytesMut) {}

    fn control(&mut self, payload: &[u8], out: &mut BytesMut) {
        self.due.push_back(Due::Control);
        command(out, &[b"PUBLISH", &self.nodes(), &envelope::seal(self.node, 0, true, payload)]);
    }

    fn ask(&mut self, out: &mut BytesMut) {
        self.due.push_back(Due::Asked);
        command(out, &[b"PING"]);
    }

    fn known_for(&self, item: &Item) -> Option<Duration> {
        // Nodes remember without a limit of time; the key of a node does not.
        item.history.as_ref().map(|_| FORGET_NODE - Duration::from_secs(60))
    }
}

/// A connection for replays.
pub(super) struct Reader {
    client: Client,
    prefix: String,
    run: String,
}

impl Reader {
    pub(super) async fn open(url: &BrokerUrl, place: &Place, prefix: &str) -> Result<Self, String> {
        let mut client = Client::connect(url, place).await?;
        let run = client.run().await?;
        Ok(Self { client, prefix: prefix.to_owned(), run })
    }

    pub(super) async fn replay(
        &mut self,
        topic: &str,
        position: &str,
        limits: &History,
    ) -> Result<Replay, String> {
        let key = |kind: &str| format!("{}{kind}:{topic}", self.prefix).into_bytes();
        let keep = keep(limits).to_string();
        let answer = self
            .client
            .call(&[
                b"EVAL",
                script::replay().as_bytes(),
                b"2",
                &key("history"),
                &key("state"),
                self.run.as_bytes(),
                keep.as_bytes(),
                position.as_bytes(),
            ])
            .await?;
        replay_of(&answer).ok_or_else(|| format!("the script answered {}", answer.start()))
    }
}

fn replay_of(answer: &Value) -> Option<Replay> {
    let [Value::Int(complete), position, entries] = answer.as_list()? else { return None };
    let entry = |entry: &Value| {
        let [id, fields] = entry.as_list()? else { return None };
        let [_, payload, _, binary, ..] = fields.as_list()? else { return None };
        let payload = payload.as_text()?.clone();
        let body = Body { payload, binary: binary.as_str()? == "1", ..Body::default() }.checked();
        Some(Entry { position: id.as_str()?.to_owned(), payload: body.payload, binary: body.binary })
    };
    Some(Replay {
        complete: *complete == 1,
        entries: entries.as_list()?.iter().map(entry).collect::<Option<Vec<_>>>()?,
        position: position.as_str()?.to_owned(),
        failed: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redis() -> Redis {
        Redis::new("p*:", 1, String::new(), Err(String::new()))
    }

    #[test]
    fn patterns_become_globs_that_match_at_least_as_much() {
        for (pattern, glob) in [
            ("a.*", "p\\*:a.*"),
            (">", "p\\*:**"),
            ("*.>", "p\\*:*.**"),
            ("a?.*", "p\\*:a\\?.*"),
            ("[x]\\.>", "p\\*:\\[x\\]\\\\.**"),
            ("**.*", "p\\*:\\*\\*.*"),
        ] {
            assert_eq!(String::from_utf8_lossy(&redis().glob(pattern)), glob);
        }
    }

    #[test]
    fn what_is_reported_of_an_answer_is_short() {
        let long = format!("$5000\r\n{}\r\n", "x".repeat(5000));
        let list = format!("*2\r\n:1\r\n{long}");
        for (answer, start) in [(long, "\"xxx"), (list, "a list of 2")] {
            let error = redis().hear(&mut BytesMut::from(&answer[..]), &mut BytesMut::new()).unwrap_err();
            let expected = format!("it answers what was not asked: {start}");
            assert!(error.starts_with(&expected) && error.len() < 100, "{error}");
        }
    }

    #[test]
    fn copies_of_a_subscription_that_was_given_up_are_left_out() {
        let mut redis = redis();
        let (mut out, name): (_, Arc<str>) = (BytesMut::new(), "a.*".into());
        redis.subscribe(&name, &mut out);
        redis.unsubscribe(&name, &mut out);
        redis.subscribe(&name, &mut out);
        let glob = "p\\*:a.*";
        let confirmed =
            |kind: &str| format!(">3\r\n${}\r\n{kind}\r\n${}\r\n{glob}\r\n:1\r\n", kind.len(), glob.len());
        let copy =
            format!(">4\r\n$8\r\npmessage\r\n${}\r\n{glob}\r\n$6\r\np*:a.b\r\n$1\r\nx\r\n", glob.len());
        let stream =
            [confirmed("psubscribe"), copy.clone(), confirmed("punsubscribe"), confirmed("psubscribe"), copy];
        let mut input = BytesMut::from(stream.concat().as_str());
        let mut heard = Vec::new();
        while let Some(word) = redis.hear(&mut input, &mut out).expect("it is the protocol") {
            heard.push(matches!(word, Heard::Message { .. }));
        }
        assert_eq!(heard, [false, false, false, false, true]);
        assert!(redis.leaving.is_empty() && redis.due.is_empty());
    }
}
