//! What belongs to the process: descriptor limit, interface, signals.

use std::io::IsTerminal;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use sprocket_core::Config;
use sprocket_core::descriptors::{Wanted, share_out};

use crate::settings::Settings;
use crate::zend::{
    count_signal, deliveries, ignore_signal, reset_signal, sapi_name, signal_is_counted, signal_is_default,
};

/// Raises the soft limit of descriptors to the hard one, and shares out what the process may open
/// beside what is open already. PHP keeps a reserve for its own files.
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

/// How many descriptors are open; a guess where the system does not tell.
fn open_descriptors() -> usize {
    const GUESS: usize = 16;
    std::fs::read_dir("/proc/self/fd").map_or(GUESS, Iterator::count)
}

/// A clock that ticks every few milliseconds and costs as many nanoseconds: for asking it after
/// each event.
pub(crate) fn tick() -> u64 {
    #[cfg(target_os = "linux")]
    const CLOCK: ClockId = ClockId::MonotonicCoarse;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: ClockId = ClockId::Monotonic;
    /// Nanoseconds of one tick: about what the coarse clock has.
    const LENGTH: i64 = 4_000_000;
    let now = clock_gettime(CLOCK);
    (now.tv_sec as u64).wrapping_mul(250).wrapping_add((now.tv_nsec / LENGTH) as u64)
}

/// The interface that PHP runs under, if `run()` must not be called there: the web servers' ones
/// have requests to serve and time limits of their own.
pub(crate) fn unfit_sapi() -> Option<String> {
    let name = sapi_name();
    (!["cli", "embed", "micro", "phpdbg"].contains(&name.as_str())).then_some(name)
}

/// The signals that stop a server.
const STOP: [i32; 2] = [libc::SIGINT, libc::SIGTERM];

/// What the master of workers takes: those of [`StopSignals`], and SIGHUP, where nobody else has.
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

    /// How often the process was asked to stop, if that is news.
    pub(crate) fn stop(&mut self) -> Option<u32> {
        self.stop.as_mut().and_then(StopSignals::news)
    }

    /// Whether it was asked to reload since the last call.
    pub(crate) fn reload(&mut self) -> bool {
        let asked = deliveries(&[libc::SIGHUP]);
        std::mem::replace(&mut self.seen, asked) != asked
    }

    /// SIGHUP also comes when the terminal goes away; who has started the server there is gone, then.
    pub(crate) fn lost_terminal(&self) -> bool {
        self.on_terminal && !on_terminal()
    }

    /// In a worker that was forked: what it goes on with. SIGHUP is passed over from here on: it is
    /// for the master. None of these signals does for a moment what it does by default, for it may
    /// have been sent to all processes.
    pub(crate) fn hand_over(&mut self) -> Option<StopSignals> {
        if std::mem::take(&mut self.reload) && signal_is_counted(libc::SIGHUP) {
            ignore_signal(libc::SIGHUP);
        }
        self.stop.take().map(StopSignals::begin_anew)
    }

    /// Lets the signals go, before the end.
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

/// Takes SIGINT and SIGTERM where nobody else has; gives them back when dropped.
pub(crate) struct StopSignals {
    taken: Vec<i32>,
    /// The count when they were taken.
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

    /// What the parent was asked is its own affair.
    fn begin_anew(mut self) -> Self {
        self.seen = deliveries(&STOP);
        self.before = self.seen;
        self
    }

    /// How often the process was asked to stop, if that is news.
    pub(crate) fn news(&mut self) -> Option<u32> {
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
            // The application may have set a handler of its own meanwhile.
            if signal_is_counted(*signal) {
                reset_signal(*signal);
            }
        }
    }
}
