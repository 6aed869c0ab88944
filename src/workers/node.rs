//! The master's state: the processes of its node, and reloads and replacements in progress.

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use sprocket_server::cluster::HubConfig;
use sprocket_server::{OpenListener, OpenPublishSocket};

use super::runtime_dir::RuntimeDir;
use super::slot::{Attempts, Pauses, Process, Slot, Worker};
use crate::lifecycle::MasterSignals;

/// The next action for the caller of [`Supervisor::step`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Step {
    /// Flush output, then call [`Supervisor::spawn`].
    Spawn(Spawn),
    /// Call [`Supervisor::wait`].
    Wait,
    /// All processes have ended.
    Over,
}

/// A process to start. Workers and successors are identified by the number of their slot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Spawn {
    Hub,
    Worker(u16),
    Successor(u16),
}

/// The configuration of a node: its processes and its sockets.
pub(crate) struct Plan {
    pub(crate) workers: u16,
    pub(crate) hub: HubConfig,
    /// Addresses as the script gave them, each with its sockets. A socket is a list of listeners: one
    /// that all slots share, or one for each slot.
    pub(crate) listen: Vec<(String, Vec<Vec<OpenListener>>)>,
    pub(crate) publish: Option<OpenPublishSocket>,
    /// Path of the script, if it is a file.
    pub(crate) script: Option<String>,
}

/// The master's state. Dropping it ends the processes that it started; in a fork, dropping it only
/// closes descriptors.
pub(crate) struct Supervisor {
    /// Process id of the master.
    pub(super) owner: u32,
    pub(super) signals: MasterSignals,
    pub(super) plan: Plan,
    pub(super) addresses: Vec<String>,
    /// Holds the hub's socket; `None` until [`Supervisor::settle`].
    pub(super) runtime_dir: Option<RuntimeDir>,
    pub(super) hub: Option<Hub>,
    /// Earliest time at which the hub may be started again.
    pub(super) hub_due: Instant,
    /// Pauses between the end of a hub and the start of the next one.
    pub(super) hub_pauses: Pauses,
    /// Failed forks of the hub.
    pub(super) hub_attempts: Attempts,
    pub(super) slots: Vec<Slot>,
    /// Workers that have a successor and are closing their connections.
    pub(super) leaving: Vec<Worker>,
    /// The slot whose successor is being started, and the generation of the successor.
    pub(super) replacing: Option<(u16, u32)>,
    pub(super) reload: Option<Reload>,
    /// The latest generation that was started.
    pub(super) generation: u32,
    pub(super) stopping: bool,
    /// Whether any worker has been ready. Before that, repeated failures to start end the server.
    pub(super) proven: bool,
    /// Number of workers that ended before any worker was ready.
    pub(super) failed_starts: u32,
    /// The reason for which the server gives up.
    pub(super) failure: Option<String>,
}

/// The process of the hub.
pub(super) struct Hub {
    pub(super) process: Process,
    /// The hub ends when this is closed.
    pub(super) quit: Option<std::io::PipeWriter>,
}

/// A reload in progress.
pub(super) struct Reload {
    pub(super) generation: u32,
    /// Slots whose workers still run the old code.
    pub(super) left: VecDeque<u16>,
    /// Whether another reload was requested during this one.
    pub(super) again: bool,
}

impl fmt::Display for Spawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub => f.write_str("the hub"),
            Self::Worker(slot) => write!(f, "worker {}", slot + 1),
            Self::Successor(slot) => write!(f, "the successor of worker {}", slot + 1),
        }
    }
}

impl Supervisor {
    pub(crate) fn new(plan: Plan) -> Self {
        let now = Instant::now();
        Self {
            owner: std::process::id(),
            signals: MasterSignals::take(),
            addresses: plan.listen.iter().map(|(text, _)| text.clone()).collect(),
            runtime_dir: None,
            hub: None,
            hub_due: now,
            hub_pauses: Pauses::default(),
            hub_attempts: Attempts::default(),
            slots: (0..plan.workers).map(|_| Slot::new()).collect(),
            leaving: Vec::new(),
            replacing: None,
            reload: None,
            generation: 0,
            stopping: false,
            proven: false,
            failed_starts: 0,
            failure: None,
            plan,
        }
    }
}
