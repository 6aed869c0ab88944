//! Memory of messages that wait for a client that does not read. `send_buffer_limit` counts the bytes of
//! frames; the memory must stay in proportion to them, however small the frames are.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test may panic and tell")]
#[path = "support/memory.rs"]
mod memory;
mod support;

use memory::{alone, memory};
use sprocket_server::{Config, Connection, SendOutcome, Server, SlowConsumer};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use support::*;

/// `send_buffer_limit` of these tests in bytes.
const LIMIT: usize = 2 << 20;
/// Bytes of commands that a busy I/O thread has not carried out: two full mailboxes, one of which it is
/// carrying out.
const COMMANDS: usize = 8 << 20;

/// Fills the buffer of a client that does not read by calling `fill` until it returns true. Checks the memory
/// that this takes.
fn measure(mut fill: impl FnMut(&Server, &Connection) -> bool) {
    let config = Config {
        send_buffer_limit: LIMIT,
        slow_consumer: SlowConsumer::Drop,
        ping_interval: None,
        ..Config::default()
    };
    let (server, address) = start(config);
    let (_client, conn): (TcpStream, _) = subscriber(&server, address, &["t"]);
    let (before, deadline) = (memory(), Instant::now() + Duration::from_secs(60));
    let mut most = 0;
    for round in 0.. {
        let full = fill(&server, &conn);
        server.flush();
        if full || round % 100 == 0 {
            most = most.max(memory().saturating_sub(before));
        }
        if full {
            break;
        }
        assert!(Instant::now() < deadline, "{} bytes wait", conn.buffered_amount());
    }
    let waiting = conn.buffered_amount();
    println!("{waiting} bytes wait in {most} bytes of memory");
    assert!(waiting > LIMIT - 300, "{waiting} bytes wait");
    assert!(most < 3 * LIMIT + COMMANDS, "{waiting} bytes wait in {most} bytes of memory");
}

#[test]
fn the_memory_of_waiting_messages_is_in_proportion_to_their_bytes() {
    alone("measured_messages");
    alone("measured_messages_of_mixed_sizes");
    alone("measured_publications");
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn measured_messages() {
    // All at once, so that commands to the I/O thread pile up as well.
    measure(|server, conn| {
        while server.send(conn, b"x", true) == SendOutcome::Sent {}
        true
    });
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn measured_messages_of_mixed_sizes() {
    // A message that is not gathered follows each one that is.
    let mut sizes = [1, 1, 130, 1, 200, 60, 130].into_iter().cycle();
    measure(|server, conn| {
        sizes.by_ref().take(1000).any(|n| server.send(conn, &[b'x'; 200][..n], true) != SendOutcome::Sent)
    });
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn measured_publications() {
    measure(|server, _| {
        (0..100).for_each(|_| server.publish("t", b"x", true, None).unwrap());
        server.stats().slow_dropped > 0
    });
}
