//! The workers of one node: several servers in this process, connected by a hub on a real Unix socket.
//! The hub is the process that connects the workers.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod support;

use sprocket_server::cluster::{HUB, serve_blocking};
use sprocket_server::{
    ClusterError, ClusterMember, Config, Connection, Event, History, HubConfig, Interest, PresenceMember,
    PublishFailed, PublishSocket, Publisher, Server, StartError, Stats, TopicError,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use support::*;

/// A node with its directory and its hub, which runs as a process of its own.
struct Node {
    directory: PathBuf,
    config: HubConfig,
    hub: Option<Child>,
}

/// Not a test but the entry point of the hub's process. The hub ends when its standard input is closed.
#[test]
#[ignore = "run by the others"]
fn hub_process() {
    let Ok(path) = std::env::var("SPROCKET_TEST_HUB") else { return };
    let number = |name| std::env::var(name).unwrap().parse::<usize>().unwrap();
    let mut config = HubConfig { queue: number("QUEUE"), ..HubConfig::default() };
    if number("MESSAGES") > 0 {
        config.history = history_settings(number("MESSAGES"));
    }
    let listener = UnixListener::bind(path).unwrap();
    let quit = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    serve_blocking(config, listener, quit).unwrap();
}

/// History settings that keep this number of messages for each topic below `h`.
fn history_settings(messages: usize) -> Vec<(String, History)> {
    let stamp = Some("%p%".to_owned());
    vec![("h.>".to_owned(), History { messages, stamp, bytes: 8 << 20, ..History::default() })]
}

/// Settings of a hub with these histories; 0 stands for none.
fn history(messages: usize) -> HubConfig {
    let history = if messages == 0 { Vec::new() } else { history_settings(messages) };
    HubConfig { history, ..HubConfig::default() }
}

impl Node {
    fn new(config: HubConfig) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("sprocket-bus-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        let mut node = Self { directory, config, hub: None };
        node.start_hub();
        node
    }

    fn path(&self) -> PathBuf {
        self.directory.join("hub.sock")
    }

    /// Starts the hub. Workers retry until it listens.
    fn start_hub(&mut self) {
        let messages = self.config.history.first().map_or(0, |(_, limits)| limits.messages);
        let hub = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "hub_process", "--ignored"])
            .env("SPROCKET_TEST_HUB", self.path())
            .env("QUEUE", self.config.queue.to_string())
            .env("MESSAGES", messages.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        self.hub = Some(hub.unwrap());
    }

    /// Kills the hub, as a crash would.
    fn kill(&mut self) {
        let mut hub = self.hub.take().unwrap();
        hub.kill().unwrap();
        hub.wait().unwrap();
        std::fs::remove_file(self.path()).unwrap();
    }

    /// Connects to the hub without being a worker.
    fn connect(&self) -> UnixStream {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(stream) = UnixStream::connect(self.path()) {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                return stream;
            }
            assert!(Instant::now() < deadline, "the hub does not listen");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn worker(&self, slot: u16) -> (Server, SocketAddr) {
        self.worker_with(slot, Config::default())
    }

    fn worker_with(&self, slot: u16, config: Config) -> (Server, SocketAddr) {
        let interest = Interest::RESUME.and(Interest::PRESENCE);
        let cluster = Some(ClusterMember { path: self.path(), slot });
        start(Config { cluster, history: self.config.history.clone(), interest, ..config })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut hub) = self.hub.take() {
            let _ = (hub.kill(), hub.wait());
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Returns the messages that a client has received so far. A final message marks their end.
fn drain(server: &Server, conn: &Connection, client: &mut TcpStream) -> Vec<String> {
    server.send(conn, b"that is all", false);
    server.flush();
    let mut all = Vec::new();
    loop {
        match text(client) {
            end if end == "that is all" => return all,
            text => all.push(text),
        }
    }
}

#[test]
fn a_publication_reaches_all_workers_in_order_and_once() {
    let node = Node::new(HubConfig::default());
    let workers: Vec<_> = (0..3)
        .map(|slot| node.worker_with(slot, Config { io_threads: slot as usize + 1, ..Config::default() }))
        .collect();
    let mut clients: Vec<_> = workers
        .iter()
        .flat_map(|(server, address)| (0..2).map(|_| subscriber(server, *address, &["t.1", "t.*"])))
        .collect();
    for i in 0..300 {
        let (server, _) = &workers[i % 3];
        publish(server, "t.1", &format!("{}:{i}", i % 3));
        publish(server, "other", "nobody");
    }
    for (client, _) in &mut clients {
        let mut last = [None; 3];
        for _ in 0..300 {
            let text = text(client);
            let (from, number) = text.split_once(':').unwrap();
            let (from, number): (usize, usize) = (from.parse().unwrap(), number.parse().unwrap());
            assert!(last[from] < Some(number), "in order");
            last[from] = Some(number);
        }
        assert_eq!(last, [Some(297), Some(298), Some(299)]);
    }
    // A publication with an excepted connection, and a broadcast.
    let (server, _) = &workers[0];
    server.publish("t.1", b"excepted", false, Some(&clients[0].1)).unwrap();
    server.broadcast(b"\x01\x02", true, None).unwrap();
    server.flush();
    for (at, (client, _)) in clients.iter_mut().enumerate() {
        if at > 0 {
            assert_eq!(text(client), "excepted");
        }
        assert_eq!(read_frame(client), (0x82, vec![1, 2]));
    }
}

#[test]
fn a_topic_with_history_has_one_order_for_all_workers() {
    let node = Node::new(history(100));
    let workers: Vec<_> =
        (0..2).map(|slot| node.worker_with(slot, Config { io_threads: 2, ..Config::default() })).collect();
    let mut clients: Vec<_> = workers
        .iter()
        .flat_map(|(server, address)| (0..2).map(|_| subscriber(server, *address, &["h.1"])))
        .collect();
    std::thread::scope(|scope| {
        // The host of each worker publishes on a thread of its own.
        for (at, (server, _)) in workers.into_iter().enumerate() {
            scope.spawn(move || {
                for i in 0..100 {
                    publish(&server, "h.1", &format!("%p% {at} {i}"));
                }
                // Serve the connections until the clients have read everything.
                let end = Instant::now() + PATIENCE;
                while server.stats().connections > 0 && Instant::now() < end {
                    server.wait(Some(Duration::from_millis(10)));
                    while server.next_event().is_some() {}
                }
            });
        }
        let mut orders: Vec<Vec<String>> = Vec::new();
        for (mut client, _) in clients.drain(..) {
            orders.push((0..200).map(|_| text(&mut client)).collect());
            client.write_all(&close_frame(1000, "")).unwrap();
        }
        assert!(orders.iter().all(|order| *order == orders[0]));
        for (n, text) in orders[0].iter().enumerate() {
            let position = text.split(' ').next().unwrap();
            assert!(position.ends_with(&format!("-{}", n + 1)), "{text}");
        }
    });
}

#[test]
fn a_connection_resumes_on_another_worker_without_a_gap() {
    let node = Node::new(history(5));
    let (one, address) = node.worker(1);
    let (two, other) = node.worker_with(2, Config { io_threads: 3, ..Config::default() });
    let (mut client, conn) = subscriber(&one, address, &[]);
    let (complete, messages, position) = resume(&one, &conn, "h.1", "");
    assert_eq!((complete, messages), (true, 0));
    publish(&one, "h.1", "1");
    assert_eq!(text(&mut client), "1");
    drop(client);
    let (mut witness, _) = subscriber(&one, address, &["h.1"]);
    // The client reconnects to the other worker, once for each of its threads.
    publish(&one, "h.1", "2");
    publish(&one, "h.1", "3");
    assert_eq!([text(&mut witness), text(&mut witness)], ["2", "3"]);
    for _ in 0..3 {
        let (mut client, conn) = subscriber(&two, other, &[]);
        let (complete, messages, now) = resume(&two, &conn, "h.1", &position);
        assert_eq!((complete, messages), (true, 3));
        assert_eq!([text(&mut client), text(&mut client), text(&mut client)], ["1", "2", "3"]);
        // Resuming again delivers nothing twice.
        assert_eq!(resume(&two, &conn, "h.1", &position), (false, 0, now.clone()));
        assert_eq!(resume(&two, &conn, "h.1", &now), (true, 0, now));
        assert_eq!(drain(&two, &conn, &mut client), [""; 0]);
    }
    for i in 4..=7 {
        publish(&one, "h.1", &i.to_string());
        assert_eq!(text(&mut witness), i.to_string());
    }
    // Resuming fails from an expired position and from an invalid one.
    let (mut client, conn) = subscriber(&two, other, &[]);
    let (complete, messages, now) = resume(&two, &conn, "h.1", &position);
    assert_eq!((complete, messages), (false, 0));
    publish(&one, "h.1", "8");
    assert_eq!(text(&mut client), "8");
    assert!(now.ends_with("-7"));
    let (_client, conn) = subscriber(&two, other, &[]);
    for nonsense in ["nonsense", "-", "\u{0}", &"9".repeat(300)] {
        assert!(!resume(&two, &conn, "h.1", nonsense).0);
    }
    assert_eq!(two.resume(&conn, "t", ""), Err(TopicError::NoHistory("t".to_owned())));
    assert!(matches!(two.resume(&conn, "h.*", ""), Err(TopicError::Pattern(_))));
}

#[test]
fn resuming_during_publications_delivers_exactly_once() {
    let node = Node::new(history(100_000));
    let (one, _) = node.worker(1);
    let (two, address) = node.worker_with(2, Config { io_threads: 3, ..Config::default() });
    let clients: Vec<_> = (0..12).map(|_| subscriber(&two, address, &["h.other", "unrelated.>"])).collect();
    let (_first, conn) = subscriber(&two, address, &[]);
    let (_, _, start) = resume(&two, &conn, "h.1", "");
    let total = 2000;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for i in 0..total {
                one.publish("h.1", i.to_string().as_bytes(), false, None).unwrap();
                if i % 10 == 0 {
                    one.flush();
                    std::thread::yield_now();
                }
            }
            one.flush();
            // Dropping the server waits until the hub has received all publications.
        });
        let mut complete = 0;
        for (at, (_, conn)) in clients.iter().enumerate() {
            two.resume(conn, "h.1", &start).unwrap();
            if at % 3 == 0 {
                // Resume again while the first replay is pending.
                two.resume(conn, "h.1", &start).unwrap();
            }
            two.flush();
            while let Some(event) = two.next_event() {
                complete += usize::from(matches!(event, Event::Resumed { complete: true, .. }));
            }
        }
        let count = |_: &Server, event| {
            complete += usize::from(matches!(event, Event::Resumed { complete: true, .. }));
        };
        let readers: Vec<_> = clients
            .iter()
            .map(|(client, _)| {
                let mut client = client.try_clone().unwrap();
                scope.spawn(move || (0..total).for_each(|i| assert_eq!(text(&mut client), i.to_string())))
            })
            .collect();
        pump(&two, count, || readers.iter().all(|reader| reader.is_finished()));
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert!(complete >= clients.len());
    });
    for (mut client, conn) in clients {
        assert_eq!(drain(&two, &conn, &mut client), [""; 0]);
    }
}

#[test]
fn one_replay_at_a_time_may_exceed_the_send_buffer_limit() {
    const REPLAY: usize = 1 << 20;
    let node = Node::new(history(100));
    let config = Config { io_threads: 2, cluster_queue: 16 << 20, ..Config::default() };
    let limit = config.send_buffer_limit;
    let (server, address) = node.worker_with(0, config);
    let (_first, witness) = subscriber(&server, address, &[]);
    let piece = "x".repeat(REPLAY / 16);
    let mut starts = Vec::new();
    for topic in 0..8 {
        let topic = format!("h.{topic}");
        starts.push(resume(&server, &witness, &topic, "").2);
        server.unsubscribe(&witness, &topic).unwrap();
        (0..16).for_each(|_| publish(&server, &topic, &piece));
    }
    // A client that reads receives the replays of any number of topics.
    let (mut reader, conn) = subscriber(&server, address, &[]);
    (0..8).for_each(|topic| server.resume(&conn, &format!("h.{topic}"), &starts[topic]).unwrap());
    server.flush();
    let reading = std::thread::spawn(move || {
        (0..8 * 16).for_each(|_| assert_eq!(read_frame(&mut reader).1.len(), REPLAY / 16));
        reader
    });
    (0..8).for_each(|_| assert_eq!(resumed(&server).1, 16));
    let _reader = reading.join().unwrap();
    // A client that does not read receives one replay; its further requests wait.
    let (mut slow, conn) = subscriber(&server, address, &[]);
    let (mut most, mut answered) = (0, 0);
    for round in 0..100 {
        let topic = format!("h.{}", round % 8);
        server.resume(&conn, &topic, &starts[round % 8]).unwrap();
        server.flush();
        // The hub answers in order, so it has answered all requests before this one.
        server.resume(&witness, "h.witness", "").unwrap();
        server.flush();
        loop {
            let Event::Resumed { id, messages, .. } = next(&server) else { continue };
            if id == witness.id() {
                break;
            }
            answered += usize::from(round >= 92 && messages == 16);
        }
        most = most.max(conn.buffered_amount());
        if round < 92 {
            server.unsubscribe(&conn, &topic).unwrap();
        }
    }
    assert!(most < limit + REPLAY + (64 << 10), "{most} bytes wait");
    assert!(conn.is_open());
    // Once the client reads, it receives the pending replays that were not cancelled.
    let reading = std::thread::spawn(move || {
        let mut frames = 0;
        while read_frame(&mut slow).1 != b"end" {
            frames += 1;
        }
        frames
    });
    while answered < 8 {
        if let Event::Resumed { id, messages, .. } = next(&server)
            && id == conn.id()
        {
            answered += usize::from(messages == 16);
        }
    }
    server.send(&conn, b"end", false);
    server.flush();
    assert!(reading.join().unwrap() >= 8 * 16);
}

#[test]
fn unsubscribing_during_a_resume_cancels_it() {
    let node = Node::new(history(100));
    let (server, address) = node.worker(0);
    let (mut client, conn) = subscriber(&server, address, &[]);
    let (gone, leaving) = subscriber(&server, address, &[]);
    publish(&server, "h.1", "1");
    let (_, _, position) = resume(&server, &conn, "h.2", "");
    server.resume(&conn, "h.1", &position).unwrap();
    server.unsubscribe(&conn, "h.1").unwrap();
    server.resume(&leaving, "h.1", &position).unwrap();
    server.close(&leaving, 1000, "");
    drop(gone);
    server.flush();
    publish(&server, "h.2", "2");
    assert_eq!(text(&mut client), "2");
    publish(&server, "h.1", "not subscribed");
    let events = std::iter::from_fn(|| Some(next(&server))).take(1).collect::<Vec<_>>();
    assert!(matches!(events[..], [Event::Close { .. }]), "{events:?}");
    // A subscription earlier in the same batch does not keep a resume from delivering the missed
    // messages.
    server.subscribe(&conn, "h.2").unwrap();
    server.subscribe(&conn, "h.3").unwrap();
    let (_, _, start) = resume(&server, &conn, "h.3", "");
    let (mut late, other) = subscriber(&server, address, &[]);
    publish(&server, "h.3", "3");
    assert_eq!(text(&mut client), "3");
    server.subscribe(&other, "h.3").unwrap();
    server.subscribe_pattern(&other, "h.>").unwrap();
    assert_eq!(resume(&server, &other, "h.3", &start).1, 1);
    assert_eq!(text(&mut late), "3");
    assert_eq!(drain(&server, &conn, &mut client), [""; 0]);
    assert_eq!(server.subscriber_count("h.1"), 0);
}

#[test]
fn a_single_process_keeps_histories_too() {
    let config = Config {
        history: vec![("h.*".to_owned(), History { bytes: 3 << 20, messages: 1000, ..History::default() })],
        interest: Interest::RESUME.and(Interest::PRESENCE),
        io_threads: 2,
        ..Config::default()
    };
    let (server, address) = start(config);
    let (mut client, conn) = subscriber(&server, address, &[]);
    let (mut other, excepted) = subscriber(&server, address, &["h.1"]);
    let (_, _, position) = resume(&server, &conn, "h.1", "");
    server.publish("h.1", b"excepted", false, Some(&excepted)).unwrap();
    publish(&server, "h.1", "all");
    assert_eq!([text(&mut client), text(&mut client)], ["excepted", "all"]);
    assert_eq!(text(&mut other), "all");
    server.unsubscribe(&conn, "h.1").unwrap();
    server.unsubscribe(&excepted, "h.1").unwrap();
    // A replay may exceed the send buffer limit without ending the connection.
    let large = "x".repeat(60_000);
    for _ in 0..40 {
        publish(&server, "h.1", &large);
    }
    let (mut late, conn) = subscriber(&server, address, &[]);
    let (complete, messages, _) = resume(&server, &conn, "h.1", &position);
    assert_eq!((complete, messages), (true, 42));
    publish(&server, "h.1", "live");
    server.send(&conn, b"direct", false);
    server.flush();
    let texts: Vec<_> = (0..44).map(|_| text(&mut late)).collect();
    assert!(texts[2..42].iter().all(|text| *text == large));
    let mut last = [texts[42].as_str(), &texts[43]];
    last.sort_unstable();
    assert_eq!(last, ["direct", "live"]);
    let stats = server.node_stats();
    assert_eq!((stats[0].0, stats[0].1.slow_closed), (0, 0));
}

#[test]
fn members_join_and_leave_with_connections_and_workers() {
    let node = Node::new(HubConfig::default());
    let (one, address) = node.worker(1);
    let (two, other) = node.worker(2);
    let (ann, a) = subscriber(&one, address, &[]);
    let (_bob, b) = subscriber(&two, other, &[]);
    one.join(&a, "room", "ann", b"1").unwrap();
    assert_eq!(one.presence("room").len(), 1, "at once");
    two.join(&b, "room", "bob", b"3").unwrap();
    two.join(&b, "lounge", "bob", b"").unwrap();
    [&one, &two].into_iter().for_each(Server::flush);
    let presence = |server: &Server, of: &Server| {
        let mut seen = Vec::new();
        let mut there = |event| {
            if let Event::Presence { topic, member, joined, data } = event {
                assert!(joined || !data.is_empty());
                seen.push((topic, member, joined));
            }
        };
        let _ = of;
        while let Some(event) = server.next_event() {
            there(event);
        }
        seen
    };
    let full = |server: &Server| {
        let members = [("ann", b"1"), ("bob", b"3")];
        server.presence("room")
            == members.map(|(m, data)| PresenceMember {
                member: m.to_owned(),
                data: data.to_vec(),
                connections: 1,
            })
    };
    let mut seen = Vec::new();
    pump(&one, |_, _| {}, || full(&one) && full(&two) && one.presence("lounge").len() == 1);
    seen.extend(presence(&two, &one));
    assert!(seen.contains(&("room".into(), "bob".into(), true)), "{seen:?}");
    // A worker that starts later learns of all members.
    let (three, _) = node.worker(3);
    pump(&three, |_, _| {}, || full(&three));
    // First a connection ends, then a worker.
    drop(ann);
    pump(&one, |_, _| {}, || one.presence("room").len() == 1);
    one.flush();
    pump(&three, |_, _| {}, || three.presence("room").len() == 1);
    drop(two);
    let mut left = Vec::new();
    let see = |_: &Server, event| {
        if let Event::Presence { member, joined: false, .. } = event {
            left.push(member);
        }
    };
    pump(&three, see, || three.presence("room").is_empty() && three.presence("lounge").is_empty());
    assert!(left.iter().filter(|member| *member == "bob").count() <= 2);
    assert_eq!(three.join(&a, "room", "", b""), Err(TopicError::Member(0)));
    assert_eq!(three.join(&a, "room", "x", &[0; 65_537]), Err(TopicError::Data(65_537)));
}

#[test]
fn a_new_hub_restores_presence_and_starts_with_empty_histories() {
    let mut node = Node::new(history(100));
    let (one, address) = node.worker(1);
    let (two, other) = node.worker(2);
    let (mut client, a) = subscriber(&one, address, &["t"]);
    let (_other, b) = subscriber(&two, other, &[]);
    one.join(&a, "room", "ann", b"").unwrap();
    let (_, _, position) = resume(&one, &a, "h.1", "");
    pump(&two, |_, _| {}, || two.presence("room").len() == 1);
    let (mut lost, mut left) = (0, 0);
    let mut see = |_: &Server, event| match event {
        Event::Unpublished { topic, reason, uncertain } => {
            assert!(topic.is_empty() && reason.contains("was lost") && uncertain, "{reason}");
            lost += 1;
        }
        Event::Presence { joined: false, .. } => left += 1,
        _ => {}
    };
    node.kill();
    pump(&two, &mut see, || two.stats().bus_lost_links == 1);
    // Publications wait for the next hub and keep their order.
    for i in 0..50 {
        publish(&two, "t", &i.to_string());
    }
    node.start_hub();
    for i in 0..50 {
        assert_eq!(text(&mut client), i.to_string());
    }
    while let Some(event) = two.next_event() {
        see(&two, event);
    }
    assert_eq!(two.presence("room").len(), 1);
    assert_eq!((lost, left), (1, 0));
    let (complete, _, now) = resume(&two, &b, "h.1", &position);
    assert!(!complete);
    assert_ne!(now, position);
}

#[test]
fn a_worker_that_does_not_read_is_disconnected_and_others_continue() {
    let node = Node::new(HubConfig { queue: 1 << 20, ..HubConfig::default() });
    let (one, address) = node.worker(1);
    let (two, other) = node.worker(2);
    let (mut client, _) = subscriber(&two, other, &["t"]);
    let (_own, _) = subscriber(&one, address, &[]);
    // This worker sends its greeting and then neither reads nor writes.
    let mut stalled = node.connect();
    stalled.write_all(&hello(3, Stats::layout(), &format!("{:?}", node.config.history))).unwrap();
    // A message above the hub's limit is refused at once and ends no connection.
    let large = one.publish("t", &vec![7; 2 << 20], true, None);
    assert_eq!(large, Err(PublishFailed::QueueFull { delivered_here: true, limit: 1 << 20 }));
    let payload = vec![7; 100_000];
    // Messages within the limit wait for the worker; meanwhile the hub detects that it reads nothing.
    for _ in 0..6 {
        one.publish("t", &payload, true, None).unwrap();
    }
    one.flush();
    assert!(quiet(&one, Duration::from_millis(1200)));
    let begun = Instant::now();
    let reader = std::thread::spawn(move || {
        for _ in 0..106 {
            assert_eq!(read_frame(&mut client).1.len(), 100_000);
        }
    });
    for _ in 0..100 {
        one.publish("t", &payload, true, None).unwrap();
        one.flush();
    }
    pump(&two, |_, _| {}, || reader.is_finished());
    reader.join().unwrap();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(4), "they were held up for {took:?}");
    let hub =
        || one.node_stats().into_iter().filter(|(slot, _)| *slot == HUB).map(|(_, s)| s.bus_cut).sum::<u64>();
    pump(&one, |_, _| {}, || hub() == 1);
    let mut rest = Vec::new();
    stalled.read_to_end(&mut rest).unwrap();
    assert!(rest.len() > 100_000);
}

#[test]
fn a_full_queue_is_reported_and_the_connection_recovers() {
    let mut node = Node::new(history(100));
    let socket = node.directory.join("publish.sock");
    let config = Config {
        cluster_queue: 10_000,
        publish_socket: Some(PublishSocket::new(socket.clone())),
        ..Config::default()
    };
    let (server, address) = node.worker_with(0, config);
    let (mut client, _) = subscriber(&server, address, &["t", "h.1"]);
    let mut publisher = Publisher::new(socket);
    publisher.publish("t", b"over the socket", false, PATIENCE).unwrap();
    publisher.publish("h.1", b"also what is remembered", false, PATIENCE).unwrap();
    assert_eq!(text(&mut client), "over the socket");
    assert_eq!(text(&mut client), "also what is remembered");
    // Without a hub the queue fills up.
    node.kill();
    pump(&server, |_, _| {}, || server.stats().bus_lost_links == 1);
    for i in 0..9 {
        publish(&server, if i % 2 == 0 { "h.1" } else { "t" }, &format!("{i}{}", "x".repeat(860)));
    }
    let full = server.publish("t", &[b'y'; 2000], false, None);
    assert_eq!(full, Err(PublishFailed::QueueFull { delivered_here: true, limit: 10_000 }));
    let full = server.publish("h.1", &[b'y'; 2000], false, None);
    assert_eq!(full, Err(PublishFailed::QueueFull { delivered_here: false, limit: 10_000 }));
    assert!(server.broadcast(&[b'z'; 2000], false, None).is_err());
    server.flush();
    let error = publisher.publish("t", &[b'y'; 2000], false, PATIENCE).unwrap_err();
    assert!(
        matches!(&error, sprocket_server::PublishError::Refused { code, .. } if code == "broker"),
        "{error}"
    );
    assert_eq!(server.stats().bus_refused, 4);
    let here: Vec<_> = (0..6).map(|_| text(&mut client)).collect();
    assert!(here[..4].iter().zip([1, 3, 5, 7]).all(|(text, i)| text.starts_with(&i.to_string())));
    assert!(here[4].starts_with('y') && here[5].starts_with('z'));
    // The queued messages are delivered in order once the hub runs again.
    node.start_hub();
    for i in [0, 2, 4, 6, 8] {
        assert!(text(&mut client).starts_with(&i.to_string()));
    }
    publisher.publish("t", b"goes on", false, PATIENCE).unwrap();
    assert_eq!(text(&mut client), "goes on");
}

#[test]
fn the_queue_limit_includes_the_overhead_of_tiny_publications() {
    let mut node = Node::new(HubConfig::default());
    let (server, address) = node.worker_with(0, Config { cluster_queue: 100_000, ..Config::default() });
    let (_client, _) = subscriber(&server, address, &[]);
    node.kill();
    pump(&server, |_, _| {}, || server.stats().bus_lost_links == 1);
    let accepted = (0..10_000).take_while(|_| server.publish("t", b"x", false, None).is_ok()).count();
    assert!((500..1000).contains(&accepted), "{accepted} publications were accepted");
}

#[test]
fn an_overlong_position_counts_as_unknown_and_is_not_kept() {
    let node = Node::new(history(100));
    let config = Config { cluster_queue: 10_000, ..Config::default() };
    let (server, address) = node.worker_with(0, config);
    let (_client, conn) = subscriber(&server, address, &[]);
    let (_, _, current) = resume(&server, &conn, "h.1", "");
    // The queue for requests has no room for such a position.
    let overlong = format!("{current}{}", "0".repeat(20_000));
    assert_eq!(resume(&server, &conn, "h.1", &overlong), (false, 0, current));
}

#[test]
fn requests_beyond_the_queue_limit_are_answered_at_once() {
    let mut node = Node::new(history(100));
    let config = Config { cluster_queue: 10_000, ..Config::default() };
    let (server, address) = node.worker_with(0, config);
    let (mut client, conn) = subscriber(&server, address, &[]);
    let (complete, _, position) = resume(&server, &conn, "h.1", "");
    assert!(complete);
    publish(&server, "h.1", "before");
    assert_eq!(text(&mut client), "before");
    node.kill();
    pump(&server, |_, _| {}, || server.stats().bus_lost_links == 1);
    // Without a hub some requests wait for the next one; the others are answered at once, as
    // incomplete.
    for _ in 0..200 {
        server.resume(&conn, "h.2", &position).unwrap();
    }
    server.flush();
    let mut answered = 0;
    while let Some(event) = server.next_event() {
        if let Event::Resumed { complete, messages, position, topic, .. } = event {
            assert_eq!((complete, messages, &*position, &*topic), (false, 0, "", "h.2"));
            answered += 1;
        }
    }
    assert!((150..200).contains(&answered), "{answered} of 200 were answered at once");
    node.start_hub();
    for _ in answered..200 {
        let (complete, _, position) = resumed(&server);
        assert!(!complete && !position.is_empty());
    }
    // The queue has room again, and all topics are subscribed.
    assert!(resume(&server, &conn, "h.2", "").0);
    for topic in ["h.1", "h.2"] {
        publish(&server, topic, topic);
        assert_eq!(text(&mut client), topic);
    }
}

#[test]
fn the_counters_of_all_workers_are_summed() {
    let node = Node::new(HubConfig::default());
    let (one, _) = node.worker(1);
    let (two, _) = node.worker(2);
    for _ in 0..3 {
        publish(&one, "t", "x");
        publish(&two, "t", "x");
    }
    let published = |server: &Server| -> u64 { server.node_stats().iter().map(|(_, s)| s.published).sum() };
    pump(&one, |_, _| {}, || published(&one) == 6);
    assert_eq!(one.node_stats().iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [1, 2, HUB]);
    // The counters of a worker that has ended are included up to its last report.
    pump(&two, |_, _| {}, || published(&two) == 6);
    drop(two);
    pump(&one, |_, _| {}, || one.node_stats().len() == 2 && published(&one) == 6);
}

/// Encodes the greeting of a worker.
fn hello(version: u64, counters: u64, history: &str) -> Vec<u8> {
    let mut frame = vec![1];
    for n in [version, 9, 77, counters] {
        frame.extend(n.to_le_bytes());
    }
    frame.extend(history.as_bytes());
    framed(&frame)
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat()
}

#[test]
fn malformed_input_closes_only_its_own_connection() {
    let node = Node::new(HubConfig { queue: 1 << 20, ..history(100) });
    let (server, address) = node.worker(0);
    let (mut client, _) = subscriber(&server, address, &["t"]);
    let ours = hello(3, Stats::layout(), &format!("{:?}", node.config.history));
    let huge = (1u32 << 31).to_le_bytes();
    let attempts: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        huge.to_vec(),
        vec![0; 4],
        framed(&[99]),
        framed(&[4, 1, 1, 0, b'x']),
        [&ours[..], &ours].concat(),
        [&ours[..], &huge].concat(),
        [&ours[..], &framed(&[])].concat(),
        [&ours[..], &framed(&[2])].concat(),
        // Invalid UTF-8 as text; a publication to a pattern; one to an empty topic; a member without a
        // name.
        [&ours[..], &framed(b"\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0t\xff")].concat(),
        [&ours[..], &framed(b"\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0>x")].concat(),
        [&ours[..], &framed(b"\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0x")].concat(),
        [&ours[..], &framed(b"\x06\0\0\0\0\0\0\0\0\x01\0t\0\0")].concat(),
        [&ours[..], &framed(&[&[8][..], &[0; 8 * 1001]].concat())].concat(),
    ];
    for bytes in &attempts {
        let mut stream = node.connect();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        // The hub closes the connection, possibly with unread input, which makes it a reset.
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{bytes:?}"),
        }
    }
    // A worker with another version or other settings gets the reason.
    let layout = Stats::layout();
    for (bytes, word) in [
        (hello(2, layout, ""), "version 2 of the protocol"),
        (hello(3, layout ^ 1, ""), "counters"),
        (hello(3, layout, "x"), "history"),
    ] {
        let mut stream = node.connect();
        stream.write_all(&bytes).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(String::from_utf8_lossy(&answer).contains(word));
    }
    publish(&server, "t", "still there");
    assert_eq!(text(&mut client), "still there");
    let errors = || {
        server.node_stats().iter().filter(|(slot, _)| *slot == HUB).map(|(_, s)| s.bus_errors).sum::<u64>()
    };
    pump(&server, |_, _| {}, || errors() == attempts.len() as u64);
}

#[test]
fn a_server_incompatible_with_its_hub_does_not_start() {
    let node = Node::new(history(100));
    let cluster = Some(ClusterMember { path: node.path(), slot: 0 });
    let listen = Vec::<sprocket_server::Bind>::new;
    let error =
        Server::start(Config { cluster: cluster.clone(), ..Config::default() }, listen()).unwrap_err();
    assert!(
        matches!(&error, StartError::Cluster(ClusterError::Refused { why, .. }) if why.contains("history")),
        "{error}"
    );
    // A server on the socket that is not a hub.
    let path = node.directory.join("other.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let other = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&framed(b"hello")).unwrap();
        stream
    });
    let cluster = Some(ClusterMember { path, slot: 0 });
    let error = Server::start(Config { cluster, ..Config::default() }, listen()).unwrap_err();
    assert!(matches!(error, StartError::Cluster(ClusterError::Refused { .. })), "{error}");
    other.join().unwrap();
}

#[test]
fn the_hub_ends_with_its_pipe_and_removes_its_files() {
    let mut node = Node::new(HubConfig::default());
    let (server, _) = node.worker(0);
    drop(server);
    let mut hub = node.hub.take().unwrap();
    drop(hub.stdin.take());
    let begun = Instant::now();
    assert!(hub.wait().unwrap().success());
    assert!(begun.elapsed() < Duration::from_secs(4), "the hub waits although no worker is left");
}
