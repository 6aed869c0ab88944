//! A line of the host's log, its level and its details.

use std::net::SocketAddr;

/// Maximum length of a message or of a text in its context, in bytes after escaping. Longer texts are
/// truncated.
const MAX_TEXT: usize = 512;

/// The severity of a line, with the names of RFC 5424 and PSR-3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are self-explanatory")]
pub enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
}

impl Level {
    /// The name in lower case, such as `warning`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A value in the context of a line.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// UTF-8 without control characters.
    Text(String),
    /// An integer.
    Number(u64),
    /// A duration in seconds.
    Seconds(f64),
    /// A boolean.
    Flag(bool),
    /// A list of texts, each like `Text`.
    List(Vec<String>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(clean(text))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<Vec<String>> for Value {
    fn from(texts: Vec<String>) -> Self {
        Self::List(texts.iter().map(|text| clean(text)).collect())
    }
}

/// A line for the host's log: a sentence, and named details.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The severity.
    pub level: Level,
    /// A sentence without a full stop.
    pub message: String,
    /// Details by name. `event` is a stable identifier of the kind of event; `option` names the option that
    /// caused it, if any.
    pub context: Vec<(&'static str, Value)>,
}

/// The properties common to all lines about one kind of event. The rate of lines is limited for each kind
/// separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LineKind {
    pub(crate) level: Level,
    /// Stable identifier of the event, such as `connection.closed`.
    pub(crate) event: &'static str,
    /// Name of the option that caused the event; empty if there is none.
    pub(crate) option: &'static str,
}

impl LineKind {
    pub(crate) const fn new(level: Level, event: &'static str, option: &'static str) -> Self {
        Self { level, event, option }
    }
}

impl Line {
    /// Creates a line of level `info` with this message and no details.
    pub fn new(message: impl AsRef<str>) -> Self {
        Self { level: Level::Info, message: clean(message.as_ref()), context: Vec::with_capacity(8) }
    }

    /// Sets the level and the identifier of the event.
    #[must_use]
    pub fn about(mut self, level: Level, event: &'static str) -> Self {
        self.level = level;
        self.context.insert(0, ("event", event.into()));
        self
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.context.push((name, value.into()));
        self
    }

    /// Adds the peer's address and port, which are empty and 0 on a Unix socket.
    #[must_use]
    pub(crate) fn from(self, remote: Option<SocketAddr>) -> Self {
        let address = remote.map(|a| a.ip().to_canonical().to_string()).unwrap_or_default();
        let port = remote.map_or(0, |a| u64::from(a.port()));
        self.with("remoteAddress", address.as_str()).with("remotePort", port)
    }

    /// Sets the level, event and option of a kind.
    pub(crate) fn of(self, kind: LineKind) -> Self {
        let line = self.about(kind.level, kind.event);
        if kind.option.is_empty() { line } else { line.with("option", kind.option) }
    }

    /// Approximate number of bytes that the line occupies while it waits for the host.
    pub(crate) fn bytes(&self) -> usize {
        let value = |value: &Value| match value {
            Value::Text(text) => text.len(),
            Value::Number(_) | Value::Seconds(_) | Value::Flag(_) => 0,
            Value::List(texts) => texts.iter().map(|text| text.len() + 24).sum(),
        };
        let context: usize = self.context.iter().map(|(_, v)| 48 + value(v)).sum();
        64 + self.message.len() + context
    }
}

/// Returns the name of a peer in messages: its address, or "a Unix socket".
pub(crate) fn peer_of(remote: Option<SocketAddr>) -> String {
    remote.map_or_else(|| "a Unix socket".to_owned(), |a| a.ip().to_canonical().to_string())
}

/// Escapes characters that could forge a line or disturb a terminal: control characters, line and paragraph
/// separators, and marks that change the direction of text. Truncates the text after [`MAX_TEXT`] bytes.
fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_TEXT));
    for char in text.chars() {
        if out.len() >= MAX_TEXT {
            out.push('…');
            break;
        }
        let harmful = char.is_control()
            || matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match char {
            _ if !harmful => out.push(char),
            '\0'..='\u{ff}' => out.push_str(&format!("\\x{:02x}", u32::from(char))),
            _ => out.push_str(&format!("\\u{{{:x}}}", u32::from(char))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_a_client_cannot_forge_a_line() {
        let sent = "a\r\nb\x1b[2J\u{85}\u{2028}\u{202e}é\\";
        let text = Value::from(sent);
        assert_eq!(text, Value::Text("a\\x0d\\x0ab\\x1b[2J\\x85\\u{2028}\\u{202e}é\\".to_owned()));
        assert_eq!(Line::new(sent).message, "a\\x0d\\x0ab\\x1b[2J\\x85\\u{2028}\\u{202e}é\\");
        assert_eq!(Value::from(vec!["\n".to_owned()]), Value::List(vec!["\\x0a".to_owned()]));
    }

    #[test]
    fn a_long_text_is_truncated() {
        let Value::Text(text) = Value::from("é".repeat(MAX_TEXT).as_str()) else { panic!("no text") };
        assert_eq!((text.chars().count(), text.ends_with('…')), (MAX_TEXT / 2 + 1, true));
    }
}
