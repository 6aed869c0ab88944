//! What a Redis server says, for the fuzz target.

use bytes::BytesMut;

use super::resp::{LARGEST, Value, command, read};
use super::{Redis, replay_of};
use crate::broker::harness::{feed, hear};

fn wire() -> Redis {
    Redis::new("p:", 1, String::new(), Err(String::new()))
}

/// The first byte says how the stream is cut, which must not make a difference.
pub(crate) fn run(data: &[u8]) {
    let Some((how, stream)) = data.split_first() else { return };
    let step = 1 + usize::from(*how);
    let (values, left) = feed(std::iter::once(stream), LARGEST, read);
    assert_eq!(feed(stream.chunks(step), LARGEST, read), (values.clone(), left));
    if left.is_none() {
        finally(stream, values.len());
    }
    for value in &values {
        let mut again = Vec::new();
        write(value, &mut again);
        // Written in full it may have become longer than we read.
        if again.len() <= LARGEST && shallow(value) {
            assert_eq!(read(&mut BytesMut::from(&again[..])).as_ref(), Ok(&Some(value.clone())));
        }
        let _ = replay_of(value);
    }
    let (heard, _) = hear(std::iter::once(stream), LARGEST, wire());
    assert_eq!(hear(stream.chunks(step), LARGEST, wire()).0, heard);
    commands(stream);
}

/// What has failed stays so, whatever follows.
fn finally(stream: &[u8], values: usize) {
    let mut input = BytesMut::from(stream);
    for _ in 0..values {
        let value = read(&mut input);
        assert!(matches!(value, Ok(Some(_))), "{value:?}");
    }
    for _ in 0..2 {
        assert!(read(&mut input).is_err());
        input.extend_from_slice(b"\r\n+OK\r\n");
    }
}

/// What we write is a list of texts.
fn commands(stream: &[u8]) {
    let parts: Vec<&[u8]> = stream.split(|byte| *byte == b' ').collect();
    let mut out = BytesMut::new();
    command(&mut out, &parts);
    if out.len() <= LARGEST && parts.iter().all(|part| part.len() <= super::resp::LONGEST) {
        let texts = parts.iter().map(|part| Value::Text(part.to_vec().into())).collect();
        assert_eq!(read(&mut out), Ok(Some(Value::List(texts))));
        assert!(out.is_empty());
    }
}

/// Texts of errors get longer where they were not UTF-8.
fn shallow(value: &Value) -> bool {
    match value {
        Value::Error(error) => error.len() <= super::resp::LONGEST,
        Value::List(list) | Value::Push(list) => list.iter().all(shallow),
        _ => true,
    }
}

fn write(value: &Value, out: &mut Vec<u8>) {
    let head = |out: &mut Vec<u8>, kind: char, n: i64| out.extend(format!("{kind}{n}\r\n").into_bytes());
    let bulk = |out: &mut Vec<u8>, kind: char, text: &[u8]| {
        head(out, kind, text.len() as i64);
        out.extend_from_slice(text);
        out.extend_from_slice(b"\r\n");
    };
    match value {
        Value::Null => out.extend_from_slice(b"_\r\n"),
        Value::Int(n) => head(out, ':', *n),
        Value::Text(text) => bulk(out, '$', text),
        Value::Error(text) => bulk(out, '!', text.as_bytes()),
        Value::List(list) | Value::Push(list) => {
            head(out, if matches!(value, Value::List(_)) { '*' } else { '>' }, list.len() as i64);
            list.iter().for_each(|value| write(value, out));
        }
    }
}
