//! Signals, forks, interrupts and bailouts: where the process and the engine meet.

use std::ffi::{CStr, c_int, c_void};
use std::mem;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ext_php_rs::zend::{CatchError, SapiGlobals, bailout, try_catch};

use super::exception::pending;
use super::{Thrown, ffi};

/// Name of the server interface, `cli` for instance.
pub(crate) fn sapi_name() -> String {
    // SAFETY: the module is valid as long as PHP runs, its name a C string.
    unsafe {
        let name = (*ffi::ext_php_rs_sapi_module()).name;
        if name.is_null() { String::new() } else { CStr::from_ptr(name).to_string_lossy().into_owned() }
    }
}

/// `PHP_VERSION`; empty if PHP does not say.
pub(crate) fn php_version() -> String {
    const NAME: &[u8] = b"PHP_VERSION";
    // SAFETY: the engine reads `NAME` only during the call. It returns null or a pointer to a
    // constant that lives as long as PHP runs.
    let value = unsafe { ffi::zend_get_constant_str(NAME.as_ptr().cast(), NAME.len()).as_ref() };
    value.and_then(|value| value.str()).unwrap_or_default().to_owned()
}

/// Path of the script as it was given on the command line; `None` if it came from elsewhere.
pub(crate) fn script() -> Option<String> {
    let globals = SapiGlobals::get();
    let path = globals.request_info().path_translated()?;
    // What `php_cli.c` calls the others.
    let named = !["", "-", "Standard input code", "Command line code"].contains(&path);
    named.then(|| path.to_owned())
}

static FORKS: AtomicU32 = AtomicU32::new(0);

/// Begins to count forks, for [`forks`].
pub(crate) fn watch_forks() {
    extern "C" fn in_child() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    static ONCE: Once = Once::new();
    // SAFETY: the handler only adds to an atomic. The C library forgets it when the extension is
    // unloaded.
    ONCE.call_once(|| unsafe {
        libc::pthread_atfork(None, None, Some(in_child));
    });
}

/// How many forks lie between the first process and this one. Cheaper than asking for the
/// process id (a system call), and so fit for each `send()`.
pub(crate) fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Sets and reads what a signal does. PHP may defer signals, and then has a table of its own of
/// what they do, behind `zend_sigaction` (`zend_signal.h`), which returns nothing.
///
/// # Safety
///
/// As for `sigaction(2)`: a handler in `new` must be fit to run in a signal handler.
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

/// What a signal does now. `SIG_IGN` if that can't be found out.
fn disposition(signal: i32) -> usize {
    // SAFETY: a zeroed structure is valid; the call only reads.
    unsafe {
        let mut old: libc::sigaction = mem::zeroed();
        old.sa_sigaction = libc::SIG_IGN;
        sigaction(signal, None, Some(&mut old));
        old.sa_sigaction
    }
}

/// Whether nobody has said what this signal should do.
pub(crate) fn signal_is_default(signal: i32) -> bool {
    disposition(signal) == libc::SIG_DFL
}

/// Whether somebody is called for this signal.
pub(crate) fn signal_has_handler(signal: i32) -> bool {
    !matches!(disposition(signal), libc::SIG_DFL | libc::SIG_IGN)
}

/// Whether this handler is the one in force.
pub(crate) fn signal_is_handled_by(signal: i32, handler: extern "C" fn(i32)) -> bool {
    disposition(signal) == handler as *const () as usize
}

/// Has `handler` called for a signal, or `None` for the default.
pub(crate) fn set_signal_handler(signal: i32, handler: Option<extern "C" fn(i32)>) {
    set_disposition(signal, handler.map_or(libc::SIG_DFL, |f| f as *const () as usize));
}

/// Has a signal passed over.
pub(crate) fn ignore_signal(signal: i32) {
    set_disposition(signal, libc::SIG_IGN);
}

fn set_disposition(signal: i32, disposition: usize) {
    // SAFETY: a zeroed structure is valid. Handlers given here only touch atomics, which is
    // allowed in a signal handler. No SA_RESTART: a waiting poll() must return.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = disposition;
        libc::sigemptyset(&raw mut action.sa_mask);
        sigaction(signal, Some(&action), None);
    }
}

/// Runs `body` with all signals blocked on this thread. Threads that it starts inherit that for good.
pub(crate) fn with_signals_blocked<R>(body: impl FnOnce() -> R) -> R {
    // SAFETY: the sets are filled before they are read; the old mask is set again in any case
    // but a panic, which ends the call.
    unsafe {
        let (mut all, mut old): (libc::sigset_t, libc::sigset_t) = (mem::zeroed(), mem::zeroed());
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old);
        let result = body();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const old, ptr::null_mut());
        result
    }
}

/// A flag of the executor: `bool` in PHP 8.1, `zend_atomic_bool` since, one byte in both.
///
/// # Safety
///
/// `field` must point to such a flag of this thread's globals.
unsafe fn flag<'a, T>(field: *mut T) -> &'a AtomicBool {
    const { assert!(size_of::<T>() == 1) };
    // SAFETY: the field lives as long as the thread; signal handlers change it atomically.
    unsafe { &*field.cast::<AtomicBool>() }
}

/// Whether the engine wants to be asked in: a signal for pcntl, a time limit, a debugger.
pub(crate) fn interrupted() -> bool {
    // SAFETY: the globals of this thread are valid while PHP runs.
    unsafe { flag(&raw mut (*ffi::ext_php_rs_executor_globals()).vm_interrupt).load(Ordering::Relaxed) }
}

/// Does what the virtual machine does between two instructions. May run PHP code.
pub(crate) fn handle_interrupt() -> Result<(), Thrown> {
    // SAFETY: the globals are valid. The two functions are what `ZEND_VM_INTERRUPT` calls, with
    // the frame of the method that is running.
    unsafe {
        let globals = ffi::ext_php_rs_executor_globals();
        flag(&raw mut (*globals).vm_interrupt).store(false, Ordering::SeqCst);
        if flag(&raw mut (*globals).timed_out).load(Ordering::SeqCst) {
            ffi::zend_timeout();
        } else if let Some(interrupt) = ffi::zend_interrupt_function {
            interrupt((*globals).current_execute_data);
        }
    }
    if pending() { Err(Thrown) } else { Ok(()) }
}

/// Runs `body`. `None`: a fatal error jumped out of it. The caller puts its state in order and
/// then calls [`resume_bailout`].
pub(crate) fn catch_bailout<R>(body: impl FnOnce() -> R) -> Option<R> {
    match try_catch(std::panic::AssertUnwindSafe(body)) {
        Ok(result) => Some(result),
        Err(CatchError::Bailout) => None,
        Err(other) => std::panic::resume_unwind(Box::new(other.to_string())),
    }
}

/// Goes on with the fatal error that [`catch_bailout`] has held up.
pub(crate) fn resume_bailout() -> ! {
    // SAFETY: only called where `catch_bailout` has returned `None`, and by callers that hold
    // nothing that needs releasing: the engine jumps over their frames.
    unsafe { bailout() }
}
