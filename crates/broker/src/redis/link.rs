//! A connection by the crate `redis`, over a socket of our own.

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, ProtocolVersion, RedisConnectionInfo, RedisError, ServerError,
    Value,
};
use std::sync::Arc;
use tokio::task::JoinHandle;

use super::bounds::{Bounded, Bounds, Received};
use super::pushes::Sender;
use crate::connect::connect;
use crate::driver::BATCH;
use crate::url::{BrokerUrl, Place};

/// Maximum number of commands that wait for answers. The library buffers as many, even if the socket
/// does not accept them.
pub(super) const UNDER_WAY: usize = 512;

/// A connection after its handshake, in RESP3. Dropping it ends it.
pub(super) struct Link {
    connection: MultiplexedConnection,
    task: JoinHandle<()>,
    received: Arc<Received>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    /// Connects and performs the handshake. Messages that the server sends on its own go to `pushes`.
    pub(super) async fn open(
        url: &BrokerUrl,
        place: &Place,
        pushes: Option<Sender>,
        bounds: Arc<Bounds>,
    ) -> Result<Self, String> {
        let stream = connect(url, place).await;
        let stream = stream.map_err(|error| format!("cannot connect to {place}: {error}"))?;
        let received = Arc::new(Received::default());
        let stream = Bounded::new(stream, bounds, received.clone());
        // Each call has a timeout of its own.
        let mut config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_pipeline_buffer_size(UNDER_WAY)
            .set_write_backpressure_boundary(BATCH);
        if let Some(pushes) = pushes {
            config = config.set_push_sender(pushes);
        }
        let opened = MultiplexedConnection::new_with_config(&greeting(url), stream, config).await;
        let (connection, driver) = opened.map_err(|error| {
            if let Some(why) = received.excess() {
                return too_much(&why);
            }
            refusal(&error, &received.start()).map_or_else(|| broken(&error), |(_, reason)| reason)
        })?;
        Ok(Self { connection, task: tokio::spawn(driver), received })
    }

    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// Number of bytes received so far.
    pub(super) fn received(&self) -> u64 {
        self.received.bytes()
    }

    /// Sends a command and returns its answer. An error of the server is an error.
    pub(super) async fn call(&mut self, command: &Cmd) -> Result<Value, String> {
        match self.connection.send_packed_command(command).await {
            Ok(Value::ServerError(error)) => Err(words(&error)),
            Ok(value) => Ok(value),
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// Describes why the connection is unusable.
    pub(super) fn broken(&self, error: &RedisError) -> String {
        self.received.excess().map_or_else(|| broken(error), |why| too_much(&why))
    }

    /// The id of the server's run. Accounts that may not ask for it use the same placeholder for all.
    pub(super) async fn run(&mut self) -> Result<String, String> {
        let unknown = || "unknown".to_owned();
        match self.connection.send_packed_command(redis::cmd("INFO").arg("server")).await {
            Ok(Value::ServerError(error)) if error.code() == "NOPERM" => Ok(unknown()),
            Ok(Value::ServerError(error)) => Err(format!("Redis refuses the connection: {}", words(&error))),
            Ok(info) => {
                let info = text(info).unwrap_or_default();
                let info = String::from_utf8_lossy(&info);
                let run = info.lines().find_map(|line| line.strip_prefix("run_id:"));
                Ok(run.map_or_else(unknown, |run| run.trim().to_owned()))
            }
            Err(error) => Err(self.broken(&error)),
        }
    }
}

/// Settings of the handshake. RESP3 allows publications and subscriptions on one connection.
pub(crate) fn greeting(url: &BrokerUrl) -> RedisConnectionInfo {
    let mut info = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP3)
        .set_db(url.database.into())
        .set_lib_name("sprocket", env!("CARGO_PKG_VERSION"));
    if let Some(password) = &url.credentials.password {
        info = info.set_username(url.credentials.user.as_deref().unwrap_or("default")).set_password(password);
    }
    info
}

/// The server's refusal of the handshake, as a code and a sentence. `None` if the error is not one of
/// the server. `start` is the beginning of what the server has sent.
pub(crate) fn refusal(error: &RedisError, start: &[u8]) -> Option<(String, String)> {
    const TOO_OLD: &str = "Redis 6 or later is needed: it does not know HELLO";
    if error.kind() == ErrorKind::RESP3NotSupported {
        return Some(("ERR".to_owned(), TOO_OLD.to_owned()));
    }
    let line = match (error.code(), error.detail()) {
        // The error repeats the unknown command, which may contain a password.
        (Some("ERR"), Some(detail)) if detail.starts_with("unknown command") => {
            return Some(("ERR".to_owned(), TOO_OLD.to_owned()));
        }
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        // The server has sent an error and ended the connection while the library expected an answer.
        (None, _) if error.kind() == ErrorKind::Io => {
            let error = String::from_utf8_lossy(start.strip_prefix(b"-")?);
            error.lines().next().unwrap_or_default().chars().take(240).collect()
        }
        (None, _) => return None,
    };
    let code = line.split(' ').next().unwrap_or_default();
    let what = if code == "NOPROTO" { "Redis 6 or later is needed" } else { "Redis refuses the connection" };
    Some((code.to_owned(), format!("{what}: {line}")))
}

/// Describes why a connection is unusable.
fn broken(error: &RedisError) -> String {
    if error.kind() == ErrorKind::Parse {
        // The library describes such an error in several lines.
        let error = error.to_string().replace('\n', ", ");
        return format!("the server does not speak the protocol of Redis: {error}");
    }
    format!("the connection broke: {error}")
}

/// Describes that the server has exceeded a limit.
fn too_much(why: &str) -> String {
    format!("the connection was closed because of invalid data from the server: {why}")
}

/// The text of an error, as the server has sent it.
pub(crate) fn words(error: &ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

/// The text in a value, whatever its type.
pub(super) fn text(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(text) => Some(text.into()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.into()),
        Value::Okay => Some(Bytes::from_static(b"OK")),
        _ => None,
    }
}

/// The beginning of a value, for reports.
pub(super) fn start(value: &Value) -> String {
    let start = |text: &[u8]| format!("{:?}", String::from_utf8_lossy(&text[..text.len().min(60)]));
    match value {
        Value::BulkString(text) => start(text),
        Value::SimpleString(text) => start(text.as_bytes()),
        Value::Array(list) => format!("a list of {}", list.len()),
        value => format!("{value:?}").chars().take(60).collect(),
    }
}
