//! The watch thread of a worker: ends the worker if its master is gone, even while its PHP code hangs.
//!
//! `run()` checks on the master between callbacks. While a callback hangs, the worker would keep
//! accepting connections that PHP never serves, and occupy the port that a new master needs. A thread
//! therefore polls the control channel, stops the I/O threads when the master is gone, and ends the
//! process if PHP does not do so in time.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use sprocket_server::Stopper;
use sprocket_server::notices::Level;

use super::deadlines::{GRACE, STOP_PATIENCE};
use super::log::report;
use super::reexec;
use crate::zend::{self, SignalsBlocked};

/// Interval between two checks of the parent process id. The socket alone is not sufficient: other
/// processes started by the master may have inherited its end.
const LOOK: Duration = Duration::from_secs(1);

/// State shared by the thread and the worker.
#[derive(Default)]
struct Shared {
    stopper: Option<Stopper>,
    /// Whether the master is gone.
    orphaned: bool,
}

/// The watch thread of a worker, ended on drop. The worker's [`Role`](super::role::Role) holds it.
pub(super) struct Watch {
    shared: Arc<Mutex<Shared>>,
    quit: PipeWriter,
    thread: Option<JoinHandle<()>>,
    owner: u32,
}

impl Watch {
    /// Starts to watch `control`, the socket to the master, and the id of the parent process.
    pub(super) fn begin(control: OwnedFd, master: i32, number: u16) -> io::Result<Self> {
        let (ended, quit) = io::pipe()?;
        let shared = Arc::<Mutex<Shared>>::default();
        let theirs = shared.clone();
        // The thread must not receive signals, which belong to the PHP thread.
        let blocked = SignalsBlocked::new();
        let thread = std::thread::Builder::new().name("sprocket-watch".into()).stack_size(128 << 10);
        let thread = thread.spawn(move || {
            if let Some(deadline) = await_orphaning(&control, &ended, master, &theirs) {
                await_end(&ended, deadline, number);
            }
        });
        drop(blocked);
        let thread = thread?;
        Ok(Self { shared, quit, thread: Some(thread), owner: std::process::id() })
    }

    /// Sets the server to stop when the master is gone, and stops it at once if the master is already
    /// gone.
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
        // A fork has no copy of the thread and must not end that of its parent.
        if self.owner != std::process::id() {
            return;
        }
        // A write fails only if the thread has ended.
        let _ = self.quit.write_all(&[0]);
        if let Some(thread) = self.thread.take() {
            // The panic handler has reported a panic of the thread.
            let _ = thread.join();
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the master is gone. Returns the time by which the process must have ended, or `None`
/// if the worker ended first.
fn await_orphaning(
    control: &OwnedFd,
    ended: &PipeReader,
    master: i32,
    shared: &Mutex<Shared>,
) -> Option<Instant> {
    while reexec::parent() == master {
        // Only the hang-up of the other end matters here; `run()` reads the messages.
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

/// Waits until the worker has ended, and ends the process at the deadline.
fn await_end(ended: &PipeReader, deadline: Instant, number: u16) {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN)];
        wait(&mut fds, left);
        if !fds[0].revents().is_empty() {
            return;
        }
        if left.is_zero() {
            // PHP cannot be interrupted from this thread. A living master would kill the process now.
            let message = format!("worker {number} outlived its master for too long and is killed");
            report(Level::Error, "worker.killed", message);
            zend::exit_now(1);
        }
    }
}

/// Polls the descriptors for at most `most`.
fn wait(fds: &mut [PollFd<'_>], most: Duration) {
    let most = Timespec { tv_sec: most.as_secs() as _, tv_nsec: most.subsec_nanos() as _ };
    // After an error no descriptor has an event, and the caller polls again.
    let _ = poll(fds, Some(&most));
}
