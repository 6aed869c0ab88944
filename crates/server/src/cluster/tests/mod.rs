//! Tests of several nodes that share a fake broker. Each file is named after the module or feature that it tests.

pub(crate) mod exchange;
pub(crate) mod greeting;
pub(crate) mod history;
pub(crate) mod presence;
pub(crate) mod slow;
pub(crate) mod topics;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use crate::api::Server;
use crate::channel::event::Interest;
use crate::cluster::hub::fingerprint;
use crate::cluster::hub::serve::Service;
use crate::cluster::hub_config::HubConfig;
use crate::cluster::wire::{Down, Up, VERSION};
use crate::config::{ClusterMember, Config, History};
use crate::metrics::counters::Stats;
use crate::support;
use exchange::{Attached, Exchange, Fake};
use support::*;

/// A hub with a broker, which runs on a thread until dropped.
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
        let config = HubConfig { history: history.clone(), broker: None, queue, reclaim: None };
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

    /// A worker without a server: the test itself sends and receives its frames.
    fn raw(&self, slot: u16) -> Raw {
        let mut raw = self.stranger();
        let history = fingerprint(&self.history);
        let counters = Stats::layout();
        raw.send(&Up::Hello { version: VERSION, slot, instance: slot.into(), counters, history: &history });
        raw
    }

    /// A connection to the hub that has not sent its `Hello`.
    fn stranger(&self) -> Raw {
        let stream = StdStream::connect(self.directory.join("hub")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Raw(stream)
    }

    fn worker(&self, io_threads: usize) -> (Server, SocketAddr) {
        self.worker_with(Config { io_threads, ..Config::default() })
    }

    fn worker_with(&self, config: Config) -> (Server, SocketAddr) {
        let interest = Interest::RESUME.and(Interest::PRESENCE).and(Interest::BROKER);
        let cluster = Some(ClusterMember { path: self.directory.join("hub"), slot: 0 });
        start(Config { cluster, history: self.history.clone(), interest, ..config })
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

/// The socket of a worker or hub that a test plays itself.
struct Raw(StdStream);

impl Raw {
    fn send(&mut self, frame: &Up<'_>) {
        self.0.write_all(&frame.encode()).unwrap();
    }

    /// Sends `times` requests to resume a topic from its beginning, and waits until the hub has read
    /// them all. With `apart` each writes the position differently, so that none shares a replay.
    fn ask(&mut self, topic: &str, times: u64, apart: bool) {
        for ticket in 0..times {
            let position = &format!("f-{}", "0".repeat(if apart { ticket as usize + 1 } else { 1 }));
            self.send(&Up::Resume { ticket, topic, position });
        }
        self.send(&Up::Sync);
        while !self.receive(|frame| matches!(frame, Down::Synced)) {}
    }

    /// Reads a frame, and returns it without its length.
    fn frame(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut frame = vec![0; u32::from_le_bytes(length) as usize];
        self.0.read_exact(&mut frame).unwrap();
        frame
    }

    /// Reads a frame from the hub and passes it to `f`.
    fn receive<R>(&mut self, f: impl FnOnce(Down<'_>) -> R) -> R {
        f(Down::decode(&self.frame()).unwrap())
    }
}

/// Waits until a node has subscribed to a topic at the broker.
fn subscribed(fake: &Fake, node: &Node, topic: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !fake.with(|exchange| exchange.nodes[&node.id].interest.contains(topic)) {
        assert!(Instant::now() < deadline, "no interest in {topic}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Two nodes that share a broker, and a handle to it.
fn pair() -> (Fake, Node, Node) {
    let exchange = Arc::default();
    let nodes = (Node::new(&exchange, 1), Node::new(&exchange, 2));
    (Fake(exchange, 0), nodes.0, nodes.1)
}
