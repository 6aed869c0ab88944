//! `PUBLISH` of Redis.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisError, Value};
use tokio::time::timeout_at;

use super::call::Call;
use super::error::PublishError;
use super::stream::{self, Watch, Watched};
use crate::{BrokerUrl, Place, plain, redis_greeting};

/// A connection that was greeted.
pub(super) struct Connection {
    client: MultiplexedConnection,
    watch: Watch,
}

pub(super) async fn connect(
    url: &BrokerUrl,
    place: &Place,
    call: &Call<'_>,
) -> Result<Connection, PublishError> {
    let stream = stream::connect(url, place, call.until).await;
    let stream = stream.map_err(|source| call.unreachable(source))?;
    let watch = Watch::default();
    let stream = Watched { stream, watch: watch.clone() };
    // The deadline is ours.
    let config = AsyncConnectionConfig::new().set_response_timeout(None::<Duration>);
    let greeted = MultiplexedConnection::new_with_config(&redis_greeting(url), stream, config).await;
    let (client, driver) = greeted.map_err(|error| not_greeted(&error, call, &watch))?;
    tokio::spawn(driver);
    watch.traffic().begin();
    Ok(Connection { client, watch })
}

fn not_greeted(error: &RedisError, call: &Call<'_>, watch: &Watch) -> PublishError {
    let traffic = watch.traffic();
    match (error.kind(), error.code()) {
        (ErrorKind::Parse, _) if !traffic.ended => call.foreign(&traffic.start),
        (ErrorKind::Io, _) if traffic.is_too_long() => call.foreign(&traffic.start),
        // It has said why it ends the connection, and the client waited for more.
        (ErrorKind::Io, _) if traffic.start.starts_with(b"-") => {
            let said = String::from_utf8_lossy(&traffic.start[1..]);
            let line = said.lines().next().unwrap_or_default();
            let code = line.split(' ').next().unwrap_or_default();
            call.refused(code, format!("Redis refuses the connection: {line}"))
        }
        (ErrorKind::Io | ErrorKind::Parse, _) => call.closed(),
        (ErrorKind::RESP3NotSupported, _) => {
            call.refused("ERR", "Redis 6 or later is needed: it does not know HELLO".to_owned())
        }
        (_, Some("NOPROTO")) => {
            call.refused("NOPROTO", format!("Redis 6 or later is needed: {}", said(error)))
        }
        // It repeats what it does not know, and that may have a password in it.
        (_, Some(code)) if error.detail().is_some_and(|detail| detail.starts_with("unknown command")) => {
            call.refused(code, "Redis 6 or later is needed: it does not know HELLO".to_owned())
        }
        (_, code) => {
            call.refused(code.unwrap_or("error"), format!("Redis refuses the connection: {}", said(error)))
        }
    }
}

/// An error in the server's words.
fn said(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => error.to_string(),
    }
}

impl Connection {
    /// `Some`: it was refused, and the connection is good for more.
    pub(super) async fn publish(
        &mut self,
        call: &Call<'_>,
        prefix: &str,
        topic: &str,
        payload: &[u8],
        binary: bool,
    ) -> Result<Option<PublishError>, PublishError> {
        {
            let mut traffic = self.watch.traffic();
            // It says something only when asked: this is its end.
            if traffic.ended || traffic.read > 0 {
                return Err(call.closed());
            }
            traffic.begin();
        }
        let channel = [prefix.as_bytes(), topic.as_bytes()].concat();
        let message = plain(binary, payload);
        let mut command = redis::cmd("PUBLISH");
        command.arg(&channel).arg(&message[..]);
        let answer = timeout_at(call.until.into(), self.client.send_packed_command(&command)).await;
        let mut traffic = self.watch.traffic();
        // However it is written: with less than this it is not there whole.
        let whole = traffic.written >= channel.len() + message.len();
        let refusal = match answer {
            Ok(Ok(Value::Int(_))) => None,
            Ok(Ok(Value::ServerError(error))) => Some(RedisError::from(error)),
            // Not an answer to this.
            Ok(Ok(_)) => return Err(call.lost()),
            Ok(Err(_)) if whole => return Err(call.lost()),
            Ok(Err(_)) => return Err(call.closed()),
            Err(_) if whole => return Err(call.silent()),
            Err(_) => return Err(call.not_taken()),
        };
        traffic.begin();
        Ok(refusal.map(|error| call.refused(error.code().unwrap_or("error"), said(&error))))
    }
}
