//! Wakes the host when an I/O thread has published events, but only if the host sleeps.
//!
//! The host announces that it is about to sleep (it stores the state, issues a fence, and rechecks the
//! queue) and then blocks. An I/O thread that has published events checks that state. Under load the host
//! does not sleep, so waking costs no system call.
//!
//! The host sleeps in one of two ways. A foreign event loop waits for a file descriptor. The core's own loop
//! waits on a futex if the platform has one, which saves the read that makes a descriptor unreadable
//! again: a third of the system calls of a wake-up.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task;
use std::time::Duration;

use rustix::event::Timespec;
#[cfg(not(target_os = "linux"))]
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// The host is running.
const AWAKE: u32 = 0;
/// The host is blocked on the futex in [`Waker::sleep`].
const SLEEPING: u32 = 1;
/// The host waits for the descriptor.
const WATCHING: u32 = 2;
/// The host drives the reactor of an I/O thread, and waits there.
const DRIVING: u32 = 3;

/// The reason why a sleep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slept {
    /// There may be events.
    Woken,
    TimedOut,
    /// A signal handler has run.
    Interrupted,
}

/// Wakes the host. One thread sleeps (the host), any number may wake it (the I/O threads).
#[derive(Debug)]
pub(crate) struct Waker {
    /// The eventfd, or the read end of the pipe.
    read: OwnedFd,
    /// The write end of the pipe, on platforms without eventfd.
    #[cfg(not(target_os = "linux"))]
    write: OwnedFd,
    /// [`AWAKE`], [`SLEEPING`] or [`WATCHING`]; also the futex.
    state: AtomicU32,
    /// The descriptor was written to and not yet read.
    signaled: AtomicBool,
    /// Wakes the host while it drives a reactor.
    driver: Mutex<Option<task::Waker>>,
}

impl Waker {
    #[cfg(target_os = "linux")]
    pub(crate) fn new() -> io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        let read = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (state, signaled) = (AtomicU32::new(AWAKE), AtomicBool::new(false));
        Ok(Self { read, state, signaled, driver: Mutex::default() })
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn new() -> io::Result<Self> {
        let (read, write) = rustix::pipe::pipe()?;
        for fd in [&read, &write] {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        let (state, signaled) = (AtomicU32::new(AWAKE), AtomicBool::new(false));
        Ok(Self { read, write, state, signaled, driver: Mutex::default() })
    }

    /// The descriptor for a foreign event loop. It becomes readable when a watching host is woken, and stays
    /// readable until [`Waker::reset`].
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }

    /// Wakes the host if it sleeps. Called after events were put into the queue that the host rechecks
    /// before it sleeps. This makes a system call only if the host sleeps.
    pub(crate) fn wake(&self) {
        // Pairs with the fence in `announce`: either this thread sees the state, or the host sees the
        // events.
        fence(Ordering::SeqCst);
        if self.is_asleep() {
            self.rouse();
        }
    }

    /// Whether the host sleeps or is about to sleep.
    pub(crate) fn is_asleep(&self) -> bool {
        self.state.load(Ordering::Relaxed) != AWAKE
    }

    /// Sets the state to [`AWAKE`], and wakes the host in the way in which it sleeps.
    fn rouse(&self) {
        match self.state.swap(AWAKE, Ordering::AcqRel) {
            #[cfg(target_os = "linux")]
            SLEEPING => {
                use rustix::thread::futex;
                // It is no error if the host has stopped waiting in the meantime.
                let _ = futex::wake(&self.state, futex::Flags::PRIVATE, 1);
            }
            DRIVING => {
                if let Some(driver) = &*self.driver() {
                    driver.wake_by_ref();
                }
            }
            AWAKE => {}
            _ => self.write_fd(),
        }
    }

    /// Wakes the host and makes the descriptor readable, whether or not the host watches it.
    pub(crate) fn signal(&self) {
        self.rouse();
        self.write_fd();
    }

    /// Makes the descriptor readable.
    fn write_fd(&self) {
        if !self.signaled.swap(true, Ordering::AcqRel) {
            #[cfg(target_os = "linux")]
            let _ = rustix::io::write(&self.read, &1u64.to_ne_bytes());
            #[cfg(not(target_os = "linux"))]
            let _ = rustix::io::write(&self.write, &[1]);
        }
    }

    /// Makes the descriptor unreadable again.
    pub(crate) fn reset(&self) {
        if self.signaled.load(Ordering::Acquire) {
            let mut buf = [0u8; 8];
            let _ = rustix::io::read(&self.read, &mut buf);
            self.signaled.store(false, Ordering::Release);
        }
    }

    /// Announces that the host is about to wait for the descriptor. The host must check for events once more
    /// after this call.
    pub(crate) fn watch(&self) {
        self.announce(WATCHING);
    }

    /// Announces that the host drives a reactor, and is woken by `waker`. The host must check for events
    /// once more after this call.
    pub(crate) fn drive(&self, waker: &task::Waker) {
        self.driver().get_or_insert_with(|| waker.clone()).clone_from(waker);
        self.reset();
        self.announce(DRIVING);
    }

    /// Forgets how to wake a host that drives. That waker holds the runtime's handle, whose park callbacks
    /// hold the state that owns this value.
    pub(crate) fn end_driving(&self) {
        let driver = self.driver().take();
        drop(driver);
    }

    /// Whether the host drives a reactor.
    pub(crate) fn is_driving(&self) -> bool {
        self.state.load(Ordering::Relaxed) == DRIVING
    }

    fn driver(&self) -> MutexGuard<'_, Option<task::Waker>> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the state and issues the fence that [`Waker::wake`] pairs with.
    fn announce(&self, state: u32) {
        self.state.store(state, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Announces that the host is awake.
    pub(crate) fn awake(&self) {
        self.state.store(AWAKE, Ordering::Relaxed);
    }

    /// Blocks until the host is woken, `timeout` elapses or a signal arrives. `has_work` is called after
    /// sleep was announced; if it returns true, the host does not block.
    pub(crate) fn sleep(&self, timeout: Option<Duration>, has_work: impl FnOnce() -> bool) -> Slept {
        self.reset();
        self.announce(if cfg!(target_os = "linux") { SLEEPING } else { WATCHING });
        let slept = if has_work() { Slept::Woken } else { self.block(timeout) };
        self.awake();
        slept
    }

    /// Waits on the futex, or on the descriptor on platforms without futexes.
    fn block(&self, timeout: Option<Duration>) -> Slept {
        let timeout = timeout.map(|t| Timespec {
            tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: t.subsec_nanos().into(),
        });
        #[cfg(target_os = "linux")]
        {
            use rustix::thread::futex;
            match futex::wait(&self.state, futex::Flags::PRIVATE, SLEEPING, timeout.as_ref()) {
                Err(Errno::TIMEDOUT) => Slept::TimedOut,
                Err(Errno::INTR) => Slept::Interrupted,
                // The host was woken, or the state was no longer `SLEEPING` when the wait began.
                _ => Slept::Woken,
            }
        }
        #[cfg(not(target_os = "linux"))]
        {
            let mut fds = [PollFd::from_borrowed_fd(self.fd(), PollFlags::IN)];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(0) => Slept::TimedOut,
                Err(Errno::INTR) => Slept::Interrupted,
                _ => Slept::Woken,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};

    fn readable(waker: &Waker) -> bool {
        use rustix::event::Timespec;
        #[cfg(not(target_os = "linux"))]
        use rustix::event::{PollFd, PollFlags, poll};
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::from_borrowed_fd(waker.fd(), PollFlags::IN)], Some(&now)).unwrap() == 1
    }

    #[test]
    fn wake_writes_the_descriptor_only_for_a_watcher() {
        let waker = Waker::new().unwrap();
        waker.wake();
        assert!(!readable(&waker));
        waker.watch();
        waker.wake();
        waker.wake();
        assert!(readable(&waker));
        waker.reset();
        assert!(!readable(&waker));
    }

    #[test]
    fn another_thread_wakes_a_sleeping_host() {
        let waker = Waker::new().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !waker.is_asleep() {
                    std::thread::yield_now();
                }
                waker.wake();
            });
            assert_eq!(waker.sleep(Some(Duration::from_secs(10)), || false), Slept::Woken);
        });
        assert!(!readable(&waker), "no descriptor was needed");
        assert_eq!(waker.sleep(Some(Duration::from_millis(1)), || false), Slept::TimedOut);
        assert_eq!(waker.sleep(None, || true), Slept::Woken);
    }

    #[test]
    fn signal_writes_the_descriptor_without_a_watcher() {
        let waker = Waker::new().unwrap();
        waker.signal();
        assert!(readable(&waker));
    }
}
