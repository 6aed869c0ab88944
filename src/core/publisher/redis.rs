//! `PUBLISH` of Redis.

use bytes::BytesMut;

use super::PublishError;
use super::broker::Link;
use super::call::{Call, Exchanged};
use crate::broker::resp::{self, Value};
use crate::broker::{BrokerUrl, Place, plain};

pub(super) fn greet(
    url: &BrokerUrl,
    place: &Place,
    call: &Call<'_>,
    mut link: Link,
) -> Result<Link, PublishError> {
    if url.tls {
        link = link.secure(url, place, call)?;
    }
    let mut out = BytesMut::new();
    let answers = resp::greeting(&mut out, &url.credentials, url.database);
    link.socket.send(&out).map_err(|error| call.unsent(&error))?;
    for _ in 0..answers {
        if let Value::Error(error) = link.hear(call, resp::read)? {
            return Err(call.refused(first_word(&error), resp::refused(&error)));
        }
    }
    Ok(link)
}

pub(super) fn publish(
    call: &Call<'_>,
    mut link: Link,
    prefix: &str,
    topic: &str,
    payload: &[u8],
    binary: bool,
) -> Exchanged<Link> {
    // It says something only when asked: this is its end.
    if link.socket.has_news() || !link.input.is_empty() {
        return Err(call.closed());
    }
    let channel = [prefix.as_bytes(), topic.as_bytes()].concat();
    let mut out = BytesMut::new();
    resp::command(&mut out, &[b"PUBLISH", &channel, &plain(binary, payload)]);
    link.socket.send(&out).map_err(|error| call.unsent(&error))?;
    loop {
        match link.next(resp::read) {
            Ok(Value::Error(error)) => {
                let refused = call.refused(first_word(&error), error.clone());
                return Ok((Some(link), Some(refused)));
            }
            Ok(Value::Int(_)) => return Ok((Some(link), None)),
            Ok(_) => {}
            Err(error) => return Err(call.unanswered(error.as_ref())),
        }
    }
}

fn first_word(error: &str) -> &str {
    error.split(' ').next().unwrap_or_default()
}
