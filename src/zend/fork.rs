//! Processes: forking a running PHP, becoming another program, and what a child must put right.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::mem;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use ext_php_rs::types::Zval;

use super::exception::Thrown;
use super::ffi;

/// All signals are blocked on this thread until this is dropped.
pub(crate) struct SignalsBlocked {
    before: libc::sigset_t,
}

impl SignalsBlocked {
    fn new() -> Self {
        // SAFETY: the sets are filled before they are read.
        unsafe {
            let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = (mem::zeroed(), mem::zeroed());
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self { before }
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: the set was filled by `new`.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut()) };
    }
}

/// In which process a fork has returned.
pub(crate) enum Fork {
    /// The number of the new one.
    Parent(i32),
    /// Signals are blocked: let go of that when it is clear what they should do here.
    Child(SignalsBlocked),
}

/// Forks. Call [`flush_output`] before. The caller makes sure that this process has no threads of ours, and that this is its main thread.
pub(crate) fn fork() -> io::Result<Fork> {
    let blocked = SignalsBlocked::new();
    // SAFETY: the C library puts its own locks right in the child. Ours are free: there is no
    // other thread of ours, and this one holds none.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child(blocked)),
        pid => Ok(Fork::Parent(pid)),
    }
}

/// What PHP and the C library have buffered for output leaves: a fork must not write it, too. May
/// run PHP code.
pub(crate) fn flush_output() {
    // SAFETY: the first may run output callbacks of PHP code, as `flush()` does; the second is
    // defined for null as "all streams".
    unsafe {
        ffi::php_output_flush_all();
        libc::fflush(ptr::null_mut());
    }
}

/// Ends the process here and now: no PHP code runs, nothing is flushed or removed.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(status) }
}

/// Whether this is the thread that the process began with: only it goes on in a fork, and PHP
/// (ZTS) must find itself on the thread that it was started on.
pub(crate) fn is_main_thread() -> bool {
    #[cfg(target_os = "linux")]
    // SAFETY: the calls only tell numbers.
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

/// What the engine wants done in the child of a fork.
pub(crate) fn renew_after_fork() {
    // SAFETY: both functions, where a version of PHP has them, take and return nothing. The first
    // calls the second.
    unsafe {
        for name in [c"php_child_init", c"zend_max_execution_timer_init"] {
            let symbol = libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr());
            if !symbol.is_null() {
                mem::transmute::<*mut c_void, unsafe extern "C" fn()>(symbol)();
                break;
            }
        }
    }
}

/// New numbers of `mt_rand()` and its kind, which all forks would go on with alike.
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

/// Bytes that PHP's values take up: `memory_get_usage()`.
pub(crate) fn memory_usage() -> usize {
    // SAFETY: reads a number of this thread's heap.
    unsafe { ffi::zend_memory_usage(false) }
}

/// Ends the script like `exit()`: destructors and shutdown functions run. To be returned at once.
pub(crate) fn throw_exit(status: i32) -> Thrown {
    // SAFETY: the globals are valid; the engine unwinds to the end of the script.
    unsafe {
        (*ffi::ext_php_rs_executor_globals()).exit_status = status;
        ffi::zend_throw_unwind_exit();
    }
    Thrown
}

/// Takes over an open descriptor that was inherited, by its number. It is given a new one and
/// won't be inherited further.
pub(crate) fn take_inherited(fd: RawFd) -> io::Result<OwnedFd> {
    if fd <= 2 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: borrowed for one system call, which fails if the number is not open.
    let own = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
    // SAFETY: it is open, as was just seen, and the parent has told that it is for us alone.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(own)
}

/// Removes a variable from the environment.
pub(crate) fn remove_variable(name: &str) {
    // SAFETY: called while the module starts, when PHP has one thread.
    unsafe { std::env::remove_var(name) };
}

/// Closes every descriptor but the three standard ones and these. For a process that ends by
/// [`exit_now`] or `execve`: whoever believes to own one of them never runs again.
pub(crate) fn close_all_but(keep: &[RawFd]) {
    for fd in open_descriptors() {
        if fd > 2 && !keep.contains(&fd) {
            // SAFETY: see above.
            unsafe { libc::close(fd) };
        }
    }
}

/// Numbers of the descriptors that are open.
pub(crate) fn open_descriptors() -> Vec<RawFd> {
    let Ok(entries) = std::fs::read_dir("/dev/fd") else { return Vec::new() };
    let mut open: Vec<RawFd> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    // The one by which the list was read is in it, and closed by now: something else may get its number.
    // SAFETY: reads a flag; fails harmlessly if the number is not open.
    open.retain(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0);
    open
}

/// What signals do in a process without PHP code, which ends by other means: those that people and
/// terminals send are passed over, all others do what they do by default.
pub(crate) fn ignore_signals() {
    // The real ones, and not those of the engine, which has no say here any more.
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

/// Behind the back of the engine; `disposition` is not a handler.
fn dispose(signal: c_int, disposition: libc::sighandler_t) {
    // SAFETY: a zeroed structure is valid, and neither disposition calls anything.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = disposition;
        libc::sigaction(signal, &raw const action, ptr::null_mut());
    }
}

/// Lets a program that this process becomes inherit the descriptor.
fn let_inherit(fd: RawFd) {
    // SAFETY: sets a flag; fails harmlessly if the number is not open.
    unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
}

/// Reads from `/dev/null` instead of the standard input: what runs in the background must not
/// take what is typed for somebody else.
pub(crate) fn detach_input() {
    // SAFETY: opens, duplicates and closes descriptors of its own, but for the standard input,
    // which stays open.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if null > 0 {
            libc::dup2(null, 0);
            libc::close(null);
        }
    }
}

/// Becomes another program, with the descriptors `passed` and the standard ones, and with those of
/// `kept` that are not closed by it anyway; returns only if that fails. Signals do what they do by
/// default, unless they were ignored, and SIGHUP is: it may come, for others, before the program
/// can say what it wants of it, and what is ignored stays so beyond `execve`.
pub(crate) fn exec(
    program: &CStr,
    arguments: &[CString],
    environment: &[CString],
    passed: &[RawFd],
    kept: &[RawFd],
    blocked: SignalsBlocked,
) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    close_all_but(&[passed, kept].concat());
    passed.iter().for_each(|fd| let_inherit(*fd));
    dispose(libc::SIGHUP, libc::SIG_IGN);
    drop(blocked);
    // SAFETY: both lists end with null, and all strings live until the call, which replaces them.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// The name of a signal's number, for messages.
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
