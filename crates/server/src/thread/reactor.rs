//! The reactor of the first I/O thread, which the host may drive while it waits for events.
//!
//! On a server with some load but much idle time, handing each message to the host and its answer back
//! costs more than the message: a futex wake-up, a context switch, and another wait. While such a host
//! waits, it therefore drives the reactor itself: it polls the sockets and runs the tasks of the I/O
//! thread, until there are events for it. The I/O thread meanwhile looks every millisecond whether the
//! host has been busy for longer than that, and then takes the reactor over, so that a slow callback
//! delays no client.
//!
//! The host drives only under a moderate load. On an idle server the I/O thread drives, because its
//! looks would cost more than they save, and likewise on a server with little idle time, because two
//! threads then get more work done than one.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;
use std::thread::Thread;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::Notify;

use super::load::Load;
use super::{Io, Vital, with};
use crate::channel::mailbox::Mailbox;
use crate::channel::wake::{Slept, Waker};

/// Nobody drives the reactor: the host handles events.
const VACANT: u8 = 0;
/// The I/O thread drives the reactor.
const THREAD: u8 = 1;
/// The host drives the reactor, because it waits for events.
const HOST: u8 = 2;

/// Interval at which the I/O thread looks after the reactor while the host drives it. A callback that
/// takes longer than two intervals runs in parallel with the I/O thread.
const LOOK: Duration = Duration::from_millis(1);
/// Number of looks after which the I/O thread decides whether the host continues to drive.
const LOOKS: u32 = 16;
/// Minimum number of waits of the host in [`LOOKS`] intervals. With fewer, the looks cost more than
/// they save.
const MIN_WAITS: u32 = 4;
/// Minimum number of looks, out of [`LOOKS`], that find the host waiting. With fewer, the server is too
/// busy for one thread.
const MIN_IDLE_LOOKS: u32 = 2;

/// Decides which thread drives the reactor of the first I/O thread, and passes the state of the thread
/// from one to the other.
pub(crate) struct Reactor {
    /// [`VACANT`], [`THREAD`] or [`HOST`].
    driver: AtomicU8,
    /// The state of the I/O thread, while the reactor is vacant.
    io: Mutex<Option<Box<Io>>>,
    /// The runtime, while the I/O thread lives.
    runtime: Mutex<Option<Arc<Runtime>>>,
    thread: OnceLock<Thread>,
    /// The I/O thread demands the reactor, or the host wants it to.
    recalled: AtomicBool,
    /// The host would drive the reactor while it waits.
    offered: AtomicBool,
    /// Time at which the host last fell asleep, in nanoseconds since `created`.
    asleep_since: AtomicU64,
    created: Instant,
    /// Makes the I/O thread leave the reactor to the host.
    offer_accepted: Notify,
    /// Number of times that the host has driven the reactor; wraps.
    drives: AtomicU32,
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor").field("driver", &self.driver).finish_non_exhaustive()
    }
}

impl Default for Reactor {
    fn default() -> Self {
        Self {
            driver: AtomicU8::new(VACANT),
            io: Mutex::default(),
            runtime: Mutex::default(),
            thread: OnceLock::new(),
            recalled: AtomicBool::new(false),
            offered: AtomicBool::new(false),
            asleep_since: AtomicU64::new(0),
            created: Instant::now(),
            offer_accepted: Notify::new(),
            drives: AtomicU32::new(0),
        }
    }
}

impl Reactor {
    /// I/O thread: shares its runtime with the host, until the returned value is dropped. The calling
    /// thread drives from now on.
    pub(crate) fn share(&self, runtime: &Arc<Runtime>) -> SharedRuntime<'_> {
        *lock(&self.runtime) = Some(runtime.clone());
        let _ = self.thread.set(std::thread::current());
        self.driver.store(THREAD, Ordering::SeqCst);
        SharedRuntime(self)
    }

    /// I/O thread: resolves when the thread should leave the reactor to the host.
    pub(crate) async fn leaving(&self) {
        self.offer_accepted.notified().await;
    }

    /// I/O thread: leaves the reactor to the host, and waits until it must drive again.
    pub(crate) fn follow(&self, mailbox: &Mailbox, waker: &Waker) {
        self.vacate(Io::detach());
        waker.wake();
        let mut seen = self.drives.load(Ordering::Relaxed);
        let (mut looks, mut idle, mut first) = (0, 0, seen);
        loop {
            std::thread::park_timeout(LOOK);
            let drives = self.drives.load(Ordering::Relaxed);
            let is_late = drives == seen;
            seen = drives;
            looks += 1;
            idle += u32::from(mailbox.is_parked());
            if looks == LOOKS {
                if drives.wrapping_sub(first) < MIN_WAITS || idle < MIN_IDLE_LOOKS {
                    self.recalled.store(true, Ordering::SeqCst);
                }
                (looks, idle, first) = (0, 0, drives);
            }
            let is_recalled = self.recalled.load(Ordering::SeqCst);
            if (is_late || is_recalled) && self.claim(THREAD) {
                break;
            }
            if is_recalled {
                // Ends the wait of a host that drives; it leaves the reactor then.
                waker.wake();
            }
        }
        self.recalled.store(false, Ordering::SeqCst);
        Io::attach(lock(&self.io).take());
        // The host may be in a long callback, whose commands must not wait for its end.
        with(|io| {
            io.load = Load::default();
            io.start_attending();
        });
    }

    /// Host: drives the reactor until there are events, `timeout` elapses or the waker is woken. Returns
    /// `None` at once if the I/O thread drives, or must.
    pub(crate) fn drive(
        &self,
        waker: &Waker,
        timeout: Option<Duration>,
        has_events: impl Fn() -> bool,
    ) -> Option<Slept> {
        if self.recalled.load(Ordering::SeqCst) || !self.claim(HOST) {
            return None;
        }
        let driving = Driving { reactor: self, waker };
        Io::attach(lock(&self.io).take());
        let runtime = lock(&self.runtime).clone()?;
        let due = timeout.map(|timeout| tokio::time::Instant::now() + timeout);
        let mut began = false;
        let served = std::future::poll_fn(|cx| {
            if !std::mem::replace(&mut began, true) {
                waker.drive(cx.waker());
                with(|io| io.begin_driving(due));
            }
            if has_events() || !waker.is_asleep() {
                return Poll::Ready(Slept::Woken);
            }
            match due.and_then(|_| with(|io| io.poll_wait(cx))) {
                // A timer of an earlier wait may end first.
                Some(true) if due.is_some_and(|due| due > tokio::time::Instant::now()) => {
                    Poll::Ready(Slept::Woken)
                }
                Some(true) => Poll::Ready(Slept::TimedOut),
                _ => Poll::Pending,
            }
        });
        // `Vital` reports a panic, and the host learns of it from `check_threads`.
        let slept = catch_unwind(AssertUnwindSafe(|| {
            let _vital = Vital;
            runtime.block_on(served)
        }));
        // The I/O thread may end as soon as the reactor is vacant, and must then own the last reference.
        drop(runtime);
        drop(driving);
        Some(slept.unwrap_or(Slept::Woken))
    }

    /// Host: is about to sleep while the I/O thread drives, and would drive instead.
    pub(crate) fn offer(&self) {
        self.asleep_since.store(self.nanos(), Ordering::Relaxed);
        self.offered.store(true, Ordering::Relaxed);
    }

    /// Host: makes the I/O thread drive, because the host will not, or not soon.
    pub(crate) fn recall(&self) {
        self.offered.store(false, Ordering::Relaxed);
        if self.driver.load(Ordering::SeqCst) != THREAD {
            self.recalled.store(true, Ordering::SeqCst);
            self.wake_thread();
        }
    }

    /// I/O thread: is about to park. Accepts the host's offer if the load is moderate.
    pub(crate) fn park(&self, io: &mut Io) {
        if self.driver.load(Ordering::Relaxed) != THREAD || !self.offered.load(Ordering::Relaxed) {
            return;
        }
        if io.load.park(self.nanos()) {
            self.offer_accepted.notify_one();
        }
    }

    /// I/O thread: is running again.
    pub(crate) fn unpark(&self, waker: &Waker, io: &mut Io) {
        if self.driver.load(Ordering::Relaxed) == THREAD && self.offered.load(Ordering::Relaxed) {
            let asleep = waker.is_asleep().then(|| self.asleep_since.load(Ordering::Relaxed));
            io.load.unpark(self.nanos(), asleep);
        }
    }

    fn nanos(&self) -> u64 {
        self.created.elapsed().as_nanos() as u64
    }

    /// Has the I/O thread accept the host's offer, whatever the load.
    #[cfg(test)]
    pub(crate) fn accept(&self) {
        self.offer_accepted.notify_one();
    }

    /// Number of times that the host has driven the reactor.
    #[cfg(test)]
    pub(crate) fn drives(&self) -> u32 {
        self.drives.load(Ordering::Relaxed)
    }

    /// Marks the reactor as vacant.
    fn vacate(&self, io: Option<Box<Io>>) {
        *lock(&self.io) = io;
        self.driver.store(VACANT, Ordering::SeqCst);
    }

    /// Makes the calling thread the driver if the reactor is vacant.
    fn claim(&self, driver: u8) -> bool {
        self.driver.compare_exchange(VACANT, driver, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    fn wake_thread(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// The runtime that an I/O thread shares with the host.
pub(crate) struct SharedRuntime<'a>(&'a Reactor);

impl Drop for SharedRuntime<'_> {
    fn drop(&mut self) {
        lock(&self.0.runtime).take();
    }
}

/// The host drives; dropped when it leaves the reactor, also by a panic.
struct Driving<'a> {
    reactor: &'a Reactor,
    waker: &'a Waker,
}

impl Drop for Driving<'_> {
    fn drop(&mut self) {
        self.waker.awake();
        let reactor = self.reactor;
        reactor.drives.store(reactor.drives.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        reactor.vacate(Io::detach());
        if reactor.recalled.load(Ordering::SeqCst) {
            reactor.wake_thread();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
