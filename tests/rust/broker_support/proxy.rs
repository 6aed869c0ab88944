//! Stands between a node and its broker, and breaks their connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
                    let never = AtomicBool::new(false);
                    tokio::select! {
                        () = pass(from_client, to_broker, &never) => {}
                        () = pass(from_broker, to_client, &state.deaf) => {}
                        () = state.cut.notified() => {}
                    }
                });
            }
        });
        Self { port, state }
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

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::Relaxed)
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, deaf: &AtomicBool) {
    // Small, so that a cut leaves a command in pieces.
    let mut chunk = [0; 1000];
    while let Ok(n @ 1..) = from.read(&mut chunk).await {
        if !deaf.load(Ordering::Relaxed) && to.write_all(&chunk[..n]).await.is_err() {
            return;
        }
    }
}
