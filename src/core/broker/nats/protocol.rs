//! The text protocol of NATS: what a server says, and what a client does.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use crate::broker::Credentials;

/// Bytes of a message that we are ready to hold; a server allows 64 MiB at most.
pub(super) const LONGEST: usize = if cfg!(fuzzing) { 400 } else { 65 << 20 };
/// Bytes of a line; the longest is INFO, with the addresses of a cluster.
pub(super) const LONGEST_LINE: usize = if cfg!(fuzzing) { 200 } else { 1 << 20 };
/// First line of a block of headers.
const HEADERS: &str = "NATS/1.0";

/// What a server says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    Info(Value),
    Message(Message),
    Ping,
    Pong,
    /// `+OK`, or something of no meaning to us.
    Nothing,
    Error(String),
}

/// `MSG` and `HMSG`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) subject: String,
    /// Number of the subscription.
    pub(crate) sid: u64,
    pub(crate) reply: Option<String>,
    /// Of a message that the server makes itself, as 503: nobody listens.
    pub(crate) status: Option<u16>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) payload: Bytes,
}

impl Message {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Takes the next whole thing; none is there yet, or what is there is not the protocol.
pub(crate) fn read(input: &mut BytesMut) -> Result<Option<Said>, String> {
    let end = input.windows(2).take(LONGEST_LINE).position(|end| end == b"\r\n");
    let Some(end) = end else {
        return if input.len() > LONGEST_LINE { Err(strange(input)) } else { Ok(None) };
    };
    let line = std::str::from_utf8(&input[..end]).map_err(|_| strange(input))?;
    let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let said = match verb.to_ascii_uppercase().as_str() {
        "MSG" | "HMSG" => {
            let Some((message, used)) = message(verb.len() == 4, rest, &input[end + 2..])? else {
                return Ok(None);
            };
            input.advance(end + 2 + used);
            return Ok(Some(Said::Message(message)));
        }
        "INFO" => Said::Info(serde_json::from_str(rest).map_err(|_| strange(input))?),
        "PING" => Said::Ping,
        "PONG" => Said::Pong,
        "+OK" => Said::Nothing,
        "-ERR" => Said::Error(rest.trim().trim_matches('\'').to_owned()),
        _ => return Err(strange(input)),
    };
    input.advance(end + 2);
    Ok(Some(said))
}

/// `SUBJECT SID [REPLY] [BYTES OF HEADERS] BYTES`, and how much of `rest` belongs to it.
fn message(headers: bool, line: &str, rest: &[u8]) -> Result<Option<(Message, usize)>, String> {
    let bad = || strange(line.as_bytes());
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let numbers = if headers { 2 } else { 1 };
    let (names, sizes) = words.split_at(words.len().saturating_sub(numbers));
    let (subject, sid, reply) = match names {
        [subject, sid] => (subject, sid, None),
        [subject, sid, reply] => (subject, sid, Some((*reply).to_owned())),
        _ => return Err(bad()),
    };
    let sizes =
        sizes.iter().map(|size| size.parse::<usize>()).collect::<Result<Vec<_>, _>>().map_err(|_| bad())?;
    let (head, total) = if headers { (sizes[0], sizes[1]) } else { (0, sizes[0]) };
    if head > total || total > LONGEST {
        return Err(bad());
    }
    let Some(whole) = rest.get(..total + 2) else { return Ok(None) };
    if !whole.ends_with(b"\r\n") {
        return Err(bad());
    }
    let (status, headers) =
        if headers { fields(&whole[..head]).ok_or_else(bad)? } else { (None, Vec::new()) };
    let message = Message {
        subject: (*subject).to_owned(),
        sid: sid.parse().map_err(|_| bad())?,
        reply,
        status,
        headers,
        // A copy, so that a small message doesn't keep all that was read with it.
        payload: Bytes::copy_from_slice(&whole[head..total]),
    };
    Ok(Some((message, total + 2)))
}

type Fields = (Option<u16>, Vec<(String, String)>);

fn fields(block: &[u8]) -> Option<Fields> {
    let text = String::from_utf8_lossy(block);
    let mut lines = text.split("\r\n");
    let status = lines.next()?.strip_prefix(HEADERS)?.split_ascii_whitespace().next();
    let status = status.map(str::parse).transpose().ok()?;
    let pairs = lines.filter_map(|line| line.split_once(':'));
    Some((status, pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()))
}

fn strange(bytes: &[u8]) -> String {
    let start: String = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).chars().take(60).collect();
    format!("it does not speak the protocol of NATS: {start:?}")
}

/// What a client introduces itself with. `echo`: it gets its own messages.
pub(crate) fn connect(out: &mut BytesMut, credentials: &Credentials, tls: bool) {
    let mut options = json!({
        "verbose": false,
        "pedantic": false,
        "tls_required": tls,
        "name": "sprocket",
        "lang": "rust",
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": 1,
        "echo": false,
        "headers": true,
        "no_responders": true,
    });
    let Credentials { user, password } = credentials;
    match (user, password) {
        (Some(user), password) => {
            options["user"] = user.as_str().into();
            options["pass"] = password.as_deref().unwrap_or_default().into();
        }
        (None, Some(token)) => options["auth_token"] = token.as_str().into(),
        (None, None) => {}
    }
    out.put_slice(format!("CONNECT {options}\r\nPING\r\n").as_bytes());
}

/// What a client needs of a server, from its INFO: the longest payload.
pub(crate) fn longest_payload(info: &Value) -> Result<usize, String> {
    if info["headers"] != true {
        let version = info["version"].as_str().unwrap_or("unknown");
        return Err(format!("NATS 2.2 or later is needed, this is {version}, or its headers are turned off"));
    }
    let longest = info["max_payload"].as_u64().unwrap_or(1 << 20);
    Ok(usize::try_from(longest).unwrap_or(usize::MAX))
}

/// Appends a message.
pub(crate) fn publish(
    out: &mut BytesMut,
    subject: &str,
    reply: Option<&str>,
    headers: &[(&str, &str)],
    payload: &[u8],
) {
    let reply = reply.map_or_else(String::new, |reply| format!(" {reply}"));
    if headers.is_empty() {
        out.put_slice(format!("PUB {subject}{reply} {}\r\n", payload.len()).as_bytes());
    } else {
        let mut block = format!("{HEADERS}\r\n");
        for (name, value) in headers {
            block.push_str(&format!("{name}: {value}\r\n"));
        }
        block.push_str("\r\n");
        let total = block.len() + payload.len();
        out.put_slice(format!("HPUB {subject}{reply} {} {total}\r\n{block}", block.len()).as_bytes());
    }
    out.put_slice(payload);
    out.put_slice(b"\r\n");
}

/// Bytes that a message with headers has at most beside its payload, counted in its size.
pub(crate) const HEADROOM: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_read_whole_however_it_arrives() {
        let stream: &[u8] = b"INFO {\"headers\":true,\"max_payload\":5}\r\nPING\r\nPONG\r\n+OK\r\n-ERR 'No way'\r\n\
            MSG a.b 7 3\r\n\r\n!\r\nMSG a 8 reply.to 0\r\n\r\n\
            HMSG a 9 24 26\r\nNATS/1.0\r\nX-Y:  z a \r\n\r\nhi\r\nHMSG r 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\nping\r\n";
        let message = |subject: &str, sid, reply: Option<&str>, payload: &'static str| Message {
            subject: subject.to_owned(),
            sid,
            reply: reply.map(str::to_owned),
            payload: payload.into(),
            ..Message::default()
        };
        let with_header =
            Message { headers: vec![("X-Y".to_owned(), "z a".to_owned())], ..message("a", 9, None, "hi") };
        assert_eq!(with_header.header("x-y"), Some("z a"));
        let expected = vec![
            Said::Info(json!({"headers": true, "max_payload": 5})),
            Said::Ping,
            Said::Pong,
            Said::Nothing,
            Said::Error("No way".to_owned()),
            Said::Message(message("a.b", 7, None, "\r\n!")),
            Said::Message(message("a", 8, Some("reply.to"), "")),
            Said::Message(with_header),
            Said::Message(Message { status: Some(503), ..message("r", 1, None, "") }),
            Said::Ping,
        ];
        for piece in [1, 2, 3, 7, stream.len()] {
            let mut input = BytesMut::new();
            let mut all = Vec::new();
            for chunk in stream.chunks(piece) {
                input.put_slice(chunk);
                while let Some(said) = read(&mut input).expect("it is the protocol") {
                    all.push(said);
                }
            }
            assert_eq!((all, input.len()), (expected.clone(), 0), "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_no_such_thing_is_an_error() {
        for bad in [
            "+PONG\r\n",
            "HTTP/1.1 400 Bad Request\r\n",
            "\r\n",
            "INFO {\r\n",
            "MSG a 1\r\n",
            "MSG a x 0\r\n\r\n",
            "MSG a 1 -1\r\n",
            "MSG a 1 999999999\r\n",
            "MSG a 1 1\r\nab\r\n",
            "MSG a 1 b c d 0\r\n\r\n",
            "HMSG a 1 5 4\r\nabcd\r\n",
            "HMSG a 1 4 4\r\nHTTP\r\n",
            "\u{fffd}\r\n",
        ] {
            assert!(read(&mut BytesMut::from(bad)).is_err(), "{bad:?}");
        }
        assert!(read(&mut BytesMut::from(&vec![b'x'; LONGEST_LINE + 1][..])).is_err());
    }

    #[test]
    fn messages_are_written() {
        let mut out = BytesMut::new();
        publish(&mut out, "a", Some("r"), &[], b"hi");
        publish(&mut out, "a", None, &[("X", "y")], b"");
        assert_eq!(&out[..], b"PUB a r 2\r\nhi\r\nHPUB a 18 18\r\nNATS/1.0\r\nX: y\r\n\r\n\r\n");
    }
}
