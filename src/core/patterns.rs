//! Names of topics and patterns: what they may be, and which patterns a name matches.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::TopicError;

/// Bytes of a topic's name.
const MAX_NAME: usize = 255;

/// What a name says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Exact,
    Pattern,
}

/// A name is a pattern if one of its dot-separated tokens is `*`, or the last one `>`, as in NATS
/// subjects.
pub(crate) fn kind(name: &str) -> Result<Kind, TopicError> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(TopicError::Length(name.len()));
    }
    let mut tokens = name.split('.').peekable();
    let mut kind = Kind::Exact;
    while let Some(token) = tokens.next() {
        match token {
            "*" => kind = Kind::Pattern,
            ">" if tokens.peek().is_some() => return Err(TopicError::TailInside(name.to_owned())),
            ">" => kind = Kind::Pattern,
            _ => {}
        }
    }
    Ok(kind)
}

/// That this is the name of a topic, or a pattern.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), TopicError> {
    kind(name).map(drop)
}

/// That this is the name of a topic, to which messages are published.
///
/// # Errors
/// The name is empty, longer than 255 bytes, or has a wildcard: a token `*` or `>`.
pub fn check_topic(name: &str) -> Result<(), TopicError> {
    match kind(name) {
        Ok(Kind::Exact) => Ok(()),
        Ok(Kind::Pattern) | Err(TopicError::TailInside(_)) => Err(TopicError::Pattern(name.to_owned())),
        Err(error) => Err(error),
    }
}

/// Whether a pattern, or a topic, fits a name. For a few patterns; [`Patterns`] is for many.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
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

/// A set of patterns: finding those that match costs by the depth of the name and not by the
/// number of patterns.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    root: Node,
    count: usize,
}

impl Patterns {
    /// It must not be there yet.
    pub(crate) fn insert(&mut self, pattern: &Arc<str>) {
        self.root.insert(&mut pattern.split('.'), pattern);
        self.count += 1;
    }

    /// It must be there.
    pub(crate) fn remove(&mut self, pattern: &str) {
        self.root.remove(&mut pattern.split('.'));
        self.count -= 1;
    }

    /// Gives `found` each pattern that `name` matches.
    pub(crate) fn matches(&self, name: &str, found: &mut impl FnMut(&Arc<str>)) {
        if self.count > 0 {
            let tokens: Vec<&str> = name.split('.').collect();
            self.root.matches(&tokens, found);
        }
    }

    /// Gives `found` each pattern that has a topic in common with the pattern `other`.
    pub(crate) fn overlapping(&self, other: &str, found: &mut impl FnMut(&Arc<str>)) {
        let tokens: Vec<&str> = other.split('.').collect();
        self.root.overlapping(&tokens, found);
    }

    #[cfg(test)]
    pub(crate) fn is_pruned(&self) -> bool {
        self.root.children.is_empty()
    }
}

/// Token by token.
#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, Node>,
    here: Option<Arc<str>>,
}

impl Node {
    fn insert<'a>(&mut self, tokens: &mut impl Iterator<Item = &'a str>, pattern: &Arc<str>) {
        match tokens.next() {
            Some(token) => self.children.entry(token.into()).or_default().insert(tokens, pattern),
            None => self.here = Some(pattern.clone()),
        }
    }

    /// True if nothing is left here.
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
        // A token of the name that reads `*` or `>` cannot occur: that would be a pattern.
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
