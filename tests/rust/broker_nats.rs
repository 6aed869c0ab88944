//! Nodes that share topics through a real NATS server.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod broker_support;

use broker_support::*;

#[test]
fn nats_nodes_share_topics() {
    if let Some(broker) = Broker::start(Kind::Nats) {
        run(cases::nodes_share_topics(&broker));
    }
}

#[test]
fn nats_interest_changes_while_messages_come() {
    if let Some(broker) = Broker::start(Kind::Nats) {
        run(cases::interest_changes_while_messages_come(&broker));
    }
}

#[test]
fn nats_a_broken_connection_neither_loses_nor_doubles() {
    if let Some(broker) = Broker::start(Kind::Nats) {
        run(cases::a_broken_connection_neither_loses_nor_doubles(&broker));
    }
}

#[test]
fn nats_a_silent_broker_is_noticed() {
    if let Some(broker) = Broker::start(Kind::Nats) {
        run(cases::a_silent_broker_is_noticed(&broker));
    }
}

#[test]
fn nats_a_restarted_broker_is_found_again() {
    if let Some(mut broker) = Broker::start(Kind::Nats) {
        run(cases::a_restarted_broker_is_found_again(&mut broker));
    }
}

#[test]
fn nats_a_broker_that_is_not_there_yet() {
    if let Some(mut broker) = Broker::start(Kind::Nats) {
        run(cases::a_broker_that_is_not_there_yet(&mut broker));
    }
}

#[test]
fn nats_stored_messages_are_replayed() {
    if let Some(broker) = Broker::start(Kind::Nats) {
        run(cases::stored_messages_are_replayed(&broker));
    }
}

#[test]
fn nats_a_broken_connection_stores_once() {
    if let Some(broker) = Broker::start(Kind::Nats) {
        run(cases::a_broken_connection_stores_once(&broker));
    }
}

#[test]
fn nats_old_messages_are_not_replayed() {
    if let Some(broker) = Broker::start(Kind::Nats) {
        run(cases::old_messages_are_not_replayed(&broker));
    }
}

#[test]
fn nats_a_slow_host_loses_nothing() {
    if let Some(broker) = Broker::start(Kind::Nats) {
        run(cases::a_slow_host_loses_nothing(&broker));
    }
}
