//! The engine's view of the process: server interface, script, forks, interrupts, bailouts.

use std::ffi::CStr;
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

/// Returns `PHP_VERSION`; empty if the constant is missing.
pub(crate) fn php_version() -> String {
    const NAME: &[u8] = b"PHP_VERSION";
    // SAFETY: the engine reads `NAME` only during the call. It returns null or a pointer to a
    // constant that lives as long as PHP runs.
    let value = unsafe { ffi::zend_get_constant_str(NAME.as_ptr().cast(), NAME.len()).as_ref() };
    value.and_then(|value| value.str()).unwrap_or_default().to_owned()
}

/// Returns the path of the script on the command line; `None` if the code has another source.
pub(crate) fn script() -> Option<String> {
    let globals = SapiGlobals::get();
    let path = globals.request_info().path_translated()?;
    // The names that `php_cli.c` uses for other sources.
    let named = !["", "-", "Standard input code", "Command line code"].contains(&path);
    named.then(|| path.to_owned())
}

static FORKS: AtomicU32 = AtomicU32::new(0);

/// Starts to count forks, for [`forks`].
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

/// Number of forks between the process that called [`watch_forks`] and this one. Unlike the process id,
/// it takes no system call, so that each `send()` can check it.
pub(crate) fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Accesses a flag of the executor: `bool` in PHP 8.1, `zend_atomic_bool` since then, one byte in both.
///
/// # Safety
///
/// `field` must point to such a flag of this thread's globals.
unsafe fn flag<'a, T>(field: *mut T) -> &'a AtomicBool {
    const { assert!(size_of::<T>() == 1) };
    // SAFETY: the field lives as long as the thread; signal handlers change it atomically.
    unsafe { &*field.cast::<AtomicBool>() }
}

/// Whether the engine has an interrupt pending: a signal for pcntl, a time limit, a debugger.
pub(crate) fn interrupted() -> bool {
    // SAFETY: the globals of this thread are valid while PHP runs.
    unsafe { flag(&raw mut (*ffi::ext_php_rs_executor_globals()).vm_interrupt).load(Ordering::Relaxed) }
}

/// Handles a pending interrupt as the virtual machine does between two instructions. May run PHP code.
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

/// A fatal error that [`catch_bailout`] has caught and that must be continued.
#[must_use]
pub(crate) struct Bailout(());

impl Bailout {
    /// Continues the fatal error: jumps to the engine's own handler at the end of the script.
    pub(crate) fn resume(self) -> ! {
        // SAFETY: the engine's handler is set while a script runs, and a value of this type proves that
        // a bailout was under way. `zend/mod.rs` describes the effect of the jump on the frames below
        // it.
        unsafe { bailout() }
    }
}

/// Runs `body`. An error means that a fatal error of PHP has jumped out of it; the caller restores its
/// state, then calls [`Bailout::resume`].
pub(crate) fn catch_bailout<R>(body: impl FnOnce() -> R) -> Result<R, Bailout> {
    match try_catch(std::panic::AssertUnwindSafe(body)) {
        Ok(result) => Ok(result),
        Err(CatchError::Bailout) => Err(Bailout(())),
        Err(other) => std::panic::resume_unwind(Box::new(other.to_string())),
    }
}
