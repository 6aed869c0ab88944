//! `PUB` of NATS, confirmed by the answer to a `PING` behind it.

use bytes::BytesMut;

use super::PublishError;
use super::broker::Link;
use super::call::{Call, Exchanged};
use crate::broker::nats_protocol::{self as protocol, HEADROOM, Said};
use crate::broker::{BrokerUrl, NATS_BINARY, Place, Subjects};

pub(super) fn greet(
    url: &BrokerUrl,
    place: &Place,
    call: &Call<'_>,
    mut link: Link,
) -> Result<Link, PublishError> {
    let info = match link.hear(call, protocol::read)? {
        Said::Info(info) => info,
        // It may be full.
        Said::Error(error) => return Err(call.refused("error", error)),
        _ => return Err(call.foreign(b"")),
    };
    let reason = |reason| call.refused("version", reason);
    link.longest = protocol::longest_payload(&info).map_err(reason)?;
    let tls = url.tls || info["tls_required"] == true;
    if tls {
        link = link.secure(url, place, call)?;
    }
    let mut out = BytesMut::new();
    protocol::connect(&mut out, &url.credentials, tls);
    link.socket.send(&out).map_err(|error| call.unsent(&error))?;
    loop {
        match link.hear(call, protocol::read)? {
            Said::Pong => return Ok(link),
            Said::Error(error) => {
                return Err(call.refused("refused", format!("NATS refuses the connection: {error}")));
            }
            _ => {}
        }
    }
}

pub(super) fn publish(
    call: &Call<'_>,
    mut link: Link,
    prefix: &str,
    topic: &str,
    payload: &[u8],
    binary: bool,
) -> Exchanged<Link> {
    listen(call, &mut link)?;
    if payload.len() + HEADROOM > link.longest {
        let most = link.longest.saturating_sub(HEADROOM);
        let reason = format!("the payload has {} bytes, {most} are allowed", payload.len());
        let refused = call.refused("too-large", reason);
        return Ok((Some(link), Some(refused)));
    }
    let Some(subjects) = Subjects::new(prefix) else {
        return Err(call.refused("prefix", format!("{prefix:?} can't begin a subject")));
    };
    let headers: &[(&str, &str)] = if binary { &[(NATS_BINARY, "1")] } else { &[] };
    let mut out = BytesMut::new();
    protocol::publish(&mut out, &subjects.of(topic), None, headers, payload);
    // In two steps, so that it is known which of the two was not sent whole.
    link.socket.send(&out).map_err(|error| call.unsent(&error))?;
    link.socket.send(b"PING\r\n").map_err(|error| call.unanswered(Some(&error)))?;
    let mut refusal = None;
    loop {
        match link.next(protocol::read) {
            Ok(Said::Pong) => return Ok((Some(link), refusal)),
            Ok(Said::Ping) => {
                link.socket.send(b"PONG\r\n").map_err(|error| call.unanswered(Some(&error)))?;
            }
            // Such an error, and those that end the connection, mean that it was not published:
            // they come in the order of what they answer.
            Ok(Said::Error(error)) => refusal = Some(call.refused("refused", error)),
            Ok(_) => {}
            Err(error) => return Err(refusal.unwrap_or_else(|| call.unanswered(error.as_ref()))),
        }
    }
}

/// What the server has said since the last time: it wants to know whether we live, or has ended
/// the connection.
fn listen(call: &Call<'_>, link: &mut Link) -> Result<(), PublishError> {
    let mut ponged = false;
    loop {
        match protocol::read(&mut link.input) {
            Ok(Some(Said::Ping)) if !ponged => {
                ponged = true;
                link.socket.send(b"PONG\r\n").map_err(|_| call.closed())?;
            }
            Ok(Some(Said::Error(_))) | Err(_) => return Err(call.closed()),
            Ok(Some(Said::Info(info))) if info["ldm"] == true => return Err(call.closed()),
            Ok(Some(_)) => {}
            Ok(None) if link.socket.has_news() => {
                let mut chunk = [0; 4096];
                match link.socket.receive(&mut chunk) {
                    Ok(n @ 1..) => link.input.extend_from_slice(&chunk[..n]),
                    _ => return Err(call.closed()),
                }
            }
            Ok(None) => return Ok(()),
        }
    }
}
