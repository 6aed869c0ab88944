//! Commands and answers, one after the other: for the greeting and for replays.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::resp::{self, Value, command};
use crate::broker::dial::{Duplex, connect, secure};
use crate::broker::url::{BrokerUrl, Place};

/// A connection on which nothing is subscribed.
pub(super) struct Client {
    stream: Box<dyn Duplex>,
    input: BytesMut,
}

impl Client {
    /// Connects and introduces itself.
    pub(super) async fn connect(url: &BrokerUrl, place: &Place) -> Result<Self, String> {
        let mut stream = connect(place).await?;
        if url.tls {
            stream = secure(stream, url, place).await?;
        }
        let mut client = Self { stream, input: BytesMut::new() };
        let mut out = BytesMut::new();
        let answers = resp::greeting(&mut out, &url.credentials, url.database);
        client.send(&out).await?;
        for _ in 0..answers {
            client.next().await?.sound().map_err(|error| resp::refused(&error))?;
        }
        Ok(client)
    }

    /// Which run of the server this is; an account that may not ask takes all for one.
    pub(super) async fn run(&mut self) -> Result<String, String> {
        self.send_command(&[b"INFO", b"server"]).await?;
        Ok(match self.next().await? {
            Value::Text(text) => {
                let text = String::from_utf8_lossy(&text);
                let run = text.lines().find_map(|line| line.strip_prefix("run_id:"));
                run.unwrap_or("unknown").trim().to_owned()
            }
            Value::Error(error) if error.starts_with("NOPERM") => "unknown".to_owned(),
            Value::Error(error) => return Err(resp::refused(&error)),
            _ => "unknown".to_owned(),
        })
    }

    /// One command and its answer; an error of the server is an error.
    pub(super) async fn call(&mut self, parts: &[&[u8]]) -> Result<Value, String> {
        self.send_command(parts).await?;
        self.next().await?.sound()
    }

    pub(super) fn into_parts(self) -> (Box<dyn Duplex>, BytesMut) {
        (self.stream, self.input)
    }

    async fn send_command(&mut self, parts: &[&[u8]]) -> Result<(), String> {
        let mut out = BytesMut::new();
        command(&mut out, parts);
        self.send(&out).await
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let broken = |error: std::io::Error| format!("the connection broke: {error}");
        self.stream.write_all(bytes).await.map_err(broken)?;
        self.stream.flush().await.map_err(broken)
    }

    async fn next(&mut self) -> Result<Value, String> {
        loop {
            match resp::read(&mut self.input)? {
                Some(Value::Push(_)) => {}
                Some(value) => return Ok(value),
                None => match self.stream.read_buf(&mut self.input).await {
                    Ok(0) => return Err("the broker closed the connection".to_owned()),
                    Ok(_) => {}
                    Err(error) => return Err(format!("the connection broke: {error}")),
                },
            }
        }
    }
}
