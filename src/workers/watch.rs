//! The end of a worker whose master is gone, also while its PHP code hangs.
//!
//! The loop of `run()` looks at the master between callbacks. A callback that hangs keeps it from
//! that: the worker would go on to accept connections that nobody serves, and keep the port from
//! the master's successor. So a thread watches the socket to the master, stops the I/O threads when
//! the master is gone, and ends the process when PHP does not do so in time.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use sprocket_core::Stopper;
use sprocket_core::notices::Level;

use super::deadlines::{GRACE, STOP_PATIENCE};
use super::origin;
use super::say::report;
use crate::zend;

/// How often to look for another parent process: descriptors of the master may live on in other
/// processes that it has started.
const LOOK: Duration = Duration::from_secs(1);

/// What the thread and the worker share.
#[derive(Default)]
struct Shared {
    stopper: Option<Stopper>,
    /// The master is gone.
    orphaned: bool,
}

/// The watch of a worker. Dropping it ends the thread.
pub(super) struct Watch {
    shared: Arc<Mutex<Shared>>,
    quit: PipeWriter,
    thread: Option<JoinHandle<()>>,
    owner: u32,
}

impl Watch {
    /// Watches `control`, the socket to the master, and the process number of the parent.
    pub(super) fn begin(control: OwnedFd, master: i32, number: u16) -> io::Result<Self> {
        let (ended, quit) = io::pipe()?;
        let shared = Arc::<Mutex<Shared>>::default();
        let theirs = shared.clone();
        // Signals are for the PHP thread.
        let thread = zend::with_signals_blocked(|| {
            let thread = std::thread::Builder::new().name("sprocket-watch".into()).stack_size(128 << 10);
            thread.spawn(move || {
                if let Some(deadline) = await_orphaning(&control, &ended, master, &theirs) {
                    await_end(&ended, deadline, number);
                }
            })
        })?;
        Ok(Self { shared, quit, thread: Some(thread), owner: std::process::id() })
    }

    /// The server that is stopped when the master is gone, or at once if it is.
    pub(super) fn guard(&self, stopper: Stopper) {
        let mut shared = lock(&self.shared);
        if shared.orphaned {
            stopper.stop(GRACE);
        }
        shared.stopper = Some(stopper);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // A fork has no such thread, and must not end that of its parent.
        if self.owner != std::process::id() {
            return;
        }
        // An error means that the thread has ended.
        let _ = self.quit.write_all(&[0]);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Until the master is gone: returns when the process must have ended. `None`: the worker has ended
/// before.
fn await_orphaning(
    control: &OwnedFd,
    ended: &PipeReader,
    master: i32,
    shared: &Mutex<Shared>,
) -> Option<Instant> {
    while origin::parent() == master {
        // Nothing is asked for but the other end's hang-up: what the master says is for the loop of `run()`.
        let mut fds = [
            PollFd::from_borrowed_fd(control.as_fd(), PollFlags::empty()),
            PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN),
        ];
        wait(&mut fds, LOOK);
        if !fds[1].revents().is_empty() {
            return None;
        }
        if !fds[0].revents().is_empty() {
            break;
        }
    }
    let mut shared = lock(shared);
    shared.orphaned = true;
    if let Some(stopper) = &shared.stopper {
        stopper.stop(GRACE);
    }
    Some(Instant::now() + GRACE + STOP_PATIENCE)
}

/// Until the worker has ended; ends the process if that takes too long.
fn await_end(ended: &PipeReader, deadline: Instant, number: u16) {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN)];
        wait(&mut fds, left);
        if !fds[0].revents().is_empty() {
            return;
        }
        if left.is_zero() {
            // PHP can't be interrupted from here. The master would kill the process now.
            let message = format!("worker {number} did not end in time after its master and is killed");
            report(Level::Error, "worker.killed", message);
            zend::exit_now(1);
        }
    }
}

/// Waits for one of these, but not longer than `most`.
fn wait(fds: &mut [PollFd<'_>], most: Duration) {
    let most = Timespec { tv_sec: most.as_secs() as _, tv_nsec: most.subsec_nanos() as _ };
    // After an error none of them has an event, and the caller comes again.
    let _ = poll(fds, Some(&most));
}
