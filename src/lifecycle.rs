//! What belongs to the process: descriptor limit, interface, signals.

use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::zend::{sapi_name, set_signal_handler, signal_is_default};

/// Descriptors left to PHP: files, databases, the extension's own.
const RESERVE: u64 = 64;

/// How many connections the descriptor limit allows, after the soft limit has been raised to the
/// hard one. At least 1.
pub(crate) fn connections_allowed() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, raised).is_ok() {
        limit = getrlimit(Resource::Nofile);
    }
    match limit.current {
        None => usize::MAX,
        Some(n) => usize::try_from(n.saturating_sub(RESERVE).max(1)).unwrap_or(usize::MAX),
    }
}

/// The interface that PHP runs under, if `run()` must not be called there: the web servers' ones
/// have requests to serve and time limits of their own.
pub(crate) fn unfit_sapi() -> Option<String> {
    let name = sapi_name();
    (!["cli", "embed", "micro", "phpdbg"].contains(&name.as_str())).then_some(name)
}

/// How often SIGINT or SIGTERM arrived since `run()` took them.
static ASKED_TO_STOP: AtomicU32 = AtomicU32::new(0);

extern "C" fn ask_to_stop(_signal: i32) {
    ASKED_TO_STOP.fetch_add(1, Ordering::Relaxed);
}

/// Takes SIGINT and SIGTERM where nobody else has; gives them back when dropped.
pub(crate) struct StopSignals {
    taken: Vec<i32>,
    seen: u32,
}

impl StopSignals {
    pub(crate) fn take() -> Self {
        ASKED_TO_STOP.store(0, Ordering::Relaxed);
        let taken: Vec<i32> =
            [libc::SIGINT, libc::SIGTERM].into_iter().filter(|s| signal_is_default(*s)).collect();
        for signal in &taken {
            set_signal_handler(*signal, Some(ask_to_stop));
        }
        Self { taken, seen: 0 }
    }

    /// How often the process was asked to stop, if that is news.
    pub(crate) fn news(&mut self) -> Option<u32> {
        let asked = ASKED_TO_STOP.load(Ordering::Relaxed);
        (asked > self.seen).then(|| {
            self.seen = asked;
            asked
        })
    }
}

impl Drop for StopSignals {
    fn drop(&mut self) {
        for signal in &self.taken {
            set_signal_handler(*signal, None);
        }
    }
}
