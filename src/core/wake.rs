//! Waking the host: a descriptor that is written only when the host has said that it sleeps.
//!
//! The host announces sleep (flag, fence, recheck of the queue) and then blocks on the
//! descriptor; an I/O thread that has published events writes the descriptor only where it
//! finds that flag. Under load nobody sleeps, and no system call is spent on waking.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// One sleeper, many wakers.
#[derive(Debug)]
pub(crate) struct Waker {
    read: OwnedFd,
    /// The other end of the pipe, where the platform has no eventfd.
    #[cfg(not(target_os = "linux"))]
    write: OwnedFd,
    sleeping: AtomicBool,
    /// The descriptor was written and not yet read.
    signaled: AtomicBool,
}

impl Waker {
    #[cfg(target_os = "linux")]
    pub(crate) fn new() -> io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        let read = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { read, sleeping: AtomicBool::new(false), signaled: AtomicBool::new(false) })
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn new() -> io::Result<Self> {
        let (read, write) = rustix::pipe::pipe()?;
        for fd in [&read, &write] {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        let (sleeping, signaled) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Self { read, write, sleeping, signaled })
    }

    /// Readable after a wake-up, until [`Waker::reset`].
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }

    /// Called after something was put where the sleeper looks. A system call only if it sleeps.
    pub(crate) fn wake(&self) {
        // Pairs with the fence in `announce_sleep`: either we see the flag, or the sleeper sees
        // what we have put there.
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::AcqRel) {
            self.signal();
        }
    }

    /// Makes the descriptor readable, whether anybody sleeps or not.
    pub(crate) fn signal(&self) {
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

    /// The sleeper must look for work once more after this, and before it blocks.
    pub(crate) fn announce_sleep(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The sleeper is awake.
    pub(crate) fn awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable(waker: &Waker) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::from_borrowed_fd(waker.fd(), PollFlags::IN)], Some(&now)).unwrap() == 1
    }

    #[test]
    fn writes_only_for_a_sleeper() {
        let waker = Waker::new().unwrap();
        waker.wake();
        assert!(!readable(&waker));
        waker.announce_sleep();
        waker.wake();
        waker.wake();
        assert!(readable(&waker));
        waker.reset();
        assert!(!readable(&waker));
    }

    #[test]
    fn signal_needs_no_sleeper() {
        let waker = Waker::new().unwrap();
        waker.signal();
        assert!(readable(&waker));
    }
}
