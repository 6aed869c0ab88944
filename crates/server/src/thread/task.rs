//! Tasks of an I/O thread that serve peers without being sessions, such as HTTP connections.

use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::task::JoinHandle;

use crate::net::poll_turn;
use crate::thread;
use crate::thread::session_task::SessionTask;

/// Spawns a task that serves a peer on this I/O thread. After each of its polls, as after those of
/// sessions, the thread executes pending commands and publishes events that have waited too long.
pub(crate) fn spawn<F>(task: F) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(InTurns { task })
}

/// Like [`spawn`], for a socket that may become a WebSocket: if `arrival` returns the task of a session, the
/// session continues in the spawned task, and the memory of `arrival` is freed.
pub(crate) fn spawn_arrival<F>(arrival: F) -> JoinHandle<()>
where
    F: Future<Output = Option<SessionTask>> + Send + 'static,
{
    let arrival = Box::pin(InTurns { task: arrival });
    tokio::spawn(async move {
        let session = arrival.await;
        if let Some(session) = session {
            session.await;
        }
    })
}

pin_project! {
    /// A future whose polls count as turns, bounded by [`poll_turn`].
    struct InTurns<F> {
        #[pin]
        task: F,
    }
}

impl<F: Future> Future for InTurns<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let (poll, long) = poll_turn::take(|| self.project().task.poll(cx));
        thread::with(|io| io.end_turn(long));
        poll
    }
}

#[cfg(test)]
mod tests {
    use super::spawn;
    use crate::net::poll_turn::{is_over, share};

    #[test]
    fn a_turn_ends_after_its_time_and_each_poll_begins_a_new_one() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            assert!(!is_over(), "a task not spawned by `spawn` has no turns");
            let turns = spawn(async {
                for _ in 0..3 {
                    assert!(!is_over());
                    while !is_over() {
                        std::hint::spin_loop();
                    }
                    share().await;
                }
            });
            turns.await.unwrap();
        });
    }
}
