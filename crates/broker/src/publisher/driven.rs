//! A connection together with the runtime that drives it.

use std::future::Future;
use std::mem;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;
use tokio::time::timeout_at;

use super::call::Call;
use super::publish_error::PublishError;

/// How long a thread that has looked up a host name waits for another task.
const IDLE: Duration = Duration::from_millis(1);

/// A connection of a client library, with a runtime of its own in the calling thread. The runtime
/// runs only while a message is published.
#[derive(Debug)]
pub(super) struct Driven<C> {
    /// `Some` until it is dropped.
    parts: Option<(C, Runtime)>,
    process: u32,
}

impl<C> Driven<C> {
    /// Connects and performs the handshake, within the timeout of the call.
    pub(super) fn connect<F>(call: &Call<'_>, connect: impl FnOnce() -> F) -> Result<Self, PublishError>
    where
        F: Future<Output = Result<C, PublishError>>,
    {
        let runtime = Builder::new_current_thread().enable_all().thread_keep_alive(IDLE).build();
        let runtime = runtime.map_err(|source| call.unreachable(source))?;
        let connected = runtime.block_on(async {
            let connected = timeout_at(call.until.into(), connect()).await;
            connected.unwrap_or_else(|_| Err(call.not_taken()))
        });
        match connected {
            Ok(connection) => Ok(Self { parts: Some((connection, runtime)), process: std::process::id() }),
            Err(error) => {
                // Does not wait for a DNS lookup that is still running.
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// Runs a future on the connection, after handling what has arrived since the last call.
    pub(super) fn run<T>(
        &mut self,
        call: &Call<'_>,
        body: impl AsyncFnOnce(&mut C) -> Result<T, PublishError>,
    ) -> Result<T, PublishError> {
        let Some((connection, runtime)) = &mut self.parts else { return Err(call.closed()) };
        runtime.block_on(async {
            settle().await;
            body(connection).await
        })
    }
}

impl<C> Drop for Driven<C> {
    fn drop(&mut self) {
        // In a fork, the runtime's epoll instance is shared with the parent: dropping the runtime
        // would remove the parent's socket from it, and the parent would wait for answers in vain.
        // The connection must not send anything, either. So both are leaked.
        let Some((connection, runtime)) = self.parts.take() else { return };
        if self.process == std::process::id() {
            drop(connection);
            runtime.shutdown_background();
        } else {
            mem::forget((connection, runtime));
        }
    }
}

/// Runs all tasks that can run, with what the sockets hold now, without waiting.
pub(super) async fn settle() {
    // Each yield runs all tasks and then polls the sockets. The first one polls them, the second one
    // runs the tasks that this has woken, and the third one those that the tasks have woken.
    for _ in 0..3 {
        yield_now().await;
    }
}
