//! Topics and broadcast over real sockets.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod support;

use sprocket_server::{Config, Connection, Event, SendOutcome, Server, SlowConsumer, TopicError};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use support::*;

fn clients(server: &Server, address: std::net::SocketAddr, n: usize) -> Vec<(TcpStream, Connection)> {
    (0..n)
        .map(|_| {
            let client = open(address);
            let Event::Open { conn, .. } = next(server) else { panic!() };
            (client, conn)
        })
        .collect()
}

fn texts(client: &mut TcpStream, n: usize) -> Vec<String> {
    (0..n).map(|_| String::from_utf8(read_frame(client).1).unwrap()).collect()
}

#[test]
fn a_publication_reaches_only_its_subscribers_and_in_order() {
    for io_threads in [1, 3] {
        let (server, address) = start(Config { io_threads, ..Config::default() });
        let mut all = clients(&server, address, 7);
        for (_, conn) in &all[..5] {
            server.subscribe(conn, "news").unwrap();
            server.subscribe(conn, "news").unwrap();
        }
        assert_eq!(server.subscriber_count("news"), 5);
        for i in 0..100 {
            server.publish("news", format!("{i}").as_bytes(), false, Some(&all[4].1)).unwrap();
        }
        server.publish("nobody", b"x", false, None).unwrap();
        server.broadcast(b"end", false, None).unwrap();
        server.flush();
        let expected: Vec<_> = (0..100).map(|i| i.to_string()).chain(["end".to_owned()]).collect();
        for (client, _) in &mut all[..4] {
            assert_eq!(texts(client, 101), expected);
        }
        for (client, _) in &mut all[4..] {
            assert_eq!(texts(client, 1), ["end"]);
        }
    }
}

#[test]
fn several_matching_patterns_deliver_once() {
    let (server, address) = start(Config::default());
    let mut all = clients(&server, address, 1);
    server.subscribe(&all[0].1, "room.1").unwrap();
    for pattern in ["room.*", "room.>", ">"] {
        server.subscribe_pattern(&all[0].1, pattern).unwrap();
    }
    let mut patterns = server.patterns(&all[0].1);
    patterns.sort();
    assert_eq!(patterns, [">", "room.*", "room.>"]);
    assert_eq!(server.topics(&all[0].1), ["room.1"]);
    server.publish("room.1", b"once", false, None).unwrap();
    server.unsubscribe(&all[0].1, "room.1").unwrap();
    server.publish("room.1", b"still", false, None).unwrap();
    server.publish("other", b"all", false, None).unwrap();
    server.flush();
    assert_eq!(texts(&mut all[0].0, 3), ["once", "still", "all"]);
}

#[test]
fn wildcards_apply_only_to_pattern_subscriptions() {
    let (server, address) = start(Config::default());
    let mut all = clients(&server, address, 1);
    let (client, conn) = &mut all[0];
    for pattern in ["*", ">", "room.*", "room.>", "*.1", "a.>.b", "a.*.b"] {
        let refused = Err(TopicError::Pattern(pattern.to_owned()));
        assert_eq!(server.subscribe(conn, pattern), refused);
        assert_eq!(server.unsubscribe(conn, pattern), refused);
    }
    assert!(server.subscribe_pattern(conn, "a.>.b").is_err());
    // A wildcard inside a token has no meaning, and a pattern without wildcards is a topic.
    for name in ["room*", ">1", "a.b>.c"] {
        server.subscribe(conn, name).unwrap();
        server.subscribe_pattern(conn, name).unwrap();
    }
    assert_eq!((server.topics(conn).len(), server.patterns(conn).len()), (3, 0));
    server.publish("room.1", b"of another room", false, None).unwrap();
    server.publish("room*", b"own", false, None).unwrap();
    server.subscribe_pattern(conn, "room.*").unwrap();
    server.publish("room.1", b"asked for", false, None).unwrap();
    server.unsubscribe_pattern(conn, "room.>").unwrap();
    server.publish("room.1", b"still", false, None).unwrap();
    server.unsubscribe_pattern(conn, "room.*").unwrap();
    server.publish("room.1", b"no more", false, None).unwrap();
    server.publish("room*", b"end", false, None).unwrap();
    server.flush();
    assert_eq!(texts(client, 4), ["own", "asked for", "still", "end"]);
}

#[test]
fn a_closed_connection_is_unsubscribed() {
    let (server, address) = start(Config::default());
    let mut all = clients(&server, address, 3);
    for (_, conn) in &all {
        server.subscribe(conn, "t").unwrap();
    }
    drop(all.remove(0));
    assert!(matches!(next(&server), Event::Close { .. }));
    assert_eq!(server.subscriber_count("t"), 2);
    server.close(&all[0].1, 1000, "");
    server.publish("t", b"left", false, None).unwrap();
    server.flush();
    assert_eq!(read_close(&mut all[0].0).0, 1000);
    assert_eq!(texts(&mut all[1].0, 1), ["left"]);
    drop(all);
    assert!(matches!(next(&server), Event::Close { .. }));
    assert!(matches!(next(&server), Event::Close { .. }));
    assert_eq!((server.subscriber_count("t"), server.stats().topics), (0, 0));
}

#[test]
fn a_slow_subscriber_delays_no_other() {
    for slow_consumer in [SlowConsumer::Close, SlowConsumer::Drop] {
        let config = Config { slow_consumer, close_timeout: Duration::from_millis(200), ..Config::default() };
        let (server, address) = start(config);
        let mut all = clients(&server, address, 2);
        for (_, conn) in &all {
            server.subscribe(conn, "t").unwrap();
        }
        let chunk = vec![b'x'; 128 << 10];
        let begun = Instant::now();
        // Client 0 never reads.
        for _ in 0..200 {
            server.publish("t", &chunk, false, None).unwrap();
            server.flush();
            assert_eq!(read_frame(&mut all[1].0).1.len(), chunk.len());
        }
        assert!(begun.elapsed() < PATIENCE);
        let stats = server.stats();
        match slow_consumer {
            SlowConsumer::Close => {
                let Event::Close { id, code, .. } = next(&server) else { panic!() };
                assert_eq!((id, code, stats.slow_closed), (all[0].1.id(), 1013, 1));
            }
            SlowConsumer::Drop => {
                assert!(stats.slow_dropped > 0 && all[0].1.is_open());
            }
        }
        assert_eq!(server.send(&all[1].1, b"fine", false), SendOutcome::Sent);
    }
}

#[test]
fn messages_of_the_current_batch_do_not_make_a_slow_consumer() {
    for slow_consumer in [SlowConsumer::Close, SlowConsumer::Drop] {
        let (server, address) =
            start(Config { send_buffer_limit: 8 << 10, slow_consumer, ..Config::default() });
        let mut all = clients(&server, address, 2);
        for (_, conn) in &all {
            server.subscribe(conn, "t").unwrap();
        }
        // One batch of ten times the limit, which is a fraction of what the socket buffers hold.
        let payload = [b'x'; 100];
        for _ in 0..800 {
            server.publish("t", &payload, false, None).unwrap();
        }
        server.flush();
        for (client, _) in &mut all {
            for _ in 0..800 {
                assert_eq!(read_frame(client), (0x81, payload.to_vec()));
            }
        }
        assert_eq!(server.stats().slow_dropped + server.stats().slow_closed, 0);
    }
}

#[test]
fn a_flood_of_publications_slows_the_host_and_not_the_sockets() {
    let (server, address) = start(Config { send_buffer_limit: 64 << 20, ..Config::default() });
    let all = clients(&server, address, 20);
    for (_, conn) in &all {
        server.subscribe(conn, "t").unwrap();
    }
    let readers: Vec<_> = all
        .into_iter()
        .map(|(mut client, _)| {
            std::thread::spawn(move || {
                for i in 0.. {
                    let text = String::from_utf8(read_frame(&mut client).1).unwrap();
                    if text == "end" {
                        return i;
                    }
                    assert_eq!(text, i.to_string(), "each once, in order");
                }
                unreachable!()
            })
        })
        .collect();
    // New clients connect although the host only publishes.
    let newcomer = std::thread::spawn(move || drop(open(address)));
    let mut published = 0;
    while published < 20_000 || !newcomer.is_finished() {
        server.publish("t", published.to_string().as_bytes(), false, None).unwrap();
        published += 1;
    }
    server.publish("t", b"end", false, None).unwrap();
    server.flush();
    newcomer.join().unwrap();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), published);
    }
    assert!(server.stats().host_waits > 0, "what is not delivered yet waits in the host");
}
