//! Processes: forks of a running PHP, the continuation of their children, and the execution of other
//! programs.

use std::ffi::{CStr, CString, c_char, c_void};
use std::io;
use std::mem;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use ext_php_rs::types::Zval;

use super::exception::Thrown;
use super::ffi;
use super::signal::{SignalsBlocked, dispose, ignore_signals};
use super::startup::Startup;

/// The process in which [`fork`] has returned.
pub(crate) enum Fork {
    /// In the parent, with the id of the child.
    Parent(i32),
    Child(Child),
}

/// The child of a fork before it decides how to continue. All signals are blocked.
pub(crate) struct Child {
    blocked: SignalsBlocked,
}

/// Forks the process. Call [`flush_output`] first. Fails on any thread but the main one.
pub(crate) fn fork() -> io::Result<Fork> {
    if !is_main_thread() {
        return Err(io::Error::other("only the main thread of PHP may fork"));
    }
    let blocked = SignalsBlocked::new();
    // SAFETY: the C library resets its own locks in the child. The child does not use the threads of a
    // server that runs in the parent: every handle compares the process id first.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child(Child { blocked })),
        pid => Ok(Fork::Parent(pid)),
    }
}

impl Child {
    /// Continues as a PHP process: the engine renews its timers and similar state, then signals are
    /// unblocked.
    pub(crate) fn continue_php(self) {
        // SAFETY: in every version of PHP that has these functions, they have no parameters and no
        // result. The first one calls the second.
        unsafe {
            for name in [c"php_child_init", c"zend_max_execution_timer_init"] {
                let symbol = libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr());
                if !symbol.is_null() {
                    mem::transmute::<*mut c_void, unsafe extern "C" fn()>(symbol)();
                    break;
                }
            }
        }
        drop(self.blocked);
    }

    /// Runs `body` in place of PHP, then ends the process with the status that it returns. All
    /// descriptors but the standard ones and `keep` are closed; their owners never run again.
    pub(crate) fn leave_php(self, keep: &[RawFd], body: impl FnOnce() -> i32) -> ! {
        ignore_signals();
        detach_input();
        close_all_but(keep);
        drop(self.blocked);
        // A panic must not unwind into frames that belong to the parent.
        let status = catch_unwind(AssertUnwindSafe(body)).unwrap_or(101);
        exit_now(status)
    }

    /// Ends the child at once.
    pub(crate) fn exit(self, status: i32) -> ! {
        exit_now(status)
    }
}

/// Flushes the output buffers of PHP and the C library, so that a fork does not write their content
/// again. May run PHP code.
pub(crate) fn flush_output() {
    // SAFETY: the first may run output callbacks of PHP code, as `flush()` does; the second is
    // defined for null as "all streams".
    unsafe {
        ffi::php_output_flush_all();
        libc::fflush(ptr::null_mut());
    }
}

/// Ends the process at once: no PHP code runs, and nothing is flushed.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: the call accepts any status and does not return.
    unsafe { libc::_exit(status) }
}

/// Whether this is the first thread of the process. A fork contains only the thread that called it, and
/// PHP (ZTS) must continue on the thread on which it was started.
pub(crate) fn is_main_thread() -> bool {
    #[cfg(target_os = "linux")]
    // SAFETY: the calls only return ids.
    unsafe {
        libc::gettid() == libc::getpid()
    }
    #[cfg(target_os = "macos")]
    // SAFETY: as above.
    unsafe {
        libc::pthread_main_np() == 1
    }
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    true
}

/// Reseeds `mt_rand()` and related functions; otherwise all forks would return the same numbers.
pub(crate) fn reseed() {
    let mut name = super::value::string(b"mt_srand");
    let mut result = Zval::new();
    // SAFETY: calls a function that PHP always has, without arguments; it runs no PHP code.
    unsafe {
        ffi::_call_user_function_impl(
            ptr::null_mut(),
            &raw mut name,
            &raw mut result,
            0,
            ptr::null_mut(),
            ptr::null_mut(),
        );
    }
}

/// Returns the number of bytes in use by PHP values, like `memory_get_usage()`.
pub(crate) fn memory_usage() -> usize {
    // SAFETY: reads a number of this thread's heap.
    unsafe { ffi::zend_memory_usage(false) }
}

/// Ends the script as `exit()` does: destructors and shutdown functions run. The caller returns the
/// result at once.
pub(crate) fn throw_exit(status: i32) -> Thrown {
    // SAFETY: the globals are valid; the engine unwinds to the end of the script.
    unsafe {
        (*ffi::ext_php_rs_executor_globals()).exit_status = status;
        ffi::zend_throw_unwind_exit();
    }
    Thrown
}

/// Takes over an inherited descriptor by its number: duplicates it with close-on-exec, then closes the
/// original. This is sound while the module starts, when no code of PHP or of an extension has opened a
/// descriptor of its own.
pub(crate) fn take_inherited(_: &Startup, fd: RawFd) -> io::Result<OwnedFd> {
    if fd <= 2 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: borrowed for one system call, which fails if the number is not open.
    let own = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
    // SAFETY: the descriptor is open, as the duplicate shows, and while the module starts no other code
    // owns it.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(own)
}

/// Removes a variable from the environment.
pub(crate) fn remove_variable(_: &Startup, name: &str) {
    // SAFETY: while the module starts, the process has one thread.
    unsafe { std::env::remove_var(name) };
}

/// Closes every descriptor except the three standard ones and `keep`. Only for a process that ends by
/// [`exit_now`] or `execve`, in which no owner of a closed descriptor runs again.
fn close_all_but(keep: &[RawFd]) {
    for fd in open_descriptors() {
        if fd > 2 && !keep.contains(&fd) {
            // SAFETY: the callers, `leave_php` and `exec`, never return to an owner.
            unsafe { libc::close(fd) };
        }
    }
}

/// Returns the numbers of all open descriptors.
pub(crate) fn open_descriptors() -> Vec<RawFd> {
    let Ok(entries) = std::fs::read_dir("/dev/fd") else { return Vec::new() };
    let mut open: Vec<RawFd> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    // The list includes the descriptor of the directory itself, which is closed by now.
    // SAFETY: the call reads a flag, and fails harmlessly if the number is not open.
    open.retain(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0);
    open
}

/// Clears close-on-exec, so that an executed program inherits the descriptor.
fn let_inherit(fd: RawFd) {
    // SAFETY: sets a flag; fails harmlessly if the number is not open.
    unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
}

/// Replaces standard input by `/dev/null`: a background process must not read from the terminal.
pub(crate) fn detach_input() {
    // SAFETY: the calls affect only descriptors opened here, and standard input, which stays open.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if null > 0 {
            libc::dup2(null, 0);
            libc::close(null);
        }
    }
}

/// The arguments of `execve`, allocated before the fork.
pub(crate) struct Program<'a> {
    pub(crate) path: &'a CStr,
    pub(crate) arguments: &'a [CString],
    pub(crate) environment: &'a [CString],
    /// Descriptors that the program inherits in addition to the standard ones.
    pub(crate) passed: &'a [RawFd],
    /// Descriptors that stay unchanged; those with close-on-exec are closed by `execve`.
    pub(crate) kept: &'a [RawFd],
}

impl Child {
    /// Replaces the process by another program. If that fails, calls `failed` and ends the process
    /// with status 127.
    ///
    /// Signals get their default disposition unless they are ignored. SIGHUP is ignored, which survives
    /// `execve`: it may arrive before the program can install its handler.
    pub(crate) fn exec(self, program: &Program<'_>, failed: impl FnOnce(io::Error)) -> ! {
        let pointers = |strings: &[CString]| -> Vec<*const c_char> {
            strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
        };
        let (arguments, environment) = (pointers(program.arguments), pointers(program.environment));
        close_all_but(&[program.passed, program.kept].concat());
        program.passed.iter().for_each(|fd| let_inherit(*fd));
        dispose(libc::SIGHUP, libc::SIG_IGN);
        drop(self.blocked);
        // SAFETY: both lists end with null, and all strings outlive the call, which replaces them.
        unsafe { libc::execve(program.path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        failed(io::Error::last_os_error());
        exit_now(127)
    }
}
