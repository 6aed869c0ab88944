//! The server's counters, and the page that Prometheus scrapes.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod support;

use sprocket_server::{Config, Connection, Event, Handler, SendOutcome, Server, SlowConsumer, Stats};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use support::*;

/// Names and values of the labels of a sample.
type Labels = Vec<(String, String)>;

/// A metric family of the page.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    /// Values by the name and the labels of the sample.
    samples: BTreeMap<(String, Labels), f64>,
}

/// Parses the page strictly by the text format 0.0.4 and its conventions: each family is contiguous and
/// begins with HELP and TYPE, and each sample occurs once.
fn parse(page: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    assert!(page.ends_with('\n') && !page.contains("\n\n"), "it ends with a line end and has no empty line");
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let (name, help) = line.strip_prefix("# HELP ").expect(line).split_once(' ').expect(line);
        assert!(help.ends_with('.') && !help.contains('\\'), "a sentence: {line}");
        assert!(name.starts_with("sprocket_"), "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
        let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {name} ")).expect(name);
        assert!(["gauge", "counter", "histogram"].contains(&kind), "{name} {kind}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        let mut family = Family { kind: kind.to_owned(), ..Family::default() };
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (left, value) = line.rsplit_once(' ').expect(line);
            let value: f64 = value.parse().expect(line);
            assert!(value >= 0.0, "{line}");
            let (sample, labels) = match left.split_once('{') {
                Some((sample, labels)) => (sample, labels.strip_suffix('}').expect(line)),
                None => (left, ""),
            };
            let suffix = sample.strip_prefix(name).expect(line);
            let allowed: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(allowed.contains(&suffix), "{line}");
            let label = |pair: &str| {
                let (label, value) = pair.split_once("=\"").expect(line);
                assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
                let value = value.strip_suffix('"').expect(line);
                assert!(!value.contains(['"', '\\', '{']), "{line}");
                (label.to_owned(), value.to_owned())
            };
            let labels: Vec<_> = labels.split(',').filter(|l| !l.is_empty()).map(label).collect();
            let names: BTreeSet<_> = labels.iter().map(|(label, _)| label).collect();
            assert_eq!(names.len(), labels.len(), "{line}");
            assert!(family.samples.insert((sample.to_owned(), labels), value).is_none(), "twice: {line}");
        }
        assert!(!family.samples.is_empty(), "{name} has no sample");
        if kind == "histogram" {
            check_histogram(name, &family);
        }
        assert!(families.insert(name.to_owned(), family).is_none(), "{name} in two pieces");
    }
    families
}

/// Checks that the counts of the buckets do not decrease, and that the last bucket is infinite and
/// equals the count.
fn check_histogram(name: &str, family: &Family) {
    let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for ((sample, labels), value) in &family.samples {
        if sample.ends_with("_bucket") {
            let (le, rest): (Vec<_>, Vec<_>) = labels.iter().cloned().partition(|(l, _)| l == "le");
            let bound = if le[0].1 == "+Inf" { f64::INFINITY } else { le[0].1.parse().unwrap() };
            series.entry(rest).or_default().push((bound, *value));
        }
    }
    for (labels, mut buckets) in series {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name} {labels:?} {buckets:?}");
        let last = buckets.last().unwrap();
        assert_eq!(last.0, f64::INFINITY);
        assert_eq!(family.samples[&(format!("{name}_count"), labels.clone())], last.1);
        assert!(family.samples.contains_key(&(format!("{name}_sum"), labels)));
    }
}

/// Starts a server with a metrics page.
fn with_page(config: Config) -> (Server, SocketAddr) {
    start(Config { metrics_path: Some("/metrics".to_owned()), ..config })
}

fn page(address: SocketAddr) -> BTreeMap<String, Family> {
    let answer = exchange(address, b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("text/plain; version=0.0.4; charset=utf-8"), "{head}");
    parse(body)
}

fn sample(page: &BTreeMap<String, Family>, name: &str, labels: &[(&str, &str)]) -> f64 {
    let name = format!("sprocket_{name}");
    let labels = labels.iter().map(|(l, v)| ((*l).to_owned(), (*v).to_owned())).collect();
    let family = ["_bucket", "_sum", "_count"].iter().fold(name.as_str(), |n, s| n.trim_end_matches(s));
    page[family].samples[&(name.clone(), labels)]
}

fn await_stats(server: &Server, what: &str, mut done: impl FnMut(&Stats) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stats = server.stats();
        if done(&stats) {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {stats:?}");
        std::thread::yield_now();
    }
}

fn closed(server: &Server) -> u16 {
    loop {
        if let Event::Close { code, .. } = next(server) {
            return code;
        }
    }
}

#[test]
fn a_strict_parser_accepts_the_page() {
    let (server, address) = with_page(Config { max_connections: 77, ..Config::default() });
    let mut client = open(address);
    let conn = opened(&server);
    server.subscribe(&conn, "news").unwrap();
    client.write_all(&frame(0x81, b"12345")).unwrap();
    assert!(matches!(next(&server), Event::Message { .. }));
    server.publish("news", b"123456789", false, None).unwrap();
    server.flush();
    read_frame(&mut client);
    let page = page(address);
    for (name, expected) in [
        ("connections", 1.0),
        ("connections_max", 77.0),
        ("http_sockets", 1.0),
        ("topics", 1.0),
        ("connections_opened_total", 1.0),
        ("messages_received_total", 1.0),
        ("messages_sent_total", 1.0),
        ("received_bytes_total", 5.0),
        ("sent_bytes_total", 11.0),
        ("http_requests_total", 1.0),
        ("sockets_accepted_total", 2.0),
        ("pending_messages", 0.0),
        ("waiting_bytes", 0.0),
    ] {
        assert_eq!(sample(&page, name, &[]), expected, "{name}");
    }
    assert_eq!(page["sprocket_connections"].kind, "gauge");
    assert_eq!(page["sprocket_closes_total"].kind, "counter");
    assert_eq!(sample(&page, "info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!((now - sample(&page, "start_time_seconds", &[])).abs() < 60.0);
}

#[test]
fn messages_that_wait_for_the_host_are_counted() {
    let (server, address) = with_page(Config { max_pending_messages: 10, ..Config::default() });
    let mut client = open(address);
    opened(&server);
    for payload in [&b"one"[..], b"three", b"seventeen"] {
        client.write_all(&frame(0x82, payload)).unwrap();
    }
    await_stats(&server, "three wait", |s| (s.pending_messages, s.pending_bytes) == (3, 17));
    // The page is served while the host is busy.
    let shown = page(address);
    assert_eq!(sample(&shown, "pending_messages", &[]), 3.0);
    assert_eq!(sample(&shown, "pending_bytes", &[]), 17.0);
    assert!(matches!(next(&server), Event::Message { .. }));
    assert_eq!((server.stats().pending_messages, server.stats().pending_bytes), (2, 14));
    (0..2).for_each(|_| assert!(matches!(next(&server), Event::Message { .. })));
    assert_eq!((server.stats().pending_messages, server.stats().pending_bytes), (0, 0));
}

#[test]
fn messages_after_a_close_are_counted_as_dropped() {
    let (server, address) = with_page(Config::default());
    let mut client = open(address);
    let conn = opened(&server);
    // One message is queued at the close, and one arrives after it.
    client.write_all(&frame(0x82, b"12")).unwrap();
    await_stats(&server, "one waits", |s| s.pending_messages == 1);
    server.close(&conn, 1000, "");
    assert!(server.next_event().is_none());
    server.flush();
    assert_eq!(read_close(&mut client).0, 1000);
    client.write_all(&frame(0x82, b"345")).unwrap();
    client.write_all(&close_frame(1000, "")).unwrap();
    assert_eq!(closed(&server), 1000);
    await_stats(&server, "all are counted", |s| s.messages_in == 2);
    let stats = server.stats();
    assert_eq!((stats.undelivered, stats.undelivered_bytes), (2, 5));
    assert_eq!((stats.pending_messages, stats.pending_bytes), (0, 0));
    assert_eq!(sample(&page(address), "messages_dropped_total", &[("reason", "closed")]), 2.0);
}

/// Sends until messages for the peer, which does not read, wait in the server. Returns the number of
/// messages sent.
fn fill(server: &Server, conn: &Connection) -> usize {
    let chunk = vec![0; 64 << 10];
    let deadline = Instant::now() + PATIENCE;
    for sent in 0.. {
        if server.send(conn, &chunk, true) != SendOutcome::Sent {
            server.flush();
            return sent;
        }
        assert!(Instant::now() < deadline);
        server.flush();
        std::thread::sleep(Duration::from_micros(200));
    }
    unreachable!()
}

#[test]
fn frames_that_wait_for_the_peer_are_counted() {
    let config =
        Config { send_buffer_limit: 1 << 20, slow_consumer: SlowConsumer::Drop, ..Config::default() };
    let (server, address) = with_page(config);
    let mut slow = open(address);
    let conn = opened(&server);
    let sent = fill(&server, &conn);
    await_stats(&server, "the queue is known", |s| {
        s.waiting_bytes == conn.buffered_amount() as u64 && s.messages_out == sent as u64
    });
    let stats = server.stats();
    assert!(stats.waiting_frames > 8 && stats.waiting_bytes > 512 << 10, "{stats:?}");
    assert_eq!(stats.slow_dropped, 1);
    assert_eq!(sample(&page(address), "waiting_frames", &[]), stats.waiting_frames as f64);
    (0..sent).for_each(|_| drop(read_frame(&mut slow)));
    await_stats(&server, "nothing waits", |s| (s.waiting_frames, s.waiting_bytes) == (0, 0));
    assert_eq!(server.stats().unsent, 0);

    // A peer that disconnects leaves no message behind, and the undelivered ones remain counted.
    fill(&server, &conn);
    await_stats(&server, "some wait", |s| s.waiting_frames > 8);
    drop(slow);
    assert_eq!(closed(&server), 1006);
    await_stats(&server, "nothing waits", |s| (s.waiting_frames, s.waiting_bytes) == (0, 0));
    assert!(server.stats().unsent > 8);
}

#[test]
fn messages_refused_for_a_slow_peer_are_counted() {
    let config =
        Config { send_buffer_limit: 1 << 20, close_timeout: Duration::from_millis(100), ..Config::default() };
    let (server, address) = with_page(config);
    let _slow = open(address);
    let conn = opened(&server);
    fill(&server, &conn);
    assert_eq!(closed(&server), 1013);
    await_stats(&server, "nothing waits", |s| (s.waiting_frames, s.waiting_bytes) == (0, 0));
    let stats = server.stats();
    assert!(stats.unsent > 8 && stats.slow_closed == 1, "{stats:?}");
    assert_eq!(stats.closes, BTreeMap::from([(1013, 1)]));
}

#[test]
fn closes_are_counted_by_code() {
    let (server, address) = with_page(Config { max_message_size: 100, ..Config::default() });
    let mut expected = BTreeMap::new();
    let peer_says: [&[u8]; 7] = [
        &close_frame(1000, ""),
        &close_frame(4001, "app"),
        // Codes 1009 and 1002 from the peer are not errors that the server has detected.
        &close_frame(1009, ""),
        &close_frame(1002, ""),
        &frame(0x88, b""),
        &frame(0x82, &[0; 101]),
        &frame(0x83, b""),
    ];
    for (says, code) in peer_says.into_iter().zip([1000, 4001, 1009, 1002, 1005, 1009, 1002]) {
        let mut client = open(address);
        opened(&server);
        client.write_all(says).unwrap();
        assert_eq!(closed(&server), code);
        *expected.entry(code).or_default() += 1;
    }
    let mut client = open(address);
    let conn = opened(&server);
    server.close(&conn, 4002, "");
    server.flush();
    read_close(&mut client);
    client.write_all(&close_frame(4002, "")).unwrap();
    assert_eq!(closed(&server), 4002);
    expected.insert(4002, 1);
    let _client = open(address);
    server.terminate(&opened(&server));
    server.flush();
    assert_eq!(closed(&server), 1006);
    expected.insert(1006, 1);

    let stats = server.stats();
    assert_eq!(stats.closes, expected);
    assert_eq!(stats.closed, expected.values().sum::<u64>());
    assert_eq!((stats.too_big, stats.protocol_errors, stats.abnormal), (1, 1, 1));
    let page = page(address);
    for (code, count) in [("1009", 2.0), ("4001", 1.0), ("4002", 1.0), ("1006", 1.0), ("1011", 0.0)] {
        assert_eq!(sample(&page, "closes_total", &[("code", code)]), count, "{code}");
    }
}

#[test]
fn callbacks_are_timed_and_a_hanging_one_is_visible() {
    let (server, address) = with_page(Config::default());
    assert_eq!(sample(&page(address), "callback_running_seconds", &[]), 0.0);
    server.handling(Handler::Message);
    std::thread::sleep(Duration::from_millis(30));
    assert!(sample(&page(address), "callback_running_seconds", &[]) >= 0.03);
    server.handled(true);
    server.handling(Handler::Timer);
    server.handled(false);
    server.idle();
    server.handler_failed();
    let page = page(address);
    assert_eq!(sample(&page, "callback_running_seconds", &[]), 0.0);
    assert_eq!(sample(&page, "callback_errors_total", &[]), 1.0);
    let message = [("callback", "message")];
    assert_eq!(sample(&page, "callback_seconds_count", &message), 1.0);
    assert!((0.03..10.0).contains(&sample(&page, "callback_seconds_sum", &message)));
    let bucket = |le| sample(&page, "callback_seconds_bucket", &[message[0], ("le", le)]);
    assert_eq!((bucket("0.025"), bucket("+Inf")), (0.0, 1.0));
    assert_eq!(sample(&page, "callback_seconds_count", &[("callback", "timer")]), 1.0);
    assert_eq!(sample(&page, "callback_seconds_count", &[("callback", "open")]), 0.0);
}

#[test]
fn handshakes_that_wait_for_the_host_are_not_counted_as_connections() {
    let interest = sprocket_server::Interest::UPGRADE;
    let (server, address) = with_page(Config { interest, ..Config::default() });
    let mut client = connect(address);
    client.write_all(upgrade_head(address, "/", "").as_bytes()).unwrap();
    let Event::Upgrade { ticket, .. } = next(&server) else { panic!() };
    let stats = server.stats();
    assert_eq!((stats.connections, stats.handshakes, stats.http_sockets), (0, 1, 1));
    server.decide(ticket, sprocket_server::Decision::Accept { subprotocol: None, headers: Vec::new() });
    server.flush();
    opened(&server);
    await_stats(&server, "it is open", |s| (s.connections, s.handshakes, s.http_sockets) == (1, 0, 0));
}
