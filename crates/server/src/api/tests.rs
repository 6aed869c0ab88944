//! Tests that need access to the inside of a server: the death of I/O threads, and hosts that drive the
//! reactor of one.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::{Server, Wait};
use crate::channel::mailbox::Command;
use crate::config::Config;
use crate::error::ThreadDied;
use crate::event::Event;
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

/// Exchanges messages with the client, as a host that echoes them, until it drives the reactor.
fn drive(server: &Server, client: &mut TcpStream, conn: &crate::Connection) {
    let deadline = Instant::now() + PATIENCE;
    let before = server.reactor.drives();
    while server.reactor.drives().wrapping_sub(before) < 3 {
        assert!(Instant::now() < deadline, "the host never drove the reactor");
        server.reactor.accept();
        client.write_all(&frame(0x81, b"ping")).unwrap();
        loop {
            match server.next_event() {
                Some(Event::Message { payload, .. }) => {
                    server.send(conn, &payload, false);
                    break server.flush();
                }
                Some(event) => panic!("{event:?}"),
                None => drop(server.serve(Some(PATIENCE))),
            }
        }
        // What the host has sent leaves when it waits again.
        server.serve(Some(Duration::from_millis(1)));
        assert_eq!(text(client), "ping");
    }
}

#[test]
fn clients_are_served_while_a_host_that_drives_is_busy() {
    let (server, address) = start(Config::default());
    let (mut client, conn) = (open(address), opened(&server));
    for _ in 0..3 {
        drive(&server, &mut client, &conn);
        // From here on, the host does not call the server.
        client.write_all(&frame(0x89, b"alive")).unwrap();
        assert_eq!(read_frame(&mut client), (0x8a, b"alive".to_vec()));
    }
}

#[test]
fn a_host_that_drives_ends_its_wait_when_another_thread_stops_the_server() {
    let (server, address) = start(Config::default());
    let (mut client, conn) = (open(address), opened(&server));
    drive(&server, &mut client, &conn);
    let stopper = server.stopper();
    let stopping = std::thread::spawn(move || stopper.stop(Duration::ZERO));
    let deadline = Instant::now() + PATIENCE;
    loop {
        match server.next_event() {
            Some(Event::Stopped) => break,
            Some(_) => {}
            None => assert_ne!(server.serve(Some(PATIENCE)), Wait::TimedOut),
        }
        assert!(Instant::now() < deadline);
    }
    stopping.join().unwrap();
}

#[test]
fn a_host_that_drives_survives_a_panic_of_its_thread_and_learns_of_it() {
    for in_task in [false, true] {
        let (server, address) = start(Config::default());
        let (mut client, conn) = (open(address), opened(&server));
        drive(&server, &mut client, &conn);
        kill(&server, 0, in_task);
        let deadline = Instant::now() + PATIENCE;
        while server.check_threads() == Ok(()) {
            assert!(Instant::now() < deadline, "the host was not woken");
            assert_ne!(server.serve(Some(PATIENCE)), Wait::TimedOut, "the host was not woken");
        }
        drop(server);
    }
}

#[test]
fn a_server_whose_host_has_driven_frees_its_state_when_it_is_dropped() {
    let (server, address) = start(Config::default());
    let (mut client, conn) = (open(address), opened(&server));
    drive(&server, &mut client, &conn);
    let state = std::sync::Arc::downgrade(&server.state);
    drop((server, conn));
    assert!(at_end(&mut client));
    assert!(state.upgrade().is_none(), "the state outlives the server");
}
