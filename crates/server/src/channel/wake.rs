//! Waking the host, only when it has said that it sleeps.
//!
//! The host announces sleep (state, fence, recheck of the queue) and then blocks; an I/O thread
//! that has published events looks at that state. Under load nobody sleeps, and no system call is
//! spent on waking.
//!
//! There are two ways to sleep. A foreign event loop waits for a descriptor. The host's own loop
//! waits on a futex, where the platform has one: that saves the read which makes a descriptor
//! unreadable again, a third of the system calls of a wake-up.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::time::Duration;

use rustix::event::Timespec;
#[cfg(not(target_os = "linux"))]
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

const AWAKE: u32 = 0;
/// Blocked in [`Waker::sleep`].
const SLEEPING: u32 = 1;
/// Somebody waits for the descriptor.
const WATCHING: u32 = 2;

/// How a sleep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slept {
    Woken,
    TimedOut,
    /// By a signal.
    Interrupted,
}

/// One sleeper, many wakers.
#[derive(Debug)]
pub(crate) struct Waker {
    read: OwnedFd,
    /// The other end of the pipe, where the platform has no eventfd.
    #[cfg(not(target_os = "linux"))]
    write: OwnedFd,
    state: AtomicU32,
    /// The descriptor was written and not yet read.
    signaled: AtomicBool,
}

impl Waker {
    #[cfg(target_os = "linux")]
    pub(crate) fn new() -> io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        let read = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { read, state: AtomicU32::new(AWAKE), signaled: AtomicBool::new(false) })
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn new() -> io::Result<Self> {
        let (read, write) = rustix::pipe::pipe()?;
        for fd in [&read, &write] {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        let (state, signaled) = (AtomicU32::new(AWAKE), AtomicBool::new(false));
        Ok(Self { read, write, state, signaled })
    }

    /// Readable after a wake-up of a watcher, until [`Waker::reset`].
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }

    /// Called after something was put where the sleeper looks. A system call only if it sleeps.
    pub(crate) fn wake(&self) {
        // Pairs with the fence in `announce`: either we see the state, or the sleeper sees what
        // we have put there.
        fence(Ordering::SeqCst);
        if self.is_asleep() {
            self.rouse();
        }
    }

    pub(crate) fn is_asleep(&self) -> bool {
        self.state.load(Ordering::Relaxed) != AWAKE
    }

    fn rouse(&self) {
        match self.state.swap(AWAKE, Ordering::AcqRel) {
            #[cfg(target_os = "linux")]
            SLEEPING => {
                use rustix::thread::futex;
                // Nobody there any more is no error.
                let _ = futex::wake(&self.state, futex::Flags::PRIVATE, 1);
            }
            AWAKE => {}
            _ => self.write_fd(),
        }
    }

    /// Wakes a sleeper, and makes the descriptor readable, whether anybody watches it or not.
    pub(crate) fn signal(&self) {
        self.rouse();
        self.write_fd();
    }

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

    /// Somebody will wait for the descriptor, and must look for work once more after this.
    pub(crate) fn watch(&self) {
        self.announce(WATCHING);
    }

    fn announce(&self, state: u32) {
        self.state.store(state, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The sleeper is awake.
    pub(crate) fn awake(&self) {
        self.state.store(AWAKE, Ordering::Relaxed);
    }

    /// Blocks until woken, unless `has_work` finds some after sleep was announced.
    pub(crate) fn sleep(&self, timeout: Option<Duration>, has_work: impl FnOnce() -> bool) -> Slept {
        self.reset();
        self.announce(if cfg!(target_os = "linux") { SLEEPING } else { WATCHING });
        let slept = if has_work() { Slept::Woken } else { self.block(timeout) };
        self.awake();
        slept
    }

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
                // Woken, or it was awake already.
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
    fn writes_only_for_a_watcher() {
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
    fn a_sleeper_is_woken_from_another_thread() {
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
    fn signal_needs_no_watcher() {
        let waker = Waker::new().unwrap();
        waker.signal();
        assert!(readable(&waker));
    }
}
