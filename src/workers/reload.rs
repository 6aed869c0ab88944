//! Reloads: replaces each worker by a successor that runs the current code on disk.

use std::time::Instant;

use sprocket_server::notices::Level;

use super::control::ControlMessage;
use super::deadlines::{GRACE, HAND_OVER_PATIENCE, READY_LIMIT};
use super::log::report;
use super::node::{Reload, Supervisor};
use super::reexec;
use super::slot::{End, Worker};

impl Supervisor {
    /// Starts a reload, or notes that another one must follow the current one. A reload that cannot
    /// succeed is refused with a log line.
    pub(super) fn begin_reload(&mut self) {
        if let Some(reload) = &mut self.reload {
            reload.again = true;
            return;
        }
        if let Some(why) = reexec::obstacle(self.plan.script.as_deref()) {
            let message = format!("reload refused, because {why}; restart the server instead");
            report(Level::Error, "reload.refused", message);
            return;
        }
        self.generation += 1;
        report(
            Level::Notice,
            "reload.started",
            format!("reloading: generation {} is started", self.generation),
        );
        let left = (0..self.plan.workers).collect();
        self.reload = Some(Reload { generation: self.generation, left, again: false });
        // A successor that is already starting may have read the old code, so it is replaced as well.
        if let Some((slot, _)) = self.replacing.take()
            && let Some(successor) = self.slots[usize::from(slot)].successor.take()
        {
            successor.process.kill();
            self.leaving.push(successor);
        }
    }

    /// Puts a ready successor into its slot and drains the worker that it replaces.
    pub(super) fn succeed(&mut self, number: u16, now: Instant) {
        let slot = &mut self.slots[usize::from(number)];
        let Some(mut successor) = slot.successor.take_if(|s| s.ready) else { return };
        successor.process.kill_at = None;
        slot.generation = successor.generation;
        let before = slot.worker.replace(successor);
        if let Some(mut worker) = before {
            worker.control.send(ControlMessage::HandOver(GRACE));
            worker.process.resume();
            worker.process.kill_at(now + GRACE + HAND_OVER_PATIENCE);
            self.leaving.push(worker);
        }
        self.replacing = None;
        let over = self.reload.take_if(|reload| reload.left.is_empty());
        if let Some(reload) = over {
            report(
                Level::Notice,
                "reload.finished",
                format!("reloaded: generation {} serves", reload.generation),
            );
            if reload.again {
                self.begin_reload();
            }
        }
    }

    /// Handles a successor that ended before it was ready: its worker stays, and a reload is aborted.
    pub(super) fn successor_ended(&mut self, worker: &Worker, end: End, now: Instant) {
        if self.stopping {
            return;
        }
        self.replacing = None;
        let late = if worker.process.killed {
            format!(" (the limit is {} s)", READY_LIMIT.as_secs())
        } else {
            String::new()
        };
        let slot = &mut self.slots[usize::from(worker.slot)];
        slot.due = now + slot.pauses.after(now - worker.process.since);
        let number = worker.slot + 1;
        match self.reload.take_if(|reload| reload.generation == worker.generation) {
            Some(reload) => {
                let all = usize::from(self.plan.workers);
                let replaced = all - reload.left.len() - 1;
                let rest = match replaced {
                    0 => "all workers continue unchanged".to_owned(),
                    n => format!("{n} of {all} workers run the new code; the others continue unchanged"),
                };
                let message = format!(
                    "reload aborted: the new worker {number} {end} before it was ready{late}; {rest}"
                );
                report(Level::Error, "reload.aborted", message);
                if reload.again {
                    self.begin_reload();
                }
            }
            None => {
                let message = format!(
                    "the successor of worker {number} {end} before it was ready{late}; the worker continues"
                );
                report(Level::Error, "worker.ended", message);
            }
        }
    }
}
