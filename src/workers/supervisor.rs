//! The master of a node: it keeps a hub and a number of workers alive, replaces them one after the
//! other when it is asked to, and ends them in order.
//!
//! It decides step by step, and is told time and again what has happened. Nothing here runs PHP code.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use sprocket_core::notices::Level;

use super::control::Word;
use super::deadlines::{GRACE, HUB_PATIENCE, NO_PATIENCE, STOP_PATIENCE};
use super::home::Home;
use super::node::{Spawn, Step, Supervisor};
use super::say::{line, note, of_worker, report, say};
use super::slot::{End, Slot, Worker};

/// First attempts in all that may fail, beyond one for each slot, before the start is given up.
const ATTEMPTS: u32 = 3;

impl Supervisor {
    /// Makes a place for the hub, as the user that this process is now: the script may just have
    /// given up its privileges, and workers would not reach what belongs to somebody else.
    pub(crate) fn settle(&mut self) -> std::io::Result<()> {
        self.home = Some(Home::make()?);
        Ok(())
    }

    /// The process that it belongs to.
    pub(crate) fn owner(&self) -> u32 {
        self.owner
    }

    /// Where the node listens.
    pub(crate) fn urls(&self) -> Vec<String> {
        let sockets = self.plan.listen.iter().flat_map(|(_, sockets)| sockets);
        sockets.filter_map(|slots| slots.first()).map(|l| l.url().to_owned()).collect()
    }

    /// Why it ended, if nobody wanted it to.
    pub(crate) fn failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// Ends all workers, also those that are stopped; what is left after the grace period is cut.
    pub(crate) fn stop(&mut self, grace: Duration) {
        if !std::mem::replace(&mut self.stopping, true) {
            let message =
                format!("stopping: workers have {:.1} s to end their connections", grace.as_secs_f64());
            note(|| line(Level::Info, "server.stopping", message));
        }
        self.reload = None;
        self.replacing = None;
        let patience = if grace.is_zero() { NO_PATIENCE } else { STOP_PATIENCE };
        if let Some(hub) = &self.hub {
            hub.process.go_on();
        }
        let kill_at = Instant::now().checked_add(grace.saturating_add(patience));
        for worker in self.workers_mut() {
            worker.control.say(Word::Stop(grace));
            worker.process.go_on();
            if let Some(kill_at) = kill_at {
                worker.process.kill_at(kill_at);
            }
        }
    }

    /// Takes note of what has happened and says what is next.
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

    /// Waits for a word of a worker, the end of one, or a signal, but not longer than `nap`.
    pub(crate) fn wait(&self, nap: Duration) {
        let mut fds: Vec<PollFd<'_>> = self
            .workers()
            .filter(|worker| !worker.silent)
            .map(|worker| PollFd::from_borrowed_fd(worker.control.as_fd(), PollFlags::IN))
            .collect();
        let nap = Timespec { tv_sec: nap.as_secs() as _, tv_nsec: nap.subsec_nanos() as _ };
        // An interruption is a signal, for which the caller looks.
        let _ = poll(&mut fds, Some(&nap));
    }

    fn workers(&self) -> impl Iterator<Item = &Worker> {
        let placed = self.slots.iter().flat_map(|s| s.worker.iter().chain(&s.successor));
        placed.chain(&self.leaving)
    }

    fn workers_mut(&mut self) -> impl Iterator<Item = &mut Worker> {
        let placed = self.slots.iter_mut().flat_map(|s| s.worker.iter_mut().chain(&mut s.successor));
        placed.chain(&mut self.leaving)
    }

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

    fn listen(&mut self, now: Instant) {
        let mut ready = Vec::new();
        let mut stop = None;
        for worker in self.workers_mut().filter(|worker| !worker.silent) {
            let (words, there) = worker.control.hear();
            worker.silent = !there;
            for word in words {
                match word {
                    Word::Ready => {
                        worker.ready = true;
                        ready.push(worker.slot);
                        note(|| of_worker(Level::Info, "worker.started", worker, "accepts connections"));
                    }
                    Word::Recycle => worker.recycle = true,
                    Word::Stop(grace) => stop = Some(grace),
                    Word::HandOver(_) => {}
                }
            }
        }
        self.proven |= !ready.is_empty();
        if let Some(grace) = stop
            && !self.stopping
        {
            self.stop(grace);
        }
        // Who is ready only now has been told to stop, and is killed in time like the others.
        if self.stopping {
            return;
        }
        for slot in ready {
            self.succeed(slot, now);
        }
    }

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
                // The last words: it may have been that which asked for the end of all.
                let what = format!("{end} while it ended its connections");
                match end {
                    End::Status(0) => {
                        note(|| {
                            of_worker(Level::Info, "worker.drained", worker, "has ended its connections")
                        });
                    }
                    _ if worker.ready => say(of_worker(Level::Warning, "worker.ended", worker, what)),
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
            let message = format!("the hub (process {}) {end}; another one is started", hub.process.number());
            report(Level::Error, "hub.ended", message);
        }
        if !self.stopping {
            self.tell_who_is_stopped();
        }
    }

    fn tell_who_is_stopped(&mut self) {
        for worker in self.workers_mut() {
            if let Some(news) = worker.process.news() {
                say(of_worker(Level::Warning, "worker.suspended", worker, news));
            }
        }
        if let Some(hub) = &mut self.hub
            && let Some(news) = hub.process.news()
        {
            report(
                Level::Warning,
                "hub.suspended",
                format!("the hub (process {}) {news}", hub.process.number()),
            );
        }
    }

    fn worker_ended(&mut self, worker: &Worker, end: End, now: Instant) {
        // What it said last was not heard if it ended at once.
        if let Some(Word::Stop(grace)) =
            worker.control.hear().0.into_iter().find(|w| matches!(w, Word::Stop(_)))
            && !self.stopping
        {
            self.stop(grace);
        }
        if self.stopping {
            match end {
                End::Status(0) => note(|| of_worker(Level::Info, "worker.ended", worker, end)),
                _ => say(of_worker(Level::Warning, "worker.ended", worker, end)),
            }
            return;
        }
        let slot = &mut self.slots[usize::from(worker.slot)];
        let pause = slot.pauses.after(now - worker.process.since);
        slot.due = now + pause;
        let what = format!("{end}; another one is started in {:.1} s", pause.as_secs_f64());
        say(of_worker(Level::Error, "worker.ended", worker, what));
        if !worker.ready && !self.proven {
            self.failed_starts += 1;
            if self.failed_starts >= ATTEMPTS + u32::from(self.plan.workers) {
                self.failure = Some(format!("No worker could be started; the last one {end}"));
                self.stop(Duration::ZERO);
            }
        }
    }

    fn kill_overdue(&mut self, now: Instant) {
        for worker in self.workers_mut() {
            if worker.process.kill_if_due(now) && worker.ready {
                say(of_worker(Level::Warning, "worker.killed", worker, "did not end in time and is killed"));
            }
        }
        if let Some(hub) = &mut self.hub {
            hub.process.kill_if_due(now);
        }
    }

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

    /// Which worker gets a successor next.
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
