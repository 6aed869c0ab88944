//! Topics and patterns as channels and glob patterns of Redis.

use redis::{PushInfo, PushKind, Value};
use std::collections::HashMap;
use std::sync::Arc;

use super::link::text;
use crate::driver::Incoming;
use crate::envelope;
use sprocket_protocol::topic::{Kind, kind};

/// The names of one application, and the subscriptions of a connection.
pub(super) struct Names {
    prefix: String,
    /// The patterns that are subscribed to, by their globs.
    patterns: HashMap<Vec<u8>, Arc<str>>,
    /// For each channel and glob, the number of unsubscriptions that the server has not confirmed.
    /// Messages that arrive before the confirmation belong to the old subscription.
    leaving: HashMap<(Kind, Vec<u8>), usize>,
    /// Size in bytes of the channels and globs whose subscriptions the server has not confirmed. The
    /// library stores each name that the server confirms.
    unconfirmed: usize,
}

/// Escapes a text for a glob.
fn escape(text: &str, glob: &mut Vec<u8>) {
    for byte in text.bytes() {
        if b"*?[]\\".contains(&byte) {
            glob.push(b'\\');
        }
        glob.push(byte);
    }
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), patterns: HashMap::new(), leaving: HashMap::new(), unconfirmed: 0 }
    }

    /// The channel of a topic, or the glob of a pattern.
    fn place(&self, name: &str) -> (Kind, Vec<u8>) {
        match kind(name) {
            Ok(Kind::Pattern) => (Kind::Pattern, self.glob(name)),
            _ => (Kind::Exact, self.channel(name)),
        }
    }

    /// Records a subscription, and returns its channel or glob.
    pub(super) fn subscribe(&mut self, name: &Arc<str>) -> (Kind, Vec<u8>) {
        let place = self.place(name);
        if place.0 == Kind::Pattern {
            self.patterns.insert(place.1.clone(), name.clone());
        }
        self.asked(&place.1);
        place
    }

    /// Records that the server must confirm a subscription to this channel or glob.
    pub(super) fn asked(&mut self, place: &[u8]) {
        self.unconfirmed += place.len();
    }

    /// Handles the confirmation of a subscription.
    fn confirmed(&mut self, place: Option<&Value>) -> Result<Incoming, String> {
        // The library stores names of this type only.
        let bytes = if let Some(Value::BulkString(place)) = place { place.len() } else { 0 };
        match self.unconfirmed.checked_sub(bytes.max(1)) {
            Some(rest) => self.unconfirmed = rest,
            None => return Err("the server confirms subscriptions that were not requested".to_owned()),
        }
        Ok(Incoming::Nothing)
    }

    /// Records the end of a subscription, and returns its channel or glob.
    pub(super) fn unsubscribe(&mut self, name: &str) -> (Kind, Vec<u8>) {
        let place = self.place(name);
        if place.0 == Kind::Pattern {
            self.patterns.remove(&place.1);
        }
        *self.leaving.entry(place.clone()).or_default() += 1;
        place
    }

    pub(super) fn channel(&self, name: &str) -> Vec<u8> {
        [self.prefix.as_bytes(), name.as_bytes()].concat()
    }

    pub(super) fn everybody(&self) -> Vec<u8> {
        self.channel(">")
    }

    pub(super) fn nodes(&self) -> Vec<u8> {
        self.channel(">.nodes")
    }

    /// The glob of a pattern. It matches at least the same topics: `*` in a glob matches dots, too.
    fn glob(&self, pattern: &str) -> Vec<u8> {
        let mut glob = Vec::new();
        escape(&self.prefix, &mut glob);
        for (n, token) in pattern.split('.').enumerate() {
            if n > 0 {
                glob.push(b'.');
            }
            match token {
                "*" => glob.push(b'*'),
                // `**` means the same as `*`. As another text, it tells copies of the two patterns
                // apart.
                ">" => glob.extend_from_slice(b"**"),
                token => escape(token, &mut glob),
            }
        }
        glob
    }

    fn topic(&self, channel: &[u8]) -> Option<String> {
        let name = channel.strip_prefix(self.prefix.as_bytes())?;
        Some(std::str::from_utf8(name).ok()?.to_owned())
    }

    /// Interprets a message or a confirmation. An error ends the connection.
    pub(super) fn pushed(&mut self, PushInfo { kind, data }: PushInfo) -> Result<Incoming, String> {
        if matches!(kind, PushKind::Subscribe | PushKind::PSubscribe | PushKind::SSubscribe) {
            return self.confirmed(data.first());
        }
        let texts: Vec<_> = data.into_iter().map(|value| text(value).unwrap_or_default()).collect();
        Ok(match (kind, texts.as_slice()) {
            (PushKind::Message, [channel, payload]) => {
                let body = envelope::open(payload.clone());
                if channel[..] == self.everybody() {
                    return Ok(Incoming::Broadcast(body));
                }
                if channel[..] == self.nodes() {
                    return Ok(Incoming::Control(body));
                }
                if self.leaving.contains_key(&(Kind::Exact, channel.to_vec())) {
                    return Ok(Incoming::Nothing);
                }
                let topic = self.topic(channel);
                let via = topic.as_deref().unwrap_or_default().into();
                Incoming::Message { via, topic, body }
            }
            (PushKind::PMessage, [glob, channel, payload]) => {
                // Broadcasts and control messages have subscriptions of their own.
                let other = channel[..] == self.everybody() || channel[..] == self.nodes();
                let leaving = self.leaving.contains_key(&(Kind::Pattern, glob.to_vec()));
                match self.patterns.get(&glob[..]).cloned() {
                    Some(via) if !other && !leaving => {
                        let topic = self.topic(channel);
                        Incoming::Message { via, topic, body: envelope::open(payload.clone()) }
                    }
                    _ => Incoming::Nothing,
                }
            }
            (PushKind::Unsubscribe, [channel, ..]) => self.has_left((Kind::Exact, channel.to_vec())),
            (PushKind::PUnsubscribe, [glob, ..]) => self.has_left((Kind::Pattern, glob.to_vec())),
            _ => Incoming::Nothing,
        })
    }

    fn has_left(&mut self, name: (Kind, Vec<u8>)) -> Incoming {
        if let Some(count) = self.leaving.get_mut(&name) {
            *count -= 1;
            if *count == 0 {
                self.leaving.remove(&name);
            }
        }
        Incoming::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::Value;

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
            assert_eq!(String::from_utf8_lossy(&Names::new("p*:").glob(pattern)), glob);
        }
    }

    #[test]
    fn copies_of_a_subscription_that_was_given_up_are_left_out() {
        for (name, copy) in [("a.*", PushKind::PMessage), ("a.b", PushKind::Message)] {
            let mut names = Names::new("p:");
            let name = name.into();
            let (kind, place) = names.subscribe(&name);
            names.unsubscribe(&name);
            names.subscribe(&name);
            let mut heard = |kind: PushKind| {
                let mut data = vec![place.as_slice(), b"p:a.b", b"x"];
                if kind == PushKind::Message {
                    data.remove(0);
                }
                let data = data.into_iter().map(|part| Value::BulkString(part.to_vec())).collect();
                matches!(names.pushed(PushInfo { kind, data }), Ok(Incoming::Message { .. }))
            };
            let (on, off) = match kind {
                Kind::Pattern => (PushKind::PSubscribe, PushKind::PUnsubscribe),
                Kind::Exact => (PushKind::Subscribe, PushKind::Unsubscribe),
            };
            let heard = [on.clone(), copy.clone(), off, copy.clone(), on, copy].map(&mut heard);
            assert_eq!(heard, [false, false, false, true, false, true]);
            assert!(names.leaving.is_empty());
        }
    }
}
