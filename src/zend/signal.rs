//! Signals: blocking, counting, and ignoring them.

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

/// Guard that blocks all signals on this thread until it is dropped. Threads started meanwhile keep the
/// mask for good, so that only the PHP thread receives signals.
pub(crate) struct SignalsBlocked {
    before: libc::sigset_t,
    /// Makes the guard `!Send`, since the mask belongs to the thread.
    thread: PhantomData<*const ()>,
}

impl SignalsBlocked {
    pub(crate) fn new() -> Self {
        // SAFETY: both sets are filled before they are read.
        unsafe {
            let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = (mem::zeroed(), mem::zeroed());
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self { before, thread: PhantomData }
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: `new` filled the set.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut()) };
    }
}

/// Sets and reads the disposition of a signal. A PHP that defers signals keeps a table of its own,
/// behind `zend_sigaction` (`zend_signal.h`), which returns nothing.
///
/// # Safety
///
/// A handler in `new` must be async-signal-safe (signal-safety(7)).
unsafe fn sigaction(signal: i32, new: Option<&libc::sigaction>, old: Option<&mut libc::sigaction>) {
    type Deferring = unsafe extern "C" fn(c_int, *const libc::sigaction, *mut libc::sigaction);
    let new = new.map_or(ptr::null(), ptr::from_ref);
    let old = old.map_or(ptr::null_mut(), ptr::from_mut);
    // SAFETY: if the engine exports the symbol, it has this signature; the pointers are valid or null.
    unsafe {
        let symbol = libc::dlsym(libc::RTLD_DEFAULT, c"zend_sigaction".as_ptr());
        if symbol.is_null() {
            libc::sigaction(signal, new, old);
        } else {
            mem::transmute::<*mut c_void, Deferring>(symbol)(signal, new, old);
        }
    }
}

/// The disposition of a signal; `SIG_IGN` if it cannot be read.
fn disposition(signal: i32) -> usize {
    // SAFETY: a zeroed structure is valid; the call only reads.
    unsafe {
        let mut old: libc::sigaction = mem::zeroed();
        old.sa_sigaction = libc::SIG_IGN;
        sigaction(signal, None, Some(&mut old));
        old.sa_sigaction
    }
}

/// Whether the signal has its default disposition.
pub(crate) fn signal_is_default(signal: i32) -> bool {
    disposition(signal) == libc::SIG_DFL
}

/// Whether the signal has a handler.
pub(crate) fn signal_has_handler(signal: i32) -> bool {
    !matches!(disposition(signal), libc::SIG_DFL | libc::SIG_IGN)
}

/// Number of deliveries of each signal to [`count`].
static DELIVERIES: [AtomicU32; 32] = [const { AtomicU32::new(0) }; 32];

/// The only signal handler of the extension. It accesses nothing but atomics.
extern "C" fn count(signal: c_int) {
    if let Some(deliveries) = usize::try_from(signal).ok().and_then(|number| DELIVERIES.get(number)) {
        deliveries.fetch_add(1, Ordering::Relaxed);
    }
}

/// Replaces the disposition of a signal by a handler that counts its deliveries, for [`deliveries`].
pub(crate) fn count_signal(signal: i32) {
    set_disposition(signal, count as *const () as usize);
}

/// Whether [`count_signal`] is in effect for the signal: the script may have installed a handler since.
pub(crate) fn signal_is_counted(signal: i32) -> bool {
    disposition(signal) == count as *const () as usize
}

/// Returns the total number of counted deliveries of these signals since the process started.
pub(crate) fn deliveries(signals: &[i32]) -> u32 {
    let each = signals.iter().filter_map(|signal| DELIVERIES.get(usize::try_from(*signal).ok()?));
    each.map(|deliveries| deliveries.load(Ordering::Relaxed)).fold(0, u32::wrapping_add)
}

/// Restores the default disposition of a signal.
pub(crate) fn reset_signal(signal: i32) {
    set_disposition(signal, libc::SIG_DFL);
}

/// Ignores a signal.
pub(crate) fn ignore_signal(signal: i32) {
    set_disposition(signal, libc::SIG_IGN);
}

fn set_disposition(signal: i32, disposition: usize) {
    // SAFETY: a zeroed structure is valid. The disposition is `SIG_DFL`, `SIG_IGN` or `count`, which
    // is async-signal-safe. Without SA_RESTART, a waiting poll() returns.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = disposition;
        libc::sigemptyset(&raw mut action.sa_mask);
        sigaction(signal, Some(&action), None);
    }
}

/// Sets the dispositions for a process that runs no PHP code: signals sent by users, terminals and
/// timers are ignored, all others get their default.
pub(super) fn ignore_signals() {
    // These are the kernel's dispositions; the engine, which has its own table, is no longer used here.
    for signal in 1..32 {
        let disposition = match signal {
            libc::SIGKILL | libc::SIGSTOP => continue,
            libc::SIGHUP
            | libc::SIGINT
            | libc::SIGTERM
            | libc::SIGPIPE
            | libc::SIGALRM
            | libc::SIGUSR1
            | libc::SIGUSR2 => libc::SIG_IGN,
            _ => libc::SIG_DFL,
        };
        dispose(signal, disposition);
    }
}

/// Sets `SIG_IGN` or `SIG_DFL` in the kernel, bypassing the engine.
pub(super) fn dispose(signal: c_int, disposition: libc::sighandler_t) {
    assert!(matches!(disposition, libc::SIG_IGN | libc::SIG_DFL), "not a handler");
    // SAFETY: a zeroed structure is valid, and neither disposition calls anything.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = disposition;
        libc::sigaction(signal, &raw const action, ptr::null_mut());
    }
}

/// Returns the name of a signal, for messages.
pub(crate) fn signal_name(signal: c_int) -> &'static str {
    match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGSTOP => "SIGSTOP",
        libc::SIGTSTP => "SIGTSTP",
        libc::SIGTTIN => "SIGTTIN",
        libc::SIGTTOU => "SIGTTOU",
        _ => "a signal",
    }
}
