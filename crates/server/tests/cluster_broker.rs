//! Servers as nodes of a cluster: they share topics, histories and presence through a real broker.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

#[path = "../../broker/tests/support/mod.rs"]
mod broker_support;
mod support;

use broker_support::{Broker, Kind};
use sprocket_server::{BrokerConfig, Config, Event, History, Interest, Server};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use support::*;

fn node(broker: &Broker) -> (Server, SocketAddr) {
    let interest = Interest::RESUME.and(Interest::BROKER).and(Interest::PRESENCE);
    let limits = History { stamp: Some("%p%".to_owned()), ..History::default() };
    let history = vec![("h.>".to_owned(), limits)];
    let (server, address) = start(Config {
        broker: Some(BrokerConfig::new(&broker.url())),
        history,
        interest,
        io_threads: 2,
        ..Config::default()
    });
    loop {
        match next(&server) {
            Event::Broker { connected: true, .. } => return (server, address),
            Event::Broker { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Publishes until a client of another node receives a message, which proves that its subscription is
/// active.
fn warm(from: &Server, topic: &str, client: &mut TcpStream) {
    client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let end = Instant::now() + PATIENCE;
    let mut byte = [0];
    while client.peek(&mut byte).is_err() {
        assert!(Instant::now() < end);
        publish(from, topic, "warm");
    }
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    publish(from, topic, "warmed");
    while text(client) != "warmed" {}
}

fn share(kind: Kind) {
    let Some(broker) = Broker::start(kind) else { return };
    let ((a, at_a), (b, at_b)) = (node(&broker), node(&broker));
    let (mut here, excepted) = subscriber(&a, at_a, &["t", "h.1"]);
    let (mut there, bob) = subscriber(&b, at_b, &["t"]);
    warm(&a, "t", &mut there);
    warm(&b, "t", &mut here);
    publish(&a, "t", "1");
    while text(&mut there) != "1" {}
    while text(&mut here) != "1" {}
    // The broker determines the order and the positions.
    let (complete, messages, position) = resume(&b, &bob, "h.1", "");
    assert_eq!((complete, messages), (true, 0));
    warm(&a, "h.1", &mut there);
    a.publish("h.1", b"not here", false, Some(&excepted)).unwrap();
    publish(&a, "h.1", "2 %p%");
    assert_eq!(text(&mut there), "not here");
    let stamped = text(&mut there);
    let mine = std::iter::repeat_with(|| text(&mut here)).find(|text| !text.starts_with("warm"));
    assert_eq!(mine.as_ref(), Some(&stamped));
    let now = stamped.trim_start_matches("2 ").to_owned();
    publish(&b, "h.1", "3");
    assert_eq!([text(&mut here), text(&mut there)], ["3", "3"]);
    let (mut late, conn) = subscriber(&a, at_a, &[]);
    let (complete, messages, _) = resume(&a, &conn, "h.1", &now);
    assert_eq!((complete, messages), (true, 1));
    assert_eq!(text(&mut late), "3");
    let (mut later, conn) = subscriber(&a, at_a, &[]);
    let (complete, messages, _) = resume(&a, &conn, "h.1", &position);
    assert!(complete && messages >= 4, "{messages}");
    while text(&mut later) != "3" {}
    publish(&b, "h.1", "4");
    for client in [&mut here, &mut there, &mut late, &mut later] {
        assert_eq!(text(client), "4");
    }
    b.join(&bob, "room", "bob", b"x").unwrap();
    b.flush();
    pump(&a, |_, _| {}, || a.presence("room").len() == 1);
    drop(there);
    pump(&b, |_, _| {}, || b.presence("room").is_empty());
    b.flush();
    pump(&a, |_, _| {}, || a.presence("room").is_empty());
    // A server sends all its publications before it ends.
    (0..500).for_each(|n| publish(&b, "t", &format!("last {n}")));
    drop(b);
    (0..500).for_each(|n| assert_eq!(text(&mut here), format!("last {n}")));
}

#[test]
fn servers_share_through_redis() {
    share(Kind::Redis);
}

#[test]
fn servers_share_through_nats() {
    share(Kind::Nats);
}
