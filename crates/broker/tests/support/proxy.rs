//! Stands between a node and its broker, and breaks their connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Passes everything on, until told otherwise. Ends with its runtime.
pub struct Proxy {
    pub port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// What the broker answers is swallowed.
    deaf: AtomicBool,
    /// Connections are closed as soon as they come.
    closed: AtomicBool,
    cut: Notify,
    accepted: AtomicUsize,
    /// Bytes that clients have been given.
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
                    let (never, nobody) = (AtomicBool::new(false), AtomicUsize::new(0));
                    tokio::select! {
                        () = pass(from_client, to_broker, &never, &nobody) => {}
                        () = pass(from_broker, to_client, &state.deaf, &state.passed) => {}
                        () = state.cut.notified() => {}
                    }
                });
            }
        });
        Self { port, state }
    }

    /// The same on a thread of its own, which ends with the process: at its own pace, not that of the
    /// test.
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

    /// From now on the broker gets everything, and its answers get lost.
    pub fn swallow_answers(&self) {
        self.state.deaf.store(true, Ordering::Relaxed);
    }

    /// Ends all connections, in the middle of whatever. New ones are as usual.
    pub fn cut(&self) {
        self.state.deaf.store(false, Ordering::Relaxed);
        self.state.cut.notify_waiters();
    }

    /// Whether nothing gets through.
    pub fn close(&self, closed: bool) {
        self.state.closed.store(closed, Ordering::Relaxed);
        if closed {
            self.cut();
        }
    }

    /// Bytes that clients were given, as soon as they take no more for a while.
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

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::Relaxed)
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    deaf: &AtomicBool,
    passed: &AtomicUsize,
) {
    // Small, so that a cut leaves a command in pieces.
    let mut chunk = [0; 1000];
    while let Ok(n @ 1..) = from.read(&mut chunk).await {
        if !deaf.load(Ordering::Relaxed) && to.write_all(&chunk[..n]).await.is_err() {
            return;
        }
        passed.fetch_add(n, Ordering::Relaxed);
    }
}
