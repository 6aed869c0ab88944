//! Workers that a hub accepts or refuses.

use std::sync::Arc;

use super::{Node, fingerprint};
use crate::cluster::wire::{Down, Up, VERSION};
use crate::metrics::counters::Stats;

/// The reason for which the hub refuses a worker, or `None` if it accepts it.
fn answer(node: &Node, version: u16, counters: u64, history: &str) -> Option<String> {
    let mut worker = node.stranger();
    worker.send(&Up::Hello { version, slot: 1, instance: 1, counters, history });
    worker.receive(|frame| match frame {
        Down::Welcome { .. } => None,
        Down::TurnedAway { why } => Some(why.to_owned()),
        other => panic!("{other:?}"),
    })
}

#[test]
fn a_worker_of_another_version_is_refused_not_misread() {
    let node = Node::new(&Arc::default(), 1);
    let history = fingerprint(&node.history);
    let counters = Stats::layout();
    assert_eq!(answer(&node, VERSION, counters, &history), None);
    for (version, counters, history, part) in [
        (VERSION + 1, counters, history.as_str(), "version"),
        (VERSION, counters + 1, &history, "counters"),
        (VERSION, counters, "others", "history"),
    ] {
        let why = answer(&node, version, counters, history).unwrap_or_default();
        assert!(why.contains(part) && why.ends_with("restart the whole server"), "{why:?}");
    }
}
