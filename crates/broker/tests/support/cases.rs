//! Test cases that hold for every kind of broker.

use super::proxy::Proxy;
use super::{Broker, Node};
use sprocket_broker::{BrokerClient, BrokerConfig, FromBroker, History, QueueFull};
use std::time::{Duration, Instant};

/// A node receives each message of other nodes once, even if several of its subscriptions match, and
/// none of its own.
pub async fn nodes_share_topics(broker: &Broker) {
    let mut one = Node::new(&broker.url(), &["room.1", ">", "room.*", "*.1", "größe 50%*?[x]", "a..b"]).await;
    let mut two = Node::new(&broker.url(), &["room.1", "done"]).await;
    for topic in ["room.1", "room.2", "other", "größe 50%*?[x]", "a..b", "größe 50%x", "a\\b", ".", "a b\r\n"]
    {
        two.publish(topic, "größer");
        assert_eq!(one.message().await, format!("{topic}: gr\\xc3\\xb6\\xc3\\x9fer"));
    }
    two.handle.publish("x", b"\xff\0"[..].into(), true).unwrap();
    two.handle.publish("x", "".into(), false).unwrap();
    assert_eq!([one.message().await, one.message().await], ["x: \\xff\\x00!", "x: "]);
    // The last subscription of a node causes no second copy either.
    one.publish("room.1", "from one");
    one.publish("unsubscribed", "x");
    one.handle.publish("done", "".into(), true).unwrap();
    assert_eq!([two.message().await, two.message().await], ["room.1: from one", "done: !"]);
    one.flush().await;
    two.flush().await;

    two.handle.broadcast("for all".into(), false).unwrap();
    two.handle.control("for nodes".into());
    two.handle.broadcast(b"\xff"[..].into(), true).unwrap();
    // Broadcasts and control messages take different channels; order holds within a channel.
    let mut got = Vec::new();
    for _ in 0..3 {
        got.push(match one.event().await {
            FromBroker::Broadcast { payload, binary } => format!("{} {binary}", payload.escape_ascii()),
            FromBroker::Control { payload, .. } => format!("control {}", payload.escape_ascii()),
            other => panic!("{other:?}"),
        });
    }
    let position =
        |text: &str| got.iter().position(|g| g == text).unwrap_or_else(|| panic!("{text} in {got:?}"));
    assert!(position("for all false") < position("\\xff true"));
    position("control for nodes");
    let stats = one.handle.stats();
    assert_eq!((stats.connected, stats.published, stats.received), (true, 3, 13), "{stats:?}");
    assert_eq!((stats.queued_bytes, stats.duplicates, stats.foreign, stats.lost), (0, 0, 0, 0), "{stats:?}");
}

/// Subscriptions change while messages arrive: none is duplicated, and none is lost on a topic that
/// stays subscribed.
pub async fn subscriptions_change_while_messages_arrive(broker: &Broker) {
    let mut one = Node::new(&broker.url(), &["a.b"]).await;
    let two = Node::new(&broker.url(), &[]).await;
    let others = ["a.*", ">", "*.b", "a.>", "*.*"];
    for n in 0..2000 {
        two.publish("a.b", &n.to_string());
        // The names alternate, so that each overlaps the others in every order.
        let name = others[n % 5];
        one.handle.interest(name, n / 5 % 2 == 0);
        // Another subscription covers the topic at this moment; otherwise the topic would be
        // unsubscribed for an instant.
        if n % 7 == 0 && n / 5 % 2 == 0 {
            one.handle.interest("a.b", false);
            one.handle.interest("a.b", true);
        }
        if n % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    for n in 0..2000 {
        assert_eq!(one.message().await, format!("a.b: {n}"));
    }
    for name in others {
        one.handle.interest(name, false);
    }
    one.settled().await;
    two.publish("a.c", "unwanted");
    two.publish("a.b", "end");
    assert_eq!(one.message().await, "a.b: end");
    assert_eq!(one.handle.stats().subscriptions, 1);
}

/// The publisher's connection breaks repeatedly, with answers outstanding and commands half sent. All
/// messages still arrive once and in order.
pub async fn a_broken_connection_neither_loses_nor_duplicates(broker: &Broker) {
    let mut receiver = Node::new(&broker.url(), &["t", ">"]).await;
    let proxy = Proxy::start(broker.port).await;
    let publisher = Node::new(&broker.url_at(proxy.port), &[]).await;
    let long = "x".repeat(500);
    let mut sent = 0;
    let mut cuts = 0;
    while cuts < 8 {
        for _ in 0..100 {
            publisher.publish("t", &format!("{sent} {long}"));
            sent += 1;
            if sent % 10 == 0 {
                tokio::task::yield_now().await;
            }
        }
        if cuts % 2 == 1 {
            publisher.flush().await;
            // The broker executes the next command, but the publisher gets no answer.
            proxy.swallow_answers();
            publisher.publish("t", &format!("{sent} {long}"));
            sent += 1;
            while receiver.next_number < sent {
                check(&mut receiver).await;
            }
        }
        let before = proxy.accepted();
        proxy.cut();
        cuts += 1;
        while proxy.accepted() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    while receiver.next_number < sent {
        check(&mut receiver).await;
    }
    publisher.flush().await;
    let end = Node::new(&broker.url(), &[]).await;
    end.publish("t", "end");
    assert_eq!(receiver.message().await, "t: end");
    assert!(receiver.handle.stats().duplicates > 0, "{:?}", receiver.handle.stats());
    let stats = publisher.handle.stats();
    assert_eq!((stats.published, stats.queued_bytes, stats.lost), (sent, 0, 0), "{stats:?}");
    assert!(stats.reconnects >= 4, "{stats:?}");
}

/// Checks that the next message has the next number.
async fn check(receiver: &mut Node) {
    let got = receiver.message().await;
    let expected = format!("t: {} ", receiver.next_number);
    assert!(got.starts_with(&expected), "{:?} instead of {expected:?}", &got[..20]);
    receiver.next_number += 1;
}

/// A broker that stops responding is detected. Publications queue up to the limit and are published in
/// order once the broker responds again.
pub async fn a_silent_broker_is_detected(broker: &Broker) {
    let mut receiver = Node::new(&format!("{}?timeout=60", broker.url()), &["t"]).await;
    let config = BrokerConfig { queue: 2000, ..BrokerConfig::new(&format!("{}?timeout=0.3", broker.url())) };
    let mut publisher = Node::with(config, &["t"]).await;
    broker.signal("STOP");
    let begun = Instant::now();
    let mut sent = 0;
    let full = loop {
        match publisher.handle.publish("t", format!("{sent}").into(), false) {
            Ok(()) => sent += 1,
            Err(full) => break full,
        }
    };
    assert!(matches!(full, QueueFull { queued: 1500..=2000, limit: 2000 }), "{full}");
    let reason = publisher.disconnected().await;
    assert!(reason.contains("silent for 300ms"), "{reason}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    // The kernel still accepts connections on behalf of the stopped broker.
    let reason = publisher.disconnected().await;
    assert!(reason.contains("no answer within 300ms"), "{reason}");
    broker.signal("CONT");
    publisher.connected().await;
    for n in 0..sent {
        assert_eq!(receiver.message().await, format!("t: {n}"));
    }
    publisher.flush().await;
    publisher.publish("t", "end");
    assert_eq!(receiver.message().await, "t: end");
    publisher.flush().await;
    let stats = publisher.handle.stats();
    assert_eq!((stats.published, stats.queue_full, stats.lost), (sent + 1, 1, 0), "{stats:?}");
}

/// After a restart of the broker, nodes reconnect and restore their subscriptions.
pub async fn nodes_reconnect_to_a_restarted_broker(broker: &mut Broker) {
    let mut one = Node::new(&broker.url(), &["a.b", "gone", "a.*"]).await;
    let mut two = Node::new(&broker.url(), &[]).await;
    one.handle.interest("gone", false);
    broker.kill();
    let reason = one.disconnected().await;
    assert!(reason.contains("closed the connection") || reason.contains("connection broke"), "{reason}");
    let reason = one.disconnected().await;
    assert!(reason.contains("Connection refused"), "{reason}");
    assert!(!one.handle.stats().connected);
    one.handle.interest(">", true);
    one.handle.interest("a.b", false);
    one.handle.control("lost".into());
    assert!(broker.up());
    one.connected().await;
    two.connected().await;
    two.publish("gone", "1");
    two.publish("a.b", "2");
    two.publish("x", "3");
    let got = [one.message().await, one.message().await, one.message().await];
    assert_eq!(got, ["gone: 1", "a.b: 2", "x: 3"]);
    let stats = one.handle.stats();
    assert_eq!((stats.connected, stats.reconnects, stats.subscriptions), (true, 1, 2), "{stats:?}");
}

/// Publications before the first connection are queued, and are published in order as soon as the
/// broker starts.
pub async fn messages_wait_for_a_broker_that_starts_later(broker: &mut Broker) {
    broker.kill();
    let mut early = Node::start(BrokerConfig::new(&broker.url()));
    early.publish("t", "1");
    early.handle.broadcast("2".into(), false).unwrap();
    assert!(early.disconnected().await.contains("Connection refused"));
    let flushed = tokio::time::timeout(Duration::from_millis(50), early.handle.flush()).await;
    assert!(flushed.is_err() && early.handle.stats().queued_bytes > 0);
    assert!(broker.up());
    early.connected().await;
    early.flush().await;
    assert_eq!(early.handle.stats().published, 2);
}

fn limits(messages: usize) -> History {
    History { messages, seconds: Some(Duration::from_secs(60)), ..History::default() }
}

/// Stored messages have the same order for all nodes, their publisher included, and can be replayed
/// from every position.
pub async fn stored_messages_are_replayed(broker: &Broker) {
    let kept = limits(10);
    let mut one = Node::new(&broker.url(), &["h.t", "h.*"]).await;
    let mut two = Node::new(&broker.url(), &["h.t"]).await;
    let start = one.handle.replay("h.t", "", &kept).await;
    assert!(start.complete && start.entries.is_empty() && !start.position.is_empty(), "{start:?}");
    for n in 0..10 {
        one.handle.store("h.t", format!("one {n}").into(), false, &kept).unwrap();
        two.handle.store("h.t", vec![0xff, n].into(), true, &kept).unwrap();
        // Another topic with the same limits.
        two.handle.store("h.other", "x".into(), false, &kept).unwrap();
    }
    // A message of the same topic that bypasses the history.
    one.publish("h.t", "plain");
    let mut all = Vec::new();
    while all.len() < 20 {
        let (text, position) = one.message_at().await;
        if text.starts_with("h.t: ") {
            all.push((text, position));
        }
    }
    let mut others = Vec::new();
    while others.len() < 20 {
        let (text, position) = two.message_at().await;
        if text != "h.t: plain" {
            others.push((text, position));
        }
    }
    assert_eq!(all, others);
    let offsets: Vec<u64> =
        all.iter().map(|(_, at)| at.split_once('-').unwrap().1.parse().unwrap()).collect();
    // NATS 2.9 may deliver two messages that are stored at the same instant in a different order.
    assert!(offsets.is_sorted() || broker.kind == super::Kind::Nats, "{offsets:?}");
    all.sort_by_key(|(_, at)| at.split_once('-').map(|(_, offset)| offset.parse::<u64>().unwrap()));
    let epochs: Vec<_> = all.iter().map(|(_, at)| at.split('-').next()).collect();
    assert_eq!(epochs, vec![start.position.split('-').next(); 20]);
    for from in 10..20 {
        let replay = two.handle.replay("h.t", &all[from].1, &kept).await;
        assert!(replay.complete, "from {from}: {replay:?}");
        let entries: Vec<_> = replay
            .entries
            .iter()
            .map(|entry| {
                let mark = if entry.binary { "!" } else { "" };
                (format!("h.t: {}{mark}", entry.payload.escape_ascii()), entry.position.clone())
            })
            .collect();
        assert_eq!(entries, all[from + 1..], "from {from}");
        assert_eq!(replay.position.split('-').next(), all[0].1.split('-').next());
    }
    let now = one.handle.replay("h.t", "", &kept).await.position;
    for bad in [&all[0].1, &start.position, "1-1", "x", "99999999999999999999-1", &format!("{now}9"), "'; --"]
    {
        let replay = one.handle.replay("h.t", bad, &kept).await;
        assert!(
            !replay.complete && replay.entries.is_empty() && replay.position == now,
            "from {bad}: {replay:?}"
        );
    }
    let again = one.handle.replay("h.t", &now, &kept).await;
    assert!(again.complete && again.entries.is_empty() && again.position == now, "{again:?}");
    one.handle.store("h.t", "after".into(), false, &kept).unwrap();
    one.flush().await;
    let replay = one.handle.replay("h.t", &now, &kept).await;
    assert_eq!(replay.entries.iter().map(|e| &e.payload[..]).collect::<Vec<_>>(), [b"after"]);
    for node in [&one, &two] {
        node.flush().await;
        assert_eq!(node.handle.stats().lost, 0);
    }
}

/// A history contains each message once, even if the publisher's connection breaks.
pub async fn a_broken_connection_stores_once(broker: &Broker) {
    let kept = limits(1000);
    let proxy = Proxy::start(broker.port).await;
    let publisher = Node::new(&broker.url_at(proxy.port), &[]).await;
    let reader = Node::new(&broker.url(), &[]).await;
    let start = reader.handle.replay("s", "", &kept).await.position;
    let mut sent = 0;
    for cut in 0..4 {
        if cut % 2 == 1 {
            publisher.flush().await;
            proxy.swallow_answers();
        }
        for _ in 0..20 {
            publisher.handle.store("s", format!("{sent}").into(), false, &kept).unwrap();
            sent += 1;
        }
        if cut % 2 == 1 {
            // Wait until the broker has executed all commands whose answers were discarded.
            while reader.handle.replay("s", &start, &kept).await.entries.len() < sent {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        proxy.cut();
    }
    publisher.flush().await;
    let replay = reader.handle.replay("s", &start, &kept).await;
    let stored: Vec<_> =
        replay.entries.iter().map(|e| String::from_utf8(e.payload.to_vec()).unwrap()).collect();
    assert_eq!(stored, (0..sent).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(replay.complete);
    let stats = publisher.handle.stats();
    assert_eq!((stats.published, stats.lost), (sent as u64, 0), "{stats:?}");
}

/// Expired messages are not replayed, and the replay is reported as incomplete.
pub async fn old_messages_are_not_replayed(broker: &Broker) {
    let brief = History { seconds: Some(Duration::from_millis(400)), ..limits(10) };
    let node = Node::new(&broker.url(), &[]).await;
    let start = node.handle.replay("brief", "", &brief).await.position;
    node.handle.store("brief", "1".into(), false, &brief).unwrap();
    node.flush().await;
    let begun = Instant::now();
    let mut replay = node.handle.replay("brief", &start, &brief).await;
    while replay.complete {
        assert_eq!(replay.entries.len(), 1);
        assert!(begun.elapsed() < super::PATIENCE, "the message never expires");
        tokio::time::sleep(Duration::from_millis(20)).await;
        replay = node.handle.replay("brief", &start, &brief).await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(200));
    let now = replay.position;
    let replay = node.handle.replay("brief", &now, &brief).await;
    assert!(replay.complete && replay.entries.is_empty(), "{replay:?}");
}

/// If the broker delivers faster than the host takes messages, they wait in the broker and not in the
/// node's memory, and none is lost.
pub async fn a_slow_host_loses_nothing(broker: &Broker) {
    const MESSAGES: usize = 7000;
    const SIZE: usize = 8192;
    let proxy = Proxy::start_apart(broker.port);
    let mut receiver = Node::new(&broker.url_at(proxy.port), &["t"]).await;
    let publisher = Node::new(&broker.url(), &[]).await;
    let text = |n: usize| format!("{n:0SIZE$}");
    for n in 0..MESSAGES {
        publisher.publish("t", &text(n));
        if n % 100 == 0 {
            publisher.flush().await;
        }
    }
    publisher.flush().await;
    for n in 0..MESSAGES {
        // The bound also holds after the host has begun to take messages.
        if n == MESSAGES / 2 {
            // Socket buffers hold up to 12 MiB, and a client library reads up to 8 MiB in one turn.
            let (passed, taken) = (proxy.passed().await, n * SIZE);
            assert!(passed < taken + (22 << 20), "{passed} bytes arrived while {taken} were taken");
            assert!(receiver.handle.stats().received < n as u64 + 1000, "{:?}", receiver.handle.stats());
        }
        let message = receiver.message().await;
        assert!(message.strip_prefix("t: ") == Some(&text(n)), "{n}: {} bytes", message.len());
    }
    assert_eq!((receiver.handle.stats().received, receiver.handle.stats().reconnects), (MESSAGES as u64, 0));
}
