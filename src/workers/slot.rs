//! A worker as its master sees it, and the place that it has.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};
use sprocket_core::Backoff;

use super::control::Control;
use crate::zend::signal_name;

/// Pause before a worker that died is replaced: at first, and at most.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// One that lived so long did not die of its start.
const SOUND: Duration = Duration::from_secs(10);

/// A child process; reaped by [`Process::ended`].
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    pub(super) since: Instant,
    /// When it is killed if it has not ended by itself.
    pub(super) kill_at: Option<Instant>,
    /// That was done.
    pub(super) killed: bool,
    /// The signal that has stopped it, as long as it is stopped; and what was told of that.
    stopped: Option<i32>,
    told: Option<i32>,
}

impl Process {
    pub(super) fn new(pid: i32) -> Option<Self> {
        let pid = Pid::from_raw(pid)?;
        let since = Instant::now();
        Some(Self { pid, since, kill_at: None, killed: false, stopped: None, told: None })
    }

    pub(super) fn number(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<End> {
        let changes = WaitOptions::NOHANG | WaitOptions::UNTRACED | WaitOptions::CONTINUED;
        loop {
            match waitpid(Some(self.pid), changes) {
                Ok(None) | Err(rustix::io::Errno::INTR) => return None,
                Ok(Some((_, status))) => match End::of(status) {
                    Some(end) => return Some(end),
                    None => self.stopped = status.stopping_signal(),
                },
                // Somebody else has reaped it: a handler of SIGCHLD in the script.
                Err(_) => return Some(End::Unknown),
            }
        }
    }

    /// Whether it was stopped (SIGSTOP), or goes on after that, in words that follow its name; once.
    pub(super) fn news(&mut self) -> Option<String> {
        if std::mem::replace(&mut self.told, self.stopped) == self.stopped {
            return None;
        }
        Some(match self.stopped {
            Some(signal) => format!("was stopped by signal {signal} ({})", signal_name(signal)),
            None => "goes on".to_owned(),
        })
    }

    /// Who is stopped can't end.
    pub(super) fn go_on(&self) {
        let _ = kill_process(self.pid, Signal::CONT);
    }

    pub(super) fn kill(&self) {
        let _ = kill_process(self.pid, Signal::KILL);
    }

    /// An earlier time that was set before stays.
    pub(super) fn kill_at(&mut self, when: Instant) {
        self.kill_at = Some(self.kill_at.map_or(when, |earlier| earlier.min(when)));
    }

    /// True: it was killed now.
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
    /// `None`: it was stopped or goes on.
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

/// A worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) process: Process,
    pub(super) control: Control,
    pub(super) slot: u16,
    pub(super) generation: u32,
    pub(super) ready: bool,
    /// It has asked for a successor.
    pub(super) recycle: bool,
    /// It will not say anything any more.
    pub(super) silent: bool,
}

/// Pauses between attempts to start a process, each longer than the one before it.
#[derive(Debug)]
pub(super) struct Pauses(Backoff);

impl Default for Pauses {
    fn default() -> Self {
        Self(Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE))
    }
}

impl Pauses {
    /// The pause after something that `lived` so long.
    pub(super) fn after(&mut self, lived: Duration) -> Duration {
        if lived >= SOUND {
            self.0.reset();
        }
        self.0.full()
    }
}

/// Attempts to start a process that failed, each a while after the one before.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    failed: u32,
    pauses: Pauses,
    due: Option<Instant>,
}

impl Attempts {
    /// Whether there may be one now.
    pub(super) fn are_due(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now)
    }

    /// One has failed. True if it is the first, which is to be told.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.due = Some(now + self.pauses.after(Duration::ZERO));
        self.failed = self.failed.saturating_add(1);
        self.failed == 1
    }

    /// One has not; returns how many had before.
    pub(super) fn succeeded(&mut self) -> u32 {
        std::mem::take(self).failed
    }
}

/// The place of one worker after the other.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) worker: Option<Worker>,
    /// The next one, not ready yet.
    pub(super) successor: Option<Worker>,
    /// When a worker is started, if there is none; or a successor, if one is wanted.
    pub(super) due: Instant,
    pub(super) pauses: Pauses,
    /// To start what is due.
    pub(super) attempts: Attempts,
    /// Of the code: 0 is that which the master has read.
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
