//! Nodes that share topics through a real NATS server. The cases in `support` hold for every broker;
//! the others are specific to NATS.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod support;

use sprocket_broker::{BrokerClient, BrokerConfig, FromBroker, History};
use support::proxy::Proxy;
use support::*;

#[test]
fn nats_nodes_share_topics() {
    if let Some(broker) = Broker::start(Kind::Nats) {
        run(cases::nodes_share_topics(&broker));
    }
}

#[test]
fn nats_subscriptions_change_while_messages_arrive() {
    if let Some(broker) = Broker::start(Kind::Nats) {
        run(cases::subscriptions_change_while_messages_arrive(&broker));
    }
}

#[test]
fn nats_a_broken_connection_neither_loses_nor_duplicates() {
    if let Some(broker) = Broker::start(Kind::Nats) {
        run(cases::a_broken_connection_neither_loses_nor_duplicates(&broker));
    }
}

#[test]
fn nats_a_silent_broker_is_detected() {
    if let Some(broker) = Broker::start(Kind::Nats) {
        run(cases::a_silent_broker_is_detected(&broker));
    }
}

#[test]
fn nats_nodes_reconnect_to_a_restarted_broker() {
    if let Some(mut broker) = Broker::start(Kind::Nats) {
        run(cases::nodes_reconnect_to_a_restarted_broker(&mut broker));
    }
}

#[test]
fn nats_messages_wait_for_a_broker_that_starts_later() {
    if let Some(mut broker) = Broker::start(Kind::Nats) {
        run(cases::messages_wait_for_a_broker_that_starts_later(&mut broker));
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
    with("max_pending: 1GB\nwrite_deadline: \"60s\"", async |broker| {
        cases::a_slow_host_loses_nothing(broker).await;
    });
}

/// Runs a test with a NATS server that has this configuration.
fn with(config: &str, test: impl AsyncFnOnce(&mut Broker)) {
    let folder = Folder::new();
    certificates(&folder);
    let config = folder.file("nats.conf", &config.replace("FOLDER", folder.0.to_str().unwrap()));
    if let Some(mut broker) = Broker::start_with(Kind::Nats, folder, &["-c", &config]) {
        run(test(&mut broker));
    }
}

#[test]
fn nats_other_clients_publish_and_subscribe() {
    with("max_payload: 10000", async |broker| {
        let mut node = Node::new(&broker.url(), &["news", "*"]).await;
        let mut line = Line::new(broker.port);
        line.send("CONNECT {\"verbose\":false,\"headers\":true}\r\nPUB sprocket.news 5\r\nhello\r\nPUB sprocket.a%20b 1\r\nx\r\n");
        line.send("HPUB sprocket.news 32 34\r\nNATS/1.0\r\nSprocket-Binary: 1\r\n\r\nhi\r\n");
        line.send("PUB sprocket.%all 3\r\nall\r\n");
        // Messages arrive in order within each topic only.
        let mut received = Vec::new();
        for _ in 0..4 {
            received.push(match node.event().await {
                FromBroker::Message { topic, payload, binary, .. } => (topic, payload, binary),
                FromBroker::Broadcast { payload, binary } => ("everybody".to_owned(), payload, binary),
                other => panic!("{other:?}"),
            });
        }
        received.sort_by_key(|(topic, ..)| topic.clone());
        let message = |topic: &str, payload: &'static str, binary| (topic.to_owned(), payload.into(), binary);
        assert_eq!(
            received,
            [
                message("a b", "x", false),
                message("everybody", "all", false),
                message("news", "hello", false),
                message("news", "hi", true),
            ]
        );
        line.send("PUB sprocket.50%off 1\r\nx\r\nPUB sprocket.news 3\r\nend\r\n");
        assert_eq!(node.message().await, "news: end");
        assert_eq!(node.handle.stats().foreign, 1);

        line.send("SUB sprocket.out 1\r\nPING\r\n");
        line.until("PONG");
        node.publish("out", "hi");
        // Reading a line blocks the thread, so the node's task must have sent the message before.
        node.flush().await;
        assert!(line.until("HMSG").starts_with("HMSG sprocket.out 1 "));
        assert_eq!(line.line(), "NATS/1.0");
        let mut headers = [line.line(), line.line()];
        headers.sort();
        assert!(headers[0].starts_with("Sprocket-Node: ") && headers[1].starts_with("Sprocket-Number: "));
        assert_eq!([line.line(), line.line()], ["", "hi"]);

        node.publish("t", &"x".repeat(9744));
        node.publish("t", &"x".repeat(9745));
        let lost = node.lost().await;
        assert_eq!(lost, "t: the payload has 9745 bytes, but this NATS server accepts at most 9744");
        node.flush().await;
        assert_eq!(node.handle.stats().reconnects, 0);
    });
}

#[test]
fn nats_is_connected_once_all_subscriptions_are_active() {
    with("", async |broker| {
        let mut line = Line::new(broker.port);
        line.send("CONNECT {\"verbose\":false}\r\n");
        let names: Vec<String> = (0..2000).map(|n| format!("n{n}")).collect();
        let proxy = Proxy::start(broker.port).await;
        for n in 0..3 {
            // The proxy refuses connections until the node has all its subscriptions.
            proxy.close(true);
            let mut node = Node::start(BrokerConfig::new(&broker.url_at(proxy.port)));
            names.iter().for_each(|name| node.handle.interest(name, true));
            proxy.close(false);
            node.connected().await;
            line.send(&format!("PUB sprocket.n{} 1\r\nx\r\n", 1999 - n));
            assert_eq!(node.message().await, format!("n{}: x", 1999 - n));
        }
    });
}

#[test]
fn nats_operations_without_permission_are_reported() {
    let config = "authorization { users: [
        { user: app, password: \"p@w\", permissions: {
            publish: [\"sprocket.ok\", \"sprocket.%sync.>\"],
            subscribe: [\"sprocket.%all\", \"sprocket.%nodes\", \"sprocket.%sync.>\", \"sprocket.ok\", \"_INBOX.>\"] } },
        { user: less, password: pw, permissions: { publish: [\"sprocket.ok\"], subscribe: [\"sprocket.>\"] } },
        { user: free, password: pw } ] }";
    with(config, async |broker| {
        let at = format!("127.0.0.1:{}", broker.port);
        for url in [format!("nats://{at}"), format!("nats://app:wrong@{at}")] {
            let reason = Node::start(BrokerConfig::new(&url)).disconnected().await;
            assert!(reason.contains("Authorization Violation") && !reason.contains("wrong"), "{reason}");
        }
        let reason = Node::start(BrokerConfig::new(&format!("nats://less:pw@{at}"))).disconnected().await;
        assert!(
            reason.contains("NATS denies what a node requires: ") && reason.contains("%sync"),
            "{reason}"
        );
        let mut node = Node::new(&format!("nats://app:p%40w@{at}"), &["ok"]).await;
        node.publish("ok", "1");
        node.publish("secret", "2");
        let lost = node.lost().await;
        assert!(lost.starts_with("secret: NATS refuses it: Permissions Violation for Publish"), "{lost}");
        node.handle.interest("secret", true);
        let lost = node.lost().await;
        assert!(
            lost.starts_with("secret: NATS refuses it: Permissions Violation for Subscription"),
            "{lost}"
        );
        // Each of many refusals is reported.
        for n in 0..1000 {
            node.publish("secret", "2");
            node.handle.interest(&format!("secret.{n}"), true);
        }
        for _ in 0..2000 {
            assert!(node.lost().await.starts_with("secret"));
        }
        // JetStream is enabled, but the account has no permission to use it.
        node.handle.store("ok", "x".into(), false, &History::default()).unwrap();
        let lost = [node.lost().await, node.lost().await];
        assert!(lost.iter().any(|lost| lost.starts_with("ok: Permissions Violation")), "{lost:?}");
        node.flush().await;
        assert!(node.handle.stats().connected);
        let replay = node.handle.replay("ok", "", &History::default()).await;
        assert!(!replay.complete && replay.failed.is_some(), "{replay:?}");
    });
}

#[test]
fn nats_storing_without_permission_to_publish_is_reported() {
    let config = "authorization { users: [ { user: u, password: p, permissions: {
            publish: [\"sprocket.>\", \"$JS.API.>\"], subscribe: [\"sprocket.>\", \"_INBOX.>\"] } } ] }";
    with(config, async |broker| {
        let mut node = Node::new(&format!("nats://u:p@127.0.0.1:{}", broker.port), &[]).await;
        for _ in 0..2 {
            node.handle.store("t", "x".into(), false, &History::default()).unwrap();
            let lost = node.lost().await;
            assert!(lost.starts_with("t: NATS refuses it: Permissions Violation for Publish"), "{lost}");
        }
        node.flush().await;
    });
}

#[test]
fn nats_without_jetstream_has_no_histories() {
    // The user belongs to an account without JetStream.
    let config = "accounts { A: { users: [{ user: a, password: p }], jetstream: disabled }, B: { jetstream: enabled } }";
    with(config, async |broker| {
        let mut node = Node::new(&format!("nats://a:p@127.0.0.1:{}", broker.port), &[]).await;
        node.handle.store("t", "x".into(), false, &History::default()).unwrap();
        node.publish("t", "y");
        let lost = node.lost().await;
        assert!(lost.starts_with("t: ") && lost.to_lowercase().contains("jetstream"), "{lost}");
        node.flush().await;
        let replay = node.handle.replay("t", "", &History::default()).await;
        assert!(!replay.complete && replay.position.is_empty(), "{replay:?}");
        assert!(replay.failed.unwrap().to_lowercase().contains("jetstream"));
    });
}

#[test]
fn nats_over_tls_with_a_token_and_the_second_of_two_servers() {
    let config = "tls { cert_file: \"FOLDER/cert.pem\", key_file: \"FOLDER/key.pem\" }\nauthorization { token: \"s/t\" }";
    with(config, async |broker| {
        let ca = format!("ca={}", broker.folder.path("ca.pem"));
        let port = broker.port;
        let mut one = Node::new(&format!("tls://s%2Ft@127.0.0.1:1,127.0.0.1:{port}?{ca}"), &["t"]).await;
        let two = Node::new(&format!("tls://s%2Ft@127.0.0.1:{port}?{ca}"), &[]).await;
        let long = "x".repeat(300_000);
        for n in 0..20 {
            two.publish("t", &format!("{n}{long}"));
        }
        for n in 0..20 {
            assert_eq!(one.message().await, format!("t: {n}{long}"));
        }
        for (url, why) in [
            (format!("tls://t@127.0.0.1:{port}?{ca}"), "Authorization Violation"),
            (format!("tls://s%2Ft@127.0.0.1:{port}"), "invalid peer certificate: UnknownIssuer"),
            // The server requires TLS, so the node uses it with `nats://` too.
            (format!("nats://s%2Ft@127.0.0.1:{port}"), "UnknownIssuer"),
            (format!("tls://s%2Ft@localhost:{port}?{ca}"), "not valid for name"),
        ] {
            let reason = Node::start(BrokerConfig::new(&url)).disconnected().await;
            assert!(reason.contains(why), "{url}: {reason}");
        }
    });
}

#[test]
fn nats_servers_that_are_none_or_too_old_are_reported() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let answers = [
            "HTTP/1.1 400 Bad Request\r\n",
            "-ERR\r\n",
            "INFO {\"version\":\"2.1.9\"}\r\nPONG\r\n",
            "-ERR 'maximum connections exceeded'\r\n",
            "",
        ];
        for (answer, stream) in answers.iter().zip(listener.incoming()) {
            use std::io::Write;
            stream.unwrap().write_all(answer.as_bytes()).unwrap();
        }
    });
    run(async {
        let mut node = Node::start(BrokerConfig::new(&format!("nats://127.0.0.1:{port}")));
        let reason = node.disconnected().await;
        assert!(reason.contains("does not speak the protocol of NATS: \"HTTP/1.1 400"), "{reason}");
        // The client library panics on this answer.
        assert_eq!(node.disconnected().await, "the server does not speak the protocol of NATS");
        let reason = node.disconnected().await;
        assert!(reason.contains("NATS 2.2 or later is needed, this is 2.1.9"), "{reason}");
        let reason = node.disconnected().await;
        assert_eq!(reason, "NATS refuses the connection: maximum connections exceeded");
        let closed = format!("cannot connect to 127.0.0.1:{port}: the server closed the connection");
        assert_eq!(node.disconnected().await, closed);
    });
}

#[test]
fn nats_the_permissions_in_the_guide_suffice() {
    let guide = include_str!("../../../docs/brokers.md");
    let at = guide.find("permissions: {").unwrap();
    let permissions = &guide[at..at + guide[at..].find("```").unwrap()];
    with(
        &format!("authorization {{ users: [{{ user: chat, password: pw, {permissions} }}] }}"),
        async |broker| {
            let broker = broker.with_credentials("chat:pw");
            cases::nodes_share_topics(broker).await;
            cases::stored_messages_are_replayed(broker).await;
        },
    );
}
