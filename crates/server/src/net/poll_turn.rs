//! Turns: how the tasks of one I/O thread share its time.
//!
//! A `current_thread` runtime runs one task at a time and polls its sockets only when no task is ready. A
//! peer that sends without pause would keep its task ready, and keep the thread from serving all other
//! sockets and the host. Each task therefore ends its turn after a bounded amount of work: sessions count
//! frames and bytes, all other tasks call [`is_over`]. A task with more work then calls [`pass`], so that all
//! other tasks and the sockets go first.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::task::Context;
use std::time::{Duration, Instant};

/// Length of a turn. A thread that serves eight busy peers returns to each of its other sockets after about a
/// millisecond; ending a turn costs some two hundred times less than it lasts.
const TURN: Duration = Duration::from_micros(100);

thread_local! {
    /// Start of the current turn; `None` outside of a turn.
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Runs one poll of a task as a turn. The second value returned is true if the poll used up the time of a
/// turn.
pub(crate) fn take<R>(poll: impl FnOnce() -> R) -> (R, bool) {
    BEGAN.set(Some(Instant::now()));
    let result = poll();
    let long = is_over();
    BEGAN.set(None);
    (result, long)
}

/// Whether the current poll has used up the time of a turn; false outside [`take`]. Reads the clock.
pub(crate) fn is_over() -> bool {
    BEGAN.get().is_some_and(|began| began.elapsed() >= TURN)
}

/// Schedules the current task behind all other ready tasks and behind a poll of the sockets. The caller then
/// returns `Pending`. Waking the task with its own waker would place it ahead of the sockets.
pub(crate) fn pass(cx: &mut Context<'_>) {
    // The first poll hands the waker to the scheduler, which wakes the task at the end of the round.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

/// Yields to other tasks if the time of the turn is used up.
pub(crate) async fn share() {
    if is_over() {
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::task::Poll;

    #[test]
    fn a_task_that_passes_lets_all_others_go_first() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        let order = Rc::new(Cell::new(0));
        local.block_on(&runtime, async {
            let busy = {
                let order = order.clone();
                tokio::task::spawn_local(poll_fn(move |cx| {
                    if order.get() == 3 {
                        return Poll::Ready(());
                    }
                    pass(cx);
                    Poll::Pending
                }))
            };
            for _ in 0..3 {
                let order = order.clone();
                tokio::task::spawn_local(async move { order.set(order.get() + 1) });
            }
            busy.await.unwrap();
        });
        assert_eq!(order.get(), 3);
    }
}
