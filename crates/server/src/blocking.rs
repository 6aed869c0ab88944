//! Runs work that may block, such as reading files, on the threads of the runtime's pool.

use std::any::Any;
use std::cell::Cell;

use tokio::task::JoinHandle;

/// Blocks all signals on the calling thread until the returned value is dropped.
pub type BlockSignals = fn() -> Box<dyn Any>;

thread_local! {
    static BLOCK_SIGNALS: Cell<Option<BlockSignals>> = const { Cell::new(None) };
}

/// Sets how the calling thread blocks signals while [`spawn`] runs; `None` if they are blocked already.
pub(crate) fn block_signals_by(block: Option<BlockSignals>) {
    BLOCK_SIGNALS.set(block);
}

/// Runs `work` on another thread. If that thread must first be spawned, it inherits the signal mask of the
/// calling thread, which may be the host's. Signals are therefore blocked meanwhile, so that they reach
/// the host's thread alone.
pub(crate) fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let _blocked = BLOCK_SIGNALS.get().map(|block| block());
    tokio::task::spawn_blocking(work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    static BLOCKED: AtomicU32 = AtomicU32::new(0);
    static UNBLOCKED: AtomicU32 = AtomicU32::new(0);

    struct Blocked;

    impl Drop for Blocked {
        fn drop(&mut self) {
            UNBLOCKED.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn signals_are_blocked_while_a_thread_is_spawned() {
        block_signals_by(Some(|| {
            BLOCKED.fetch_add(1, Ordering::Relaxed);
            Box::new(Blocked)
        }));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let work = spawn(|| 7);
            assert_eq!((BLOCKED.load(Ordering::Relaxed), UNBLOCKED.load(Ordering::Relaxed)), (1, 1));
            assert_eq!(work.await.unwrap(), 7);
        });
        block_signals_by(None);
    }
}
