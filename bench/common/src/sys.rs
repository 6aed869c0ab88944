//! Safe functions for the system calls that std lacks. This is the only unsafe code of the suite.
#![allow(unsafe_code)]

use std::io;
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Readable.
pub const IN: u32 = libc::EPOLLIN as u32;
/// Writable.
pub const OUT: u32 = libc::EPOLLOUT as u32;
/// Readable, at its end, or broken; the next read shows which.
pub const READABLE: u32 = (libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLERR | libc::EPOLLRDHUP) as u32;
/// All events of a socket, each reported once per change (edge-triggered).
pub const ALL_EDGES: u32 = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32;

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn owned(result: i32) -> io::Result<OwnedFd> {
    // SAFETY: `check` has confirmed that the call succeeded, so this is a new descriptor without
    // another owner; both callers pass the result of a call that creates one.
    check(result).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An epoll instance and the events of its last wait.
pub struct Poll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Poll {
    /// Creates an instance whose waits return at most 1024 events.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let fd = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        Ok(Self { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; 1024] })
    }

    /// Watches `fd`; its events carry `key`.
    pub fn add(&self, fd: RawFd, events: u32, key: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, events, key)
    }

    /// Changes the events to watch.
    pub fn modify(&self, fd: RawFd, events: u32, key: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, events, key)
    }

    fn control(&self, operation: i32, fd: RawFd, events: u32, key: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: key };
        // SAFETY: `event` lives through the call, and the kernel checks the descriptors.
        let done = unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd, &mut event) };
        check(done).map(drop)
    }

    /// Waits up to `ms` milliseconds (-1: without limit), and returns the number of events.
    pub fn wait(&mut self, ms: i32) -> usize {
        let room = self.events.len() as i32;
        let events = self.events.as_mut_ptr();
        // SAFETY: `events` has `room` initialised elements.
        let n = unsafe { libc::epoll_wait(self.fd.as_raw_fd(), events, room, ms) };
        n.max(0) as usize
    }

    /// Key and flags of event `i` of the last wait.
    pub fn event(&self, i: usize) -> (u64, u32) {
        let event = self.events[i];
        (event.u64, event.events)
    }
}

/// Writes as much as the socket takes now, and returns the number of bytes.
pub fn send(fd: RawFd, data: &[u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < data.len() {
        let rest = &data[done..];
        // SAFETY: `rest` is a live slice of that length.
        let n = unsafe { libc::send(fd, rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL) };
        match n {
            0.. => done += n as usize,
            _ => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::WouldBlock => break,
                e if e.kind() == io::ErrorKind::Interrupted => {}
                e => return Err(e),
            },
        }
    }
    Ok(done)
}

/// Reads once; `None` if no data is available, `Some(0)` at the end of the stream.
pub fn receive(fd: RawFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        // SAFETY: `buffer` is a live slice of that length.
        let n = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        if n >= 0 {
            return Ok(Some(n as usize));
        }
        match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            e if e.kind() == io::ErrorKind::Interrupted => {}
            e => return Err(e),
        }
    }
}

fn raw_address(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    }
}

const ADDRESS_LEN: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;

fn set_option<T>(fd: &impl AsRawFd, level: i32, name: i32, value: T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` lives through the call and `len` is its size.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) }).map(drop)
}

/// Starts a non-blocking connect, from `source` if given; the kernel chooses the source port.
pub fn connect(source: Option<SocketAddrV4>, target: SocketAddrV4) -> io::Result<TcpStream> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: takes no pointers.
    let fd = owned(unsafe { libc::socket(libc::AF_INET, kind, 0) })?;
    set_option(&fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1_i32)?;
    if let Some(source) = source {
        // The kernel then assigns ports unique per address pair, not per source address.
        set_option(&fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1_i32)?;
        let address = raw_address(source);
        // SAFETY: `address` lives through the call and has that length.
        check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), ADDRESS_LEN) })?;
    }
    let address = raw_address(target);
    // SAFETY: `address` lives through the call and has that length.
    let begun = check(unsafe { libc::connect(fd.as_raw_fd(), (&raw const address).cast(), ADDRESS_LEN) });
    match begun {
        Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => Err(e),
        _ => Ok(TcpStream::from(fd)),
    }
}

/// Makes close() send a reset, so that the client's port is free at once.
pub fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    set_option(stream, libc::SOL_SOCKET, libc::SO_LINGER, linger)
}

/// Listens on a port of the loopback address (0: the kernel chooses) with a long accept queue.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: takes no pointers.
    let fd = owned(unsafe { libc::socket(libc::AF_INET, kind, 0) })?;
    set_option(&fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1_i32)?;
    let address = raw_address(SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, port));
    // SAFETY: `address` lives through the call and has that length.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), ADDRESS_LEN) })?;
    // SAFETY: takes no pointers.
    check(unsafe { libc::listen(fd.as_raw_fd(), 4096) })?;
    Ok(TcpListener::from(fd))
}

/// A descriptor that becomes readable every `ns` nanoseconds.
pub fn interval(ns: u64) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = owned(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK) })?;
    let period = libc::timespec { tv_sec: (ns / 1_000_000_000) as _, tv_nsec: (ns % 1_000_000_000) as _ };
    let spec = libc::itimerspec { it_interval: period, it_value: period };
    // SAFETY: `spec` lives through the call; the old value is not requested.
    check(unsafe { libc::timerfd_settime(fd.as_raw_fd(), 0, &spec, std::ptr::null_mut()) })?;
    Ok(fd)
}

/// Number of intervals that have passed since the last call.
pub fn expirations(timer: &OwnedFd) -> u64 {
    let mut count = 0_u64;
    // SAFETY: a timerfd writes exactly eight bytes, and `count` has them.
    let n = unsafe { libc::read(timer.as_raw_fd(), (&raw mut count).cast(), 8) };
    if n == 8 { count } else { 0 }
}

/// Monotonic time in nanoseconds.
pub fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` lives through the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Raises the limit of descriptors to the maximum for this process, and returns it.
pub fn raise_descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` lives through both calls.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
    limit.rlim_cur
}

/// CPU seconds of this process, user and system.
pub fn own_cpu_seconds() -> f64 {
    // SAFETY: rusage consists of integers, for which all zeros is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` lives through the call.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// Unit of the CPU times in /proc.
pub fn ticks_per_second() -> f64 {
    // SAFETY: takes no pointers.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) as f64 }
}

/// Sends SIGTERM to a process, which must be a child that has not been waited for.
pub fn terminate(pid: u32) {
    // SAFETY: takes no pointers; an unreaped child keeps its process id, so no other process gets the signal.
    unsafe { libc::kill(pid as i32, libc::SIGTERM) };
}
