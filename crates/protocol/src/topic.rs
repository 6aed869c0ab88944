//! Topic names, and the patterns that match them.
//!
//! A name consists of tokens separated by dots. In a pattern, as in the subjects of NATS, the token `*`
//! matches any single token, and `>` as the last token matches one or more tokens.

use std::collections::HashMap;
use std::sync::Arc;

/// Maximum length of a name in bytes.
const MAX_NAME: usize = 255;
/// Maximum number of tokens in a pattern. A topic that consists of the same token throughout can match a
/// prefix of 2^n patterns of n tokens, and [`Patterns`] visits all that exist; with 255 bytes, n would be 128.
/// NATS recommends at most 16 tokens in a subject. Topics need no limit of their own, because the search is
/// no deeper than the longest pattern.
const MAX_PATTERN_TOKENS: usize = 16;

/// A topic or pattern is invalid or unsuitable for an operation, or the description of a member of a
/// topic is invalid.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// The name does not have 1 to 255 bytes.
    #[error("a topic must be 1 to 255 bytes long, but this one has {0} bytes")]
    Length(usize),
    /// The token `>` matches the rest of a name and must be the last one.
    #[error("the token > must be the last one of a pattern, unlike in {0:?}")]
    TailInside(String),
    /// The pattern has more than 16 tokens.
    #[error("a pattern must have at most 16 tokens, but this one has {0}")]
    Tokens(usize),
    /// The operation requires a topic, and the name is a pattern.
    #[error("{0:?} is a pattern, not a topic")]
    Pattern(String),
    /// The operation needs the history of the topic, and the settings configure none for it.
    #[error("the topic {0:?} keeps no history")]
    NoHistory(String),
    /// The name of a member does not have 1 to 255 bytes.
    #[error("the name of a member must be 1 to 255 bytes long, but this one has {0} bytes")]
    Member(usize),
    /// The data of a member has more than 64 KiB.
    #[error("the data of a member must be at most 65536 bytes long, but has {0} bytes")]
    Data(usize),
}

/// The kind of a name: topic or pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The name of one topic.
    Exact,
    /// A pattern, which may match many topics.
    Pattern,
}

/// Determines the kind of a name.
///
/// # Errors
/// The name is empty, longer than 255 bytes, or has the token `>` before its end, or it is a pattern of more
/// than 16 tokens.
pub fn kind(name: &str) -> Result<Kind, TopicError> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(TopicError::Length(name.len()));
    }
    let mut tokens = name.split('.').peekable();
    let (mut kind, mut count) = (Kind::Exact, 0);
    while let Some(token) = tokens.next() {
        count += 1;
        match token {
            "*" => kind = Kind::Pattern,
            ">" if tokens.peek().is_some() => return Err(TopicError::TailInside(name.to_owned())),
            ">" => kind = Kind::Pattern,
            _ => {}
        }
    }
    if kind == Kind::Pattern && count > MAX_PATTERN_TOKENS {
        return Err(TopicError::Tokens(count));
    }
    Ok(kind)
}

/// Checks that a name is a valid topic or pattern.
///
/// # Errors
/// The errors of [`kind`].
pub fn check_name(name: &str) -> Result<(), TopicError> {
    kind(name).map(drop)
}

/// Checks that a name is a topic, to which messages can be published.
///
/// # Errors
/// The name is empty, longer than 255 bytes, or has a wildcard: a token `*` or `>`.
pub fn check_topic(name: &str) -> Result<(), TopicError> {
    match kind(name) {
        Ok(Kind::Exact) => Ok(()),
        Ok(Kind::Pattern) | Err(TopicError::TailInside(_) | TopicError::Tokens(_)) => {
            Err(TopicError::Pattern(name.to_owned()))
        }
        Err(error) => Err(error),
    }
}

/// Whether `pattern`, which may also be a plain topic, matches the topic `name`. [`Patterns`] searches
/// many patterns at once.
#[must_use]
pub fn fits(pattern: &str, name: &str) -> bool {
    let mut name = name.split('.');
    for token in pattern.split('.') {
        match (token, name.next()) {
            (_, None) => return false,
            (">", Some(_)) => return true,
            (token, Some(other)) if token != "*" && token != other => return false,
            _ => {}
        }
    }
    name.next().is_none()
}

/// A set of patterns, stored as a trie of tokens. A lookup visits the nodes whose tokens match the beginning
/// of the topic: with few wildcards in the middle of patterns, about one for each token, whatever the number
/// of patterns. It never visits more than 2^17, nor more than 16 for each pattern.
#[derive(Debug, Default)]
pub struct Patterns {
    root: Node,
    count: usize,
}

impl Patterns {
    /// Adds a pattern, which must not be in the set yet.
    pub fn insert(&mut self, pattern: &Arc<str>) {
        self.root.insert(&mut pattern.split('.'), pattern);
        self.count += 1;
    }

    /// Removes a pattern, which must be in the set.
    pub fn remove(&mut self, pattern: &str) {
        self.root.remove(&mut pattern.split('.'));
        self.count -= 1;
    }

    /// Calls `found` with each pattern that matches the topic `name`.
    pub fn matches(&self, name: &str, found: &mut impl FnMut(&Arc<str>)) {
        if self.count > 0 {
            let tokens: Vec<&str> = name.split('.').collect();
            self.root.matches(&tokens, found);
        }
    }

    /// Calls `found` with each pattern that has at least one matching topic in common with the pattern
    /// `other`.
    pub fn overlapping(&self, other: &str, found: &mut impl FnMut(&Arc<str>)) {
        let tokens: Vec<&str> = other.split('.').collect();
        self.root.overlapping(&tokens, found);
    }

    /// Whether the set is empty. An empty set holds no nodes of removed patterns either.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root.children.is_empty()
    }
}

/// A node of the trie; the path to it spells the tokens of a pattern.
#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, Node>,
    /// The pattern that ends at this node.
    here: Option<Arc<str>>,
}

impl Node {
    fn insert<'a>(&mut self, tokens: &mut impl Iterator<Item = &'a str>, pattern: &Arc<str>) {
        match tokens.next() {
            Some(token) => self.children.entry(token.into()).or_default().insert(tokens, pattern),
            None => self.here = Some(pattern.clone()),
        }
    }

    /// Removes a pattern below this node. Returns whether the node is empty afterwards.
    fn remove<'a>(&mut self, tokens: &mut impl Iterator<Item = &'a str>) -> bool {
        match tokens.next() {
            Some(token) => {
                if self.children.get_mut(token).is_some_and(|child| child.remove(tokens)) {
                    self.children.remove(token);
                }
            }
            None => self.here = None,
        }
        self.here.is_none() && self.children.is_empty()
    }

    fn matches(&self, tokens: &[&str], found: &mut impl FnMut(&Arc<str>)) {
        let Some((token, rest)) = tokens.split_first() else {
            if let Some(pattern) = &self.here {
                found(pattern);
            }
            return;
        };
        if let Some(pattern) = self.children.get(">").and_then(|tail| tail.here.as_ref()) {
            found(pattern);
        }
        // `token` itself is neither `*` nor `>`, since `name` is a topic.
        for child in [self.children.get(*token), self.children.get("*")].into_iter().flatten() {
            child.matches(rest, found);
        }
    }

    fn overlapping(&self, tokens: &[&str], found: &mut impl FnMut(&Arc<str>)) {
        let Some((token, rest)) = tokens.split_first() else {
            self.here.iter().for_each(found);
            return;
        };
        if *token == ">" {
            self.children.values().for_each(|child| child.all(found));
            return;
        }
        self.children.get(">").and_then(|tail| tail.here.as_ref()).into_iter().for_each(&mut *found);
        if *token == "*" {
            let others = self.children.iter().filter(|(token, _)| ***token != *">");
            others.for_each(|(_, child)| child.overlapping(rest, found));
        } else {
            let both = [self.children.get(*token), self.children.get("*")];
            both.into_iter().flatten().for_each(|child| child.overlapping(rest, found));
        }
    }

    fn all(&self, found: &mut impl FnMut(&Arc<str>)) {
        self.here.iter().for_each(&mut *found);
        self.children.values().for_each(|child| child.all(found));
    }
}
