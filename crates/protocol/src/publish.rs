//! The protocol of the publish socket, through which other processes on the machine publish messages.
//! `docs/publish.md` describes it for users.
//!
//! ```text
//! PUBLISH text 7 5\n        kind, length of the topic, length of the payload, in bytes
//! room.42hello              topic and payload, with nothing between or after them
//!
//! OK\n                      or: ERROR topic a topic must be 1 to 255 bytes long, but …\n
//! ```

use std::fmt;

use crate::topic::TopicError;

/// Maximum length of a header in bytes, newline included. `PUBLISH binary 255 2147483647` has 30.
const MAX_HEADER: usize = 64;
/// Maximum length of a request without its payload, in bytes.
pub const MAX_BESIDE_PAYLOAD: usize = MAX_HEADER + 255;
/// Maximum length of an answer in bytes, newline included.
pub const MAX_ANSWER: usize = 512;
/// Code of the answer to a publication that has reached only some of its subscribers and will not
/// reach the others.
pub const PARTLY: &str = "partly";
/// The answer to a publication that was delivered to all its subscribers.
pub const OK: &str = "OK\n";

/// The result of [`parse`].
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A complete request, and its length in bytes.
    Request(Request<'a>, usize),
    /// The request is incomplete. It has this many bytes in all, or 0 if the header is incomplete.
    Incomplete(usize),
}

/// A publication. Its topic and its text are not validated yet.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The topic.
    pub topic: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
    /// Whether the payload is binary; otherwise it must be valid UTF-8.
    pub binary: bool,
}

/// The reason for which the server refuses a request or a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request violates the syntax. The input after it cannot be parsed either.
    Malformed(&'static str),
    /// The payload exceeds the limit.
    TooLarge {
        /// Length of the payload in bytes.
        bytes: u64,
        /// Maximum length in bytes.
        limit: usize,
    },
    /// The topic is not allowed.
    Topic(TopicError),
    /// The topic is not valid UTF-8.
    TopicNotUtf8,
    /// The payload of a text message is not valid UTF-8.
    NotUtf8,
    /// The queue to the hub, the process that connects the workers, is full; no subscriber gets the
    /// message.
    Hub(String),
    /// The queue to the broker is full; no subscriber gets the message.
    Broker(String),
    /// The queue to the broker is full; only subscribers on this machine got the message.
    Partly(String),
    /// Too many publishers are connected, or their requests take too much memory.
    Busy,
    /// The request did not arrive completely in time.
    Timeout,
    /// The server is stopping.
    Stopping,
}

impl Refusal {
    /// Returns the code for programs; the rest of the answer is text for people.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::TooLarge { .. } => "too-large",
            Self::Topic(_) | Self::TopicNotUtf8 => "topic",
            Self::NotUtf8 => "payload",
            Self::Hub(_) | Self::Broker(_) => "broker",
            Self::Partly(_) => PARTLY,
            Self::Busy => "busy",
            Self::Timeout => "timeout",
            Self::Stopping => "stopping",
        }
    }

    /// Whether the server closes the connection after the answer.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(
            self,
            Self::Topic(_)
                | Self::TopicNotUtf8
                | Self::NotUtf8
                | Self::Hub(_)
                | Self::Broker(_)
                | Self::Partly(_)
        )
    }

    /// Returns the answer, a single line.
    #[must_use]
    pub fn answer(&self) -> String {
        // Error texts quote a topic with its control characters escaped, so that it cannot break the
        // line.
        let mut text = format!("ERROR {} {self}", self.code());
        let mut end = text.len().min(MAX_ANSWER - 1);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('\n');
        text
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => f.write_str(why),
            Self::TooLarge { bytes, limit } => {
                write!(f, "the payload has {bytes} bytes, but the limit is {limit}")
            }
            Self::Topic(error) => error.fmt(f),
            Self::TopicNotUtf8 => f.write_str("the topic is not valid UTF-8"),
            Self::NotUtf8 => f.write_str("the payload is not valid UTF-8; publish it as binary"),
            Self::Hub(why) | Self::Broker(why) | Self::Partly(why) => f.write_str(why),
            Self::Busy => {
                f.write_str("too many publishers are connected, or their requests take too much memory")
            }
            Self::Timeout => f.write_str("the request was not complete in time"),
            Self::Stopping => f.write_str("the server is stopping"),
        }
    }
}

/// Returns the header of a request with these lengths of topic and payload in bytes.
#[must_use]
pub fn header(topic: usize, payload: usize, binary: bool) -> String {
    format!("PUBLISH {} {topic} {payload}\n", if binary { "binary" } else { "text" })
}

/// Parses the request at the start of `input`. Its payload may have at most `limit` bytes.
///
/// # Errors
/// The request violates the syntax, or its payload exceeds the limit. Both are detected in the header.
pub fn parse(input: &[u8], limit: usize) -> Result<Next<'_>, Refusal> {
    const SYNTAX: &str = "a request begins with: PUBLISH text|binary TOPIC-BYTES PAYLOAD-BYTES";
    let head = &input[..input.len().min(MAX_HEADER)];
    let Some(newline) = head.iter().position(|b| *b == b'\n') else {
        let begins_well = b"PUBLISH ".iter().zip(head).all(|(a, b)| a == b);
        return if head.len() == MAX_HEADER || !begins_well {
            Err(Refusal::Malformed(SYNTAX))
        } else {
            Ok(Next::Incomplete(0))
        };
    };
    let malformed = || Refusal::Malformed(SYNTAX);
    let line = std::str::from_utf8(&head[..newline]).map_err(|_| malformed())?;
    let mut words = line.split(' ');
    let (Some("PUBLISH"), Some(kind), Some(topic), Some(payload), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(malformed());
    };
    let binary = match kind {
        "text" => false,
        "binary" => true,
        _ => return Err(malformed()),
    };
    let topic = number(topic).ok_or_else(malformed)?;
    let payload = number(payload).ok_or_else(malformed)?;
    // The lengths are checked before the topic and the payload arrive.
    let topic = usize::try_from(topic)
        .ok()
        .filter(|n| *n <= 255)
        .ok_or(Refusal::Malformed("a topic must be at most 255 bytes long"))?;
    let payload = usize::try_from(payload)
        .ok()
        .filter(|n| *n <= limit)
        .ok_or(Refusal::TooLarge { bytes: payload, limit })?;
    let begin = newline + 1;
    let end = begin + topic + payload;
    match input.get(begin..end) {
        None => Ok(Next::Incomplete(end)),
        Some(body) => {
            let (topic, payload) = body.split_at(topic);
            Ok(Next::Request(Request { topic, payload, binary }, end))
        }
    }
}

/// Parses a decimal number without a sign or blanks.
fn number(word: &str) -> Option<u64> {
    let digits = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    if digits { word.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_parsed_with_any_amount_of_data_after_it() {
        let input = b"PUBLISH text 4 5\nroomhelloPUBLISH bi";
        for cut in 0..26 {
            assert!(matches!(parse(&input[..cut], 9), Ok(Next::Incomplete(_))), "cut {cut}");
        }
        let request = Request { topic: b"room", payload: b"hello", binary: false };
        assert_eq!(parse(input, 5), Ok(Next::Request(request, 26)));
        assert_eq!(parse(&input[..20], 5), Ok(Next::Incomplete(26)));
        let request = Request { topic: b"t", payload: b"\n", binary: true };
        assert_eq!(parse(b"PUBLISH binary 1 1\nt\n", 5), Ok(Next::Request(request, 21)));
    }

    #[test]
    fn malformed_requests_are_refused_as_early_as_possible() {
        for input in [
            "GET / HTTP/1.1",
            "publish text 1 1\nab",
            "PUBLISH",
            "PUBLISH text 1\nab",
            "PUBLISH text 1 1 1\nab",
            "PUBLISH  text 1 1\nab",
            "PUBLISH text 1 1\r\nab",
            "PUBLISH json 1 1\nab",
            "PUBLISH text -1 1\nab",
            "PUBLISH text +1 1\nab",
            "PUBLISH text 0x1 1\nab",
            "PUBLISH text 1 99999999999999999999\nab",
            "PUBLISH text 256 1\n",
            "PUBLISH text 1 000000000000000000000000000000000000000000000000000000",
            "\n",
        ] {
            let result = parse(input.as_bytes(), 100);
            // This one may still continue to a valid header.
            if input == "PUBLISH" {
                assert_eq!(result, Ok(Next::Incomplete(0)));
            } else {
                assert!(matches!(result, Err(Refusal::Malformed(_))), "{input:?}: {result:?}");
            }
        }
        assert_eq!(parse(b"PUBLISH text 1 101\n", 100), Err(Refusal::TooLarge { bytes: 101, limit: 100 }));
    }

    #[test]
    fn an_answer_is_one_line_for_any_topic() {
        let evil = format!("a\n\u{1}{}.>.x", "é".repeat(200));
        let answer = Refusal::Topic(TopicError::TailInside(evil)).answer();
        assert!(answer.starts_with("ERROR topic the token >"), "{answer}");
        assert_eq!(answer.find('\n'), Some(answer.len() - 1));
        assert!(answer.len() <= MAX_ANSWER);
    }

    #[test]
    fn parse_accepts_the_output_of_header() {
        let mut bytes = header(255, 0, true).into_bytes();
        bytes.extend([b'x'; 255]);
        let Ok(Next::Request(request, used)) = parse(&bytes, 0) else { panic!() };
        assert_eq!((request.topic.len(), request.payload.len(), used), (255, 0, bytes.len()));
        assert!(header(255, i32::MAX as usize, true).len() <= MAX_HEADER);
    }
}
