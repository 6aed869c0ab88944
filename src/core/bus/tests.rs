//! Nodes that share a broker, which is a fake one here: it delivers and stores, loses what it is
//! told to lose, and goes away when told to.

#[path = "../../../tests/rust/support/mod.rs"]
mod support;

use bytes::Bytes;
use std::collections::{BTreeSet, HashMap};
use std::future::poll_fn;
use std::io::{BufRead, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::bus::HubConfig;
use crate::bus::hub::{Link, fingerprint};
use crate::bus::pipe::Pipe;
use crate::bus::seam::{FromBroker, QueueFull, Replay, Replaying, Upstream};
use crate::bus::serve::Service;
use crate::bus::wire::{Down, Up, VERSION};
use crate::config::{BusMember, Config, History, PublishSocket};
use crate::event::{Event, Interest};
use crate::patterns::fits;
use crate::publisher::{PublishError, Publisher};
use crate::server::Server;
use support::*;

/// What all nodes share.
#[derive(Debug, Default)]
struct Exchange {
    nodes: HashMap<u64, Attached>,
    logs: HashMap<String, Vec<(Bytes, bool)>>,
    /// The next publication reaches nobody but the store.
    lose: bool,
    full: bool,
    /// Nobody is told what a topic holds; and how often somebody was.
    hold: bool,
    replays: usize,
}

#[derive(Debug)]
struct Attached {
    to: mpsc::Sender<FromBroker>,
    interest: BTreeSet<String>,
    away: bool,
}

impl Attached {
    fn say(&self, said: FromBroker) {
        if !self.away || matches!(said, FromBroker::State { .. }) {
            // A node that has ended hears nothing.
            let full = matches!(self.to.try_send(said), Err(mpsc::error::TrySendError::Full(_)));
            assert!(!full);
        }
    }
}

#[derive(Debug, Clone)]
struct Fake(Arc<Mutex<Exchange>>, u64);

impl Fake {
    fn with<R>(&self, f: impl FnOnce(&mut Exchange) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn spread(&self, own: bool, topic: &str, payload: &Bytes, binary: bool, position: Option<String>) {
        self.with(|exchange| {
            if std::mem::take(&mut exchange.lose) {
                return;
            }
            for (id, node) in &exchange.nodes {
                if (own || *id != self.1) && node.interest.iter().any(|name| fits(name, topic)) {
                    let (topic, payload, position) = (topic.to_owned(), payload.clone(), position.clone());
                    node.say(FromBroker::Message { topic, payload, binary, position, previous: None });
                }
            }
        });
    }

    fn others(&self, said: FromBroker) {
        self.with(|exchange| {
            exchange.nodes.iter().filter(|(id, _)| **id != self.1).for_each(|(_, n)| n.say(said.clone()));
        });
    }

    fn room(&self) -> Result<(), QueueFull> {
        if self.with(|exchange| exchange.full) { Err(QueueFull { queued: 1, limit: 1 }) } else { Ok(()) }
    }

    /// The broker comes, or goes, for one node.
    fn connect(&self, node: u64, connected: bool) {
        self.with(|exchange| {
            let node = exchange.nodes.get_mut(&node).unwrap();
            node.away = !connected;
            node.say(FromBroker::State { connected, reason: "as told".to_owned() });
        });
    }
}

impl Upstream for Fake {
    fn interest(&self, name: &str, on: bool) {
        self.with(|exchange| {
            let node = exchange.nodes.get_mut(&self.1).unwrap();
            assert!(if on { node.interest.insert(name.to_owned()) } else { node.interest.remove(name) });
        });
    }

    fn publish(&self, topic: &str, payload: Bytes, binary: bool) -> Result<(), QueueFull> {
        self.room()?;
        self.spread(false, topic, &payload, binary, None);
        Ok(())
    }

    fn broadcast(&self, payload: Bytes, binary: bool) -> Result<(), QueueFull> {
        self.room()?;
        self.others(FromBroker::Broadcast { payload, binary });
        Ok(())
    }

    fn control(&self, payload: Bytes) {
        self.others(FromBroker::Control { node: self.1, payload });
    }

    fn store(&self, topic: &str, payload: Bytes, binary: bool, _: &History) -> Result<(), QueueFull> {
        self.room()?;
        let number = self.with(|exchange| {
            let log = exchange.logs.entry(topic.to_owned()).or_default();
            log.push((payload.clone(), binary));
            log.len()
        });
        self.spread(true, topic, &payload, binary, Some(format!("f-{number}")));
        Ok(())
    }

    fn flush(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }

    fn replay(&self, topic: &str, position: &str, _: &History) -> Replaying {
        let (fake, topic, position) = (self.clone(), topic.to_owned(), position.to_owned());
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            while fake.with(|exchange| exchange.hold) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            fake.with(|exchange| {
                exchange.replays += 1;
                let log = exchange.logs.entry(topic).or_default();
                let newest = format!("f-{}", log.len());
                let after = match position.as_str() {
                    "" => Some(log.len()),
                    position => position.strip_prefix("f-").and_then(|n| n.parse().ok()),
                };
                let Some(after) = after.filter(|n| *n <= log.len()) else {
                    return Replay { complete: false, entries: Vec::new(), position: newest, failed: false };
                };
                let missed = log.iter().enumerate().skip(after);
                let entries = missed.map(|(n, (p, b))| (format!("f-{}", n + 1), p.clone(), *b)).collect();
                Replay { complete: true, entries, position: newest, failed: false }
            })
        })
    }
}

/// A hub with a broker, on a thread.
struct Node {
    directory: PathBuf,
    id: u64,
    history: Vec<(String, History)>,
    quit: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Node {
    fn new(exchange: &Arc<Mutex<Exchange>>, id: u64) -> Self {
        Self::with_queue(exchange, id, HubConfig::default().queue)
    }

    fn with_queue(exchange: &Arc<Mutex<Exchange>>, id: u64, queue: usize) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("sprocket-nodes-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        let listener = StdListener::bind(directory.join("hub")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (to, incoming) = mpsc::channel(100_000);
        let fake = Fake(exchange.clone(), id);
        fake.with(|exchange| {
            exchange.nodes.insert(id, Attached { to, interest: BTreeSet::new(), away: false })
        });
        fake.connect(id, true);
        let history = vec![("h.>".to_owned(), History { stamp: Some("%p%".into()), ..History::default() })];
        let config = HubConfig { history: history.clone(), broker: None, queue };
        let (quit, ending) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = UnixListener::from_std(listener).unwrap();
                let service = Service::new(config, Some(listener), Some((id, (Arc::new(fake), incoming))));
                service.unwrap().run(async { drop(ending.await) }).await;
            });
        });
        Self { directory, id, history, quit: Some(quit), thread: Some(thread) }
    }

    /// A worker of which nobody but the test knows what it reads.
    fn raw(&self, slot: u16) -> Raw {
        let stream = StdStream::connect(self.directory.join("hub")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let history = fingerprint(&self.history);
        let mut raw = Raw(stream);
        raw.say(&Up::Hello { version: VERSION, slot, instance: slot.into(), history: &history });
        raw
    }

    fn worker(&self, io_threads: usize) -> (Server, SocketAddr) {
        self.worker_with(Config { io_threads, ..Config::default() })
    }

    fn worker_with(&self, config: Config) -> (Server, SocketAddr) {
        let interest = Interest::RESUME.and(Interest::PRESENCE).and(Interest::BROKER);
        let bus = Some(BusMember { path: self.directory.join("hub"), slot: 0 });
        start(Config { bus, history: self.history.clone(), interest, ..config })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.quit.take());
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        let _ = std::fs::remove_dir_all(&self.directory);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

struct Raw(StdStream);

impl Raw {
    fn say(&mut self, said: &Up<'_>) {
        self.0.write_all(&said.encode()).unwrap();
    }

    /// Asks for a topic from its beginning, so often; the hub has read it all.
    /// From the beginning; `apart`: each in other words, so that each must be asked.
    fn ask(&mut self, topic: &str, times: u64, apart: bool) {
        for ticket in 0..times {
            let position = &format!("f-{}", "0".repeat(if apart { ticket as usize + 1 } else { 1 }));
            self.say(&Up::Resume { ticket, topic, position });
        }
        self.say(&Up::Sync);
        while !self.hear(|said| matches!(said, Down::Synced)) {}
    }

    fn frame(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut frame = vec![0; u32::from_le_bytes(length) as usize];
        self.0.read_exact(&mut frame).unwrap();
        frame
    }

    fn hear<R>(&mut self, of: impl FnOnce(Down<'_>) -> R) -> R {
        of(Down::decode(&self.frame()).unwrap())
    }
}

/// Waits until the broker knows the node's interest in a topic.
fn subscribed(fake: &Fake, node: &Node, topic: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !fake.with(|exchange| exchange.nodes[&node.id].interest.contains(topic)) {
        assert!(Instant::now() < deadline, "no interest in {topic}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn pair() -> (Fake, Node, Node) {
    let exchange = Arc::default();
    let nodes = (Node::new(&exchange, 1), Node::new(&exchange, 2));
    (Fake(exchange, 0), nodes.0, nodes.1)
}

#[test]
fn nodes_share_topics_through_the_broker() {
    let (fake, one, two) = pair();
    let ((a, at_a), (b, at_b)) = (one.worker(1), two.worker(2));
    let (mut here, conn) = subscriber(&a, at_a, &["t"]);
    let (mut there, _) = subscriber(&b, at_b, &["t", "u.*"]);
    ["t", "u.*"].iter().for_each(|topic| subscribed(&fake, &two, topic));
    subscribed(&fake, &one, "t");
    publish(&a, "t", "1");
    publish(&a, "u.x", "2");
    a.broadcast(b"3", false, Some(&conn)).unwrap();
    a.flush();
    assert_eq!([text(&mut there), text(&mut there), text(&mut there)], ["1", "2", "3"]);
    publish(&b, "t", "4");
    assert_eq!([text(&mut here), text(&mut here)], ["1", "4"]);
    assert_eq!(text(&mut there), "4");
    // Interest ends with its last subscriber, and with the worker.
    a.unsubscribe(&conn, "t");
    a.flush();
    drop(b);
    let deadline = Instant::now() + PATIENCE;
    while !fake.with(|exchange| exchange.nodes.values().all(|node| node.interest.is_empty())) {
        assert!(Instant::now() < deadline, "interest ends");
        std::thread::sleep(Duration::from_millis(1));
    }
    // A broker that takes no more is told of.
    fake.with(|exchange| exchange.full = true);
    publish(&a, "t", "5");
    let mut connected = 0;
    loop {
        match next(&a) {
            Event::Unpublished { topic, reason, uncertain } => {
                assert!(topic == "t" && uncertain, "{reason}");
                break assert!(
                    reason.ends_with("; the message was delivered on this machine only"),
                    "{reason}"
                );
            }
            Event::Broker { connected: true, .. } => connected += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(connected <= 1);
}

#[test]
fn a_publisher_is_told_what_the_broker_does_not_take() {
    let (fake, one, _two) = pair();
    let socket = one.directory.join("publish");
    let publish_socket = Some(PublishSocket::new(socket.clone()));
    let (a, at_a) = one.worker_with(Config { publish_socket, ..Config::default() });
    let (b, at_b) = one.worker(1);
    let (mut here, _) = subscriber(&a, at_a, &["t", "h.1"]);
    let (mut beside, _) = subscriber(&b, at_b, &["t", "h.1"]);
    subscribed(&fake, &one, "h.1");
    let mut publisher = Publisher::new(socket.clone());
    for topic in ["t", "h.1"] {
        publisher.publish(topic, b"1", false, PATIENCE).unwrap();
        assert_eq!([text(&mut here), text(&mut beside)], ["1", "1"]);
    }
    // Those of this machine get it, or nobody does: each answer says so, and goes to its request.
    fake.with(|exchange| exchange.full = true);
    let error = publisher.publish("t", b"2", false, PATIENCE).unwrap_err();
    assert!(matches!(error, PublishError::Partly { .. }) && error.is_uncertain(), "{error}");
    assert!(error.to_string().ends_with("; the message was delivered on this machine only"), "{error}");
    assert_eq!([text(&mut here), text(&mut beside)], ["2", "2"]);
    let error = publisher.publish("h.1", b"nobody", false, PATIENCE).unwrap_err();
    assert!(matches!(&error, PublishError::Refused { code, .. } if code == "broker"), "{error}");
    assert!(!error.is_uncertain() && error.to_string().ends_with("delivered to nobody"), "{error}");
    let mut raw = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    raw.set_read_timeout(Some(PATIENCE)).unwrap();
    raw.write_all(&b"PUBLISH text 1 1\nt3PUBLISH text 1 1\n>xPUBLISH text 3 1\nh.1x".repeat(20)).unwrap();
    let answers = std::io::BufReader::new(raw).lines().take(60).collect::<Result<Vec<_>, _>>().unwrap();
    for (n, answer) in answers.iter().enumerate() {
        let code = ["ERROR partly ", "ERROR topic ", "ERROR broker "][n % 3];
        assert!(answer.starts_with(code), "{n}: {answer}");
    }
    for _ in 0..20 {
        assert_eq!([text(&mut here), text(&mut beside)], ["3", "3"]);
    }
    // The publisher knows, and so the host need not; both are counted.
    let stats = a.stats();
    assert_eq!((stats.socket_published, stats.socket_refused), (2, 62));
    fake.with(|exchange| exchange.full = false);
    publisher.publish("h.1", b"4", false, PATIENCE).unwrap();
    assert_eq!([text(&mut here), text(&mut beside)], ["4", "4"]);
    while let Some(event) = a.next_event() {
        assert!(!matches!(event, Event::Unpublished { .. }), "{event:?}");
    }
}

#[test]
fn the_history_of_a_broker_is_one_order_for_all_nodes() {
    let (fake, one, two) = pair();
    let ((a, at_a), (b, at_b)) = (one.worker(1), two.worker(2));
    let (mut here, excepted) = subscriber(&a, at_a, &["h.1"]);
    let (mut there, _) = subscriber(&b, at_b, &["h.1"]);
    [&one, &two].into_iter().for_each(|node| subscribed(&fake, node, "h.1"));
    a.publish("h.1", b"not here", false, Some(&excepted)).unwrap();
    a.flush();
    assert_eq!(text(&mut there), "not here");
    for i in 0..20 {
        publish(&a, "h.1", &format!("%p% a{i}"));
        publish(&b, "h.1", &format!("%p% b{i}"));
    }
    let expected: Vec<_> = (0..40).map(|_| text(&mut here)).collect();
    assert_eq!((0..40).map(|_| text(&mut there)).collect::<Vec<_>>(), expected);
    for (n, text) in expected.iter().enumerate() {
        assert!(text.starts_with(&format!("f-{} ", n + 2)), "{text}");
    }
    // What was missed, stamped, and nothing twice.
    let (mut late, conn) = subscriber(&b, at_b, &[]);
    let (complete, messages, position) = resume(&b, &conn, "h.1", "f-39");
    assert_eq!((complete, messages, position.as_str()), (true, 2, "f-41"));
    assert_eq!([text(&mut late), text(&mut late)], [expected[38].clone(), expected[39].clone()]);
    assert!(!resume(&b, &conn, "h.1", "g-1").0);
    // The broker loses one on the way to the nodes: the next one brings it along.
    fake.with(|exchange| exchange.lose = true);
    publish(&a, "h.1", "lost");
    publish(&a, "h.1", "found");
    for client in [&mut here, &mut there, &mut late] {
        assert_eq!([text(client), text(client)], ["lost", "found"]);
    }
    // It is away for one node, and back.
    fake.connect(2, false);
    publish(&a, "h.1", "away");
    assert_eq!(text(&mut here), "away");
    fake.connect(2, true);
    assert_eq!([text(&mut there), text(&mut late)], ["away", "away"]);
}

#[test]
fn resuming_from_a_broker_under_fire_is_exactly_once() {
    let (fake, one, two) = pair();
    let ((a, _), (b, at_b)) = (one.worker(1), two.worker(3));
    let (_keeps, _) = subscriber(&b, at_b, &["h.1"]);
    subscribed(&fake, &two, "h.1");
    let clients: Vec<_> = (0..6).map(|_| subscriber(&b, at_b, &[])).collect();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for i in 0..300 {
                publish(&a, "h.1", &i.to_string());
                if i % 20 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        });
        let mut complete = 0;
        for (_, conn) in &clients {
            complete += usize::from(resume(&b, conn, "h.1", "f-0").0);
        }
        assert_eq!(complete, 6);
        for (client, _) in &clients {
            let mut client = client.try_clone().unwrap();
            (0..300).for_each(|i| assert_eq!(text(&mut client), i.to_string()));
        }
    });
}

#[test]
fn members_are_known_to_all_nodes() {
    let (fake, one, two) = pair();
    let ((a, at_a), (b, at_b)) = (one.worker(1), two.worker(1));
    let (_here, ann) = subscriber(&a, at_a, &[]);
    let (there, bob) = subscriber(&b, at_b, &[]);
    a.join(&ann, "room", "ann", b"1").unwrap();
    a.join(&ann, "lounge", "ann", b"1").unwrap();
    b.join(&bob, "room", "bob", b"2").unwrap();
    [&a, &b].into_iter().for_each(Server::flush);
    let names = |server: &Server| -> Vec<String> {
        server.presence("room").into_iter().map(|member| member.member).collect()
    };
    pump(&a, |_, _| {}, || names(&a) == ["ann", "bob"] && names(&b) == ["ann", "bob"]);
    // A node that comes later asks.
    let three = Node::new(&fake.0, 3);
    let (c, at_c) = three.worker(1);
    pump(&c, |_, _| {}, || names(&c) == ["ann", "bob"] && c.presence("lounge").len() == 1);
    // One that was cut off does, too.
    fake.connect(3, false);
    drop(there);
    pump(&b, |_, _| {}, || names(&b) == ["ann"]);
    b.flush();
    pump(&a, |_, _| {}, || names(&a) == ["ann"]);
    assert_eq!(names(&c), ["ann", "bob"]);
    let (_client, cid) = subscriber(&c, at_c, &[]);
    c.join(&cid, "room", "cid", b"").unwrap();
    c.flush();
    fake.connect(3, true);
    pump(&c, |_, _| {}, || names(&c) == ["ann", "cid"]);
    // A node that ends says so.
    drop((a, one));
    pump(&c, |_, _| {}, || names(&c) == ["cid"] && c.presence("lounge").is_empty());
    drop(b);
}

#[tokio::test]
async fn a_worker_is_cut_sooner_if_it_takes_nothing_at_all() {
    const BYTES: usize = 1 << 20;
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let begin = Instant::now();
    let after = |seconds| begin + Duration::from_secs_f64(seconds);
    let mut link = Link::new(1, Pipe::new(ours, BYTES), begin);
    // The other side reads so much.
    let read = async |link: &mut Link, theirs: &mut UnixStream, bytes: usize| {
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
    // It takes some, which buys it time, but not for ever.
    for seconds in [60.9, 61.8, 62.7] {
        read(&mut link, &mut theirs, BYTES / 2).await;
        link.written(BYTES, after(seconds));
        assert_eq!(link.cut_at(), Some(after(seconds + 2.0)));
    }
    link.written(BYTES, after(63.6));
    read(&mut link, &mut theirs, BYTES / 4).await;
    link.written(BYTES, after(64.6));
    assert_eq!(link.cut_at(), Some(after(65.0)));
    // It is behind no more.
    read(&mut link, &mut theirs, BYTES * 2).await;
    link.written(BYTES, after(64.7));
    assert_eq!(link.cut_at(), None);
}

#[test]
fn a_worker_that_does_not_read_holds_up_the_broker_and_not_the_answers_of_others() {
    const BYTES: usize = 256 << 10;
    let exchange = Arc::default();
    let node = Node::with_queue(&exchange, 1, BYTES);
    let fake = Fake(exchange, 0);
    let replays = || fake.with(|exchange| exchange.replays);
    let hold = |hold| fake.with(|exchange| exchange.hold = hold);
    fake.store("h.1", vec![b'x'; BYTES].into(), true, &History::default()).unwrap();
    // One that reads late has its answers nevertheless, and each once.
    hold(true);
    let mut late = node.raw(1);
    late.ask("h.1", 40, true);
    hold(false);
    while replays() == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut answered = BTreeSet::new();
    while answered.len() < 40 {
        late.hear(|said| {
            if let Down::Resumed { ticket, complete, .. } = said {
                assert!(complete && answered.insert(ticket));
            }
        });
    }
    // One that never does is cut, and until then the broker is asked for no more than has room.
    hold(true);
    let mut deaf = node.raw(2);
    deaf.ask("h.1", 300, true);
    let (worker, address) = node.worker(1);
    let (_client, conn) = subscriber(&worker, address, &[]);
    let before = replays();
    hold(false);
    let (complete, messages, _) = resume(&worker, &conn, "h.1", "f-0");
    assert_eq!((complete, messages), (true, 1));
    let asked = replays() - before;
    assert!(asked < 50, "{asked} answers for a worker that does not read");
    drop(deaf);
}

#[test]
fn those_who_come_back_together_are_answered_together() {
    let exchange = Arc::default();
    let node = Node::with_queue(&exchange, 1, 1 << 20);
    let fake = Fake(exchange, 0);
    let hold = |hold| fake.with(|exchange| exchange.hold = hold);
    fake.store("h.1", "kept".into(), false, &History::default()).unwrap();
    hold(true);
    let mut raw = node.raw(1);
    raw.ask("h.1", 500, false);
    hold(false);
    let (mut answered, mut got) = (BTreeSet::new(), BTreeSet::new());
    while answered.len() < 500 {
        raw.hear(|said| match said {
            Down::Missed { ticket, payload, .. } => assert!(payload == b"kept" && got.insert(ticket)),
            Down::Resumed { ticket, complete, .. } => assert!(complete && answered.insert(ticket)),
            _ => {}
        });
    }
    assert_eq!(got.len(), 500, "what each has missed comes once");
    let replays = fake.with(|exchange| exchange.replays);
    assert!(replays < 10, "the broker was asked {replays} times");
}

/// A hub of which nobody but the test knows what it reads: says hello to the next worker.
fn raw_hub(listener: &StdListener) -> Raw {
    let mut raw = Raw(listener.accept().unwrap().0);
    raw.0.set_read_timeout(Some(PATIENCE)).unwrap();
    let hello = raw.frame();
    assert!(matches!(Up::decode(&hello), Ok(Up::Hello { .. })));
    raw.0.write_all(&Down::Welcome { broker: false, limit: 1 << 20 }.encode()).unwrap();
    raw
}

#[test]
fn what_waits_for_a_hub_that_does_not_read_is_bounded_and_told_anew() {
    let path = std::env::temp_dir().join(format!("sprocket-raw-hub-{}", std::process::id()));
    let listener = StdListener::bind(&path).unwrap();
    let greeting = std::thread::spawn(move || (raw_hub(&listener), listener));
    let bus = Some(BusMember { path: path.clone(), slot: 0 });
    let (server, address) = start(Config { bus, bus_queue: 10_000, ..Config::default() });
    let (deaf, listener) = greeting.join().unwrap();
    let (_client, conn) = subscriber(&server, address, &[]);
    // Beyond what the socket takes, and what is handed to it.
    for i in 0..40 {
        server.join(&conn, &format!("room{i}"), "ann", &[b'x'; 50_000]).unwrap();
        server.flush();
    }
    pump(&server, |_, _| {}, || server.stats().bus_lost_links == 1);
    drop(deaf);
    let mut hub = raw_hub(&listener);
    let mut joined = BTreeSet::new();
    while joined.len() < 40 {
        if let Ok(Up::Join { topic, .. }) = Up::decode(&hub.frame()) {
            assert!(joined.insert(topic.to_owned()), "{topic} twice");
        }
    }
    std::fs::remove_file(path).unwrap();
}
