//! The worker's side: the data that a worker inherits from its master, and the orders that it follows.

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use sprocket_server::notices::Level;
use sprocket_server::{ClusterMember, Config, Listeners, OpenListener, OpenPublishSocket, Stopper};

use super::control::{Control, ControlMessage};
use super::deadlines::GRACE;
use super::log::report;
use super::reexec;
use super::watch::Watch;
use crate::errors;
use crate::lifecycle::{self, StopSignals};
use crate::listen::Listen;
use crate::settings::Settings;
use crate::zend::{self, Child, Result};

/// The state of this process as a worker. The binding's server object holds it.
pub(crate) struct Role {
    slot: u16,
    control: Control,
    master: i32,
    hub: PathBuf,
    /// Sockets, grouped by address, until the server starts.
    sockets: RefCell<Vec<Vec<OwnedFd>>>,
    publish: RefCell<Option<OwnedFd>>,
    urls: Vec<String>,
    /// The master's signal handlers, which a fork has inherited, until [`Role::settle`].
    signals: RefCell<Option<StopSignals>>,
    /// Keeps the signals of a fork blocked until [`Role::settle`].
    child: RefCell<Option<Child>>,
    /// Tick of the last look at the control channel.
    looked: Cell<u64>,
    /// Whether this worker has requested a successor.
    asked: Cell<bool>,
    /// Whether the loss of the master was logged.
    orphaned: Cell<bool>,
    /// `None` until [`Role::settle`].
    watch: RefCell<Option<Watch>>,
}

/// The data that a worker inherits from its master.
pub(crate) struct Inherited {
    pub(super) slot: u16,
    pub(super) control: Control,
    pub(super) master: i32,
    pub(super) hub: PathBuf,
    /// Sockets, grouped by address.
    pub(super) sockets: Vec<Vec<OwnedFd>>,
    pub(super) publish: Option<OwnedFd>,
    /// The master's signal handlers; in a fork only.
    pub(super) signals: Option<StopSignals>,
    /// In a fork: signals stay blocked until [`Role::settle`].
    pub(super) child: Option<Child>,
}

/// An order for the pump of a worker.
pub(crate) enum Order {
    Stop(Duration),
    HandOver(Duration),
}

impl Role {
    pub(crate) fn new(given: Inherited, listen: &[Listen]) -> Self {
        let each = listen.iter().zip(&given.sockets);
        let each =
            each.flat_map(|(l, sockets)| sockets.iter().map(|s| OpenListener::url_of(s, l.wants_tls())));
        Self {
            urls: each.collect(),
            slot: given.slot,
            control: given.control,
            master: given.master,
            hub: given.hub,
            sockets: RefCell::new(given.sockets),
            publish: RefCell::new(given.publish),
            signals: RefCell::new(given.signals),
            child: RefCell::new(given.child),
            looked: Cell::new(0),
            asked: Cell::new(false),
            orphaned: Cell::new(false),
            watch: RefCell::default(),
        }
    }

    /// Returns the role for which a master has started this process, or `None` if no master has. Throws
    /// if the process cannot take the role.
    pub(crate) fn inherited(listen: &[Listen], workers: u16) -> Result<Option<Self>> {
        let Some(passed) = reexec::take_passed() else { return Ok(None) };
        let passed = passed.map_err(|why| errors::worker(&format!("Cannot become a worker: {why}")))?;
        let own: Vec<&str> = listen.iter().map(Listen::text).collect();
        if passed.addresses != own {
            return Err(errors::worker(&format!(
                "A reload can't change where the server listens ({} instead of {}): restart it",
                own.join(", "),
                passed.addresses.join(", ")
            )));
        }
        if passed.workers != workers {
            report(
                Level::Warning,
                "reload.workers",
                format!("there are {} workers until the next restart, not {workers}", passed.workers),
            );
        }
        let control = Control::inherited(passed.control)
            .map_err(|error| errors::worker(&format!("Cannot become a worker: {error}")))?;
        let reexec::Passed { slot, master, hub, sockets, publish, .. } = passed;
        let given = Inherited { slot, control, master, hub, sockets, publish, signals: None, child: None };
        Ok(Some(Self::new(given, listen)))
    }

    /// Number of the worker, from 1.
    pub(crate) fn number(&self) -> u16 {
        self.slot + 1
    }

    /// Installs the signal handlers of a worker, and completes the steps that a fork leaves to its
    /// child.
    pub(crate) fn settle(&self) -> StopSignals {
        let signals = self.signals.take().unwrap_or_else(StopSignals::take);
        if !zend::signal_has_handler(libc::SIGHUP) {
            // SIGHUP is meant for the master, but a terminal sends it to every process. It is set again
            // even if it was ignored: the engine ignores it by a handler, which interrupts system
            // calls.
            zend::ignore_signal(libc::SIGHUP);
        }
        zend::detach_input();
        if let Some(child) = self.child.take() {
            child.continue_php();
        }
        zend::reseed();
        let watch =
            self.control.share().and_then(|control| Watch::begin(control, self.master, self.number()));
        match watch {
            Ok(watch) => drop(self.watch.replace(Some(watch))),
            // The worker can serve without this thread; it also checks on its master between callbacks.
            Err(error) => report(
                Level::Warning,
                "worker.unwatched",
                format!("worker {} cannot watch its master from a thread: {error}", self.number()),
            ),
        }
        signals
    }

    /// URLs of the node's listeners.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.urls.clone()
    }

    /// Returns the inherited listeners and completes the configuration of the core. Called once.
    pub(crate) fn prepare(&self, listen: &[Listen], config: &mut Config) -> Listeners {
        config.broker = None;
        config.cluster = Some(ClusterMember { path: self.hub.clone(), slot: self.slot });
        let publish = self.publish.take();
        let publishers = publish
            .zip(config.publish_socket.as_ref())
            .map(|(socket, settings)| OpenPublishSocket::inherited(socket, settings));
        if publishers.is_none() {
            // The new code may configure a publish socket that the master has not opened, which
            // requires a restart.
            config.publish_socket = None;
        }
        let sockets = self.sockets.take().into_iter();
        let adopt = |(address, sockets): (&Listen, Vec<OwnedFd>)| {
            sockets.into_iter().map(|socket| address.adopt(socket)).collect::<Vec<_>>()
        };
        let clients = listen.iter().zip(sockets).flat_map(adopt).collect();
        Listeners { clients, publishers }
    }

    /// Reports to the master that this worker accepts connections. `stopper` stops the server when the
    /// master is gone.
    pub(crate) fn ready(&self, stopper: Option<Stopper>) {
        if let (Some(watch), Some(stopper)) = (self.watch.borrow().as_ref(), stopper) {
            watch.guard(stopper);
        }
        self.control.send(ControlMessage::Ready);
    }

    /// Asks the master to stop the whole server.
    pub(crate) fn stop_all(&self, grace: Duration) {
        self.control.send(ControlMessage::Stop(grace));
    }

    /// Logs the reason for which this worker cannot serve any more. It ends, and the master replaces
    /// it.
    pub(crate) fn broken(&self, why: &str) {
        report(Level::Error, "worker.broken", format!("worker {} ends: {why}", self.number()));
    }

    /// Returns the master's latest order. The control channel is read every 40 ms. Also requests a
    /// successor once `handled` reaches `maxRequests` or the memory `maxMemory`.
    pub(crate) fn order(&self, settings: &Settings, handled: u64) -> Option<Order> {
        /// Period between two reads, in ticks of 4 ms.
        const PERIOD: u64 = 10;
        let tick = lifecycle::tick();
        if tick.wrapping_sub(self.looked.get()) < PERIOD {
            return None;
        }
        self.looked.set(tick);
        if !self.asked.get() && is_spent(settings, handled) {
            self.asked.set(true);
            self.control.send(ControlMessage::Recycle);
        }
        let (messages, master_alive) = self.control.receive();
        if (!master_alive || reexec::parent() != self.master) && !self.orphaned.replace(true) {
            report(
                Level::Error,
                "worker.orphaned",
                format!("worker {} ends, because its master is gone", self.number()),
            );
            return Some(Order::Stop(GRACE));
        }
        messages.into_iter().rev().find_map(|message| match message {
            ControlMessage::Stop(grace) => Some(Order::Stop(grace)),
            ControlMessage::HandOver(grace) => Some(Order::HandOver(grace)),
            ControlMessage::Ready | ControlMessage::Recycle => None,
        })
    }
}

/// Whether the worker has reached `maxRequests` or `maxMemory`.
fn is_spent(settings: &Settings, handled: u64) -> bool {
    (settings.max_requests > 0 && handled >= settings.max_requests)
        || (settings.max_memory > 0 && zend::memory_usage() >= settings.max_memory)
}
