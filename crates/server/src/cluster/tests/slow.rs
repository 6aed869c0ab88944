//! Slow workers, and workers and hubs that do not read at all.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::exchange::Fake;
use super::support::*;
use super::{Node, Raw};
use crate::cluster::hub::WorkerLink;
use crate::cluster::wire::pipe::Pipe;
use crate::cluster::wire::{Down, Up};
use crate::config::{ClusterMember, Config, History};
use sprocket_broker::BrokerClient;

#[tokio::test]
async fn a_worker_that_reads_nothing_is_disconnected_sooner_than_a_slow_one() {
    const BYTES: usize = 1 << 20;
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let begin = Instant::now();
    let after = |seconds| begin + Duration::from_secs_f64(seconds);
    let mut link = WorkerLink::new(1, Pipe::new(ours, BYTES), begin);
    // Lets the worker read this number of bytes.
    let read = async |link: &mut WorkerLink, theirs: &mut UnixStream, bytes: usize| {
        let mut buffer = vec![0; bytes];
        let flush = poll_fn(|cx| {
            let _ = link.pipe.poll_flush(cx);
            Poll::<()>::Pending
        });
        tokio::select! {
            read = theirs.read_exact(&mut buffer) => assert_eq!(read.unwrap(), bytes),
            () = flush => {}
        }
    };
    link.written(BYTES, after(60.0));
    (0..4).for_each(|_| link.pipe.push(vec![b'x'; BYTES].into()));
    read(&mut link, &mut theirs, 1).await;
    link.written(BYTES, after(60.0));
    link.written(BYTES, after(60.5));
    assert_eq!(link.cut_at(), Some(after(62.0)));
    // Reading a part extends the deadline, but not indefinitely.
    for seconds in [60.9, 61.8, 62.7] {
        read(&mut link, &mut theirs, BYTES / 2).await;
        link.written(BYTES, after(seconds));
        assert_eq!(link.cut_at(), Some(after(seconds + 2.0)));
    }
    link.written(BYTES, after(63.6));
    read(&mut link, &mut theirs, BYTES / 4).await;
    link.written(BYTES, after(64.6));
    assert_eq!(link.cut_at(), Some(after(65.0)));
    // The worker has caught up.
    read(&mut link, &mut theirs, BYTES * 2).await;
    link.written(BYTES, after(64.7));
    assert_eq!(link.cut_at(), None);
}

#[test]
fn a_worker_that_does_not_read_delays_the_broker_but_not_answers_for_others() {
    const BYTES: usize = 256 << 10;
    let exchange = Arc::default();
    let node = Node::with_queue(&exchange, 1, BYTES);
    let fake = Fake(exchange, 0);
    let replays = || fake.with(|exchange| exchange.replays);
    let hold = |hold| fake.with(|exchange| exchange.hold = hold);
    fake.store("h.1", vec![b'x'; BYTES].into(), true, &History::default()).unwrap();
    // A worker that reads late still receives each answer once.
    hold(true);
    let mut late = node.raw(1);
    late.ask("h.1", 40, true);
    hold(false);
    while replays() == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut answered = BTreeSet::new();
    while answered.len() < 40 {
        late.receive(|frame| {
            if let Down::Resumed { ticket, complete, .. } = frame {
                assert!(complete && answered.insert(ticket));
            }
        });
    }
    // A worker that never reads is disconnected, and until then limits the requests to the broker.
    hold(true);
    let mut stalled = node.raw(2);
    stalled.ask("h.1", 300, true);
    let (worker, address) = node.worker(1);
    let (_client, conn) = subscriber(&worker, address, &[]);
    let before = replays();
    hold(false);
    let (complete, messages, _) = resume(&worker, &conn, "h.1", "f-0");
    assert_eq!((complete, messages), (true, 1));
    let asked = replays() - before;
    assert!(asked < 50, "{asked} answers for a worker that does not read");
    drop(stalled);
}

/// A hub that the test plays itself: accepts the next connection and answers its greeting.
fn raw_hub(listener: &StdListener) -> Raw {
    let mut raw = Raw(listener.accept().unwrap().0);
    raw.0.set_read_timeout(Some(PATIENCE)).unwrap();
    let hello = raw.frame();
    assert!(matches!(Up::decode(&hello), Ok(Up::Hello { .. })));
    raw.0.write_all(&Down::Welcome { broker: false, limit: 1 << 20 }.encode()).unwrap();
    raw
}

#[test]
fn the_queue_for_a_hub_that_does_not_read_is_bounded_and_the_state_resent() {
    let path = std::env::temp_dir().join(format!("sprocket-raw-hub-{}", std::process::id()));
    let listener = StdListener::bind(&path).unwrap();
    let greeting = std::thread::spawn(move || (raw_hub(&listener), listener));
    let cluster = Some(ClusterMember { path: path.clone(), slot: 0 });
    let (server, address) = start(Config { cluster, cluster_queue: 10_000, ..Config::default() });
    let (stalled, listener) = greeting.join().unwrap();
    let (_client, conn) = subscriber(&server, address, &[]);
    // More than fits into the socket buffer and the pipe together.
    for i in 0..40 {
        server.join(&conn, &format!("room{i}"), "ann", &[b'x'; 50_000]).unwrap();
        server.flush();
    }
    pump(&server, |_, _| {}, || server.stats().bus_lost_links == 1);
    drop(stalled);
    let mut hub = raw_hub(&listener);
    let mut joined = BTreeSet::new();
    while joined.len() < 40 {
        if let Ok(Up::Join { topic, .. }) = Up::decode(&hub.frame()) {
            assert!(joined.insert(topic.to_owned()), "{topic} twice");
        }
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn the_queue_for_a_hub_that_reads_slowly_is_bounded() {
    let path = std::env::temp_dir().join(format!("sprocket-slow-hub-{}", std::process::id()));
    let listener = StdListener::bind(&path).unwrap();
    let greeting = std::thread::spawn(move || (raw_hub(&listener), listener));
    let cluster = Some(ClusterMember { path: path.clone(), slot: 0 });
    let (server, address) = start(Config { cluster, cluster_queue: 10_000, ..Config::default() });
    let (mut slow, _listener) = greeting.join().unwrap();
    // Reads so little that the queue grows, and so often that the link makes progress all the time.
    let reader = std::thread::spawn(move || {
        while slow.0.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let (_client, conn) = subscriber(&server, address, &[]);
    for i in 0..40 {
        server.join(&conn, &format!("room{i}"), "ann", &[b'x'; 50_000]).unwrap();
        server.flush();
    }
    pump(&server, |_, _| {}, || server.stats().bus_lost_links > 0);
    reader.join().unwrap();
    std::fs::remove_file(path).unwrap();
}
