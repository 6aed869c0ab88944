//! Runs real brokers for tests, each in a temporary folder of its own, and nodes connected to them.

#![allow(dead_code, unreachable_pub, reason = "not every test uses everything")]

pub mod cases;
pub mod proxy;

use sprocket_broker::{BrokerClient, BrokerConfig, BrokerHandle, FromBroker, connect};
use std::future::Future;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Receiver;

/// Time limit of each step, generous enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Finds a program. If it is not installed, the caller skips its test; `cargo test` cannot report a
/// skipped test, so this function reports it on the terminal and in the file that `bin/test` reads.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin:/sbin";
    let found = path.split(':').map(|folder| Path::new(folder).join(name)).find(|file| file.is_file());
    if found.is_none() {
        let test = std::thread::current().name().unwrap_or("?").to_owned();
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {name} is not installed");
        if let Ok(file) = std::env::var("SPROCKET_SKIPPED") {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
            writeln!(file, "{test} {name} is not installed").unwrap();
        }
    }
    found
}

/// Runs a test on a runtime of its own. Panics if it takes too long.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime
        .block_on(async { tokio::time::timeout(4 * PATIENCE, test).await })
        .expect("the test takes too long");
}

/// A temporary folder, removed on drop.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("sprocket-broker-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Redis,
    Nats,
}

/// A broker that listens on 127.0.0.1.
pub struct Broker {
    pub kind: Kind,
    program: PathBuf,
    pub port: u16,
    /// Additional command line arguments.
    extra: Vec<String>,
    credentials: String,
    pub folder: Folder,
    child: Option<Child>,
}

impl Broker {
    pub fn start(kind: Kind) -> Option<Self> {
        Self::start_with(kind, Folder::new(), &[])
    }

    pub fn start_with(kind: Kind, folder: Folder, extra: &[&str]) -> Option<Self> {
        let program = program(match kind {
            Kind::Redis => "redis-server",
            Kind::Nats => "nats-server",
        })?;
        let extra = extra.iter().map(|argument| (*argument).to_owned()).collect();
        let mut broker =
            Self { kind, program, port: 0, extra, credentials: String::new(), folder, child: None };
        for _ in 0..5 {
            broker.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            // Another process may have taken the port in the meantime.
            if broker.up() {
                return Some(broker);
            }
        }
        panic!("{} does not start", broker.program.display());
    }

    /// Starts or restarts the broker. Returns false if it exited before it accepted a connection.
    pub fn up(&mut self) -> bool {
        assert!(self.child.is_none());
        let port = self.port.to_string();
        let log = std::fs::File::create(self.folder.path("log")).unwrap();
        let mut command = Command::new(&self.program);
        match self.kind {
            Kind::Redis => {
                let tls = self.extra.iter().any(|argument| argument.contains("tls"));
                command.args([
                    "--bind",
                    "127.0.0.1",
                    "--save",
                    "",
                    "--appendonly",
                    "no",
                    "--daemonize",
                    "no",
                ]);
                command.args(["--dir", self.folder.0.to_str().unwrap()]);
                command.args(if tls {
                    ["--port", "0", "--tls-port", &port].to_vec()
                } else {
                    ["--port", &port].to_vec()
                });
            }
            Kind::Nats => {
                command.args(["-a", "127.0.0.1", "-p", &port]);
                command.args(["-js", "-sd", &self.folder.path("jetstream")]);
            }
        }
        let child = command
            .args(&self.extra)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "{}", self.log());
            if self.child.as_mut().unwrap().try_wait().unwrap().is_some() {
                self.child = None;
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path("log")).unwrap_or_default()
    }

    /// Kills the broker by SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends a signal to the broker: `STOP` or `CONT`.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    /// Adds a user and password to the URLs returned from now on.
    pub fn with_credentials(&mut self, credentials: &str) -> &Self {
        self.credentials = format!("{credentials}@");
        self
    }

    pub fn url(&self) -> String {
        self.url_at(self.port)
    }

    pub fn url_at(&self, port: u16) -> String {
        let scheme = if self.kind == Kind::Redis { "redis" } else { "nats" };
        format!("{scheme}://{}127.0.0.1:{port}", self.credentials)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // SIGKILL also ends a process that SIGSTOP has stopped.
        self.kill();
    }
}

/// A node: a client of a broker, used as the server uses it.
pub struct Node {
    pub handle: BrokerHandle,
    events: Receiver<FromBroker>,
    /// Number of the next message, for tests that number their messages.
    pub next_number: u64,
}

impl Node {
    /// Creates a node without waiting for its connection.
    pub fn start(config: BrokerConfig) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = u64::from(std::process::id()) << 32 | NEXT.fetch_add(1, Ordering::Relaxed);
        let (handle, events) = connect(config, number);
        Self { handle, events, next_number: 0 }
    }

    /// Creates a node that is connected and subscribed to these names.
    pub async fn new(url: &str, names: &[&str]) -> Self {
        Self::with(BrokerConfig::new(url), names).await
    }

    pub async fn with(config: BrokerConfig, names: &[&str]) -> Self {
        let mut node = Self::start(config);
        for name in names {
            node.handle.interest(name, true);
        }
        node.connected().await;
        node
    }

    /// Waits for the next event.
    pub async fn event(&mut self) -> FromBroker {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        event
            .unwrap_or_else(|_| panic!("no event arrives; {:?}", self.handle.stats()))
            .expect("the driver ended")
    }

    /// Waits until the node is connected. Other events are discarded.
    pub async fn connected(&mut self) {
        while !matches!(self.event().await, FromBroker::State { connected: true, .. }) {}
    }

    /// Waits until the node is disconnected and returns the reason.
    pub async fn disconnected(&mut self) -> String {
        loop {
            if let FromBroker::State { connected: false, reason } = self.event().await {
                return reason;
            }
        }
    }

    /// Waits for the next report of a loss and returns it as `topic: reason`, followed by `?` if the
    /// loss is uncertain.
    pub async fn lost(&mut self) -> String {
        loop {
            if let FromBroker::Lost { topic, reason, uncertain } = self.event().await {
                return format!("{topic}: {reason}{}", if uncertain { "?" } else { "" });
            }
        }
    }

    /// Waits for the next message and returns it as `topic: payload`, followed by `!` if it is binary.
    pub async fn message(&mut self) -> String {
        self.message_at().await.0
    }

    /// Returns the next message together with its position in the topic's history.
    pub async fn message_at(&mut self) -> (String, String) {
        loop {
            match self.event().await {
                FromBroker::Message { topic, payload, binary, position, .. } => {
                    let mark = if binary { "!" } else { "" };
                    let text = format!("{topic}: {}{mark}", payload.escape_ascii());
                    return (text, position.unwrap_or_default());
                }
                FromBroker::State { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub fn publish(&self, topic: &str, payload: &str) {
        self.handle.publish(topic, payload.to_owned().into(), false).unwrap();
    }

    /// Waits until the broker has confirmed all publications.
    pub async fn flush(&self) {
        let flushed = tokio::time::timeout(PATIENCE, self.handle.flush()).await;
        flushed.unwrap_or_else(|_| panic!("not flushed: {:?}", self.handle.stats()));
    }

    /// Waits until subscriptions made after the connection are active.
    pub async fn settled(&self) {
        // The broker confirms this publication after the subscriptions sent before it.
        self.publish("settled", "");
        self.flush().await;
    }
}

/// A raw connection to a broker, for tests that use its protocol directly.
pub struct Line(std::io::BufReader<TcpStream>);

impl Line {
    pub fn new(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(std::io::BufReader::new(stream))
    }

    pub fn send(&mut self, bytes: &str) {
        self.0.get_mut().write_all(bytes.as_bytes()).unwrap();
    }

    /// Reads the next line, without its line end.
    pub fn line(&mut self) -> String {
        use std::io::BufRead;
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).unwrap();
        assert!(!line.is_empty(), "the broker ended the connection");
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }

    /// Reads lines until one begins with `start`, and returns it.
    pub fn until(&mut self, start: &str) -> String {
        loop {
            let line = self.line();
            if line.starts_with(start) {
                return line;
            }
        }
    }
}

/// Writes the files of a CA and of a certificate for 127.0.0.1: `ca.pem`, `cert.pem`, `key.pem`.
pub fn certificates(folder: &Folder) {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    // The name must differ from the default name of the leaf certificate.
    ca.distinguished_name.push(DnType::CommonName, "Test CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    folder.file("ca.pem", &ca.self_signed(&ca_key).unwrap().pem());
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    folder.file("cert.pem", &leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap().pem());
    folder.file("key.pem", &key.serialize_pem());
}
