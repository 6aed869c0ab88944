//! Reads histories from the streams of Redis, one for each topic.

use redis::Value;
use std::sync::Arc;
use std::time::Duration;

use super::bounds::Bounds;
use super::link::{Link, start, text};
use super::script;
use crate::config::History;
use crate::envelope::Body;
use crate::replay::{Replay, ReplayEntry};
use crate::url::{BrokerUrl, Place};

/// How long Redis keeps the history of a topic to which nothing is published any more, in
/// milliseconds: the age limit of its messages and an hour, or a week.
pub(super) fn keep(limits: &History) -> u128 {
    let keep = match limits.seconds {
        Some(age) => age.saturating_add(Duration::from_secs(3600)),
        None => Duration::from_secs(7 * 86_400),
    };
    keep.as_millis()
}

/// Maximum size of an entry without its payload in bytes, and maximum number of values in an entry.
const BESIDE_ENTRY: usize = 256;
const ENTRY_VALUES: usize = 12;

/// A connection for replays.
pub(crate) struct Reader {
    link: Link,
    bounds: Arc<Bounds>,
    prefix: String,
    run: String,
}

impl Reader {
    pub(crate) async fn open(url: &BrokerUrl, place: &Place, prefix: &str) -> Result<Self, String> {
        let bounds = Bounds::new(0);
        let mut link = Link::open(url, place, None, bounds.clone()).await?;
        let run = link.run().await?;
        Ok(Self { link, bounds, prefix: prefix.to_owned(), run })
    }

    pub(crate) async fn replay(
        &mut self,
        topic: &str,
        position: &str,
        limits: &History,
        largest: usize,
    ) -> Result<Replay, String> {
        let key = |kind: &str| format!("{}{kind}:{topic}", self.prefix);
        let mut command = redis::cmd("EVAL");
        command
            .arg(script::replay())
            .arg(2)
            .arg(key("history"))
            .arg(key("state"))
            .arg(&self.run)
            .arg(keep(limits).to_string())
            .arg(position);
        // The newest message is kept even if it exceeds the limit of the topic.
        let payloads = limits.bytes.max(largest);
        let beside = limits.messages.saturating_mul(BESIDE_ENTRY);
        self.bounds.allow(payloads.saturating_add(beside), limits.messages.saturating_mul(ENTRY_VALUES));
        let answer = self.link.call(&command).await?;
        // Until the next replay, the server may send nothing.
        self.bounds.allow(0, 0);
        let strange = format!("the script answered {}", start(&answer));
        replay_of(answer).ok_or(strange)
    }
}

pub(super) fn replay_of(answer: Value) -> Option<Replay> {
    let string = |value: Value| String::from_utf8(text(value)?.to_vec()).ok();
    let entry = |entry: Value| {
        let [id, fields] = list(entry)?;
        let [_, payload, _, binary, ..]: [Value; 6] = list(fields)?;
        let binary = text(binary)? == "1";
        let body = Body { payload: text(payload)?, binary, ..Body::default() }.checked();
        Some(ReplayEntry { position: string(id)?, payload: body.payload, binary: body.binary })
    };
    let [Value::Int(complete), position, Value::Array(entries)] = list(answer)? else { return None };
    Some(Replay {
        complete: complete == 1,
        entries: entries.into_iter().map(entry).collect::<Option<Vec<_>>>()?,
        position: string(position)?,
        failed: None,
    })
}

fn list<const N: usize>(value: Value) -> Option<[Value; N]> {
    match value {
        Value::Array(list) => list.try_into().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_kept_connection_takes_nothing_that_was_not_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            let (mut server, _) = listener.accept().await.unwrap();
            let answers = [("LIB-VER", "%1\r\n+proto\r\n:3\r\n+OK\r\n+OK\r\n"), ("server\r\n", "$0\r\n\r\n")];
            let mut heard = Vec::new();
            for (question, answer) in
                answers.into_iter().chain([("EVAL\r\n", "*3\r\n:1\r\n$3\r\n1-1\r\n*0\r\n")])
            {
                while !heard.windows(question.len()).any(|part| part == question.as_bytes()) {
                    assert_ne!(server.read_buf(&mut heard).await.unwrap(), 0);
                }
                server.write_all(answer.as_bytes()).await.unwrap();
            }
            // The node ends the connection before all of it has arrived.
            let flood = b">1\r\n+x\r\n".repeat(512 << 10);
            server.write_all(&flood).await.is_err()
        };
        let node = async {
            let url = BrokerUrl::parse(&format!("redis://{address}")).unwrap();
            let mut reader = Reader::open(&url, &url.places[0], "p:").await.unwrap();
            let largest = 16 << 20;
            let first = reader.replay("t", "1-1", &History::default(), largest).await;
            assert!(first.unwrap().complete);
            reader
        };
        let both = async { tokio::join!(server, node) };
        let (ended, mut reader) = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
        assert!(ended);
        let error = reader.replay("t", "1-1", &History::default(), 16 << 20).await.unwrap_err();
        assert!(error.ends_with("it sent more than was requested"), "{error}");
    }
}
