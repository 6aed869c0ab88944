//! What needs the inside of a server: threads that die.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Server, Wait};
use crate::channel::mailbox::Command;
use crate::config::Config;
use crate::error::ThreadDied;
use crate::support::*;

/// Has an I/O thread panic over its next batch of commands.
fn kill(server: &Server, thread: u16, in_task: bool) {
    server.post(thread, Command::Panic { in_task });
    server.flush();
}

/// Sleeps as a host does, and returns within the deadline of tests if the death is noticed.
fn noticed(server: &Server) {
    let deadline = Instant::now() + PATIENCE;
    while server.check_threads() == Ok(()) {
        assert!(Instant::now() < deadline, "the host was not woken");
        assert_ne!(server.wait(Some(PATIENCE)), Wait::TimedOut, "the host was not woken");
        while server.next_event().is_some() {}
    }
    assert_eq!(server.check_threads(), Err(ThreadDied));
}

fn address(server: &Server) -> SocketAddr {
    server.addresses()[0].trim_start_matches("ws://").parse().unwrap()
}

#[test]
fn the_death_of_a_thread_wakes_the_host() {
    for (io_threads, victim, in_task) in [(1, 0, false), (1, 0, true), (2, 1, false), (2, 0, true)] {
        let (server, _) = start(Config { io_threads, ..Config::default() });
        let clients: Vec<_> = (0..4).map(|_| (open(address(&server)), opened(&server))).collect();
        assert_eq!(server.check_threads(), Ok(()));
        kill(&server, victim, in_task);
        noticed(&server);
        // A loop of the host's own waits for the descriptor.
        server.prepare_sleep();
        // What follows is harmless, and ends: no thread is left that the drop would wait for.
        server.stop(Duration::ZERO);
        clients.iter().for_each(|(_, conn)| server.terminate(conn));
        drop(server);
    }
}

#[test]
fn publishing_to_a_dead_thread_neither_blocks_nor_piles_up() {
    let (server, _) = start(Config::default());
    let (_client, conn) = (open(address(&server)), opened(&server));
    server.subscribe(&conn, "t").unwrap();
    kill(&server, 0, true);
    noticed(&server);
    let payload = vec![b'x'; 1 << 20];
    let begun = Instant::now();
    for _ in 0..100 {
        server.publish("t", &payload, false, None).unwrap();
    }
    assert!(begun.elapsed() < PATIENCE);
    let mut waiting = Vec::new();
    server.state.mailboxes[0].take(&mut waiting);
    assert!(waiting.len() < 20, "{} commands wait for nobody", waiting.len());
}
