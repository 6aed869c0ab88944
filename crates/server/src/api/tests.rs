//! Tests that need access to the inside of a server: the death of I/O threads.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Server, Wait};
use crate::channel::mailbox::Command;
use crate::config::Config;
use crate::error::ThreadDied;
use crate::support::*;

/// Makes an I/O thread panic at its next batch of commands: directly, or in a task that it spawns.
fn kill(server: &Server, thread: u16, in_task: bool) {
    server.post(thread, Command::Panic { in_task });
    server.flush();
}

/// Waits for events as a host does until the death of the thread is reported; panics if it isn't.
fn wait_for_death(server: &Server) {
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
        wait_for_death(&server);
        // A host with an event loop of its own waits for the descriptor.
        server.prepare_sleep();
        // Further calls are harmless, and the drop does not wait for threads that are gone.
        server.stop(Duration::ZERO);
        clients.iter().for_each(|(_, conn)| server.terminate(conn));
        drop(server);
    }
}

#[test]
fn publishing_to_a_dead_thread_neither_blocks_nor_accumulates_commands() {
    let (server, _) = start(Config::default());
    let (_client, conn) = (open(address(&server)), opened(&server));
    server.subscribe(&conn, "t").unwrap();
    kill(&server, 0, true);
    wait_for_death(&server);
    let payload = vec![b'x'; 1 << 20];
    let begun = Instant::now();
    for _ in 0..100 {
        server.publish("t", &payload, false, None).unwrap();
    }
    assert!(begun.elapsed() < PATIENCE);
    let mut waiting = Vec::new();
    server.state.mailboxes[0].take(&mut waiting);
    assert!(waiting.len() < 20, "{} commands remain in the mailbox of a dead thread", waiting.len());
}
