//! Topics as subjects of NATS.
//!
//! A subject consists of tokens without whitespace. No token may be empty, and some characters are
//! reserved. Reserved characters of a topic are percent-encoded, and an empty token becomes a lone `%`.

/// The subjects of one application, which share a prefix.
#[derive(Debug, Clone)]
pub(crate) struct Subjects {
    /// Without the dot that follows it.
    prefix: String,
}

impl Subjects {
    /// The subjects below a prefix; `None` if no subject can begin with it. A colon at the end of the
    /// prefix, the separator in names of Redis, is replaced by a dot.
    pub(crate) fn new(prefix: &str) -> Option<Self> {
        let prefix = prefix.strip_suffix([':', '.']).unwrap_or(prefix);
        let sound = prefix.split('.').all(|token| {
            let bad = |c: char| c.is_whitespace() || c.is_control() || "*>%".contains(c);
            !token.is_empty() && !token.contains(bad)
        });
        // Subjects reserved for the server and for replies.
        let free = !prefix.starts_with('$') && !prefix.starts_with("_INBOX");
        (sound && free).then(|| Self { prefix: prefix.to_owned() })
    }

    /// The subject of a topic, or of a pattern.
    pub(crate) fn of(&self, name: &str) -> String {
        format!("{}.{}", self.prefix, encode(name))
    }

    /// The subject of messages for every connection. No topic has it: `%a` is not an encoded
    /// character.
    pub(crate) fn everybody(&self) -> String {
        format!("{}.%all", self.prefix)
    }

    /// The subject of control messages between nodes.
    pub(crate) fn nodes(&self) -> String {
        format!("{}.%nodes", self.prefix)
    }

    /// The subject of the sync messages that a node sends to itself.
    pub(crate) fn sync(&self, node: &str) -> String {
        format!("{}.%sync.{node}", self.prefix)
    }

    /// Whether a subject is one of the three above. Every other subject with `%` at this place is
    /// that of a topic with an encoded character.
    pub(crate) fn is_ours(&self, subject: &str) -> bool {
        let rest = subject.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix('.'));
        rest.is_some_and(|rest| rest == "%all" || rest == "%nodes" || rest.starts_with("%sync."))
    }

    /// The topic of a subject; `None` if the subject is not that of a topic.
    pub(crate) fn topic(&self, subject: &str) -> Option<String> {
        decode(subject.strip_prefix(&self.prefix)?.strip_prefix('.')?)
    }

    /// For histories with these limits: the prefix of the subjects under which messages are stored,
    /// and the name of the stream, which must not contain a dot.
    pub(crate) fn history(&self, limits: &str) -> (String, String) {
        let stream = format!("{}-history-{limits}", self.prefix.replace(['.', '/', '\\'], "_"));
        (format!("{}-history.{limits}", self.prefix), stream)
    }

    /// The wildcard subject that matches every topic.
    pub(crate) fn all(&self) -> String {
        format!("{}.>", self.prefix)
    }
}

/// Encodes a topic or pattern, without a prefix.
pub(crate) fn encode(name: &str) -> String {
    let mut subject = String::with_capacity(name.len());
    for (n, token) in name.split('.').enumerate() {
        if n > 0 {
            subject.push('.');
        }
        match token {
            "" => subject.push('%'),
            "*" | ">" => subject.push_str(token),
            token => {
                for c in token.chars() {
                    if c <= ' ' || "\x7f%*>".contains(c) {
                        subject.push_str(&format!("%{:02X}", u32::from(c)));
                    } else {
                        subject.push(c);
                    }
                }
            }
        }
    }
    subject
}

/// Decodes a topic. `None` if `encode` never produces this subject.
fn decode(subject: &str) -> Option<String> {
    let mut topic = String::with_capacity(subject.len());
    for (n, token) in subject.split('.').enumerate() {
        if n > 0 {
            topic.push('.');
        }
        if token == "%" {
            continue;
        }
        let mut pieces = token.split('%');
        topic.push_str(pieces.next()?);
        for piece in pieces {
            let value = u8::from_str_radix(piece.get(..2)?, 16).ok().filter(u8::is_ascii)?;
            topic.push(char::from(value));
            topic.push_str(&piece[2..]);
        }
    }
    (encode(&topic) == subject).then_some(topic)
}

#[cfg(fuzzing)]
pub(crate) mod harness {
    //! Entry point of the fuzz target.

    use super::Subjects;
    use sprocket_protocol::topic::{Kind, kind};

    /// Takes each line as a topic and as a subject.
    pub(crate) fn run(data: &[u8]) {
        if let Ok(text) = std::str::from_utf8(data) {
            text.split('\n').for_each(subject);
        }
    }

    /// Converts a topic to a subject and back, and a subject to a topic and back.
    fn subject(text: &str) {
        let subjects = Subjects::new("p").expect("it is sound");
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
        assert!(!subjects.is_ours(&subject), "{subject:?}");
        assert_eq!(subjects.topic(&subject).as_deref(), Some(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_survive_being_subjects() {
        let subjects = Subjects::new("sprocket:").expect("it is the default");
        for (topic, subject) in [
            ("news", "sprocket.news"),
            ("room.42", "sprocket.room.42"),
            ("größe", "sprocket.größe"),
            ("a b", "sprocket.a%20b"),
            ("50%", "sprocket.50%25"),
            ("a*.>b", "sprocket.a%2A.%3Eb"),
            (".", "sprocket.%.%"),
            ("a..b.", "sprocket.a.%.b.%"),
            ("\r\n\t\0\x7f", "sprocket.%0D%0A%09%00%7F"),
        ] {
            assert_eq!(subjects.of(topic), subject);
            assert_eq!(subjects.topic(subject).as_deref(), Some(topic));
        }
        assert_eq!(subjects.of("room.*.>"), "sprocket.room.*.>");
    }

    #[test]
    fn other_subjects_are_no_topics() {
        let subjects = Subjects::new("app.x").expect("it is sound");
        for other in [
            subjects.everybody(),
            subjects.nodes(),
            "app.x".to_owned(),
            "app.xy".to_owned(),
            "app.x.%41".to_owned(),
            "app.x.%2a".to_owned(),
            "app.x.%+1".to_owned(),
            "app.x.50%off".to_owned(),
            "app.x.%FF".to_owned(),
            "app.x.é%é".to_owned(),
        ] {
            assert_eq!(subjects.topic(&other), None, "{other}");
        }
        assert_eq!(subjects.history("9-0"), ("app.x-history.9-0".to_owned(), "app_x-history-9-0".to_owned()));
    }

    #[test]
    fn a_prefix_must_be_a_subject() {
        for bad in ["", ":", ".", "a..b", ".a", "a b", "a.*", "a>", "50%", "$SYS", "_INBOX.x"] {
            assert!(Subjects::new(bad).is_none(), "{bad:?}");
        }
    }
}
