//! `PUBLISH` of Redis.

use bytes::BytesMut;
use std::io::ErrorKind;

use super::PublishError;
use super::broker::{Call, Exchanged, Link};
use super::socket::Socket;
use crate::broker::resp::{self, Value};
use crate::broker::{Place, plain};

pub(super) fn greet(call: &Call<'_>, socket: Socket, place: &Place) -> Result<Link, PublishError> {
    let socket = if call.url.tls { socket.secure(call.url, place) } else { Ok(socket) };
    let socket = socket.map_err(|source| call.unreachable(source))?;
    let mut link = Link { socket, input: BytesMut::new(), longest: usize::MAX };
    let mut out = BytesMut::new();
    let answers = resp::greeting(&mut out, &call.url.credentials, call.url.database);
    link.socket.send(&out).map_err(|error| call.unsent(&error))?;
    for _ in 0..answers {
        match link.next(resp::read) {
            Ok(Value::Error(error)) => return Err(call.refused(first_word(&error), resp::refused(&error))),
            Ok(_) => {}
            Err(Some(error)) if error.kind() == ErrorKind::InvalidData => {
                return Err(call.foreign(&link.input));
            }
            Err(error) => return Err(error.map_or_else(|| call.closed(), |error| call.unsent(&error))),
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
) -> Exchanged {
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
                return Ok((link, Some(refused)));
            }
            Ok(Value::Int(_)) => return Ok((link, None)),
            Ok(_) => {}
            Err(error) => return Err(call.unanswered(error.as_ref())),
        }
    }
}

fn first_word(error: &str) -> &str {
    error.split(' ').next().unwrap_or_default()
}
