//! A worker: what it was given, and what it and its master have to say to each other.

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use sprocket_core::notices::Level;
use sprocket_core::{BusMember, Config, Listeners, OpenListener, OpenPublishSocket, Stopper};

use super::control::{Control, Word};
use super::deadlines::GRACE;
use super::origin;
use super::say::report;
use super::watch::Watch;
use crate::errors;
use crate::lifecycle::{self, StopSignals};
use crate::listen::Listen;
use crate::settings::Settings;
use crate::zend::{self, Result, SignalsBlocked};

/// The worker that this process is.
pub(crate) struct Role {
    slot: u16,
    control: Control,
    master: i32,
    hub: PathBuf,
    /// Of each address, until the server is started.
    sockets: RefCell<Vec<Vec<OwnedFd>>>,
    publish: RefCell<Option<OwnedFd>>,
    urls: Vec<String>,
    /// Until the worker has settled: what a fork has taken over, and what keeps its signals back.
    signals: RefCell<Option<StopSignals>>,
    blocked: RefCell<Option<SignalsBlocked>>,
    looked: Cell<u64>,
    /// It has asked for a successor.
    asked: Cell<bool>,
    orphaned: Cell<bool>,
    /// From [`Role::settle`] on.
    watch: RefCell<Option<Watch>>,
}

/// What a worker begins with.
pub(crate) struct Given {
    pub(super) slot: u16,
    pub(super) control: Control,
    pub(super) master: i32,
    pub(super) hub: PathBuf,
    /// Of each address.
    pub(super) sockets: Vec<Vec<OwnedFd>>,
    pub(super) publish: Option<OwnedFd>,
    /// In a fork: the master's, and signals are blocked.
    pub(super) signals: Option<StopSignals>,
    pub(super) blocked: Option<SignalsBlocked>,
}

/// What the master wants of a worker.
pub(crate) enum Order {
    Stop(Duration),
    HandOver(Duration),
}

impl Role {
    pub(crate) fn new(given: Given, listen: &[Listen]) -> Self {
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
            blocked: RefCell::new(given.blocked),
            looked: Cell::new(0),
            asked: Cell::new(false),
            orphaned: Cell::new(false),
            watch: RefCell::default(),
        }
    }

    /// The role that this process was started for, if it was: throws if it can't play it.
    pub(crate) fn inherited(listen: &[Listen], workers: u16) -> Result<Option<Self>> {
        let Some(passed) = origin::take_passed() else { return Ok(None) };
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
        let origin::Passed { slot, master, hub, sockets, publish, .. } = passed;
        let given = Given { slot, control, master, hub, sockets, publish, signals: None, blocked: None };
        Ok(Some(Self::new(given, listen)))
    }

    /// Counted from 1.
    pub(crate) fn number(&self) -> u16 {
        self.slot + 1
    }

    /// Takes the signals of a worker, and does what a fork has left to do.
    pub(crate) fn settle(&self) -> StopSignals {
        let signals = self.signals.take().unwrap_or_else(StopSignals::take);
        if !zend::signal_has_handler(libc::SIGHUP) {
            // For the master; a terminal sends it to all of us. If it was ignored before, the engine
            // does so by a handler, which interrupts what the script waits for.
            zend::ignore_signal(libc::SIGHUP);
        }
        zend::detach_input();
        if let Some(blocked) = self.blocked.take() {
            zend::renew_after_fork();
            drop(blocked);
        }
        zend::reseed();
        let watch =
            self.control.share().and_then(|control| Watch::begin(control, self.master, self.number()));
        match watch {
            Ok(watch) => drop(self.watch.replace(Some(watch))),
            // It serves all the same, and looks at its master between callbacks.
            Err(error) => report(
                Level::Warning,
                "worker.unwatched",
                format!("worker {} cannot watch its master from a thread: {error}", self.number()),
            ),
        }
        signals
    }

    /// Where the node listens.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.urls.clone()
    }

    /// The listening sockets that the worker has inherited, for the core. Once.
    pub(crate) fn prepare(&self, listen: &[Listen], config: &mut Config) -> Listeners {
        config.broker = None;
        config.bus = Some(BusMember { path: self.hub.clone(), slot: self.slot });
        let publish = self.publish.take();
        let publishers = publish
            .zip(config.publish_socket.as_ref())
            .map(|(socket, settings)| OpenPublishSocket::inherited(socket, settings));
        if publishers.is_none() {
            // New code may want one: only a restart can open it for all.
            config.publish_socket = None;
        }
        let sockets = self.sockets.take().into_iter();
        let adopt = |(address, sockets): (&Listen, Vec<OwnedFd>)| {
            sockets.into_iter().map(|socket| address.adopt(socket)).collect::<Vec<_>>()
        };
        let clients = listen.iter().zip(sockets).flat_map(adopt).collect();
        Listeners { clients, publishers }
    }

    /// Connections are accepted; `stopper` ends that when the master is gone.
    pub(crate) fn ready(&self, stopper: Option<Stopper>) {
        if let (Some(watch), Some(stopper)) = (self.watch.borrow().as_ref(), stopper) {
            watch.guard(stopper);
        }
        self.control.say(Word::Ready);
    }

    /// The script wants the whole server to stop.
    pub(crate) fn stop_all(&self, grace: Duration) {
        self.control.say(Word::Stop(grace));
    }

    /// This worker ends, because it cannot serve any more; the master replaces it.
    pub(crate) fn broken(&self, why: &str) {
        report(Level::Error, "worker.broken", format!("worker {} ends: {why}", self.number()));
    }

    /// What the master wants, asked now and then. `handled` and `memory` are what was used up so
    /// far, in the units of the options.
    pub(crate) fn order(&self, settings: &Settings, handled: u64) -> Option<Order> {
        /// In ticks of 4 ms.
        const PERIOD: u64 = 10;
        let tick = lifecycle::tick();
        if tick.wrapping_sub(self.looked.get()) < PERIOD {
            return None;
        }
        self.looked.set(tick);
        if !self.asked.get() && is_spent(settings, handled) {
            self.asked.set(true);
            self.control.say(Word::Recycle);
        }
        let (words, there) = self.control.hear();
        if (!there || origin::parent() != self.master) && !self.orphaned.replace(true) {
            report(
                Level::Error,
                "worker.orphaned",
                format!("worker {} ends, because its master is gone", self.number()),
            );
            return Some(Order::Stop(GRACE));
        }
        words.into_iter().rev().find_map(|word| match word {
            Word::Stop(grace) => Some(Order::Stop(grace)),
            Word::HandOver(grace) => Some(Order::HandOver(grace)),
            Word::Ready | Word::Recycle => None,
        })
    }
}

/// Whether a worker has done or taken as much as it may.
fn is_spent(settings: &Settings, handled: u64) -> bool {
    (settings.max_requests > 0 && handled >= settings.max_requests)
        || (settings.max_memory > 0 && zend::memory_usage() >= settings.max_memory)
}
