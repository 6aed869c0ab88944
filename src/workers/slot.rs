//! The master's view of its child processes: a process, a worker, and the slot that it fills.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};
use sprocket_server::Backoff;

use super::control::Control;
use crate::zend::signal_name;

/// Shortest and longest pause before a worker that died is replaced.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A process that ran for this time has started successfully; pauses then restart from the shortest.
const SOUND: Duration = Duration::from_secs(10);

/// A child process. [`Process::ended`] reaps it.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    /// Time of the start.
    pub(super) since: Instant,
    /// Time at which the process is killed unless it has ended.
    pub(super) kill_at: Option<Instant>,
    /// Whether it was killed by [`Process::kill_if_due`].
    pub(super) killed: bool,
    /// The signal that stopped the process (SIGSTOP and similar), while it is stopped.
    stopped: Option<i32>,
    /// The value of `stopped` at the last call of [`Process::suspension`].
    logged: Option<i32>,
}

impl Process {
    pub(super) fn new(pid: i32) -> Option<Self> {
        let pid = Pid::from_raw(pid)?;
        let since = Instant::now();
        Some(Self { pid, since, kill_at: None, killed: false, stopped: None, logged: None })
    }

    pub(super) fn number(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    /// Reaps the process and returns how it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<End> {
        let changes = WaitOptions::NOHANG | WaitOptions::UNTRACED | WaitOptions::CONTINUED;
        loop {
            match waitpid(Some(self.pid), changes) {
                Ok(None) | Err(rustix::io::Errno::INTR) => return None,
                Ok(Some((_, status))) => match End::of(status) {
                    Some(end) => return Some(end),
                    None => self.stopped = status.stopping_signal(),
                },
                // The process was reaped elsewhere, for instance by a SIGCHLD handler of the script.
                Err(_) => return Some(End::Unknown),
            }
        }
    }

    /// Returns a text for the log, once after each time that the process was stopped or continued. The
    /// text follows the process's name.
    pub(super) fn suspension(&mut self) -> Option<String> {
        if std::mem::replace(&mut self.logged, self.stopped) == self.stopped {
            return None;
        }
        Some(match self.stopped {
            Some(signal) => format!("was stopped by signal {signal} ({})", signal_name(signal)),
            None => "was continued".to_owned(),
        })
    }

    /// Continues the process by SIGCONT. A process stopped by a signal cannot exit.
    pub(super) fn resume(&self) {
        let _ = kill_process(self.pid, Signal::CONT);
    }

    pub(super) fn kill(&self) {
        let _ = kill_process(self.pid, Signal::KILL);
    }

    /// Sets a deadline for the process; the earliest deadline applies.
    pub(super) fn kill_at(&mut self, when: Instant) {
        self.kill_at = Some(self.kill_at.map_or(when, |earlier| earlier.min(when)));
    }

    /// Kills the process if its deadline has passed. Returns whether this call killed it.
    pub(super) fn kill_if_due(&mut self, now: Instant) -> bool {
        let due = !self.killed && self.kill_at.is_some_and(|at| at <= now);
        if due {
            self.killed = true;
            self.kill();
        }
        due
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum End {
    Status(i32),
    Signal(i32),
    Unknown,
}

impl End {
    /// Converts a wait status; `None` if the process was only stopped or continued.
    fn of(status: WaitStatus) -> Option<Self> {
        let status_of = |n| Self::Status(n);
        status.exit_status().map(status_of).or_else(|| status.terminating_signal().map(Self::Signal))
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "ended with status {status}"),
            Self::Signal(signal) => write!(f, "was killed by signal {signal} ({})", signal_name(*signal)),
            Self::Unknown => f.write_str("ended"),
        }
    }
}

/// A worker process.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) process: Process,
    pub(super) control: Control,
    pub(super) slot: u16,
    pub(super) generation: u32,
    /// Whether the worker accepts connections.
    pub(super) ready: bool,
    /// Whether the worker has requested a successor.
    pub(super) recycle: bool,
    /// Whether the worker's end of the control socket is closed.
    pub(super) silent: bool,
}

/// Increasing pauses between attempts to start a process.
#[derive(Debug)]
pub(super) struct Pauses(Backoff);

impl Default for Pauses {
    fn default() -> Self {
        Self(Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE))
    }
}

impl Pauses {
    /// Returns the pause after a process that ran for the time `lived`.
    pub(super) fn after(&mut self, lived: Duration) -> Duration {
        if lived >= SOUND {
            self.0.reset();
        }
        self.0.full()
    }
}

/// Counts failed attempts to start a process and schedules the next one.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    failed: u32,
    pauses: Pauses,
    due: Option<Instant>,
}

impl Attempts {
    /// Whether an attempt is due.
    pub(super) fn are_due(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now)
    }

    /// Counts a failed attempt. Returns whether it is the first in a row; only this one is logged.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.due = Some(now + self.pauses.after(Duration::ZERO));
        self.failed = self.failed.saturating_add(1);
        self.failed == 1
    }

    /// Resets the count after a successful attempt. Returns the number of failed attempts before it.
    pub(super) fn succeeded(&mut self) -> u32 {
        std::mem::take(self).failed
    }
}

/// One of the `workers` slots, filled by one worker after another.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) worker: Option<Worker>,
    /// The worker that will replace `worker` and is not ready yet.
    pub(super) successor: Option<Worker>,
    /// Earliest time to start the next process: a worker if the slot is empty, otherwise a successor.
    pub(super) due: Instant,
    pub(super) pauses: Pauses,
    /// Failed forks for this slot.
    pub(super) attempts: Attempts,
    /// Generation of the code that the slot's worker runs; 0 is the code that the master has read.
    pub(super) generation: u32,
}

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            worker: None,
            successor: None,
            due: Instant::now(),
            pauses: Pauses::default(),
            attempts: Attempts::default(),
            generation: 0,
        }
    }
}
