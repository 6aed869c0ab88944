//! Starts the processes of a node: the hub, workers, and successors.

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Instant;

use sprocket_server::notices::Level;
use sprocket_server::{OpenListener, OpenPublishSocket};

use super::control::Control;
use super::deadlines::READY_LIMIT;
use super::hub;
use super::log::report;
use super::node::{Hub, Spawn, Supervisor};
use super::reexec::{Command, Pass};
use super::role::Inherited;
use super::runtime_dir::RuntimeDir;
use super::slot::{Process, Worker};
use crate::zend::{self, Fork};

/// Name of the log event for a process that was started after failed attempts.
const STARTED: &str = "process.started";

/// Logs that a worker could not be started.
fn unstarted(slot: u16, error: &std::io::Error) {
    report(Level::Error, "worker.failed", format!("worker {} could not be started: {error}", slot + 1));
}

impl Supervisor {
    /// Starts a process. A failure is logged, and the attempt is repeated with back-off. In a forked
    /// worker this function returns `Some`; in the master it returns `None`.
    pub(crate) fn spawn(&mut self, what: Spawn) -> Option<Inherited> {
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
                1 => report(Level::Notice, STARTED, format!("{what} was started on the second attempt")),
                n => report(Level::Notice, STARTED, format!("{what} was started after {n} failed attempts")),
            },
            Ok(given) => return given,
            Err(error) => {
                if attempts.failed(Instant::now()) {
                    let message = format!("{what} cannot be started: {error}; retrying");
                    report(Level::Error, "process.failed", message);
                }
            }
        }
        None
    }

    /// Forks the process of the hub.
    fn spawn_hub(&mut self) -> std::io::Result<()> {
        let Some(runtime_dir) = &self.runtime_dir else { return Err(std::io::ErrorKind::NotFound.into()) };
        let (reader, writer) = std::io::pipe()?;
        match zend::fork()? {
            Fork::Parent(pid) => {
                self.hub = Process::new(pid).map(|process| Hub { process, quit: Some(writer) });
                Ok(())
            }
            Fork::Child(child) => {
                drop(writer);
                hub::serve(child, self.plan.hub.clone(), runtime_dir, self.owner, reader.into())
            }
        }
    }

    /// Forks a worker. Generation 0 continues in the fork; later generations execute the command line
    /// again.
    fn spawn_worker(
        &mut self,
        number: u16,
        generation: u32,
        successor: bool,
    ) -> std::io::Result<Option<Inherited>> {
        let (ours, theirs) = Control::pair()?;
        let command = if generation == 0 { None } else { Command::new(&self.pass(number, &theirs)) };
        let pid = match zend::fork()? {
            Fork::Parent(pid) => pid,
            Fork::Child(child) => {
                if let Some(command) = command {
                    command.run(child, |error| unstarted(number, &error));
                }
                drop(ours);
                match self.become_worker(number, theirs) {
                    Ok(given) => return Ok(Some(Inherited { child: Some(child), ..given })),
                    Err(error) => {
                        unstarted(number, &error);
                        child.exit(1)
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

    /// Returns the path of the hub's socket.
    fn hub_socket(&self) -> &Path {
        self.runtime_dir.as_ref().map_or(Path::new(""), RuntimeDir::socket)
    }

    /// Returns the sockets of one slot, grouped by address.
    fn slot_sockets(&self, number: u16) -> Vec<Vec<&OpenListener>> {
        let mut addresses = Vec::with_capacity(self.plan.listen.len());
        for (_, sockets) in &self.plan.listen {
            // If an address has only one socket, all slots share it.
            addresses.push(sockets.iter().filter_map(|s| s.get(usize::from(number)).or(s.first())).collect());
        }
        addresses
    }

    /// Returns the data to pass to a worker of a later generation.
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

    /// Collects the data of a worker, in the child of the fork. All other descriptors are closed when
    /// this copy of the supervisor is dropped.
    fn become_worker(&mut self, slot: u16, control: Control) -> std::io::Result<Inherited> {
        let sockets = self.slot_sockets(slot).into_iter();
        let share = |address: Vec<&OpenListener>| {
            address.into_iter().map(|l| l.as_fd().try_clone_to_owned()).collect()
        };
        let sockets = sockets.map(share).collect::<std::io::Result<_>>()?;
        let publish = self.plan.publish.as_ref().map(OpenPublishSocket::share).transpose()?;
        let signals = self.signals.hand_over();
        let hub = self.hub_socket().to_owned();
        let master = self.owner as i32;
        Ok(Inherited { slot, control, master, hub, sockets, publish, signals, child: None })
    }
}
