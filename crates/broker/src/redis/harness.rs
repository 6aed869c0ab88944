//! Entry point of the fuzz target for values from a Redis server, as a node's connection processes them.

use redis::{Parser, PushInfo, Value};

use super::names::Names;
use super::reader::replay_of;
use crate::driver::Incoming;

/// Parses values up to the first malformed one.
pub(crate) fn run(mut stream: &[u8]) {
    let mut names = Names::new("p:");
    for name in ["t", "a.b", "a.*", "x.>", "gone"] {
        names.subscribe(&name.into());
    }
    names.unsubscribe("gone");
    let mut parser = Parser::new();
    while let Ok(value) = parser.parse_value(&mut stream) {
        let Value::Push { kind, data } = value else {
            let _ = replay_of(value);
            continue;
        };
        let Ok(heard) = names.pushed(PushInfo { kind, data }) else { return };
        if let Incoming::Message { body, .. } | Incoming::Broadcast(body) | Incoming::Control(body) = heard {
            assert!(body.binary || std::str::from_utf8(&body.payload).is_ok(), "text that is none");
        }
    }
}
