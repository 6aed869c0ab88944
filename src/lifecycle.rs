//! Settings of the process: descriptor limit, server interface, signals.

use std::io::IsTerminal;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use sprocket_server::Config;
use sprocket_server::descriptors::{Wanted, share_out};

use crate::settings::Settings;
use crate::zend::{
    count_signal, deliveries, ignore_signal, reset_signal, sapi_name, signal_is_counted, signal_is_default,
};

/// Raises the soft limit of descriptors to the hard one, and divides the descriptors that are free
/// among connections, handshakes and the like. PHP keeps a reserve for its own files.
pub(crate) fn share_descriptors(settings: &Settings, config: &mut Config) {
    let mut limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, raised).is_ok() {
        limit = getrlimit(Resource::Nofile);
    }
    let limit = limit.current.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let shares = share_out(
        limit,
        open_descriptors(),
        Wanted {
            connections: settings.max_connections,
            handshakes: settings.max_handshakes,
            publishers: config.publish_socket.as_ref().map_or(0, |socket| socket.max_publishers),
            files: config.static_files.is_some(),
            io_threads: config.io_threads,
        },
    );
    config.max_connections = shares.connections;
    config.max_handshakes = shares.handshakes;
    config.max_sockets = shares.sockets;
    config.max_open_files = shares.files;
    if let Some(socket) = &mut config.publish_socket {
        socket.max_publishers = shares.publishers;
    }
}

/// Number of open descriptors, or a guess where /proc is not mounted.
fn open_descriptors() -> usize {
    const GUESS: usize = 16;
    std::fs::read_dir("/proc/self/fd").map_or(GUESS, Iterator::count)
}

/// A clock that advances every 4 ms and takes a few nanoseconds to read, so that it can be read after
/// each event.
pub(crate) fn tick() -> u64 {
    #[cfg(target_os = "linux")]
    const CLOCK: ClockId = ClockId::MonotonicCoarse;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: ClockId = ClockId::Monotonic;
    /// Nanoseconds of one tick, about the resolution of the coarse clock.
    const LENGTH: i64 = 4_000_000;
    let now = clock_gettime(CLOCK);
    (now.tv_sec as u64).wrapping_mul(250).wrapping_add((now.tv_nsec / LENGTH) as u64)
}

/// The server interface (SAPI), if it is one in which `run()` is refused: those of web servers have
/// requests to serve and time limits of their own.
pub(crate) fn unfit_sapi() -> Option<String> {
    let name = sapi_name();
    (!["cli", "embed", "micro", "phpdbg"].contains(&name.as_str())).then_some(name)
}

/// The signals that stop a server.
const STOP: [i32; 2] = [libc::SIGINT, libc::SIGTERM];

/// The signals of a master: those of [`StopSignals`], and SIGHUP unless the script handles it.
pub(crate) struct MasterSignals {
    stop: Option<StopSignals>,
    reload: bool,
    seen: u32,
    on_terminal: bool,
}

impl MasterSignals {
    pub(crate) fn take() -> Self {
        let stop = Some(StopSignals::take());
        let seen = deliveries(&[libc::SIGHUP]);
        let reload = signal_is_default(libc::SIGHUP);
        if reload {
            count_signal(libc::SIGHUP);
        }
        Self { stop, reload, seen, on_terminal: on_terminal() }
    }

    /// Returns how often a stop signal has arrived in all, if one has arrived since the last call.
    pub(crate) fn stop(&mut self) -> Option<u32> {
        self.stop.as_mut().and_then(StopSignals::new_deliveries)
    }

    /// Whether SIGHUP has arrived since the last call.
    pub(crate) fn reload(&mut self) -> bool {
        let asked = deliveries(&[libc::SIGHUP]);
        std::mem::replace(&mut self.seen, asked) != asked
    }

    /// Whether SIGHUP came because the terminal was closed, rather than as a request to reload.
    pub(crate) fn lost_terminal(&self) -> bool {
        self.on_terminal && !on_terminal()
    }

    /// Hands the stop signals to a forked worker, and ignores SIGHUP there, which is for the master. No
    /// signal has its default disposition in between: one that is sent to all processes must not kill the
    /// worker.
    pub(crate) fn hand_over(&mut self) -> Option<StopSignals> {
        if std::mem::take(&mut self.reload) && signal_is_counted(libc::SIGHUP) {
            ignore_signal(libc::SIGHUP);
        }
        self.stop.take().map(StopSignals::begin_anew)
    }

    /// Restores the default dispositions.
    fn give_back(&mut self) {
        self.stop = None;
        if std::mem::take(&mut self.reload) && signal_is_counted(libc::SIGHUP) {
            reset_signal(libc::SIGHUP);
        }
    }
}

impl Drop for MasterSignals {
    fn drop(&mut self) {
        self.give_back();
    }
}

fn on_terminal() -> bool {
    std::io::stdin().is_terminal() || std::io::stdout().is_terminal() || std::io::stderr().is_terminal()
}

/// Counts SIGINT and SIGTERM unless the script handles them. Dropping it restores their defaults.
pub(crate) struct StopSignals {
    taken: Vec<i32>,
    /// The count at the start.
    before: u32,
    seen: u32,
}

impl StopSignals {
    pub(crate) fn take() -> Self {
        let taken: Vec<i32> = STOP.into_iter().filter(|s| signal_is_default(*s)).collect();
        let seen = deliveries(&STOP);
        for signal in &taken {
            count_signal(*signal);
        }
        Self { taken, before: seen, seen }
    }

    /// Forgets signals that the parent has received.
    fn begin_anew(mut self) -> Self {
        self.seen = deliveries(&STOP);
        self.before = self.seen;
        self
    }

    /// Returns how often a stop signal has arrived in all, if one has arrived since the last call.
    pub(crate) fn new_deliveries(&mut self) -> Option<u32> {
        let asked = deliveries(&STOP);
        (asked > self.seen).then(|| {
            self.seen = asked;
            asked - self.before
        })
    }
}

impl Drop for StopSignals {
    fn drop(&mut self) {
        for signal in &self.taken {
            // The script may have installed a handler since.
            if signal_is_counted(*signal) {
                reset_signal(*signal);
            }
        }
    }
}
