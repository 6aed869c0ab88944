//! Nodes that share topics through a real Redis server. The cases in `support` hold for every broker;
//! the others are specific to Redis.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod support;

use sprocket_broker::{BrokerClient, BrokerConfig, FromBroker, History};
use support::*;

#[test]
fn redis_nodes_share_topics() {
    if let Some(broker) = Broker::start(Kind::Redis) {
        run(cases::nodes_share_topics(&broker));
    }
}

#[test]
fn redis_subscriptions_change_while_messages_arrive() {
    if let Some(broker) = Broker::start(Kind::Redis) {
        run(cases::subscriptions_change_while_messages_arrive(&broker));
    }
}

#[test]
fn redis_a_broken_connection_neither_loses_nor_duplicates() {
    if let Some(broker) = Broker::start(Kind::Redis) {
        run(cases::a_broken_connection_neither_loses_nor_duplicates(&broker));
    }
}

#[test]
fn redis_a_silent_broker_is_detected() {
    if let Some(broker) = Broker::start(Kind::Redis) {
        run(cases::a_silent_broker_is_detected(&broker));
    }
}

#[test]
fn redis_nodes_reconnect_to_a_restarted_broker() {
    if let Some(mut broker) = Broker::start(Kind::Redis) {
        run(cases::nodes_reconnect_to_a_restarted_broker(&mut broker));
    }
}

#[test]
fn redis_messages_wait_for_a_broker_that_starts_later() {
    if let Some(mut broker) = Broker::start(Kind::Redis) {
        run(cases::messages_wait_for_a_broker_that_starts_later(&mut broker));
    }
}

#[test]
fn redis_stored_messages_are_replayed() {
    if let Some(broker) = Broker::start(Kind::Redis) {
        run(cases::stored_messages_are_replayed(&broker));
    }
}

#[test]
fn redis_a_broken_connection_stores_once() {
    if let Some(broker) = Broker::start(Kind::Redis) {
        run(cases::a_broken_connection_stores_once(&broker));
    }
}

#[test]
fn redis_old_messages_are_not_replayed() {
    if let Some(broker) = Broker::start(Kind::Redis) {
        run(cases::old_messages_are_not_replayed(&broker));
    }
}

#[test]
fn redis_a_slow_host_loses_nothing() {
    with(&["--client-output-buffer-limit", "pubsub 0 0 0"], async |broker| {
        cases::a_slow_host_loses_nothing(broker).await;
    });
}

/// Runs a test with a Redis server that has these additional arguments.
fn with(extra: &[&str], test: impl AsyncFnOnce(&mut Broker)) {
    let folder = Folder::new();
    certificates(&folder);
    let extra: Vec<String> = extra.iter().map(|a| a.replace("FOLDER", folder.0.to_str().unwrap())).collect();
    let extra: Vec<&str> = extra.iter().map(String::as_str).collect();
    if let Some(mut broker) = Broker::start_with(Kind::Redis, folder, &extra) {
        run(test(&mut broker));
    }
}

#[test]
fn redis_other_clients_publish_and_subscribe() {
    with(&[], async |broker| {
        let mut node = Node::new(&broker.url(), &["news", "*"]).await;
        let mut line = Line::new(broker.port);
        line.send("PUBLISH sprocket:news hello\r\n");
        assert_eq!(node.message().await, "news: hello");
        line.send("*3\r\n$7\r\nPUBLISH\r\n$13\r\nsprocket:news\r\n$1\r\n\u{7f}\r\n");
        line.send("PUBLISH sprocket:news \"\\xff\"\r\nPUBLISH sprocket:other x\r\nPUBLISH sprocket:a.b x\r\nPUBLISH sprocket:> all\r\n");
        assert_eq!(node.message().await, "news: \\x7f");
        assert_eq!(node.message().await, "news: \\xff!");
        assert_eq!(node.message().await, "other: x");
        let all = FromBroker::Broadcast { payload: "all".into(), binary: false };
        assert_eq!(node.event().await, all);
        // An empty topic and a pattern are no valid topics; both count as foreign.
        line.send("PUBLISH sprocket: x\r\nPUBLISH sprocket:*.x x\r\nPUBLISH sprocket:news end\r\n");
        assert_eq!(node.message().await, "news: end");
        assert_eq!(node.handle.stats().foreign, 2);

        let mut line = Line::new(broker.port);
        line.send("SUBSCRIBE sprocket:out\r\n");
        line.until(":1");
        node.publish("out", "hi");
        // Reading a line blocks the thread, so the node's task must have sent the message before.
        node.flush().await;
        line.until("$12");
        assert!(line.until("$").starts_with("$24"));
        // The header is binary and may contain a line feed.
        let mut message = line.line();
        while message.len() < 20 || !message.ends_with("\0hi") {
            message.push_str(&line.line());
        }
        assert!(message.starts_with("\0spk\0"), "{message:?}");
    });
}

#[test]
fn redis_operations_without_permission_are_reported() {
    with(&[], async |broker| {
        let mut line = Line::new(broker.port);
        line.send("CONFIG SET requirepass s:e@c/ret\r\n");
        line.until("+OK");
        line.send(
            "ACL SETUSER app on >pw resetchannels &sprocket:> &sprocket:>.nodes &sprocket:ok* ~* +@all\r\n",
        );
        line.until("+OK");
        line.send("ACL SETUSER plain on >pw allchannels +@connection +publish +subscribe +psubscribe\r\n");
        line.until("+OK");
        let at = format!("127.0.0.1:{}", broker.port);
        for (url, why) in [
            (format!("redis://{at}"), "NOAUTH"),
            (format!("redis://:wrong@{at}"), "WRONGPASS"),
            (format!("redis://app:pw@{at}/99"), "DB index is out of range"),
        ] {
            let reason = Node::start(BrokerConfig::new(&url)).disconnected().await;
            assert!(reason.contains(why) && !reason.contains("wrong"), "{reason}");
        }
        Node::new(&format!("redis://:s%3Ae%40c%2Fret@{at}/3"), &[]).await;

        let mut node = Node::new(&format!("redis://app:pw@{at}"), &["ok"]).await;
        node.handle.interest("secret", true);
        node.publish("ok", "1");
        node.publish("secret", "2");
        node.publish("ok", "3");
        let lost = node.lost().await;
        assert!(lost.starts_with("secret: Redis refuses the subscription: NOPERM"), "{lost}");
        let lost = node.lost().await;
        assert!(lost.starts_with("secret: NOPERM") && !lost.ends_with('?'), "{lost}");
        node.flush().await;
        let stats = node.handle.stats();
        assert_eq!((stats.published, stats.lost, stats.connected), (2, 2, true), "{stats:?}");
        // The script stores the message before its PUBLISH is refused.
        node.handle.store("secret", "x".into(), false, &History::default()).unwrap();
        let lost = node.lost().await;
        assert!(lost.starts_with("secret: ") && lost.ends_with('?'), "{lost}");
        line.send("XLEN sprocket:history:secret\r\n");
        line.until(":1");

        let mut node = Node::new(&format!("redis://plain:pw@{at}"), &[]).await;
        node.handle.store("t", "x".into(), false, &History::default()).unwrap();
        node.publish("t", "x");
        let lost = node.lost().await;
        assert!(lost.starts_with("t: Redis refuses the script for histories: NOPERM"), "{lost}");
        node.flush().await;
    });
}

#[test]
fn redis_over_tls_and_over_a_unix_socket() {
    let tls = [
        "--tls-cert-file",
        "FOLDER/cert.pem",
        "--tls-key-file",
        "FOLDER/key.pem",
        "--tls-ca-cert-file",
        "FOLDER/ca.pem",
    ];
    with(&[&tls[..], &["--unixsocket", "FOLDER/redis.sock"]].concat(), async |broker| {
        let file = |name: &str| broker.folder.path(name);
        let url = format!("rediss://127.0.0.1:{}?ca={}", broker.port, file("ca.pem"));
        let identity = format!("&cert={}&key={}", file("cert.pem"), file("key.pem"));
        let mut one = Node::new(&format!("{url}{identity}"), &["t"]).await;
        let two = Node::new(&format!("redis+unix://{}", file("redis.sock")), &[]).await;
        let long = "x".repeat(300_000);
        for n in 0..20 {
            two.publish("t", &format!("{n}{long}"));
            one.publish("back", &long);
        }
        for n in 0..20 {
            assert_eq!(one.message().await, format!("t: {n}{long}"));
        }
        one.flush().await;
        for (url, why) in [
            (url.clone(), "CertificateRequired"),
            (format!("rediss://127.0.0.1:{}", broker.port), "invalid peer certificate: UnknownIssuer"),
            (format!("rediss://localhost:{}?ca={}", broker.port, file("ca.pem")), "not valid for name"),
            (format!("rediss://127.0.0.1:{}?ca=/nonexistent", broker.port), "cannot read /nonexistent"),
            (format!("redis://127.0.0.1:{}?timeout=0.3", broker.port), "connection"),
        ] {
            let reason = Node::start(BrokerConfig::new(&url)).disconnected().await;
            assert!(reason.contains(why), "{url}: {reason}");
        }
    });
}

#[test]
fn redis_histories_are_bounded_in_bytes_and_restart_with_the_server() {
    with(&[], async |broker| {
        let kept = History { bytes: 1000, messages: 100, ..History::default() };
        let mut node = Node::new(&broker.url(), &["t"]).await;
        let start = node.handle.replay("t", "", &kept).await.position;
        let mut positions = vec![start];
        for n in 0..10 {
            node.handle.store("t", vec![b'0' + n; 300].into(), false, &kept).unwrap();
            positions.push(node.message_at().await.1);
        }
        let replay = node.handle.replay("t", &positions[7], &kept).await;
        assert_eq!((replay.complete, replay.entries.len()), (true, 3));
        assert!(!node.handle.replay("t", &positions[6], &kept).await.complete);
        // A message larger than the whole limit is kept as the only one.
        node.handle.store("t", vec![b'x'; 2000].into(), false, &kept).unwrap();
        positions.push(node.message_at().await.1);
        assert!(!node.handle.replay("t", &positions[9], &kept).await.complete);
        assert_eq!(node.handle.replay("t", &positions[10], &kept).await.entries.len(), 1);

        // The keys expire.
        let mut line = Line::new(broker.port);
        for key in ["history:t", "state:t"] {
            line.send(&format!("PTTL sprocket:{key}\r\n"));
            let left: u64 = line.line().trim_start_matches(':').parse().unwrap();
            assert!((3_000_000..=3_900_000).contains(&left), "{left} ms");
        }

        broker.kill();
        node.disconnected().await;
        assert!(broker.up());
        node.connected().await;
        let replay = node.handle.replay("t", &positions[11], &kept).await;
        assert!(!replay.complete && replay.position != positions[11], "{replay:?}");
        let start = replay.position;
        node.handle.store("t", "again".into(), false, &kept).unwrap();
        assert_eq!(node.message().await, "t: again");
        assert_eq!(node.handle.replay("t", &start, &kept).await.entries.len(), 1);
        assert!(!node.handle.replay("t", &positions[0], &kept).await.complete);

        // After SCRIPT FLUSH one message is lost and reported; the next one is stored.
        let mut line = Line::new(broker.port);
        line.send("SCRIPT FLUSH\r\n");
        line.until("+OK");
        node.handle.store("t", "lost".into(), false, &kept).unwrap();
        let lost = node.lost().await;
        assert!(lost.starts_with("t: NOSCRIPT") && !lost.ends_with('?'), "{lost}");
        node.handle.store("t", "kept".into(), false, &kept).unwrap();
        assert_eq!(node.message().await, "t: kept");
    });
}

#[test]
fn redis_servers_that_are_none_or_too_old_are_reported() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (answer, stream) in [
            "HTTP/1.1 400 Bad Request\r\n",
            "-ERR max number of clients reached\r\n",
            "-ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 'geheim'\r\n-ERR no\r\n-ERR no\r\n",
        ]
        .iter()
        .zip(listener.incoming())
        {
            use std::io::{Read, Write};
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1000]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    run(async {
        let mut node = Node::start(BrokerConfig::new(&format!("redis://127.0.0.1:{port}")));
        let reason = node.disconnected().await;
        assert!(reason.contains("does not speak the protocol of Redis: "), "{reason}");
        let reason = node.disconnected().await;
        assert_eq!(reason, "Redis refuses the connection: ERR max number of clients reached");
        let reason = node.disconnected().await;
        assert!(reason.contains("Redis 6 or later is needed") && !reason.contains("geheim"), "{reason}");
        let mut node = Node::start(BrokerConfig::new("redis://"));
        assert!(node.disconnected().await.contains("the host must be"));
    });
}

#[test]
fn redis_the_account_in_the_guide_suffices() {
    let guide = include_str!("../../../docs/brokers.md");
    let account = guide.lines().find(|line| line.starts_with("ACL SETUSER chat ")).unwrap();
    with(&[], async |broker| {
        let mut line = Line::new(broker.port);
        line.send(&format!("{}\r\n", account.replace(">PASSWORD", ">pw")));
        assert_eq!(line.line(), "+OK");
        line.send("ACL SETUSER default off\r\n");
        assert_eq!(line.line(), "+OK");
        let broker = broker.with_credentials("chat:pw");
        cases::nodes_share_topics(broker).await;
        cases::stored_messages_are_replayed(broker).await;
    });
}
