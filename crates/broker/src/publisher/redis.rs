//! `PUBLISH` of Redis.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisError, Value};
use tokio::time::timeout_at;

use super::call::Call;
use super::publish_error::PublishError;
use super::stream::{self, Watch, Watched};
use crate::envelope::plain;
use crate::redis::link::{greeting, refusal, words};
use crate::url::{BrokerUrl, Place};

/// A connection after its handshake.
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
    // Each call has a deadline of its own.
    let config = AsyncConnectionConfig::new().set_response_timeout(None::<Duration>);
    let greeted = MultiplexedConnection::new_with_config(&greeting(url), stream, config).await;
    let (client, driver) = greeted.map_err(|error| not_greeted(&error, call, &watch))?;
    tokio::spawn(driver);
    watch.traffic().begin();
    Ok(Connection { client, watch })
}

/// The error of a call whose handshake has failed.
fn not_greeted(error: &RedisError, call: &Call<'_>, watch: &Watch) -> PublishError {
    let traffic = watch.traffic();
    match error.kind() {
        ErrorKind::Parse if !traffic.ended => call.foreign(&traffic.start),
        ErrorKind::Io if traffic.is_too_long() => call.foreign(&traffic.start),
        _ => match refusal(error, &traffic.start) {
            Some((code, reason)) => call.refused(&code, reason),
            None if matches!(error.kind(), ErrorKind::Io | ErrorKind::Parse) => call.closed(),
            None => call.refused("error", format!("Redis refuses the connection: {error}")),
        },
    }
}

impl Connection {
    /// Publishes a message. `Some`: the server has refused it, and the connection remains usable.
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
            // The server sends nothing on its own: this is the end of the connection.
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
        // A lower bound of the command's length: if fewer bytes were written, the server cannot have
        // it.
        let whole = traffic.written >= channel.len() + message.len();
        let refused = match answer {
            Ok(Ok(Value::Int(_))) => None,
            Ok(Ok(Value::ServerError(error))) => Some(call.refused(error.code(), words(&error))),
            // This is not an answer to `PUBLISH`.
            Ok(Ok(_)) => return Err(call.lost()),
            Ok(Err(_)) if whole => return Err(call.lost()),
            Ok(Err(_)) => return Err(call.closed()),
            Err(_) if whole => return Err(call.silent()),
            Err(_) => return Err(call.not_taken()),
        };
        traffic.begin();
        Ok(refused)
    }
}
