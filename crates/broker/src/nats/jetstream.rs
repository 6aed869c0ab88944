//! Streams of JetStream for topics with history: one for all topics with the same limits.
//!
//! A stream stores messages under subjects of its own and republishes them, with their sequence numbers,
//! to the subjects of the topics. So every subscriber of a topic receives its messages with their
//! positions, whether a node or another client has published them.

use serde_json::{Value, json};
use std::time::Duration;

use crate::config::History;
use crate::subject::{Subjects, encode};

/// Error code of the server: the stream exists with other settings.
const EXISTS: u64 = 10_058;
/// Longest time for which JetStream recognizes a repeated message.
const WINDOW: Duration = Duration::from_secs(120);

/// A stream for histories with certain limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HistoryStream {
    pub(super) name: String,
    /// Prefix of the subjects under which messages are stored.
    source: String,
    /// Wildcard subject of all topics, to which messages are republished.
    target: String,
    messages: usize,
    age: Duration,
}

impl HistoryStream {
    pub(super) fn new(subjects: &Subjects, limits: &History) -> Self {
        let messages = limits.messages.max(1);
        // JetStream accepts 100 ms and more, and 0 for no limit.
        let age = limits.seconds.map_or(Duration::ZERO, |age| age.max(Duration::from_millis(100)));
        let (source, name) = subjects.history(&format!("{messages}-{}", age.as_millis()));
        Self { name, source, target: subjects.all(), messages, age }
    }

    /// The subject under which messages of a topic are stored.
    pub(super) fn subject(&self, topic: &str) -> String {
        format!("{}.{}", self.source, encode(topic))
    }

    pub(super) fn create(&self) -> (String, String) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX >> 1);
        let source = format!("{}.>", self.source);
        let config = json!({
            "name": self.name,
            "description": "History of Sprocket topics",
            "subjects": [source],
            "retention": "limits",
            "discard": "old",
            "storage": "file",
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_msgs_per_subject": self.messages,
            "max_age": nanos(self.age),
            "duplicate_window": nanos(window(self.age)),
            "num_replicas": 1,
            "republish": { "src": source, "dest": self.target },
        });
        (format!("$JS.API.STREAM.CREATE.{}", self.name), config.to_string())
    }

    pub(super) fn info(&self) -> String {
        format!("$JS.API.STREAM.INFO.{}", self.name)
    }

    /// Interprets the answer to a request of `create` or `info`.
    pub(super) fn described(&self, answer: &[u8]) -> Described {
        let Ok(answer) = serde_json::from_slice::<Value>(answer) else {
            return Described::Failed("JetStream sent a reply that is not JSON".to_owned());
        };
        if let Some(reason) = error(&answer) {
            return if answer["error"]["err_code"] == EXISTS {
                Described::Exists
            } else {
                Described::Failed(format!("the stream {} is not available: {reason}", self.name))
            };
        }
        let config = &answer["config"];
        if config["republish"]["dest"] != self.target.as_str() {
            let Self { name, source, target, .. } = self;
            return Described::Failed(format!(
                "the stream {name} exists and does not republish {source}.> to {target}"
            ));
        }
        let state = &answer["state"];
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        Described::Stream {
            epoch: epoch(answer["created"].as_str().unwrap_or_default()),
            first: number(&state["first_seq"]),
            last: number(&state["last_seq"]),
        }
    }

    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    /// The request for a consumer of a topic's messages from the sequence number `start` on.
    pub(super) fn consume(&self, topic: &str, start: u64) -> (String, String) {
        let request = json!({
            "stream_name": self.name,
            "config": {
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": start,
                "ack_policy": "none",
                "replay_policy": "instant",
                "filter_subject": self.subject(topic),
                "mem_storage": true,
                "inactive_threshold": 5_000_000_000_u64,
            },
        });
        (format!("$JS.API.CONSUMER.CREATE.{}", self.name), request.to_string())
    }

    /// The request for the next messages of a consumer, without waiting for new ones.
    pub(super) fn fetch(&self, consumer: &str, count: u64) -> (String, String) {
        let request = json!({ "batch": count, "no_wait": true });
        (format!("$JS.API.CONSUMER.MSG.NEXT.{}.{consumer}", self.name), request.to_string())
    }

    pub(super) fn stop_consuming(&self, consumer: &str) -> String {
        format!("$JS.API.CONSUMER.DELETE.{}.{consumer}", self.name)
    }

    pub(super) fn message(&self) -> String {
        format!("$JS.API.STREAM.MSG.GET.{}", self.name)
    }
}

/// The meaning of an answer about a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Described {
    /// Sequence numbers of the first and the last message in the stream, and its epoch.
    Stream {
        epoch: u64,
        first: u64,
        last: u64,
    },
    /// The stream exists with other settings, which must be requested separately.
    Exists,
    Failed(String),
}

/// How long JetStream recognizes a repeated message in a stream whose messages expire after `age`.
pub(super) fn window(age: Duration) -> Duration {
    if age.is_zero() { WINDOW } else { age.min(WINDOW) }
}

/// The reason of a refusal, if the answer is one.
pub(super) fn error(answer: &Value) -> Option<String> {
    let error = answer.get("error")?;
    Some(error["description"].as_str().unwrap_or("no reason given").to_owned())
}

/// The epoch of a stream: the time of its creation (RFC 3339) to the millisecond, as one number. A
/// stream that is deleted and created anew has another epoch.
fn epoch(created: &str) -> u64 {
    let until = created.find(['Z', '+']).unwrap_or(created.len());
    let digits = created[..until].bytes().filter(u8::is_ascii_digit).chain(std::iter::repeat(b'0'));
    digits.take(17).fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(messages: usize, seconds: Option<f64>) -> HistoryStream {
        let subjects = Subjects::new("sprocket:").expect("it is the default");
        let seconds = seconds.map(Duration::from_secs_f64);
        HistoryStream::new(&subjects, &History { messages, seconds, ..History::default() })
    }

    #[test]
    fn limits_name_the_stream() {
        let stream = stream(100, Some(300.0));
        assert_eq!(stream.name, "sprocket-history-100-300000");
        assert_eq!(stream.subject("a b.c"), "sprocket-history.100-300000.a%20b.c");
        assert_eq!(super::tests::stream(0, None).name, "sprocket-history-1-0");
    }

    #[test]
    fn answers_are_understood() {
        let stream = stream(100, None);
        let known = json!({
            "config": {"republish": {"src": "x", "dest": "sprocket.>"}},
            "created": "2026-01-02T03:04:05.12Z",
            "state": {"first_seq": 5, "last_seq": 9},
        });
        let described = |answer: Value| stream.described(answer.to_string().as_bytes());
        assert_eq!(described(known), Described::Stream { epoch: 20_260_102_030_405_120, first: 5, last: 9 });
        assert_eq!(described(json!({"error": {"err_code": 10_058, "description": "x"}})), Described::Exists);
        for bad in
            [json!({}), json!({"error": {"err_code": 1}}), json!({"config": {"republish": {"dest": "x.>"}}})]
        {
            assert!(matches!(described(bad), Described::Failed(_)));
        }
        assert!(matches!(stream.described(b"{"), Described::Failed(_)));
    }

    #[test]
    fn an_epoch_is_a_time_to_the_millisecond() {
        assert_eq!(epoch("2026-01-02T03:04:05.123456789Z"), 20_260_102_030_405_123);
        assert_eq!(epoch("2026-01-02T03:04:05Z"), 20_260_102_030_405_000);
        assert_eq!(epoch("2026-01-02T03:04:05+02:00"), 20_260_102_030_405_000);
        assert_eq!(epoch(""), 0);
    }
}
