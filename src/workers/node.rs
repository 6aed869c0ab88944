//! What the master knows of its node: the processes, and what is under way with them.

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use sprocket_core::bus::HubConfig;
use sprocket_core::{OpenListener, OpenPublishSocket};

use super::home::Home;
use super::slot::{Attempts, Pauses, Process, Slot, Worker};
use crate::lifecycle::MasterSignals;

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Step {
    /// Have [`Supervisor::spawn`] called, after output was flushed.
    Spawn(Spawn),
    /// Nothing: [`Supervisor::wait`].
    Wait,
    /// All has ended.
    Over,
}

/// A process that is to be started.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Spawn {
    Hub,
    Worker(u16),
    Successor(u16),
}

/// What a node is made of.
pub(crate) struct Plan {
    pub(crate) workers: u16,
    pub(crate) hub: HubConfig,
    /// Addresses as the script gave them, and for each of its sockets those of the slots.
    pub(crate) listen: Vec<(String, Vec<Vec<OpenListener>>)>,
    pub(crate) publish: Option<OpenPublishSocket>,
    /// Of the script, if it has one.
    pub(crate) script: Option<String>,
}

/// The master's state. Dropping it ends what it has started; in a fork it only closes descriptors.
pub(crate) struct Supervisor {
    pub(super) owner: u32,
    pub(super) signals: MasterSignals,
    pub(super) plan: Plan,
    pub(super) addresses: Vec<String>,
    /// From [`Supervisor::settle`] on.
    pub(super) home: Option<Home>,
    pub(super) hub: Option<Hub>,
    pub(super) hub_due: Instant,
    pub(super) hub_pauses: Pauses,
    pub(super) hub_attempts: Attempts,
    pub(super) slots: Vec<Slot>,
    /// They have a successor and end their connections.
    pub(super) leaving: Vec<Worker>,
    /// The slot whose successor is being started, and the generation of that.
    pub(super) replacing: Option<(u16, u32)>,
    pub(super) reload: Option<Reload>,
    /// The last generation that was begun.
    pub(super) generation: u32,
    pub(super) stopping: bool,
    /// A worker was ready at least once.
    pub(super) proven: bool,
    pub(super) failed_starts: u32,
    pub(super) failure: Option<String>,
}

pub(super) struct Hub {
    pub(super) process: Process,
    /// Held open: its end tells the hub to end.
    pub(super) quit: Option<std::io::PipeWriter>,
}

/// A reload that is going on.
pub(super) struct Reload {
    pub(super) generation: u32,
    pub(super) left: VecDeque<u16>,
    /// Somebody has asked for another one meanwhile.
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
            home: None,
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
