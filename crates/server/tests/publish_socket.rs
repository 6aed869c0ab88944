//! Publishing through the publish socket, at byte level and with the client of this crate.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod support;

use sprocket_server::{Bind, Config, Event, PublishError, PublishSocket, Publisher, Server};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use support::*;

/// An unused path; its file is removed on drop.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("sprocket-publish-{}-{}.sock", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn start_with(place: &Place, config: Config) -> (Server, SocketAddr) {
    let socket = config.publish_socket.unwrap_or_else(|| PublishSocket::new(place.0.clone()));
    start(Config { publish_socket: Some(socket), ..config })
}

fn open_publisher(path: &Path) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(stream)
}

fn send(stream: &mut BufReader<UnixStream>, bytes: impl AsRef<[u8]>) {
    stream.get_mut().write_all(bytes.as_ref()).unwrap();
}

/// Reads the next line; it is empty at the end of the stream.
fn line(stream: &mut BufReader<UnixStream>) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    line
}

fn request(topic: &str, payload: &str) -> String {
    format!("PUBLISH text {} {}\n{topic}{payload}", topic.len(), payload.len())
}

#[test]
fn publications_reach_subscribers_without_the_host() {
    for io_threads in [1, 3] {
        let place = Place::new();
        let (server, address) = start_with(&place, Config { io_threads, ..Config::default() });
        let mut clients: Vec<_> = [&["room.1"][..], &["room.*", "room.1"], &["other"], &["room.>"]]
            .map(|t| subscriber(&server, address, t))
            .into();
        let mut publisher = open_publisher(&place.0);
        // From here on the host is idle.
        for i in 0..200 {
            send(&mut publisher, request("room.1", &format!("{i}")));
            assert_eq!(line(&mut publisher), "OK\n");
        }
        send(&mut publisher, "PUBLISH binary 5 3\nother\u{1}\u{2}\u{3}");
        assert_eq!(line(&mut publisher), "OK\n");
        for at in [0, 1, 3] {
            for i in 0..200 {
                assert_eq!(text(&mut clients[at].0), i.to_string(), "client {at}, {io_threads} threads");
            }
        }
        assert_eq!(read_frame(&mut clients[2].0), (0x82, vec![1, 2, 3]));
        let stats = server.stats();
        assert_eq!((stats.published, stats.socket_published, stats.publishers), (201, 201, 1));
        drop(publisher);
        pump(&server, |_, _| {}, || server.stats().publishers == 0);
    }
}

#[test]
fn publications_follow_subscriptions_that_end_and_return() {
    let place = Place::new();
    let (server, address) = start_with(&place, Config::default());
    let (mut client, conn) = subscriber(&server, address, &["a"]);
    let mut publisher = Publisher::new(place.0.clone());
    let mut publish = |payload: &str| publisher.publish("a", payload.as_bytes(), false, PATIENCE).unwrap();
    publish("1");
    server.unsubscribe(&conn, "a").unwrap();
    server.flush();
    publish("without subscribers");
    server.subscribe_pattern(&conn, "*").unwrap();
    server.flush();
    publish("2");
    server.subscribe(&conn, "a").unwrap();
    server.unsubscribe_pattern(&conn, "*").unwrap();
    server.flush();
    publish("3");
    assert_eq!([text(&mut client), text(&mut client), text(&mut client)], ["1", "2", "3"]);
    drop(client);
    assert!(matches!(next(&server), Event::Close { .. }));
    server.flush();
    publish("without subscribers again");
    let (mut client, _) = subscriber(&server, address, &["a"]);
    publish("4");
    assert_eq!(text(&mut client), "4");
}

#[test]
fn a_host_busy_with_a_batch_delays_no_publisher() {
    let place = Place::new();
    let (server, address) = start_with(&place, Config { io_threads: 3, ..Config::default() });
    let mut clients: Vec<_> = (0..3).map(|_| subscriber(&server, address, &["t"])).collect();
    // More undelivered commands than a thread may have while publishers are served.
    for (_, conn) in &clients {
        for _ in 0..500 {
            server.send(conn, b"x", false);
        }
    }
    let mut publisher = Publisher::new(place.0.clone());
    publisher.publish("t", b"through", false, PATIENCE).unwrap();
    for (client, _) in &mut clients {
        let mut texts = std::iter::repeat_with(|| text(client)).take(501);
        assert!(texts.any(|text| text == "through"));
    }
    server.flush();
}

#[test]
fn requests_may_arrive_in_pieces_or_many_at_once() {
    let place = Place::new();
    let (server, address) = start_with(&place, Config::default());
    let (mut client, _) = subscriber(&server, address, &["t"]);
    let mut publisher = open_publisher(&place.0);
    for byte in request("t", "slowly").bytes() {
        send(&mut publisher, [byte]);
    }
    assert_eq!(line(&mut publisher), "OK\n");
    let big = "x".repeat(300_000);
    let mut all: String = (0..500).map(|i| request("t", &i.to_string())).collect();
    all += &request("t", &big);
    send(&mut publisher, all);
    for _ in 0..501 {
        assert_eq!(line(&mut publisher), "OK\n");
    }
    assert_eq!(text(&mut client), "slowly");
    for i in 0..500 {
        assert_eq!(text(&mut client), i.to_string());
    }
    assert_eq!(text(&mut client).len(), big.len());
}

#[test]
fn an_invalid_topic_or_text_is_refused_and_the_next_request_is_served() {
    let place = Place::new();
    let (server, address) = start_with(&place, Config::default());
    let (mut client, _) = subscriber(&server, address, &["t", ">"]);
    let mut publisher = open_publisher(&place.0);
    let bad: [(&[u8], &str); 6] = [
        (b"PUBLISH text 0 2\nhi", "ERROR topic "),
        (b"PUBLISH text 3 2\nt.*hi", "ERROR topic "),
        (b"PUBLISH text 5 2\na.>.bhi", "ERROR topic "),
        (b"PUBLISH text 1 2\n\xffhi", "ERROR topic "),
        (b"PUBLISH text 1 2\nt\xff\xfe", "ERROR payload "),
        (b"PUBLISH binary 1 2\n>hi", "ERROR topic "),
    ];
    for (bytes, answer) in bad {
        send(&mut publisher, bytes);
        let got = line(&mut publisher);
        assert!(got.starts_with(answer) && got.ends_with('\n'), "{got}");
        send(&mut publisher, request("t", "fine"));
        assert_eq!(line(&mut publisher), "OK\n");
        assert_eq!(text(&mut client), "fine");
    }
    assert_eq!(server.stats().socket_refused, 6);
}

#[test]
fn malformed_input_is_answered_and_ends_the_connection() {
    let place = Place::new();
    let limit = 1000;
    let (server, address) = start_with(&place, Config { send_buffer_limit: limit, ..Config::default() });
    let (mut client, _) = subscriber(&server, address, &["t"]);
    for (bytes, answer) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "ERROR malformed "),
        ("PUBLISH text 1 -1\n".to_owned(), "ERROR malformed "),
        ("P".repeat(100), "ERROR malformed "),
        ("PUBLISH text 256 1\n".to_owned(), "ERROR malformed "),
        (format!("PUBLISH text 1 {}\n", limit + 1), "ERROR too-large "),
        ("PUBLISH text 1 18446744073709551615\n".to_owned(), "ERROR too-large "),
    ] {
        let mut publisher = open_publisher(&place.0);
        // Earlier requests are served.
        send(&mut publisher, request("t", "first") + &bytes);
        assert_eq!(line(&mut publisher), "OK\n", "{bytes:?}");
        assert_eq!(text(&mut client), "first");
        let got = line(&mut publisher);
        assert!(got.starts_with(answer), "{bytes:?}: {got}");
        // Unread bytes turn the end of the connection into a reset.
        let mut rest = Vec::new();
        assert!(publisher.read_to_end(&mut rest).is_err() || rest.is_empty());
    }
    let mut publisher = open_publisher(&place.0);
    send(&mut publisher, request("t", &"x".repeat(limit)));
    assert_eq!(line(&mut publisher), "OK\n");
    assert_eq!(text(&mut client).len(), limit);
}

#[test]
fn an_incomplete_request_is_never_published() {
    let place = Place::new();
    let socket =
        PublishSocket { request_timeout: Duration::from_millis(200), ..PublishSocket::new(place.0.clone()) };
    let (server, address) = start_with(&place, Config { publish_socket: Some(socket), ..Config::default() });
    let (mut client, _) = subscriber(&server, address, &["t"]);
    let mut gone = open_publisher(&place.0);
    send(&mut gone, "PUBLISH text 1 5\nthell");
    gone.get_mut().shutdown(Shutdown::Both).unwrap();
    let mut stuck = open_publisher(&place.0);
    let mut idle = open_publisher(&place.0);
    send(&mut stuck, "PUBLISH text 1 5\nthell");
    assert!(line(&mut stuck).starts_with("ERROR timeout "));
    assert_eq!(line(&mut stuck), "");
    // A publisher between two requests has no time limit.
    send(&mut idle, request("t", "whole"));
    assert_eq!((line(&mut idle), text(&mut client)), ("OK\n".to_owned(), "whole".to_owned()));
}

#[test]
fn a_publisher_that_reads_no_answers_is_disconnected() {
    let place = Place::new();
    let socket =
        PublishSocket { request_timeout: Duration::from_millis(200), ..PublishSocket::new(place.0.clone()) };
    let (server, _) = start_with(&place, Config { publish_socket: Some(socket), ..Config::default() });
    let mut publisher = UnixStream::connect(&place.0).unwrap();
    publisher.set_write_timeout(Some(PATIENCE)).unwrap();
    let many = request("t", "x").repeat(10_000);
    let mut sent = 0;
    // The server closes the connection when its answers fill the socket.
    while publisher.write_all(many.as_bytes()).is_ok() {
        sent += 1;
        assert!(sent < 1000, "the server reads on and keeps the answers");
    }
    pump(&server, |_, _| {}, || server.stats().publishers == 0);
}

#[test]
fn a_publisher_beyond_the_limit_is_refused() {
    let place = Place::new();
    let socket = PublishSocket { max_publishers: 2, ..PublishSocket::new(place.0.clone()) };
    let (server, _) = start_with(&place, Config { publish_socket: Some(socket), ..Config::default() });
    let mut both = [open_publisher(&place.0), open_publisher(&place.0)];
    for publisher in &mut both {
        send(publisher, request("t", "x"));
        assert_eq!(line(publisher), "OK\n");
    }
    let mut third = open_publisher(&place.0);
    assert!(line(&mut third).starts_with("ERROR busy "));
    assert_eq!(line(&mut third), "");
    let [first, _] = both;
    drop(first);
    pump(&server, |_, _| {}, || server.stats().publishers == 1);
    let mut third = open_publisher(&place.0);
    send(&mut third, request("t", "x"));
    assert_eq!(line(&mut third), "OK\n");
}

#[test]
fn the_socket_file_has_the_configured_mode_and_is_removed() {
    let place = Place::new();
    for mode in [0o600, 0o660] {
        let socket = PublishSocket { mode, ..PublishSocket::new(place.0.clone()) };
        let (server, _) =
            start_with(&place, Config { publish_socket: Some(socket.clone()), ..Config::default() });
        let is = std::fs::metadata(&place.0).unwrap().permissions().mode() & 0o777;
        assert_eq!(is, mode);
        let config = Config { publish_socket: Some(socket), ..Config::default() };
        let error = Server::start(config, vec![Bind::Tcp(([127, 0, 0, 1], 0).into())]).unwrap_err();
        assert!(error.to_string().contains("the publish socket unix:///"), "{error}");
        drop(server);
        assert!(!place.0.exists());
    }
    // The socket file of a killed server is replaced.
    drop(UnixListener::bind(&place.0).unwrap());
    let (server, _) = start_with(&place, Config::default());
    Publisher::new(place.0.clone()).publish("t", b"x", false, PATIENCE).unwrap();
    assert_eq!(server.stats().socket_published, 1);
}

#[test]
fn a_stop_ends_publishers() {
    let place = Place::new();
    let (server, _) = start_with(&place, Config::default());
    let mut idle = open_publisher(&place.0);
    let mut begun = open_publisher(&place.0);
    send(&mut idle, request("t", "x"));
    assert_eq!(line(&mut idle), "OK\n");
    send(&mut begun, request("t", "x") + "PUBLISH text 1 5\nthe");
    assert_eq!(line(&mut begun), "OK\n");
    server.stop(Duration::from_secs(5));
    // The stop takes effect before any later publication, however fast.
    let late = Publisher::new(place.0.clone()).publish("t", b"x", false, PATIENCE).unwrap_err();
    assert!(!late.is_uncertain(), "{late}");
    assert_eq!(line(&mut idle), "");
    assert!(line(&mut begun).starts_with("ERROR stopping "));
    assert!(matches!(next(&server), Event::Stopped));
    assert!(!place.0.exists());
}

#[test]
fn the_client_reports_the_cause_of_a_failure() {
    let place = Place::new();
    let mut publisher = Publisher::new(place.0.clone());
    let mut publish = |timeout: u64| publisher.publish("t", b"x", false, Duration::from_millis(timeout));
    assert!(matches!(publish(1000), Err(PublishError::Unreachable { .. })));
    // A server that listens and never answers.
    let silent = UnixListener::bind(&place.0).unwrap();
    let begun = Instant::now();
    let error = publish(100).unwrap_err();
    assert!(matches!(error, PublishError::NoAnswer { .. }) && error.is_uncertain(), "{error}");
    assert!(begun.elapsed() >= Duration::from_millis(100) && begun.elapsed() < PATIENCE);
    // The listener's queue is full and no connection is accepted.
    let mut waiting = Vec::new();
    let error = loop {
        match publish(50).unwrap_err() {
            PublishError::NoAnswer { .. } => waiting.push(UnixStream::connect(&place.0)),
            other => break other,
        }
        assert!(waiting.len() < 5000);
        if waiting.len() == 1 {
            socket2::SockRef::from(&silent).listen(1).unwrap();
        }
    };
    assert!(matches!(error, PublishError::NotTaken { .. }) && !error.is_uncertain(), "{error}");
    drop((silent, waiting));
    std::fs::remove_file(&place.0).unwrap();
    // Another kind of server listens.
    let other = Server::start(Config::default(), vec![Bind::Unix(place.0.clone())]).unwrap();
    let error = publish(5000).unwrap_err();
    assert!(
        matches!(&error, PublishError::Foreign { answer, .. } if answer.starts_with("HTTP/1.1 400")),
        "{error}"
    );
    drop(other);
    // A refusal by the server.
    let socket = PublishSocket { max_publishers: 0, ..PublishSocket::new(place.0.clone()) };
    let server = start_with(&place, Config { publish_socket: Some(socket), ..Config::default() });
    let error = publish(5000).unwrap_err();
    assert!(matches!(&error, PublishError::Refused { code, .. } if code == "busy"), "{error}");
    drop(server);
    let server = start_with(&place, Config { send_buffer_limit: 10, ..Config::default() });
    let big = vec![b'x'; 1 << 20];
    let error = Publisher::new(place.0.clone()).publish("t", &big, false, PATIENCE).unwrap_err();
    assert!(matches!(&error, PublishError::Refused { code, .. } if code == "too-large"), "{error}");
    drop(server);
}

#[test]
fn the_client_reuses_its_connection_and_survives_a_server_restart() {
    let place = Place::new();
    let mut publisher = Publisher::new(place.0.clone());
    for _ in 0..3 {
        let (server, _) = start_with(&place, Config::default());
        for _ in 0..100 {
            publisher.publish("t", b"x", false, PATIENCE).unwrap();
        }
        let stats = server.stats();
        assert_eq!((stats.socket_published, stats.publishers), (100, 1));
    }
    assert!(publisher.publish("t", b"x", false, PATIENCE).is_err());
}

#[test]
fn a_server_that_dies_before_its_answer_makes_the_outcome_uncertain() {
    let place = Place::new();
    let listener = UnixListener::bind(&place.0).unwrap();
    let wanted = request("t", "hello").len();
    let dying = std::thread::spawn(move || {
        // First the whole request is read, then only a part of it.
        for bytes in [wanted, wanted - 1] {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut vec![0; bytes]).unwrap();
        }
    });
    let mut publisher = Publisher::new(place.0.clone());
    let mut publish = || publisher.publish("t", b"hello", false, PATIENCE).unwrap_err();
    let error = publish();
    assert!(matches!(error, PublishError::Lost { .. }) && error.is_uncertain(), "{error}");
    let error = publish();
    assert!(matches!(error, PublishError::Closed { .. }) && !error.is_uncertain(), "{error}");
    dying.join().unwrap();
}

/// Reads a value of `/proc/self/status` in bytes.
#[cfg(target_os = "linux")]
fn status(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

#[cfg(target_os = "linux")]
#[test]
fn an_announced_length_reserves_no_memory() {
    let place = Place::new();
    let most = i32::MAX as usize;
    let (server, _) = start_with(&place, Config { send_buffer_limit: most, ..Config::default() });
    let before = status("VmSize:");
    let mut publishers: Vec<_> = (0..32).map(|_| open_publisher(&place.0)).collect();
    for publisher in &mut publishers {
        send(publisher, format!("PUBLISH binary 1 {most}\nt and some of it"));
    }
    pump(&server, |_, _| {}, || server.stats().publishers == 32);
    // The answer to a later, small publication proves that all earlier headers were read.
    let mut small = open_publisher(&place.0);
    for _ in 0..10 {
        send(&mut small, request("t", "x"));
        assert_eq!(line(&mut small), "OK\n");
    }
    // Threads of other tests have malloc arenas; the announced payloads amount to 64 GiB.
    let more = status("VmSize:").saturating_sub(before);
    assert!(more < 8 << 30, "{more} bytes of address space");
}

#[cfg(target_os = "linux")]
#[test]
fn incomplete_requests_are_limited_in_total_and_all_are_served() {
    const SIZE: usize = 4 << 20;
    let place = Place::new();
    let (server, address) = start_with(&place, Config { send_buffer_limit: 2 * SIZE, ..Config::default() });
    let _client = connect(address);
    let payload = vec![b'x'; SIZE];
    let before = status("RssAnon:");
    let (begun, all_begun) = std::sync::mpsc::channel();
    // Locked until all publishers have begun, and released if the test fails.
    let held = std::sync::RwLock::new(());
    let go_on = held.write().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..40 {
            let (begun, payload, held, place) = (begun.clone(), &payload, &held, &place);
            scope.spawn(move || {
                let mut publisher = open_publisher(&place.0);
                send(&mut publisher, format!("PUBLISH text 1 {SIZE}\nt"));
                // The server does not read from publishers for which it has no memory yet.
                let stream = publisher.get_mut();
                stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
                let mut sent = 0;
                while sent < SIZE - 1 {
                    match stream.write(&payload[sent..SIZE - 1]) {
                        Ok(n) => sent += n,
                        Err(_) => break,
                    }
                }
                begun.send(sent).unwrap();
                drop(held.read());
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
                stream.write_all(&payload[sent..]).unwrap();
                assert_eq!(line(&mut publisher), "OK\n");
            });
        }
        let sent: Vec<usize> = (0..40).map(|_| all_begun.recv().unwrap()).collect();
        let whole = sent.iter().filter(|sent| **sent == SIZE - 1).count();
        assert!((8..=16).contains(&whole), "{whole} requests were read at once");
        let more = status("RssAnon:").saturating_sub(before);
        assert!(more < 112 << 20, "{} MiB for requests", more >> 20);
        drop(go_on);
    });
    assert_eq!(server.stats().socket_published, 40);
}

#[test]
fn publishers_without_pause_delay_no_other_client() {
    let place = Place::new();
    let (server, address) = start_with(&place, Config::default());
    let clients: Vec<_> = (0..8).map(|_| subscriber(&server, address, &["t"])).collect();
    let (mut good, conn) = subscriber(&server, address, &[]);
    /// Ends the threads of the test, even if it fails.
    struct Ending<'a>(&'a AtomicBool, Vec<TcpStream>);
    impl Drop for Ending<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
            for client in &self.1 {
                let _ = client.shutdown(Shutdown::Both);
            }
        }
    }
    let stop = AtomicBool::new(false);
    let many = request("t", "x").repeat(200);
    std::thread::scope(|scope| {
        let _ending = Ending(&stop, clients.iter().map(|(client, _)| client.try_clone().unwrap()).collect());
        let publisher = || {
            let mut publisher = UnixStream::connect(&place.0).unwrap();
            let mut answers = publisher.try_clone().unwrap();
            scope.spawn(move || std::io::copy(&mut answers, &mut std::io::sink()));
            publisher.set_write_timeout(Some(PATIENCE)).unwrap();
            let mut lives = true;
            while lives && !stop.load(Ordering::Relaxed) {
                lives = publisher.write_all(many.as_bytes()).is_ok();
            }
            let _ = publisher.shutdown(Shutdown::Both);
        };
        for _ in 0..4 {
            scope.spawn(publisher);
        }
        for (client, _) in &clients {
            let mut client = client.try_clone().unwrap();
            scope.spawn(move || std::io::copy(&mut client, &mut std::io::sink()));
        }
        pump(&server, |_, _| {}, || server.stats().socket_published > 1000);
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let begun = Instant::now();
            good.write_all(&frame(0x81, b"hello")).unwrap();
            let Event::Message { payload, .. } = next(&server) else { panic!() };
            server.send(&conn, &payload, false);
            server.flush();
            assert_eq!(text(&mut good), "hello");
            slowest = slowest.max(begun.elapsed());
        }
        assert!(slowest < Duration::from_secs(3), "an answer took {slowest:?}");
    });
}
