//! The pump: takes events from the core and timers from the heap, and runs their callbacks.
//!
//! A fatal error in a callback jumps over the frames of this folder, which run no destructors then:
//! see `zend`. Only PHP values, which the engine reclaims, and references to what PHP objects own are
//! held across calls.

mod crash;
mod events;
mod invoke;
mod notices;
mod streams;

use std::time::{Duration, Instant};

use ext_php_rs::types::Zval;
use sprocket_server::{Handler, Server as Core, Wait};

use self::crash::crashed;
use self::events::dispatch;
use self::invoke::{failed, pump, settle};
pub(crate) use self::notices::write_lines;
use self::notices::write_waiting;
use crate::callbacks::Hook;
use crate::lifecycle::{self, StopSignals};
use crate::server::Server;
use crate::workers::{self, GRACE, Inherited, Order, Step, Supervisor};
use crate::zend::{Owned, Result, flush_output, handle_interrupt, interrupted, throw_exit};
use crate::{errors, logger};

/// Most events of one turn; timers, signals and the flush follow.
const BATCH: usize = 128;

/// Longest sleep in `run()`, and so the longest delay of signal handlers and time limits.
const NAP: Duration = Duration::from_millis(100);

/// `Server::run()`: returns when the server has stopped. The server is running, in this process,
/// and not dispatching.
pub(crate) fn run(object: &Owned<Server>, mut signals: StopSignals) -> Result<()> {
    let server = object.get();
    let role = server.role.get();
    let settings = &server.setup()?.settings;
    let number = server.number.get();
    server.number.set(number.or(Some(1)));
    let result = pump(server, || {
        if role.is_none() {
            announce(object, Hook::Start)?;
        }
        announce(object, Hook::WorkerStart)?;
        if let Some(role) = role {
            server.start()?;
            role.ready(server.link.with(Core::stopper));
        }
        let mut died = None;
        while server.link.is_running() {
            died = crashed(server)?;
            if died.is_some() {
                break;
            }
            let done = turn(server, BATCH)?;
            match signals.new_deliveries() {
                Some(1) => server.stop(GRACE)?,
                Some(_) => server.stop(Duration::ZERO)?,
                None => {}
            }
            match role.and_then(|role| role.order(settings, server.handled.get())) {
                Some(Order::Stop(grace)) => server.stop(grace)?,
                Some(Order::HandOver(grace)) => server.hand_over(grace),
                None => {}
            }
            if done == 0 {
                sleep(server, NAP, Core::serve);
            }
        }
        if announce(object, Hook::WorkerStop).is_err() {
            failed(server, None)?;
        }
        if let (Some(error), Some(role)) = (&died, role) {
            role.broken(&error.to_string());
        }
        write_waiting(server)?;
        match (died, role) {
            (None, _) => Ok(()),
            (Some(error), None) => Err(errors::thread(&error)),
            // The master starts another worker. Code after run() in the script is for the master alone.
            (Some(_), Some(_)) => Err(throw_exit(1)),
        }
    });
    server.number.set(number);
    match role {
        // A signal sent to all processes must not interrupt the end of the script.
        Some(_) => std::mem::forget(signals),
        None => drop(signals),
    }
    result.unwrap_or_else(|bailout| bailout.resume())
}

/// `Server::run()` of a master: returns when all processes have ended, or `Some` in a worker that was
/// forked here.
pub(crate) fn supervise(object: &Owned<Server>) -> Result<Option<Inherited>> {
    let server = object.get();
    let result = pump(server, || {
        announce(object, Hook::Start)?;
        let settled = server.master.borrow_mut().as_mut().map_or(Ok(()), Supervisor::settle);
        settled.map_err(|error| {
            errors::worker(&format!("Cannot create the runtime directory of the hub: {error}"))
        })?;
        loop {
            let step = server.master.borrow_mut().as_mut().map_or(Step::Over, Supervisor::step);
            write_waiting(server)?;
            match step {
                Step::Over => {
                    server.note(logger::master_stopped);
                    return write_waiting(server).map(|()| None);
                }
                Step::Wait => {
                    if let Some(supervisor) = server.master.borrow().as_ref() {
                        supervisor.wait(NAP);
                    }
                }
                Step::Spawn(what) => {
                    flush_output();
                    let born = server.master.borrow_mut().as_mut().and_then(|s| s.spawn(what));
                    if born.is_some() {
                        return Ok(born);
                    }
                }
            }
            if interrupted() {
                handle_interrupt()?;
                if let Some(supervisor) = server.master.borrow().as_ref() {
                    workers::check_owner(supervisor)?;
                }
            }
        }
    });
    result.unwrap_or_else(|bailout| {
        workers::gather_lines(false);
        drop(server.master.take());
        bailout.resume()
    })
}

/// Calls a hook whose arguments are the server and, except for onStart, the number of the worker.
fn announce(object: &Owned<Server>, hook: Hook) -> Result<()> {
    let Some(callback) = object.get().callbacks.get(hook) else { return Ok(()) };
    let mut number = Zval::new();
    number.set_long(object.get().number.get().map_or(0, i64::from));
    let mut arguments = [object.value(), number];
    let given = if hook == Hook::Start { 1 } else { 2 };
    callback.call(&mut arguments[..given]).map(drop)
}

/// `Server::poll()`: returns the number of events and timers that were dispatched.
pub(crate) fn poll(server: &Server, timeout: Duration, most: usize) -> Result<i64> {
    let end = Instant::now() + timeout;
    let result = pump(server, || {
        let mut done = 0;
        loop {
            if let Some(error) = crashed(server)? {
                return Err(errors::thread(&error));
            }
            let more = turn(server, BATCH.min(most - done))?;
            done += more;
            if done >= most || !server.link.is_running() || (more == 0 && done > 0) {
                return Ok(done as i64);
            }
            let left = end.saturating_duration_since(Instant::now());
            if more == 0 {
                if left.is_zero() {
                    return Ok(0);
                }
                sleep(server, left.min(NAP), Core::wait);
            }
        }
    });
    if server.link.is_native() {
        server.announce();
    }
    result.unwrap_or_else(|bailout| bailout.resume())
}

/// Waits by `wait` for an event, the next timer or a signal, at most for `longest`.
fn sleep(server: &Server, longest: Duration, wait: fn(&Core, Option<Duration>) -> Wait) {
    let nap = server
        .timers
        .next()
        .map_or(longest, |due| due.saturating_duration_since(Instant::now()).min(longest));
    server.link.with(|core| wait(core, Some(nap)));
}

/// Dispatches up to `most` events and the timers that are due, then flushes. Ends early after some
/// milliseconds, so that events, timers, signals and the master's orders alternate. An error ends the
/// pump: `exit()`, or an exception of a signal handler.
fn turn(server: &Server, most: usize) -> Result<usize> {
    write_waiting(server)?;
    let mut done = 0;
    let mut tick = lifecycle::tick();
    while done < most {
        let Some(event) = server.link.with(|core| core.next_event()).flatten() else { break };
        dispatch(server, event)?;
        settle(server)?;
        done += 1;
        // Messages of quick callbacks leave together, but must not wait for slow callbacks.
        let now = lifecycle::tick();
        server.link.with(|core| core.handled(now != tick));
        if now != tick {
            tick = now;
            server.link.with(Core::flush);
            break;
        }
    }
    let now = Instant::now();
    while let Some(callback) = server.timers.due(now) {
        server.link.with(|core| core.handling(Handler::Timer));
        if callback.call(&mut []).is_err() {
            failed(server, None)?;
        }
        drop(callback);
        settle(server)?;
        done += 1;
        let now = lifecycle::tick();
        server.link.with(|core| core.handled(now != tick));
        if now != tick {
            break;
        }
    }
    if done > 0 {
        server.link.with(Core::idle);
    }
    if interrupted() {
        handle_interrupt()?;
        server.link.check_process()?;
    }
    server.link.with(Core::flush);
    Ok(done)
}
