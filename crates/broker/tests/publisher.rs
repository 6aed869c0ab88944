//! Publishes through scripted broker servers that violate the protocol, at byte level, and checks the
//! reported outcome of each publication.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

use sprocket_broker::BrokerUrl;
use sprocket_broker::publisher::{BrokerPublisher, PublishError};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);
/// Larger than the socket buffers of the kernel, in bytes.
const LARGE: usize = 48 << 20;
const INFO: &str =
    "INFO {\"server_id\":\"x\",\"version\":\"2.9.1\",\"headers\":true,\"max_payload\":67108864}\r\n";

/// The server's side of one connection.
struct Peer {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Peer {
    fn send(&mut self, text: impl AsRef<[u8]>) {
        // The write may fail: the publisher closes the connection after too much input.
        let _ = self.stream.write_all(text.as_ref());
    }

    /// Reads up to the next `end` and returns the text before it, or the remaining input if the
    /// connection ends first.
    fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.input.windows(end.len()).position(|part| part == end.as_bytes()) {
                let received = String::from_utf8_lossy(&self.input[..at]).into_owned();
                self.input.drain(..at + end.len());
                return received;
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(n @ 1..) => self.input.extend_from_slice(&chunk[..n]),
                _ => return String::from_utf8_lossy(&std::mem::take(&mut self.input)).into_owned(),
            }
        }
    }

    /// Waits until the publisher closes the connection, without reading anything.
    fn stall(&mut self) {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && self.stream.write_all(b"").is_ok() {
            let mut info = [0; 1];
            self.stream.set_nonblocking(true).unwrap();
            if matches!(self.stream.peek(&mut info), Ok(0)) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn greet_redis(&mut self) {
        self.until("HELLO");
        self.send("%1\r\n+server\r\n+redis\r\n+OK\r\n-ERR unknown subcommand\r\n");
        self.until("LIB-VER\r\n");
        self.until("\r\n");
        self.until("\r\n");
    }

    /// Completes the greeting and returns the marker subject. The publisher sends an empty marker
    /// message after each publication; its return confirms the publication.
    fn greet_nats(&mut self) -> String {
        self.send(INFO);
        self.until("PING\r\n");
        self.send("PONG\r\n");
        self.until("SUB ");
        let marker = self.until(" ");
        self.until(&format!("PUB {marker} 0\r\n\r\n"));
        self.return_marker(&marker);
        marker
    }

    fn return_marker(&mut self, marker: &str) {
        self.send(format!("MSG {marker} 1 0\r\n\r\n"));
    }

    /// Reads a publication and the marker after it.
    fn read_publication(&mut self, marker: &str) -> String {
        let received = self.until(&format!("PUB {marker} 0\r\n\r\n"));
        // The client library sends a PING after the greeting, at a time of its own.
        received.trim_start_matches("PING\r\n").to_owned()
    }
}

/// Starts a server that handles its connections one after the other with `serve`, and returns its port.
fn server(serve: impl Fn(&mut Peer, usize) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            serve(&mut Peer { stream, input: Vec::new() }, n);
        }
    });
    port
}

fn publisher(scheme: &str, port: u16) -> BrokerPublisher {
    let url = BrokerUrl::parse(&format!("{scheme}://127.0.0.1:{port}")).unwrap();
    BrokerPublisher::new(url, "p:".to_owned())
}

/// Publishes a message and returns the outcome as a text.
fn outcome(publisher: &mut BrokerPublisher, bytes: usize, timeout: Duration) -> String {
    let payload = vec![b'x'; bytes];
    let begun = Instant::now();
    let result = publisher.publish("t", &payload, false, timeout);
    assert!(begun.elapsed() < timeout + PATIENCE / 2, "it took {:?}", begun.elapsed());
    match result {
        Ok(()) => "published".to_owned(),
        Err(error) => {
            let uncertain = if error.is_uncertain() { "uncertain " } else { "" };
            let what = match error {
                PublishError::Unreachable { source, .. } => format!("unreachable: {source}"),
                PublishError::Closed { .. } => "closed".to_owned(),
                PublishError::Refused { code, reason, .. } => format!("refused {code}: {reason}"),
                PublishError::Partly { .. } => "partly".to_owned(),
                PublishError::Foreign { answer, .. } => format!("foreign: {answer}"),
                PublishError::NotTaken { .. } => "not taken".to_owned(),
                PublishError::NoAnswer { .. } => "no answer".to_owned(),
                PublishError::Lost { .. } => "lost".to_owned(),
            };
            format!("{uncertain}{what}")
        }
    }
}

fn one(scheme: &str, serve: impl Fn(&mut Peer) + Send + 'static, bytes: usize, timeout: Duration) -> String {
    let port = server(move |peer, _| serve(peer));
    outcome(&mut publisher(scheme, port), bytes, timeout)
}

#[test]
fn invalid_greetings_are_reported_with_their_text() {
    let long = format!("+{}", "x".repeat(100_000));
    let redis: &[(&str, &str)] = &[
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "foreign: HTTP/1.1 400 Bad Request\r\n\r\n"),
        (":x\r\n", "foreign: :x\r\n"),
        (&long, &format!("foreign: {}", &long[..60])),
        ("", "closed"),
        ("%1\r\n+ser", "closed"),
        (
            "-ERR max number of clients reached\r\n",
            "refused ERR: Redis refuses the connection: ERR max number of clients reached",
        ),
        (
            "-ERR unknown command `HELLO`, with args\r\n+OK\r\n+OK\r\n",
            "refused ERR: Redis 6 or later is needed: it does not know HELLO",
        ),
        ("-NOPROTO no\r\n+OK\r\n+OK\r\n", "refused NOPROTO: Redis 6 or later is needed: NOPROTO no"),
    ];
    for (greeting, expected) in redis {
        let greeting = (*greeting).to_owned();
        let serve = move |peer: &mut Peer| {
            peer.until("LIB-VER");
            peer.send(&greeting);
        };
        assert_eq!(one("redis", serve, 1, PATIENCE), *expected);
    }
    let info = "INFO {\"version\":\"2.1.0\"}\r\n";
    let nats: &[(&[u8], &str)] = &[
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "foreign: HTTP/1.1 400 Bad Request\r\n"),
        (b"\xff\xfe\r\n", "foreign: unable to parse unknown input"),
        (b"INFO {\r\n", "foreign: EOF while parsing an object at line 1 column 2"),
        (b"PING\r\n", "foreign: Ping"),
        (b"", "closed"),
        (b"INF", "closed"),
        // The client library panics on this input.
        (b"-ERR\r\n", "closed"),
        (
            b"-ERR 'maximum connections exceeded'\r\n",
            "refused error: NATS refuses the connection: maximum connections exceeded",
        ),
        (
            info.as_bytes(),
            "refused version: NATS 2.2 or later is needed, this is 2.1.0, or its headers are turned off",
        ),
    ];
    for (greeting, expected) in nats {
        let greeting = greeting.to_vec();
        let serve = move |peer: &mut Peer| {
            peer.send(&greeting);
            if greeting.starts_with(b"INFO {\"") {
                peer.until("PING\r\n");
                peer.send("PONG\r\n");
                peer.until("never");
            }
        };
        assert_eq!(one("nats", serve, 1, PATIENCE), *expected);
    }
}

#[test]
fn the_reason_for_which_nats_refuses_a_connection_is_reported() {
    let refused = "refused refused: NATS refuses the connection: ";
    for (errors, expected) in [
        ("-ERR 'Authorization Violation'\r\n", "Authorization Violation"),
        ("-ERR 'Authentication Timeout'\r\n", "Authentication Timeout"),
        (
            "PONG\r\n-ERR 'maximum account active connections exceeded'\r\n",
            "maximum account active connections exceeded",
        ),
    ] {
        let serve = move |peer: &mut Peer| {
            peer.send(INFO);
            peer.until("PING\r\n");
            peer.send(errors);
        };
        assert_eq!(one("nats", serve, 1, PATIENCE), format!("{refused}{expected}"));
    }
}

#[test]
fn a_silent_server_costs_at_most_the_timeout_and_no_uncertainty() {
    for scheme in ["redis", "rediss", "nats", "tls"] {
        assert_eq!(one(scheme, Peer::stall, 1, SHORT), "not taken", "{scheme}");
    }
    let half_greeted = |peer: &mut Peer| {
        peer.send(INFO);
        peer.until("PING\r\n");
        peer.send("PONG\r\n");
        peer.stall();
    };
    assert_eq!(one("nats", half_greeted, 1, SHORT), "not taken");
}

#[test]
fn servers_without_tls_are_unreachable() {
    let nonsense = |peer: &mut Peer| peer.send("HTTP/1.1 400 Bad Request\r\n\r\n");
    let outcome = one("rediss", nonsense, 1, PATIENCE);
    assert!(outcome.starts_with("unreachable: TLS failed: "), "{outcome}");
    let nonsense = |peer: &mut Peer| {
        peer.send(INFO);
        // The first byte of a TLS handshake.
        peer.until("\x16");
        peer.send("HTTP/1.1 400 Bad Request\r\n\r\n");
        peer.until("never");
    };
    let outcome = one("tls", nonsense, 1, PATIENCE);
    assert!(outcome.starts_with("unreachable: "), "{outcome}");
    // A server without TLS rejects the publisher's TLS handshake and closes the connection.
    let outcome = one("tls", |peer| peer.send(INFO), 1, PATIENCE);
    assert!(outcome.starts_with("unreachable: ") || outcome == "closed", "{outcome}");
}

#[test]
fn outcomes_of_invalid_answers_from_redis() {
    let error = format!("-ERR {}\r\n", "x".repeat(60_000));
    let refusal = format!("refused ERR: ERR {}", "x".repeat(60_000));
    let answers = [
        (":0\r\n", "published"),
        (">2\r\n+message\r\n+x\r\n:0\r\n", "published"),
        ("-NOPERM no\r\n", "refused NOPERM: NOPERM no"),
        (&error, &refusal),
        ("+OK\r\n", "uncertain lost"),
        (":x\r\n", "uncertain lost"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "uncertain lost"),
        ("*1000000000\r\n", "uncertain lost"),
        ("", "uncertain lost"),
    ];
    for (answer, expected) in answers {
        let answer = answer.to_owned();
        let serve = move |peer: &mut Peer| {
            peer.greet_redis();
            peer.until("\r\nxxx\r\n");
            peer.send(&answer);
        };
        assert_eq!(one("redis", serve, 3, PATIENCE), expected);
    }
    let endless = |peer: &mut Peer| {
        peer.greet_redis();
        peer.until("\r\nxxx\r\n");
        peer.send(vec![b'-'; 100_000]);
        peer.stall();
    };
    assert_eq!(one("redis", endless, 3, PATIENCE), "uncertain lost");
    let silent = |peer: &mut Peer| {
        peer.greet_redis();
        peer.stall();
    };
    assert_eq!(one("redis", silent, 3, SHORT), "uncertain no answer");
    assert_eq!(one("redis", silent, LARGE, SHORT), "not taken");
    let gone = |peer: &mut Peer| {
        peer.greet_redis();
        peer.until("PUBLISH");
    };
    assert_eq!(one("redis", gone, LARGE, PATIENCE), "closed");
}

#[test]
fn outcomes_of_invalid_answers_from_nats() {
    let refused = "refused refused: ";
    let violation = "Permissions Violation for Publish to \"p.t\"";
    let long = format!("-ERR '{}'\r\n", "x".repeat(900_000));
    for (answer, back, expected) in [
        ("", true, "published".to_owned()),
        ("PING\r\n+OK\r\nINFO {}\r\nMSG a 7 1\r\nx\r\n", true, "published".to_owned()),
        (&format!("-ERR '{violation}'\r\n"), true, format!("{refused}{violation}")),
        ("-ERR 'Maximum Payload Violation'\r\n", false, format!("{refused}Maximum Payload Violation")),
        // The server may have processed the message before this error.
        ("-ERR 'Stale Connection'\r\n", false, "uncertain lost".to_owned()),
        // The marker has confirmed the publication, so the error concerns the connection only.
        ("-ERR 'User Authentication Expired'\r\n", true, "published".to_owned()),
        (&long, false, "uncertain lost".to_owned()),
        ("", false, "uncertain lost".to_owned()),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", true, "uncertain lost".to_owned()),
        ("MSG a b c d e\r\n", true, "uncertain lost".to_owned()),
        ("-ERR\r\n", true, "uncertain lost".to_owned()),
    ] {
        let answer = answer.to_owned();
        let serve = move |peer: &mut Peer| {
            let marker = peer.greet_nats();
            assert_eq!(peer.read_publication(&marker), "PUB p.t 3\r\nxxx\r\n");
            peer.send(&answer);
            if back {
                peer.return_marker(&marker);
                peer.until("never");
            }
        };
        assert_eq!(one("nats", serve, 3, PATIENCE), expected);
    }
    let endless = |peer: &mut Peer| {
        let marker = peer.greet_nats();
        peer.read_publication(&marker);
        peer.send(vec![b'-'; 3 << 20]);
        peer.stall();
    };
    assert_eq!(one("nats", endless, 3, PATIENCE), "uncertain lost");
    let silent = |peer: &mut Peer| {
        peer.greet_nats();
        peer.stall();
    };
    for bytes in [0, 3, 10_000] {
        assert_eq!(one("nats", silent, bytes, SHORT), "uncertain no answer");
    }
    assert_eq!(one("nats", silent, LARGE, SHORT), "not taken");
    let gone = |peer: &mut Peer| {
        peer.greet_nats();
        peer.until("PUB p.t");
    };
    assert_eq!(one("nats", gone, LARGE, PATIENCE), "closed");
}

#[test]
fn a_connection_is_reused_until_the_server_ends_it() {
    // Ways in which the server ends the first connection before it receives the second message.
    for farewell in ["", "-ERR 'Stale Connection'\r\n", "INFO {\"ldm\":true}\r\n", "nonsense\r\n"] {
        let (ended_sender, ended) = std::sync::mpsc::channel();
        let port = server(move |peer, n| {
            let marker = peer.greet_nats();
            assert_eq!(peer.read_publication(&marker), "PUB p.t 1\r\nx\r\n");
            peer.return_marker(&marker);
            if n > 0 {
                peer.until("never");
                return;
            }
            // A keep-alive PING from the server.
            peer.send("PING\r\n");
            let received = peer.read_publication(&marker);
            assert!(received.contains("PUB p.t 1\r\nx\r\n"), "{received:?}");
            if !received.contains("PONG\r\n") {
                peer.until("PONG\r\n");
            }
            peer.return_marker(&marker);
            peer.send(farewell);
            if farewell.is_empty() {
                peer.stream.shutdown(Shutdown::Write).unwrap();
            }
            ended_sender.send(()).unwrap();
            // Nothing more is published on this connection.
            assert_eq!(peer.until("never"), "");
        });
        let mut publisher = publisher("nats", port);
        assert_eq!(outcome(&mut publisher, 1, PATIENCE), "published");
        assert_eq!(outcome(&mut publisher, 1, PATIENCE), "published");
        ended.recv().unwrap();
        assert_eq!(outcome(&mut publisher, 1, PATIENCE), "published", "after {farewell:?}");
    }
    let (ended_sender, ended) = std::sync::mpsc::channel();
    let port = server(move |peer, n| {
        peer.greet_redis();
        for _ in 0..2 - n {
            peer.until("\r\nx\r\n");
            peer.send(":1\r\n");
        }
        if n == 0 {
            peer.stream.shutdown(Shutdown::Write).unwrap();
            ended_sender.send(()).unwrap();
        }
        assert_eq!(peer.until("never"), "", "connection {n}");
    });
    let mut publisher = publisher("redis", port);
    assert_eq!(outcome(&mut publisher, 1, PATIENCE), "published");
    assert_eq!(outcome(&mut publisher, 1, PATIENCE), "published");
    ended.recv().unwrap();
    assert_eq!(outcome(&mut publisher, 1, PATIENCE), "published");
}

#[test]
fn publishing_works_without_permission_for_the_marker() {
    // The account has no permission to subscribe to the marker, so the server answers each attempt with
    // an error.
    let port = server(|peer, _| {
        peer.send(INFO);
        peer.until("PING\r\n");
        peer.send("PONG\r\n");
        peer.until("SUB ");
        let marker = peer.until(" ");
        let refusal = format!("-ERR 'Permissions Violation for Subscription to \"{marker}\"'\r\n");
        let unpublished = format!("-ERR 'Permissions Violation for Publish to \"{marker}\"'\r\n");
        peer.until(&format!("PUB {marker} 0\r\n\r\n"));
        peer.send(format!("{refusal}{unpublished}"));
        for n in 0..3 {
            peer.until("PUB p.t 1\r\nx\r\n");
            peer.until(&format!("SUB {marker} "));
            peer.until("\r\n");
            if n == 1 {
                peer.send("-ERR 'Permissions Violation for Publish to \"p.t\"'\r\n");
            }
            peer.send(&refusal);
        }
        peer.until("never");
    });
    let mut publisher = publisher("nats", port);
    assert_eq!(outcome(&mut publisher, 1, PATIENCE), "published");
    let refused = outcome(&mut publisher, 1, PATIENCE);
    assert_eq!(refused, "refused refused: Permissions Violation for Publish to \"p.t\"");
    assert_eq!(outcome(&mut publisher, 1, PATIENCE), "published");
}

#[test]
fn a_payload_above_the_servers_limit_is_refused_locally() {
    let port = server(|peer, _| {
        peer.send("INFO {\"headers\":true,\"max_payload\":300}\r\n");
        peer.until("PING\r\n");
        peer.send("PONG\r\n");
        peer.until("SUB ");
        let marker = peer.until(" ");
        peer.until(&format!("PUB {marker} 0\r\n\r\n"));
        peer.return_marker(&marker);
        assert_eq!(peer.read_publication(&marker), format!("PUB p.t 44\r\n{}\r\n", "x".repeat(44)));
        peer.return_marker(&marker);
        peer.until("never");
    });
    let mut publisher = publisher("nats", port);
    let refused = outcome(&mut publisher, 45, PATIENCE);
    assert_eq!(refused, "refused too-large: the payload has 45 bytes, but the limit is 44");
    assert_eq!(outcome(&mut publisher, 44, PATIENCE), "published");
}
