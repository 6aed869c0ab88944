//! Names of topics and patterns, and the search for the patterns that match a topic.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

use sprocket_protocol::topic::{Kind, Patterns, TopicError, check_name, check_topic, kind};
use std::sync::Arc;

fn tokens(token: &str, count: usize) -> String {
    vec![token; count].join(".")
}

#[test]
fn a_pattern_has_at_most_16_tokens_and_a_topic_any_number() {
    assert_eq!(kind(&tokens("*", 16)), Ok(Kind::Pattern));
    assert_eq!(kind(&format!("{}.>", tokens("a", 15))), Ok(Kind::Pattern));
    assert_eq!(check_name(&tokens("*", 17)), Err(TopicError::Tokens(17)));
    assert_eq!(check_name(&format!("{}.>", tokens("a", 100))), Err(TopicError::Tokens(101)));
    assert_eq!(kind(&tokens("a", 128)), Ok(Kind::Exact));
    assert_eq!(check_topic(&tokens("a", 128)), Ok(()));
    let pattern = tokens("*", 17);
    assert_eq!(check_topic(&pattern), Err(TopicError::Pattern(pattern)));
}

#[test]
fn a_topic_with_more_tokens_than_any_pattern_is_still_matched() {
    let mut patterns = Patterns::default();
    for pattern in ["a.>", "*.a.>", "a.a", &tokens("a", 16), &format!("{}.>", tokens("*", 15))] {
        patterns.insert(&Arc::from(pattern));
    }
    let mut found = Vec::new();
    patterns.matches(&tokens("a", 128), &mut |pattern| found.push(pattern.to_string()));
    found.sort();
    assert_eq!(found, [&format!("{}.>", tokens("*", 15)), "*.a.>", "a.>"]);
}
