//! The master of a node: keeps the hub and the workers running, replaces workers one after another on a
//! reload, and ends all of them in order.
//!
//! `dispatch::supervise` calls [`Supervisor::step`] in a loop. No PHP code runs in this module.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use sprocket_server::notices::Level;

use super::control::ControlMessage;
use super::deadlines::{GRACE, HUB_PATIENCE, NO_PATIENCE, STOP_PATIENCE};
use super::log::{line, log, note, of_worker, report};
use super::node::{Spawn, Step, Supervisor};
use super::runtime_dir::RuntimeDir;
use super::slot::{End, Slot, Worker};

/// Number of workers, beyond one for each slot, that may fail before any worker is ready. After that
/// the master gives up.
const ATTEMPTS: u32 = 3;

impl Supervisor {
    /// Creates the runtime directory. Called after `onStart`, in which the script may drop its
    /// privileges: workers could not access a directory of the former user.
    pub(crate) fn settle(&mut self) -> std::io::Result<()> {
        self.runtime_dir = Some(RuntimeDir::make()?);
        Ok(())
    }

    /// Id of the master's process.
    pub(crate) fn owner(&self) -> u32 {
        self.owner
    }

    /// URLs of the node's listeners.
    pub(crate) fn urls(&self) -> Vec<String> {
        let sockets = self.plan.listen.iter().flat_map(|(_, sockets)| sockets);
        sockets.filter_map(|slots| slots.first()).map(|l| l.url().to_owned()).collect()
    }

    /// Returns the reason for which the server gave up, once; `None` if it was stopped.
    pub(crate) fn failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// Starts to end all workers, including suspended ones. Connections that remain after the grace
    /// period are cut.
    pub(crate) fn stop(&mut self, grace: Duration) {
        if !std::mem::replace(&mut self.stopping, true) {
            let message =
                format!("stopping: workers have {:.1} s to close their connections", grace.as_secs_f64());
            note(|| line(Level::Info, "server.stopping", message));
        }
        self.reload = None;
        self.replacing = None;
        let patience = if grace.is_zero() { NO_PATIENCE } else { STOP_PATIENCE };
        if let Some(hub) = &self.hub {
            hub.process.resume();
        }
        let kill_at = Instant::now().checked_add(grace.saturating_add(patience));
        for worker in self.workers_mut() {
            worker.control.send(ControlMessage::Stop(grace));
            worker.process.resume();
            if let Some(kill_at) = kill_at {
                worker.process.kill_at(kill_at);
            }
        }
    }

    /// Handles signals, messages and ended processes, and returns what to do next.
    pub(crate) fn step(&mut self) -> Step {
        let now = Instant::now();
        self.obey();
        self.listen(now);
        self.reap(now);
        self.kill_overdue(now);
        if self.stopping {
            return self.ending(now);
        }
        self.choose(now);
        self.due(now).map_or(Step::Wait, Step::Spawn)
    }

    /// Waits for at most `nap`, and less if a worker sends a message or ends, or if a signal arrives.
    pub(crate) fn wait(&self, nap: Duration) {
        let mut fds: Vec<PollFd<'_>> = self
            .workers()
            .filter(|worker| !worker.silent)
            .map(|worker| PollFd::from_borrowed_fd(worker.control.as_fd(), PollFlags::IN))
            .collect();
        let nap = Timespec { tv_sec: nap.as_secs() as _, tv_nsec: nap.subsec_nanos() as _ };
        // EINTR means a signal, which the caller handles.
        let _ = poll(&mut fds, Some(&nap));
    }

    /// Iterates over all worker processes, including successors and those that are draining.
    fn workers(&self) -> impl Iterator<Item = &Worker> {
        let placed = self.slots.iter().flat_map(|s| s.worker.iter().chain(&s.successor));
        placed.chain(&self.leaving)
    }

    /// Like `workers`, with mutable references.
    fn workers_mut(&mut self) -> impl Iterator<Item = &mut Worker> {
        let placed = self.slots.iter_mut().flat_map(|s| s.worker.iter_mut().chain(&mut s.successor));
        placed.chain(&mut self.leaving)
    }

    /// Follows the signals that the master has received.
    fn obey(&mut self) {
        match self.signals.stop() {
            Some(1) => self.stop(GRACE),
            Some(_) => {
                report(Level::Notice, "server.stopping", "stopping at once");
                self.stop(Duration::ZERO);
            }
            None => {}
        }
        if self.signals.reload() && !self.stopping {
            if self.signals.lost_terminal() {
                self.stop(GRACE);
            } else {
                self.begin_reload();
            }
        }
    }

    /// Handles the messages of the workers.
    fn listen(&mut self, now: Instant) {
        let mut ready = Vec::new();
        let mut stop = None;
        for worker in self.workers_mut().filter(|worker| !worker.silent) {
            let (messages, alive) = worker.control.receive();
            worker.silent = !alive;
            for message in messages {
                match message {
                    ControlMessage::Ready => {
                        worker.ready = true;
                        ready.push(worker.slot);
                        note(|| of_worker(Level::Info, "worker.started", worker, "accepts connections"));
                    }
                    ControlMessage::Recycle => worker.recycle = true,
                    ControlMessage::Stop(grace) => stop = Some(grace),
                    ControlMessage::HandOver(_) => {}
                }
            }
        }
        self.proven |= !ready.is_empty();
        if let Some(grace) = stop
            && !self.stopping
        {
            self.stop(grace);
        }
        // A worker that became ready during the stop has already received its order and deadline.
        if self.stopping {
            return;
        }
        for slot in ready {
            self.succeed(slot, now);
        }
    }

    /// Handles processes that have ended.
    fn reap(&mut self, now: Instant) {
        for number in 0..self.slots.len() {
            let slot = &mut self.slots[number];
            if let Some(end) = slot.worker.as_mut().and_then(|w| w.process.ended())
                && let Some(worker) = slot.worker.take()
            {
                self.worker_ended(&worker, end, now);
            }
            let slot = &mut self.slots[number];
            if let Some(end) = slot.successor.as_mut().and_then(|w| w.process.ended())
                && let Some(worker) = slot.successor.take()
            {
                self.successor_ended(&worker, end, now);
            }
        }
        self.leaving.retain_mut(|worker| match worker.process.ended() {
            Some(end) => {
                // Logged during a stop as well: this worker may have requested the stop.
                let what = format!("{end} while closing its connections");
                match end {
                    End::Status(0) => {
                        note(|| {
                            of_worker(Level::Info, "worker.drained", worker, "has closed its connections")
                        });
                    }
                    _ if worker.ready => log(of_worker(Level::Warning, "worker.ended", worker, what)),
                    _ => {}
                }
                false
            }
            None => true,
        });
        if let Some(end) = self.hub.as_mut().and_then(|hub| hub.process.ended())
            && let Some(hub) = self.hub.take()
            && !self.stopping
        {
            let pause = self.hub_pauses.after(now - hub.process.since);
            self.hub_due = now + pause;
            let message = format!("the hub (process {}) {end}; starting another one", hub.process.number());
            report(Level::Error, "hub.ended", message);
        }
        if !self.stopping {
            self.log_suspensions();
        }
    }

    /// Logs processes that a signal has stopped or continued.
    fn log_suspensions(&mut self) {
        for worker in self.workers_mut() {
            if let Some(words) = worker.process.suspension() {
                log(of_worker(Level::Warning, "worker.suspended", worker, words));
            }
        }
        if let Some(hub) = &mut self.hub
            && let Some(words) = hub.process.suspension()
        {
            report(
                Level::Warning,
                "hub.suspended",
                format!("the hub (process {}) {words}", hub.process.number()),
            );
        }
    }

    /// Handles the end of a worker in its slot: schedules the next one, or gives up after repeated
    /// failures.
    fn worker_ended(&mut self, worker: &Worker, end: End, now: Instant) {
        // A worker that ended immediately may have left a message unread.
        if let Some(ControlMessage::Stop(grace)) =
            worker.control.receive().0.into_iter().find(|w| matches!(w, ControlMessage::Stop(_)))
            && !self.stopping
        {
            self.stop(grace);
        }
        if self.stopping {
            match end {
                End::Status(0) => note(|| of_worker(Level::Info, "worker.ended", worker, end)),
                _ => log(of_worker(Level::Warning, "worker.ended", worker, end)),
            }
            return;
        }
        let slot = &mut self.slots[usize::from(worker.slot)];
        let pause = slot.pauses.after(now - worker.process.since);
        slot.due = now + pause;
        let what = format!("{end}; starting another one in {:.1} s", pause.as_secs_f64());
        log(of_worker(Level::Error, "worker.ended", worker, what));
        if !worker.ready && !self.proven {
            self.failed_starts += 1;
            if self.failed_starts >= ATTEMPTS + u32::from(self.plan.workers) {
                self.failure = Some(format!("No worker could be started; the last one {end}"));
                self.stop(Duration::ZERO);
            }
        }
    }

    /// Kills the processes whose deadline has passed.
    fn kill_overdue(&mut self, now: Instant) {
        for worker in self.workers_mut() {
            if worker.process.kill_if_due(now) && worker.ready {
                log(of_worker(Level::Warning, "worker.killed", worker, "did not end in time and is killed"));
            }
        }
        if let Some(hub) = &mut self.hub {
            hub.process.kill_if_due(now);
        }
    }

    /// Continues a stop: the hub ends after all workers have ended.
    fn ending(&mut self, now: Instant) -> Step {
        if self.workers().next().is_some() {
            return Step::Wait;
        }
        match &mut self.hub {
            None => Step::Over,
            Some(hub) => {
                if hub.quit.take().is_some() {
                    hub.process.kill_at(now + HUB_PATIENCE);
                }
                Step::Wait
            }
        }
    }

    /// Chooses the next worker to be replaced by a successor.
    fn choose(&mut self, now: Instant) {
        if self.replacing.is_some() {
            return;
        }
        if let Some(reload) = &mut self.reload {
            self.replacing = reload.left.pop_front().map(|slot| (slot, reload.generation));
            return;
        }
        let tired =
            |slot: &Slot| slot.due <= now && slot.worker.as_ref().is_some_and(|w| w.ready && w.recycle);
        self.replacing =
            self.slots.iter().zip(0..).find(|(slot, _)| tired(slot)).map(|(slot, n)| (n, slot.generation));
    }

    /// Returns the process to start now, if any.
    fn due(&self, now: Instant) -> Option<Spawn> {
        if self.hub.is_none() && self.hub_due <= now && self.hub_attempts.are_due(now) {
            return Some(Spawn::Hub);
        }
        if let Some((slot, _)) = self.replacing
            && let wanted = &self.slots[usize::from(slot)]
            && wanted.successor.is_none()
            && wanted.attempts.are_due(now)
        {
            return Some(Spawn::Successor(slot));
        }
        let replaced = self.replacing.map(|(slot, _)| slot);
        let empty = |slot: &Slot| {
            let vacant = slot.worker.is_none() && slot.successor.is_none();
            vacant && slot.due <= now && slot.attempts.are_due(now)
        };
        let mut slots = self.slots.iter().zip(0..);
        slots.find(|(slot, n)| Some(*n) != replaced && empty(slot)).map(|(_, n)| Spawn::Worker(n))
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if self.owner != std::process::id() {
            return;
        }
        if !self.stopping {
            self.stop(GRACE);
        }
        while self.step() != Step::Over {
            self.wait(Duration::from_millis(20));
        }
    }
}
