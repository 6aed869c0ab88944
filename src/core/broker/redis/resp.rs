//! The protocol of Redis, versions 2 and 3 (RESP): values as they are read, commands as they are written.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of one text that we are ready to hold; a message of somebody else may be of any size.
pub(super) const LONGEST: usize = if cfg!(fuzzing) { 400 } else { 64 << 20 };
/// Bytes of a line: a number, an error.
const LONGEST_LINE: usize = if cfg!(fuzzing) { 100 } else { 64 << 10 };
/// Bytes of a value with all that is in it. The longest is a topic's history.
pub(super) const LARGEST: usize = if cfg!(fuzzing) { 1000 } else { 256 << 20 };
/// Values within values.
const DEEPEST: usize = 8;

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    /// A bulk or simple string, or a value of a kind that we have no use for as its text.
    Text(Bytes),
    Error(String),
    /// An array or set, or a map as names and values in turn.
    List(Vec<Value>),
    /// Said without being asked.
    Push(Vec<Value>),
}

impl Value {
    pub(crate) fn as_text(&self) -> Option<&Bytes> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_text()?).ok()
    }

    pub(crate) fn as_list(&self) -> Option<&[Value]> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    /// For reports: how it begins.
    pub(crate) fn start(&self) -> String {
        let start = |text: &[u8]| {
            let text = String::from_utf8_lossy(&text[..text.len().min(60)]).into_owned();
            format!("{text:?}")
        };
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Int(n) => n.to_string(),
            Self::Text(text) => start(text),
            Self::Error(error) => start(error.as_bytes()),
            Self::List(list) | Self::Push(list) => format!("a list of {}", list.len()),
        }
    }

    /// An error of the server as an error.
    pub(crate) fn sound(self) -> Result<Self, String> {
        match self {
            Self::Error(error) => Err(error),
            value => Ok(value),
        }
    }
}

/// Takes the next whole value; none is there yet, or what is there is not the protocol.
pub(crate) fn read(input: &mut BytesMut) -> Result<Option<Value>, String> {
    let mut reader = Reader { input, at: 0 };
    let value = reader.value(0)?;
    let at = reader.at;
    let size = if value.is_some() { at } else { input.len() };
    if size > LARGEST {
        return Err(format!("a value of {size} bytes is longer than {LARGEST}"));
    }
    if value.is_some() {
        input.advance(at);
    }
    Ok(value)
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Option<Value>, String> {
        let Some(line) = self.line()? else { return Ok(None) };
        let Some((kind, rest)) = line.split_first() else { return Err(self.strange(line)) };
        let text = || String::from_utf8_lossy(rest).into_owned();
        Ok(Some(match kind {
            b'+' | b',' | b'(' | b'#' => Value::Text(Bytes::copy_from_slice(rest)),
            b'-' => Value::Error(text()),
            b'_' => Value::Null,
            b':' => Value::Int(text().parse().map_err(|_| self.strange(line))?),
            b'$' | b'!' | b'=' => {
                let Some(length) = self.length(line, rest)? else { return Ok(Some(Value::Null)) };
                if length > LONGEST {
                    return Err(format!("a value of {length} bytes is longer than {LONGEST}"));
                }
                let Some(whole) = self.input.get(self.at..self.at + length + 2) else { return Ok(None) };
                self.at += length + 2;
                let (bulk, end) = whole.split_at(length);
                if end != b"\r\n" {
                    return Err(self.strange(line));
                }
                match kind {
                    b'!' => Value::Error(String::from_utf8_lossy(bulk).into_owned()),
                    // A copy, so that a small message doesn't keep all that was read with it.
                    _ => Value::Text(Bytes::copy_from_slice(bulk)),
                }
            }
            b'*' | b'~' | b'>' | b'%' | b'|' => {
                let Some(length) = self.length(line, rest)? else { return Ok(Some(Value::Null)) };
                if depth == DEEPEST {
                    return Err(self.strange(line));
                }
                let count = if matches!(kind, b'%' | b'|') { length.saturating_mul(2) } else { length };
                let mut list = Vec::new();
                for _ in 0..count {
                    let Some(value) = self.value(depth + 1)? else { return Ok(None) };
                    list.push(value);
                }
                match kind {
                    b'>' => Value::Push(list),
                    // About the value that follows.
                    b'|' => return self.value(depth + 1),
                    _ => Value::List(list),
                }
            }
            _ => return Err(self.strange(line)),
        }))
    }

    /// Without its end.
    fn line(&mut self) -> Result<Option<&'a [u8]>, String> {
        let rest = &self.input[self.at..];
        let line = rest.windows(2).take(LONGEST_LINE).position(|end| end == b"\r\n");
        match line {
            Some(length) => {
                self.at += length + 2;
                Ok(Some(&rest[..length]))
            }
            None if rest.len() > LONGEST_LINE => Err(self.strange(rest)),
            None => Ok(None),
        }
    }

    fn length(&self, line: &[u8], digits: &[u8]) -> Result<Option<usize>, String> {
        if digits == b"-1" {
            return Ok(None);
        }
        let text = std::str::from_utf8(digits).map_err(|_| self.strange(line))?;
        text.parse().map(Some).map_err(|_| self.strange(line))
    }

    fn strange(&self, line: &[u8]) -> String {
        let start: String = String::from_utf8_lossy(line).chars().take(60).collect();
        format!("it does not speak the protocol of Redis: {start:?}")
    }
}

/// Appends a command.
pub(crate) fn command(out: &mut BytesMut, parts: &[&[u8]]) {
    out.put_slice(format!("*{}\r\n", parts.len()).as_bytes());
    for part in parts {
        out.put_slice(format!("${}\r\n", part.len()).as_bytes());
        out.put_slice(part);
        out.put_slice(b"\r\n");
    }
}

/// The commands with which a connection begins, each of which must be answered without an error.
pub(crate) fn greeting(out: &mut BytesMut, credentials: &crate::broker::Credentials, database: u32) -> usize {
    let mut hello: Vec<&[u8]> = vec![b"HELLO", b"3"];
    if let Some(password) = &credentials.password {
        let user = credentials.user.as_deref().unwrap_or("default");
        hello.extend([&b"AUTH"[..], user.as_bytes(), password.as_bytes()]);
    }
    hello.extend([&b"SETNAME"[..], b"sprocket"]);
    command(out, &hello);
    if database == 0 {
        return 1;
    }
    command(out, &[b"SELECT", database.to_string().as_bytes()]);
    2
}

/// What an error in answer to the greeting means.
pub(crate) fn refused(error: &str) -> String {
    if error.starts_with("ERR unknown command") || error.starts_with("NOPROTO") {
        format!("Redis 6 or later is needed: {error}")
    } else {
        format!("Redis refuses the connection: {error}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &'static str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn values_are_read_whole_however_they_arrive() {
        let stream: &[u8] = b"+OK\r\n-ERR no\r\n:-5\r\n$3\r\na\r\n\r\n$-1\r\n*-1\r\n_\r\n*2\r\n$0\r\n\r\n*1\r\n:1\r\n\
            >3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n%1\r\n+k\r\n#t\r\n!3\r\nERR\r\n|1\r\n+a\r\n+b\r\n:7\r\n~0\r\n";
        let expected = vec![
            text("OK"),
            Value::Error("ERR no".to_owned()),
            Value::Int(-5),
            text("a\r\n"),
            Value::Null,
            Value::Null,
            Value::Null,
            Value::List(vec![text(""), Value::List(vec![Value::Int(1)])]),
            Value::Push(vec![text("message"), text("c"), text("m")]),
            Value::List(vec![text("k"), text("t")]),
            Value::Error("ERR".to_owned()),
            Value::Int(7),
            Value::List(vec![]),
        ];
        for piece in [1, 2, 3, 7, stream.len()] {
            let mut input = BytesMut::new();
            let mut values = Vec::new();
            for chunk in stream.chunks(piece) {
                input.put_slice(chunk);
                while let Some(value) = read(&mut input).expect("it is the protocol") {
                    values.push(value);
                }
            }
            assert_eq!((values, input.len()), (expected.clone(), 0), "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_no_value_is_an_error() {
        let deep = "*1\r\n".repeat(DEEPEST + 1);
        let long = "x".repeat(LONGEST_LINE + 1);
        for bad in [
            "HTTP/1.1 400 Bad Request\r\n",
            "\r\n",
            "$x\r\n",
            "$-2\r\n",
            "$99999999999\r\n",
            ":1x\r\n",
            "$1\r\nabc",
            &deep,
            &long,
        ] {
            assert!(read(&mut BytesMut::from(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn commands_are_lists_of_strings() {
        let mut out = BytesMut::new();
        command(&mut out, &[b"PUBLISH", b"c", b"\r\n"]);
        assert_eq!(&out[..], b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$2\r\n\r\n\r\n");
    }
}
