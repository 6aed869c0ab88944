//! How the processes of a node are started.

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Instant;

use sprocket_core::notices::Level;
use sprocket_core::{OpenListener, OpenPublishSocket};

use super::control::Control;
use super::deadlines::READY_LIMIT;
use super::home::Home;
use super::hub;
use super::node::{Hub, Spawn, Supervisor};
use super::origin::{Command, Pass};
use super::role::Given;
use super::say::report;
use super::slot::{Process, Worker};
use crate::zend::{self, Fork};

/// A process of the node could be started after all.
const STARTED: &str = "process.started";

fn unstarted(slot: u16, error: &std::io::Error) {
    report(Level::Error, "worker.failed", format!("worker {} could not be started: {error}", slot + 1));
}

impl Supervisor {
    /// Starts a process. What can't be started is tried again after a while, whatever else goes on. `Some`: this is the new one, and what it is.
    pub(crate) fn spawn(&mut self, what: Spawn) -> Option<Given> {
        let started = match what {
            Spawn::Hub => self.spawn_hub().map(|()| None),
            Spawn::Worker(slot) => self.spawn_worker(slot, self.slots[usize::from(slot)].generation, false),
            Spawn::Successor(slot) => {
                let generation = self.replacing.map_or(0, |(_, generation)| generation);
                self.spawn_worker(slot, generation, true)
            }
        };
        let attempts = match what {
            Spawn::Hub => &mut self.hub_attempts,
            Spawn::Worker(slot) | Spawn::Successor(slot) => &mut self.slots[usize::from(slot)].attempts,
        };
        match started {
            Ok(None) => match attempts.succeeded() {
                0 => {}
                1 => report(Level::Notice, STARTED, format!("{what} could be started at the second attempt")),
                n => report(
                    Level::Notice,
                    STARTED,
                    format!("{what} could be started after {n} attempts that failed"),
                ),
            },
            Ok(given) => return given,
            Err(error) => {
                if attempts.failed(Instant::now()) {
                    let message =
                        format!("{what} cannot be started: {error}; it is tried again until it can");
                    report(Level::Error, "process.failed", message);
                }
            }
        }
        None
    }

    fn spawn_hub(&mut self) -> std::io::Result<()> {
        let Some(home) = &self.home else { return Err(std::io::ErrorKind::NotFound.into()) };
        let (reader, writer) = std::io::pipe()?;
        match zend::fork()? {
            Fork::Parent(pid) => {
                self.hub = Process::new(pid).map(|process| Hub { process, quit: Some(writer) });
                Ok(())
            }
            Fork::Child(blocked) => {
                drop(writer);
                hub::serve(self.plan.hub.clone(), home, self.owner, reader.into(), blocked)
            }
        }
    }

    fn spawn_worker(
        &mut self,
        number: u16,
        generation: u32,
        successor: bool,
    ) -> std::io::Result<Option<Given>> {
        let (ours, theirs) = Control::pair()?;
        let command = if generation == 0 { None } else { Command::new(&self.pass(number, &theirs)) };
        let pid = match zend::fork()? {
            Fork::Parent(pid) => pid,
            Fork::Child(blocked) => {
                if let Some(command) = command {
                    let error = command.run(blocked);
                    unstarted(number, &error);
                    zend::exit_now(127);
                }
                drop(ours);
                match self.become_worker(number, theirs, blocked) {
                    Ok(given) => return Ok(Some(given)),
                    Err(error) => {
                        unstarted(number, &error);
                        zend::exit_now(1)
                    }
                }
            }
        };
        let Some(mut process) = Process::new(pid) else { return Ok(None) };
        if successor {
            process.kill_at(process.since + READY_LIMIT);
        }
        let worker = Worker {
            process,
            control: ours,
            slot: number,
            generation,
            ready: false,
            recycle: false,
            silent: false,
        };
        let slot = &mut self.slots[usize::from(number)];
        if successor {
            slot.successor = Some(worker);
        } else {
            slot.worker = Some(worker);
        }
        Ok(None)
    }

    fn hub_socket(&self) -> &Path {
        self.home.as_ref().map_or(Path::new(""), Home::socket)
    }

    /// The sockets of one slot, by address.
    fn slot_sockets(&self, number: u16) -> Vec<Vec<&OpenListener>> {
        let mut addresses = Vec::with_capacity(self.plan.listen.len());
        for (_, sockets) in &self.plan.listen {
            // Some have one for all.
            addresses.push(sockets.iter().filter_map(|s| s.get(usize::from(number)).or(s.first())).collect());
        }
        addresses
    }

    fn pass(&self, slot: u16, control: &Control) -> Pass<'_> {
        let sockets = self.slot_sockets(slot).into_iter();
        Pass {
            slot,
            workers: self.plan.workers,
            control: control.as_raw_fd(),
            publish: self.plan.publish.as_ref().map(|p| p.as_fd().as_raw_fd()),
            hub: self.hub_socket(),
            sockets: sockets.map(|s| s.iter().map(|l| l.as_fd().as_raw_fd()).collect()).collect(),
            addresses: &self.addresses,
        }
    }

    /// In the child: takes what a worker needs. The rest is closed when this copy is dropped.
    fn become_worker(
        &mut self,
        slot: u16,
        control: Control,
        blocked: zend::SignalsBlocked,
    ) -> std::io::Result<Given> {
        let sockets = self.slot_sockets(slot).into_iter();
        let share = |address: Vec<&OpenListener>| {
            address.into_iter().map(|l| l.as_fd().try_clone_to_owned()).collect()
        };
        let sockets = sockets.map(share).collect::<std::io::Result<_>>()?;
        let publish = self.plan.publish.as_ref().map(OpenPublishSocket::share).transpose()?;
        let signals = self.signals.hand_over();
        let hub = self.hub_socket().to_owned();
        let master = self.owner as i32;
        Ok(Given { slot, control, master, hub, sockets, publish, signals, blocked: Some(blocked) })
    }
}
