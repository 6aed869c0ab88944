//! A TCP proxy between a node and its broker, which can interrupt their connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Forwards all bytes until a test interrupts it. Ends with its runtime.
pub struct Proxy {
    pub port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Whether the bytes from the broker are discarded.
    discards_answers: AtomicBool,
    /// Whether new connections are closed at once.
    closed: AtomicBool,
    cut: Notify,
    accepted: AtomicUsize,
    /// Number of bytes forwarded to clients.
    passed: AtomicUsize,
}

impl Proxy {
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = state.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                if shared.closed.load(Ordering::Relaxed) {
                    continue;
                }
                let state = shared.clone();
                tokio::spawn(async move {
                    let Ok(broker) = TcpStream::connect(("127.0.0.1", to)).await else { return };
                    let (from_client, to_client) = client.into_split();
                    let (from_broker, to_broker) = broker.into_split();
                    let (never, uncounted) = (AtomicBool::new(false), AtomicUsize::new(0));
                    tokio::select! {
                        () = pass(from_client, to_broker, &never, &uncounted) => {}
                        () = pass(from_broker, to_client, &state.discards_answers, &state.passed) => {}
                        () = state.cut.notified() => {}
                    }
                });
            }
        });
        Self { port, state }
    }

    /// Starts a proxy on a thread of its own, so that it runs independently of the test's runtime. The
    /// thread ends with the process.
    pub fn start_apart(to: u16) -> Self {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                sender.send(Self::start(to).await).unwrap();
                std::future::pending::<()>().await;
            });
        });
        receiver.recv().unwrap()
    }

    /// From now on, commands reach the broker and its answers are discarded.
    pub fn swallow_answers(&self) {
        self.state.discards_answers.store(true, Ordering::Relaxed);
    }

    /// Closes all connections at any point of their streams. New connections are forwarded as usual.
    pub fn cut(&self) {
        self.state.discards_answers.store(false, Ordering::Relaxed);
        self.state.cut.notify_waiters();
    }

    /// Starts or stops refusing all connections.
    pub fn close(&self, closed: bool) {
        self.state.closed.store(closed, Ordering::Relaxed);
        if closed {
            self.cut();
        }
    }

    /// Waits until clients read no more for a while, and returns the number of bytes forwarded to them.
    pub async fn passed(&self) -> usize {
        let mut passed = 0;
        loop {
            let now = self.state.passed.load(Ordering::Relaxed);
            if now == std::mem::replace(&mut passed, now) {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Number of connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::Relaxed)
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    discards_answers: &AtomicBool,
    passed: &AtomicUsize,
) {
    // The buffer is small, so that a cut leaves a command incomplete.
    let mut chunk = [0; 1000];
    while let Ok(n @ 1..) = from.read(&mut chunk).await {
        if !discards_answers.load(Ordering::Relaxed) && to.write_all(&chunk[..n]).await.is_err() {
            return;
        }
        passed.fetch_add(n, Ordering::Relaxed);
    }
}
