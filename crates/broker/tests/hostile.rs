//! Scripted brokers that flood a node with invalid or endless input: the node's memory stays bounded,
//! and it reports the reason for which it drops the connection.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

use sprocket_broker::{BrokerConfig, FromBroker, connect};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Maximum growth of the process's memory while a node runs, in bytes.
const MEMORY: usize = 64 << 20;
/// Cases in which the NATS library reads up to 128 buffers in a turn before the node can stop it. They
/// may need twice the memory; SECURITY.md and docs/brokers.md document the sum.
const READ_AHEAD: [&str; 2] = ["nats, a first line", "nats, large messages to a host that takes none"];
/// Duration of the flood if the node does not close the connection.
const FLOOD: Duration = Duration::from_millis(1500);
/// Time limit for the node to detect the fault, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

const INFO: &str = "INFO {\"server_id\":\"x\",\"version\":\"2.10.0\",\"proto\":1,\"headers\":true,\"max_payload\":1048576}\r\n";
/// Pairs of a text that the node sends and the broker's answer to it.
type Answers = &'static [(&'static str, &'static str)];
const NATS: Answers = &[("PING\r\n", "PONG\r\n")];
const GREETED: Answers = &[("LIB-VER", "%1\r\n+proto\r\n:3\r\n+OK\r\n+OK\r\n")];
/// The handshake up to the confirmation of the first subscriptions.
const REDIS: Answers = &[
    GREETED[0],
    ("server\r\n", "$0\r\n\r\n"),
    ("LOAD\r\n", "$4\r\nabcd\r\n"),
    (
        "PING\r\n",
        ">3\r\n$9\r\nsubscribe\r\n$10\r\nsprocket:>\r\n:1\r\n>3\r\n$9\r\nsubscribe\r\n\
         $16\r\nsprocket:>.nodes\r\n:2\r\n+PONG\r\n",
    ),
];

struct Case<'a> {
    name: &'static str,
    scheme: &'static str,
    /// Sent at once, before the answers.
    first: &'static str,
    answers: Answers,
    head: &'static str,
    /// Sent repeatedly, after `head`.
    flood: &'a str,
    /// Part of the reason that the node reports; empty if it may keep the connection.
    reason: &'static str,
}

const CASES: &[Case<'_>] = &[
    Case {
        name: "redis, a line",
        scheme: "redis",
        first: "",
        answers: &[],
        head: "+",
        flood: "x",
        reason: "a line has more",
    },
    Case {
        name: "redis, a list",
        scheme: "redis",
        first: "",
        answers: &[],
        head: "*1000000000\r\n",
        flood: ":1\r\n",
        reason: "values",
    },
    Case {
        name: "redis, a text",
        scheme: "redis",
        first: "",
        answers: REDIS,
        head: "$2000000000\r\n",
        flood: "x",
        reason: "has 2000000000 bytes",
    },
    Case {
        name: "redis, nested lists",
        scheme: "redis",
        first: "",
        answers: REDIS,
        head: "",
        flood: "*1\r\n",
        reason: "levels of nested lists",
    },
    Case {
        name: "redis, a map",
        scheme: "redis",
        first: "",
        answers: REDIS,
        head: "%16000\r\n",
        flood: "*1\r\n:1\r\n",
        reason: "values",
    },
    Case {
        name: "redis, pushes to a newcomer",
        scheme: "redis",
        first: "",
        answers: GREETED,
        head: "",
        flood: ">1\r\n+x\r\n",
        reason: "it sent more than was requested",
    },
    Case {
        name: "redis, subscriptions",
        scheme: "redis",
        first: "",
        answers: REDIS,
        head: "",
        flood: ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
        reason: "not requested",
    },
    Case {
        name: "redis, tiny pushes",
        scheme: "redis",
        first: "",
        answers: REDIS,
        head: "",
        flood: ">1\r\n+x\r\n",
        reason: "",
    },
    Case {
        name: "redis, messages",
        scheme: "redis",
        first: "",
        answers: REDIS,
        head: "",
        flood: ">3\r\n+message\r\n+sprocket:>\r\n+x\r\n",
        reason: "",
    },
    Case {
        name: "nats, a first line",
        scheme: "nats",
        first: "INFO {",
        answers: &[],
        head: "",
        flood: "x",
        reason: "not speak the protocol",
    },
    Case {
        name: "nats, a line",
        scheme: "nats",
        first: INFO,
        answers: NATS,
        head: "MSG ",
        flood: "x",
        reason: "without a message",
    },
    Case {
        name: "nats, a payload",
        scheme: "nats",
        first: INFO,
        answers: NATS,
        head: "MSG a 1 2000000000\r\n",
        flood: "x",
        reason: "without a message",
    },
    Case {
        name: "nats, messages for nobody",
        scheme: "nats",
        first: INFO,
        answers: NATS,
        head: "",
        flood: "MSG a 999 0\r\n\r\n",
        reason: "without a message",
    },
    Case {
        name: "nats, tiny messages",
        scheme: "nats",
        first: INFO,
        answers: NATS,
        head: "",
        flood: "MSG a 1 0\r\n\r\n",
        reason: "",
    },
    Case {
        name: "nats, pings",
        scheme: "nats",
        first: INFO,
        answers: NATS,
        head: "",
        flood: "PING\r\n",
        reason: "without a message",
    },
];

fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// Serves one connection until it ends or `stop` is set.
fn misbehave(mut stream: TcpStream, case: &Case<'_>, flood: &[u8], stop: &AtomicBool) {
    stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let _ = stream.write_all(case.first.as_bytes());
    let (begun, mut received) = (Instant::now(), Vec::new());
    for (question, answer) in case.answers {
        while !received.windows(question.len()).any(|part| part == question.as_bytes()) {
            if stop.load(Ordering::Relaxed) || begun.elapsed() > PATIENCE {
                return;
            }
            let mut part = [0; 4096];
            if let Ok(read) = stream.read(&mut part) {
                received.extend_from_slice(&part[..read]);
            }
        }
        let _ = stream.write_all(answer.as_bytes());
    }
    let _ = stream.write_all(case.head.as_bytes());
    let mut at = 0;
    while !stop.load(Ordering::Relaxed) {
        match stream.write(&flood[at..]) {
            Ok(n) => at = (at + n) % flood.len(),
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// Runs a case with a host that takes all events, or none.
fn run(case: &Case<'_>, takes: bool) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("{}://{}", case.scheme, listener.local_addr().unwrap());
    let flood = case.flood.repeat(((256 << 10) / case.flood.len()).max(1));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        /// Stops the broker's thread, even if the test fails.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _stop = Stop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        stream.set_nonblocking(false).unwrap();
                        misbehave(stream, case, flood.as_bytes(), &stop);
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        let before = memory();
        let (node, mut events) = connect(BrokerConfig::new(&url), 7);
        let (begun, mut reported, mut most) = (Instant::now(), String::new(), 0);
        loop {
            while takes && let Ok(event) = events.try_recv() {
                if let FromBroker::State { connected: false, reason } = event {
                    reported = reason;
                }
            }
            most = most.max(memory().saturating_sub(before));
            let allowed = if READ_AHEAD.contains(&case.name) { 2 * MEMORY } else { MEMORY };
            assert!(most < allowed, "{}: {} MiB", case.name, most >> 20);
            let over = begun.elapsed() > FLOOD && (case.reason.is_empty() || !reported.is_empty());
            if over || begun.elapsed() > PATIENCE {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        drop(node);
        assert!(reported.contains(case.reason), "{}: {reported:?}", case.name);
        println!("{}: {} KiB, {reported:?}", case.name, most >> 10);
    });
}

#[test]
fn memory_is_bounded_for_any_input_from_a_broker() {
    CASES.iter().for_each(|case| run(case, true));
    let payload = "x".repeat(1 << 20);
    let flood = format!(">3\r\n+message\r\n+sprocket:>\r\n$1048576\r\n{payload}\r\n");
    let large = Case {
        name: "redis, large messages to a host that takes none",
        scheme: "redis",
        first: "",
        answers: REDIS,
        head: "",
        flood: &flood,
        reason: "",
    };
    run(&large, false);
    let flood = format!("MSG a 1 1048576\r\n{payload}\r\n");
    let large = Case {
        name: "nats, large messages to a host that takes none",
        scheme: "nats",
        first: INFO,
        answers: NATS,
        head: "",
        flood: &flood,
        reason: "",
    };
    run(&large, false);
}
