//! Fairness: no peer delays the others by a flood or by requests for unbounded work.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]
mod support;

use sprocket_server::{Config, ConnId, Event, SendOutcome, Server};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use support::*;

/// Maximum delay of a well-behaved client on a busy machine. Without turns it would wait until the
/// flood ends.
const BOUND: Duration = Duration::from_secs(2);

/// A client that writes the same bytes until it is stopped or disconnected, and discards all input.
struct Flooder {
    stream: TcpStream,
    threads: Vec<JoinHandle<()>>,
}

impl Flooder {
    fn new(mut stream: TcpStream, bytes: Vec<u8>) -> Self {
        let mut reader = stream.try_clone().unwrap();
        let mut writer = stream.try_clone().unwrap();
        stream.set_read_timeout(None).unwrap();
        let reading = std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 20];
            while reader.read(&mut buffer).is_ok_and(|n| n > 0) {}
        });
        let writing = std::thread::spawn(move || while writer.write_all(&bytes).is_ok() {});
        stream.flush().unwrap();
        Self { stream, threads: vec![reading, writing] }
    }
}

impl Drop for Flooder {
    fn drop(&mut self) {
        // An error means that the server has closed the connection.
        let _ = self.stream.shutdown(Shutdown::Both);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

/// Echoes messages while `clients` runs on a thread of its own.
fn echo_while(server: &Server, clients: impl FnOnce() + Send) {
    let done = AtomicBool::new(false);
    let mut connections = Vec::new();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(clients));
            done.store(true, Ordering::Relaxed);
            result
        });
        let mut on = |event| match event {
            Event::Open { conn, .. } => connections.push(conn),
            Event::Message { id, payload, binary } => {
                // Messages of an earlier flood may still be queued.
                if let Some(conn) = connections.iter().find(|conn| conn.id() == id) {
                    assert_ne!(server.send(conn, &payload, binary), SendOutcome::Dropped);
                }
            }
            Event::Close { id, .. } => connections.retain(|conn| conn.id() != id),
            _ => {}
        };
        while !done.load(Ordering::Relaxed) {
            // During a flood the queue never becomes empty, so the number of events is limited.
            std::iter::from_fn(|| server.next_event()).take(256).for_each(&mut on);
            server.flush();
            server.wait(Some(Duration::from_millis(5)));
        }
        running.join().unwrap().unwrap();
    });
}

/// Measures the round trips of an existing client and of a new one during a flood.
fn good_clients_are_served(address: SocketAddr, flooders: impl FnOnce() -> Vec<Flooder>) {
    let mut good = open(address);
    let flooders = flooders();
    for round in 0..20 {
        let start = Instant::now();
        good.write_all(&frame(0x81, b"good")).unwrap();
        assert_eq!(text(&mut good), "good");
        assert!(start.elapsed() < BOUND, "round trip {round}: {:?}", start.elapsed());
    }
    let start = Instant::now();
    let mut newcomer = open(address);
    newcomer.write_all(&frame(0x81, b"new")).unwrap();
    assert_eq!(text(&mut newcomer), "new");
    assert!(start.elapsed() < BOUND, "a newcomer: {:?}", start.elapsed());
    drop(flooders);
}

#[test]
fn pipelined_requests_delay_no_other_client() {
    let (health, metrics) = ("/healthz".to_owned(), "/metrics".to_owned());
    let config = Config { health_path: Some(health), metrics_path: Some(metrics), ..Config::default() };
    let (server, address) = start(config);
    for path in ["/healthz", "/metrics", "/nothing"] {
        let requests = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").repeat(200);
        let flooder = || Flooder::new(connect(address), requests.clone().into());
        echo_while(&server, || good_clients_are_served(address, || (0..4).map(|_| flooder()).collect()));
    }
}

#[test]
fn endless_messages_and_frames_delay_no_other_client() {
    let (server, address) = start(Config::default());
    let fragments = [frame(0x01, b""), frame(0x80, b"")].concat();
    for bytes in [frame(0x81, b"x"), frame(0x89, b""), fragments] {
        let flooder = || Flooder::new(open(address), bytes.repeat(5_000));
        echo_while(&server, || good_clients_are_served(address, || (0..4).map(|_| flooder()).collect()));
    }
}

#[test]
fn a_single_message_does_not_wait_for_all_those_of_connections_with_many() {
    const FLOODERS: usize = 8;
    const EACH: usize = 2048;
    let (server, address) = start(Config { max_pending_messages: EACH, ..Config::default() });
    let mut good = open(address);
    let good_id = opened(&server).id();
    let mut numbers: HashMap<ConnId, u32> = HashMap::new();
    let mut flooders = Vec::new();
    for _ in 0..FLOODERS {
        flooders.push(open(address));
        numbers.insert(opened(&server).id(), 0);
    }
    let bytes: Vec<u8> = (0..EACH as u32).flat_map(|n| frame(0x82, &n.to_be_bytes())).collect();
    flooders.iter_mut().for_each(|flooder| flooder.write_all(&bytes).unwrap());
    let received = |messages: usize| {
        let deadline = Instant::now() + PATIENCE;
        while server.stats().messages_in < messages as u64 {
            assert!(Instant::now() < deadline, "{} messages arrived", server.stats().messages_in);
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    received(FLOODERS * EACH);
    good.write_all(&frame(0x81, b"good")).unwrap();
    received(FLOODERS * EACH + 1);

    let mut before = None;
    for taken in 0..=FLOODERS * EACH {
        let Event::Message { id, payload, .. } = next(&server) else { panic!("a message") };
        if id == good_id {
            before = Some(taken);
        } else {
            let number = numbers.get_mut(&id).unwrap();
            assert_eq!(payload[..], number.to_be_bytes(), "messages of one connection keep their order");
            *number += 1;
        }
    }
    let before = before.unwrap();
    assert!(before < EACH, "{before} messages of {} were taken before", FLOODERS * EACH);
    drop(flooders);
}

/// Returns the code and reason with which the server closes a client that sends `bytes`.
fn closed_after(server: &Server, address: SocketAddr, bytes: &[u8]) -> (u16, String) {
    let mut client = open(address);
    let conn = opened(server);
    let mut writer = client.try_clone().unwrap();
    std::thread::scope(|scope| {
        // The write fails if the server closes the connection before it has read all of it.
        scope.spawn(move || _ = writer.write_all(bytes));
        let reading = scope.spawn(move || {
            loop {
                match read_frame(&mut client) {
                    (0x88, payload) => return payload,
                    (first, _) => assert_eq!(first, 0x8a),
                }
            }
        });
        let Event::Close { id, code, reason } = next(server) else { panic!("the end comes next") };
        assert_eq!(id, conn.id());
        let frame = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
        assert_eq!(reading.join().unwrap(), frame, "the client receives the same code and reason");
        (code, reason)
    })
}

#[test]
fn a_flood_of_empty_frames_is_closed_with_1008() {
    let (server, address) = start(Config::default());
    let fragments = [frame(0x01, b""), frame(0x00, b"").repeat(20_000)].concat();
    let floods = [frame(0x89, b"").repeat(20_000), frame(0x8a, b"pong").repeat(20_000), fragments];
    for (at, bytes) in floods.iter().enumerate() {
        let (code, reason) = closed_after(&server, address, bytes);
        assert_eq!((code, reason.as_str()), (1008, "too many control frames or empty fragments"));
        assert_eq!(server.stats().flood_closed, at as u64 + 1);
    }
}

#[test]
fn control_frames_in_proportion_to_messages_or_pings_are_accepted() {
    let (server, address) = start(Config::default());
    let mut client = open(address);
    let conn = opened(&server);
    const PINGS: usize = 15_000;
    for _ in 0..PINGS {
        assert!(server.ping(&conn, b""));
    }
    server.flush();
    for _ in 0..PINGS {
        assert_eq!(read_frame(&mut client).0, 0x89);
    }
    let mut bytes = frame(0x8a, b"").repeat(PINGS);
    bytes.extend([frame(0x81, b"x"), frame(0x8a, b"")].concat().repeat(PINGS));
    bytes.extend(frame(0x81, b"end"));
    let mut writer = client.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&bytes).unwrap());
    for _ in 0..PINGS {
        let Event::Message { payload, .. } = next(&server) else { panic!("no flood") };
        assert_eq!(&payload[..], b"x");
    }
    let Event::Message { payload, .. } = next(&server) else { panic!("no flood") };
    assert_eq!(&payload[..], b"end");
    writing.join().unwrap();
}

#[test]
fn a_turn_that_ends_inside_a_read_loses_no_message() {
    let (server, address) = start(Config::default());
    let mut client = open(address);
    opened(&server);
    let mut bytes = Vec::new();
    let mut expected = Vec::new();
    for i in 0..4_000usize {
        let payload = vec![b'a' + (i % 26) as u8; [1, 5, 0, 90, 700][i % 5]];
        match i % 7 {
            0 => bytes.extend(frame(0x89, b"ping")),
            1 => bytes.extend([frame(0x02, b""), frame(0x00, &payload), frame(0x80, b"")].concat()),
            _ => bytes.extend(frame(0x82, &payload)),
        }
        if i % 7 != 0 {
            expected.push(payload);
        }
    }
    let mut writer = client.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&bytes).unwrap());
    for payload in expected {
        let Event::Message { payload: got, .. } = next(&server) else { panic!("a message is missing") };
        assert_eq!(got, payload);
    }
    writing.join().unwrap();
    for _ in 0..4_000usize.div_ceil(7) {
        assert_eq!(read_frame(&mut client), (0x8a, b"ping".to_vec()));
    }
}
