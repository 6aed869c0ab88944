//! The greeting, and questions with one answer each.

use bytes::BytesMut;
use std::hash::{BuildHasher, RandomState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::protocol::{self, Message, Said};
use crate::broker::dial::{Duplex, connect, secure};
use crate::broker::url::{BrokerUrl, Place};

/// A connection that was greeted.
pub(super) struct Client {
    stream: Box<dyn Duplex>,
    input: BytesMut,
    out: BytesMut,
    /// What the subjects for answers begin with.
    inbox: String,
    asked: u64,
    /// Bytes of a payload that the server takes.
    pub(super) longest: usize,
}

impl Client {
    /// Connects and introduces itself.
    pub(super) async fn connect(url: &BrokerUrl, place: &Place) -> Result<Self, String> {
        let stream = connect(place).await?;
        let mut client = Self {
            stream,
            input: BytesMut::new(),
            out: BytesMut::new(),
            inbox: inbox(),
            asked: 0,
            longest: 0,
        };
        let Said::Info(info) = client.next().await? else {
            return Err("the server did not introduce itself".to_owned());
        };
        client.longest = protocol::longest_payload(&info)?;
        let tls = url.tls || info["tls_required"] == true;
        if tls {
            client.stream = secure(client.stream, url, place).await?;
        }
        protocol::connect(&mut client.out, &url.credentials, tls);
        client.flush().await?;
        loop {
            match client.next().await? {
                Said::Pong => return Ok(client),
                Said::Error(error) => return Err(format!("NATS refuses the connection: {error}")),
                _ => {}
            }
        }
    }

    pub(super) fn into_parts(self) -> (Box<dyn Duplex>, BytesMut) {
        (self.stream, self.input)
    }

    /// Makes answers reach us.
    pub(super) fn listen(&mut self) {
        self.out.extend_from_slice(format!("SUB {}.> 1\r\n", self.inbox).as_bytes());
    }

    /// A subject that reaches us and was not used yet.
    pub(super) fn fresh_inbox(&mut self) -> String {
        self.asked += 1;
        format!("{}.{}", self.inbox, self.asked)
    }

    /// Sent with the next question.
    pub(super) fn say(&mut self, subject: &str) {
        protocol::publish(&mut self.out, subject, None, &[], b"");
    }

    /// The answer to a question.
    pub(super) async fn ask(&mut self, subject: &str, payload: &str) -> Result<Message, String> {
        let reply = self.fresh_inbox();
        self.send_question(subject, &reply, payload).await?;
        loop {
            let message = self.message().await?;
            if message.subject == reply {
                return if message.status == Some(503) { Err(NO_JETSTREAM.to_owned()) } else { Ok(message) };
            }
        }
    }

    /// Asks, and leaves it to the caller to wait for the answer.
    pub(super) async fn send_question(
        &mut self,
        subject: &str,
        reply: &str,
        payload: &str,
    ) -> Result<(), String> {
        protocol::publish(&mut self.out, subject, Some(reply), &[], payload.as_bytes());
        self.flush().await
    }

    /// The next message.
    pub(super) async fn message(&mut self) -> Result<Message, String> {
        loop {
            match self.next().await? {
                Said::Message(message) => return Ok(message),
                Said::Error(error) => return Err(error),
                _ => {}
            }
        }
    }

    async fn flush(&mut self) -> Result<(), String> {
        let broken = |error: std::io::Error| format!("the connection broke: {error}");
        self.stream.write_all(&self.out).await.map_err(broken)?;
        self.out.clear();
        self.stream.flush().await.map_err(broken)
    }

    async fn next(&mut self) -> Result<Said, String> {
        loop {
            match protocol::read(&mut self.input)? {
                Some(Said::Ping) => {
                    self.out.extend_from_slice(b"PONG\r\n");
                    self.flush().await?;
                }
                Some(said) => return Ok(said),
                None => match self.stream.read_buf(&mut self.input).await {
                    Ok(0) => return Err("the broker closed the connection".to_owned()),
                    Ok(_) => {}
                    Err(error) => return Err(format!("the connection broke: {error}")),
                },
            }
        }
    }
}

/// Nobody answers what is asked of JetStream.
pub(super) const NO_JETSTREAM: &str = "JetStream is not enabled on this NATS server, or its stream is gone";

/// Nobody else's.
pub(super) fn inbox() -> String {
    format!("_INBOX.sprocket{:016x}", RandomState::new().hash_one(std::process::id()))
}
