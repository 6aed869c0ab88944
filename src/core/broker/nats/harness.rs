//! What a NATS server says, and topics as subjects, for the fuzz target.

use bytes::BytesMut;
use std::time::Instant;

use super::jetstream::Stream;
use super::protocol::{LONGEST, LONGEST_LINE, Message, Said, publish, read};
use super::subject::Subjects;
use super::{Known, Nats};
use crate::broker::History;
use crate::broker::harness::{feed, hear};
use crate::patterns::{Kind, kind};

fn subjects() -> Subjects {
    Subjects::new("p").expect("it is sound")
}

fn wire() -> Nats {
    let stream = Stream::new(&subjects(), &History::default());
    let known = (stream.name.clone(), (stream, Known::Asked(Instant::now())));
    let mut wire = Nats::new(subjects(), "1".to_owned(), 1000, "_INBOX.i".to_owned());
    wire.listening = true;
    wire.streams.extend([known]);
    wire
}

/// The first byte says how the stream is cut, which must not make a difference.
pub(crate) fn run(data: &[u8]) {
    let Some((how, stream)) = data.split_first() else { return };
    let bound = LONGEST_LINE + LONGEST + 4;
    let step = 1 + usize::from(*how);
    let (said, left) = feed(std::iter::once(stream), bound, read);
    assert_eq!(feed(stream.chunks(step), bound, read), (said.clone(), left));
    if left.is_none() {
        finally(stream, said.len());
    }
    for said in said {
        if let Said::Message(message) = said {
            again(&message);
        }
    }
    let whole = hear(std::iter::once(stream), bound, wire());
    assert_eq!(hear(stream.chunks(step), bound, wire()), whole);
    if let Ok(text) = std::str::from_utf8(stream) {
        text.split('\n').for_each(subject);
    }
}

/// What has failed stays so, whatever follows.
fn finally(stream: &[u8], before: usize) {
    let mut input = BytesMut::from(stream);
    for _ in 0..before {
        let said = read(&mut input);
        assert!(matches!(said, Ok(Some(_))), "{said:?}");
    }
    for _ in 0..2 {
        assert!(read(&mut input).is_err());
        input.extend_from_slice(b"\r\nPING\r\n");
    }
}

/// A message as the server would say it again; and what we would publish of it, as the server
/// would pass it on.
fn again(message: &Message) {
    let Message { subject, sid, reply, status, headers, payload } = message;
    let to = reply.as_ref().map_or_else(String::new, |reply| format!(" {reply}"));
    let mut text = Vec::new();
    if status.is_none() && headers.is_empty() {
        text.extend(format!("MSG {subject} {sid}{to} {}\r\n", payload.len()).into_bytes());
    } else {
        let status = status.map_or_else(String::new, |status| format!(" {status}"));
        let mut block = format!("NATS/1.0{status}\r\n");
        headers.iter().for_each(|(name, value)| block.push_str(&format!("{name}: {value}\r\n")));
        block.push_str("\r\n");
        let total = block.len() + payload.len();
        text.extend(format!("HMSG {subject} {sid}{to} {} {total}\r\n{block}", block.len()).into_bytes());
    }
    text.extend_from_slice(payload);
    text.extend_from_slice(b"\r\n");
    same(&text, message);

    let pairs: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut out = BytesMut::new();
    publish(&mut out, subject, reply.as_deref(), &pairs, payload);
    let verb = if pairs.is_empty() { "PUB " } else { "HPUB " };
    let rest = out.strip_prefix(format!("{verb}{subject}").as_bytes()).expect("so it begins");
    let mut passed_on = format!("{}{subject} {sid}", verb.replace("PUB", "MSG")).into_bytes();
    passed_on.extend_from_slice(rest);
    same(&passed_on, &Message { status: None, ..message.clone() });
}

fn same(text: &[u8], message: &Message) {
    // Numbers may have got shorter, and headers longer.
    let line = text.windows(2).position(|end| end == b"\r\n").expect("it has a line");
    if line < LONGEST_LINE && text.len() - line - 4 <= LONGEST {
        assert_eq!(read(&mut BytesMut::from(text)), Ok(Some(Said::Message(message.clone()))));
    }
}

/// A topic as a subject and back, and a subject as a topic and back.
fn subject(text: &str) {
    let subjects = subjects();
    if let Some(topic) = subjects.topic(text) {
        assert_eq!(subjects.of(&topic), text);
    }
    let Ok(kind) = kind(text) else { return };
    let subject = subjects.of(text);
    assert!(!subject.bytes().any(|byte| byte <= b' ' || byte == 0x7f), "{subject:?}");
    let wild = |token: &str| {
        assert!(!token.is_empty(), "an empty token in {subject:?}");
        if token == "*" || token == ">" {
            return true;
        }
        assert!(!token.contains(['*', '>']), "{subject:?}");
        false
    };
    let wild = subject.split('.').filter(|token| wild(token)).count();
    assert_eq!(wild > 0, kind == Kind::Pattern, "{subject:?}");
    assert_ne!(subject, subjects.everybody());
    assert_ne!(subject, subjects.nodes());
    assert_eq!(subjects.topic(&subject).as_deref(), Some(text));
}
