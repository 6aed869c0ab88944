//! `Sprocket\Server`.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ext_php_rs::types::Zval;
use sprocket_server::notices::Line;
use sprocket_server::{Interest, Server as Core, Stats};

use crate::by_id::ById;
use crate::callbacks::{Callbacks, Hook};
use crate::connection::Connection;
use crate::link::{Answer, Link};
use crate::listen::Listen;
use crate::settings::Settings;
use crate::timers::Timers;
use crate::workers::{Role, Supervisor};
use crate::zend::{
    ClassCell, Gc, Native, Owned, Result, SEND_QUEUE, SignalsBlocked, throw_error, trim_heap, watch_forks,
};
use crate::{errors, lifecycle, logger};

static SERVER: ClassCell = ClassCell::new();

/// The state of a server object.
#[derive(Default)]
pub(crate) struct Server {
    pub(crate) setup: OnceCell<Setup>,
    /// State shared with connections and handshakes.
    pub(crate) link: Rc<Link>,
    pub(crate) callbacks: Callbacks,
    /// Lines queued for the logger.
    pub(crate) log: logger::Waiting,
    pub(crate) timers: Timers,
    /// Connections between onOpen and onClose, by id.
    pub(crate) connections: RefCell<ById<Owned<Connection>>>,
    /// The stream that `stream()` has returned.
    pub(crate) stream: RefCell<Option<Zval>>,
    /// When the core makes the stream readable for a timer.
    alarm: Cell<Option<Instant>>,
    /// The last counters, once the core has ended.
    pub(crate) stats: RefCell<Option<Stats>>,
    started: Cell<bool>,
    pub(crate) stopping: Cell<bool>,
    /// Set in the master of workers, while `run()` runs.
    pub(crate) master: RefCell<Option<Supervisor>>,
    /// Set in a worker.
    pub(crate) role: OnceCell<Role>,
    /// Handshakes, messages and requests so far.
    pub(crate) handled: Cell<u64>,
    /// Number of the worker while `run()` runs; 1 without workers.
    pub(crate) number: Cell<Option<u16>>,
}

/// The arguments of the constructor, checked.
pub(crate) struct Setup {
    pub(crate) listen: Vec<Listen>,
    pub(crate) settings: Settings,
}

impl Native for Server {
    fn class() -> &'static ClassCell {
        &SERVER
    }

    fn unconstructed() -> Self {
        Self::default()
    }

    fn visit(&self, gc: &mut Gc) {
        self.callbacks.visit(gc);
        self.timers.visit(gc);
        self.link.visit(gc);
        for connection in self.connections.borrow().values() {
            gc.add_object(connection);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // `get_mut` works even if a fatal error has left a borrow behind.
        let kept = std::mem::take(self.connections.get_mut());
        self.connections = RefCell::default();
        self.end();
        drop(kept);
        // Ends the workers, if this is their master.
        drop(self.master.take());
    }
}

impl Server {
    pub(crate) fn setup(&self) -> Result<&Setup> {
        self.setup.get().ok_or_else(|| throw_error("Sprocket\\Server has not been constructed"))
    }

    /// Throws if the server has workers, which `run()` alone can start.
    pub(crate) fn refuse_workers(&self, method: &str) -> Result<()> {
        match self.setup.get() {
            Some(setup) if setup.settings.workers.is_some() => Err(errors::state(&format!(
                "Sprocket\\Server::{method}() is not available with workers: only run() starts them. Use \
                 onStart() to run code once the server listens"
            ))),
            _ => Ok(()),
        }
    }

    pub(crate) fn start(&self) -> Result<()> {
        let setup = self.setup()?;
        if self.link.is_running() {
            self.link.check_process()?;
            return if self.stopping.get() {
                Err(errors::state("The server is still stopping"))
            } else {
                Ok(())
            };
        }
        let mut config = setup.settings.config.clone();
        lifecycle::share_descriptors(&setup.settings, &mut config);
        config.reclaim = Some(trim_heap);
        let listeners = match self.role.get() {
            Some(role) => role.prepare(&setup.listen, &mut config),
            None => {
                let mut binds = Vec::with_capacity(setup.listen.len());
                for listen in &setup.listen {
                    binds.extend(listen.open()?);
                }
                binds.into()
            }
        };
        // Set before the first connection, which may be waiting already and must not pass unchecked.
        config.interest = Hook::ALL
            .into_iter()
            .filter(|hook| self.callbacks.has(*hook))
            .filter_map(Hook::interest)
            .fold(Interest::NONE, Interest::and);
        config.send_queue = SEND_QUEUE;
        config.block_signals = Some(|| Box::new(SignalsBlocked::new()));
        watch_forks();
        // The I/O threads inherit the mask, so that signals reach the PHP thread.
        let wants_lines = config.interest.includes(Interest::LOG);
        let describe = wants_lines.then(|| config.clone());
        let blocked = SignalsBlocked::new();
        let core = Core::start(config, listeners);
        drop(blocked);
        let core = core.map_err(|e| errors::start(&e))?;
        if let Some(config) = describe {
            self.log.add(logger::started(core.addresses(), &config));
        }
        self.started.set(true);
        self.stats.replace(None);
        self.link.attach(core);
        self.timers_changed();
        Ok(())
    }

    /// Begins to stop. Does nothing on a server that does not run.
    pub(crate) fn stop(&self, grace: Duration) -> Result<()> {
        if self.link.command(|core| core.stop(grace))?.is_some() && !self.stopping.replace(true) {
            self.note(|| logger::stopping(self.connections.borrow().len(), grace, false));
        }
        Ok(())
    }

    /// Begins to stop in favour of a successor, which shares the listening sockets.
    pub(crate) fn hand_over(&self, grace: Duration) {
        if self.link.with(|core| core.give_way(grace)).is_some() && !self.stopping.replace(true) {
            self.note(|| logger::stopping(self.connections.borrow().len(), grace, true));
        }
    }

    /// Ends the core and releases everything that waited for it: after the last event, or when the object
    /// is destroyed.
    pub(crate) fn end(&self) {
        let native = self.link.is_native();
        let core = self.link.detach();
        if let Some(core) = core.as_ref().filter(|_| native) {
            self.stats.replace(Some(counted(core)));
        }
        // Cuts the remaining connections and joins the I/O threads; does neither in a fork.
        drop(core);
        self.stopping.set(false);
        self.alarm.set(None);
        for (_, answer) in self.link.waiting.take() {
            answer.set(Answer::Gone);
        }
        // Each of these may run destructors: no borrow is held.
        drop(self.link.accepted.take());
        drop(self.link.streams.take());
        drop(self.connections.take());
        drop(self.stream.take());
    }

    /// Tells a foreign event loop when the next timer is due. The pump does so at its end.
    pub(crate) fn timers_changed(&self) {
        if !self.link.is_dispatching() && self.link.is_native() {
            self.announce();
        }
    }

    /// Makes the stream, if there is one, readable when events come or a timer is due.
    pub(crate) fn announce(&self) {
        if self.stream.borrow().is_none() {
            return;
        }
        let next = self.timers.next();
        self.link.with(|core| {
            core.prepare_sleep();
            // `prepare_sleep` has cleared the descriptor: an alarm that has gone off is set again.
            let over = next.is_some_and(|due| due <= Instant::now());
            if self.alarm.replace(next) != next || over {
                core.notify_at(next);
            }
        });
    }

    /// Queues a log line, if there is a logger.
    pub(crate) fn note(&self, line: impl FnOnce() -> Line) {
        if self.callbacks.has(Hook::Log) {
            self.log.add(line());
        }
    }

    pub(crate) fn refuse_nesting(&self, method: &str) -> Result<()> {
        if !self.link.is_dispatching() {
            return Ok(());
        }
        Err(errors::state(&format!(
            "Sprocket\\Server::{method}() must not be called while a callback of this server is running or \
             suspended in a fiber"
        )))
    }

    /// Whether the server runs. Throws if it was never started, or runs in the parent process.
    pub(crate) fn is_started(&self, method: &str) -> Result<bool> {
        self.link.check_process()?;
        if !self.started.get() {
            return Err(errors::state(&format!("Call start() before {method}()")));
        }
        Ok(self.link.is_running())
    }
}

/// The counters of this server, and of the hub if it has one.
pub(crate) fn counted(core: &Core) -> Stats {
    let mut sum = Stats::default();
    core.node_stats().iter().for_each(|(_, stats)| sum.add(stats));
    sum
}
