//! Nodes that share a broker, which is a fake one here.

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
use crate::cluster::config::HubConfig;
use crate::cluster::hub::fingerprint;
use crate::cluster::hub::serve::Service;
use crate::cluster::wire::{Down, Up, VERSION};
use crate::config::{ClusterMember, Config, History};
use crate::metrics::counters::Stats;
use crate::support;
use exchange::{Attached, Exchange, Fake};
use support::*;

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

    /// A worker of which nobody but the test knows what it reads.
    fn raw(&self, slot: u16) -> Raw {
        let mut raw = self.stranger();
        let history = fingerprint(&self.history);
        let counters = Stats::layout();
        raw.say(&Up::Hello { version: VERSION, slot, instance: slot.into(), counters, history: &history });
        raw
    }

    /// A connection to the hub that has not said hello.
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
