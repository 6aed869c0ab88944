//! A connection, and the runtime that moves it.

use std::future::Future;
use std::mem;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;
use tokio::time::timeout_at;

use super::call::Call;
use super::error::PublishError;

/// How long a thread of the runtime that has looked up a name waits for another one.
const IDLE: Duration = Duration::from_millis(1);

/// A connection of a client library, and a runtime of its own in this thread, which runs only
/// while somebody publishes.
#[derive(Debug)]
pub(super) struct Driven<C> {
    /// `Some` until it is dropped.
    parts: Option<(C, Runtime)>,
    process: u32,
}

impl<C> Driven<C> {
    /// Connects and greets, in the time of the call.
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
                // A name may still be looked up.
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// Runs something on the connection. What has arrived since the last time is dealt with first.
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
        // In a fork the runtime's epoll instance is the parent's, too: to drop it here would take
        // the parent's socket out of it, and the parent would wait for answers in vain. Nor must
        // anything be said on the connection. So all of it is left as it is.
        let Some((connection, runtime)) = self.parts.take() else { return };
        if self.process == std::process::id() {
            drop(connection);
            runtime.shutdown_background();
        } else {
            mem::forget((connection, runtime));
        }
    }
}

/// Lets all tasks run that can, and those that what the kernel holds makes ready, without waiting.
pub(super) async fn settle() {
    // The runtime runs all its tasks, and then looks at its sockets, before it comes back here: the
    // second turn is for what the first look has found. One more, for tasks that wake tasks.
    for _ in 0..3 {
        yield_now().await;
    }
}
