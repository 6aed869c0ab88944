//! `Server::run()`: in a single process, as the master of workers, or as a worker.

use crate::callbacks::Hook;
use crate::dispatch;
use crate::errors;
use crate::lifecycle::{self, StopSignals};
use crate::logger;
use crate::server::Server;
use crate::workers::{self, Role};
use crate::zend::{Call, Owned, Result, throw_exit};

pub(crate) fn run(call: &Call) -> Result<()> {
    call.arity(0, 0)?;
    if let Some(sapi) = lifecycle::unfit_sapi() {
        let message = format!("Sprocket\\Server::run() is available on the command line only, not in {sapi}");
        return Err(errors::state(&message));
    }
    let server = call.this_object::<Server>();
    let this = server.get();
    this.refuse_nesting("run")?;
    let setup = this.setup()?;
    if !this.link.is_running() {
        let workers = workers::count(setup.settings.workers.unwrap_or(1));
        workers::gather_lines(this.callbacks.has(Hook::Log));
        if let Some(role) = Role::inherited(&setup.listen, workers)? {
            return serve_as(&server, role);
        }
        if setup.settings.workers.is_some() {
            return run_master(&server, workers);
        }
    }
    if !this.stopping.get() {
        this.start()?;
    }
    this.link.check_process()?;
    dispatch::run(&server, StopSignals::take())
}

/// Supervises workers; in a worker that is forked here, serves.
fn run_master(object: &Owned<Server>, workers: u16) -> Result<()> {
    let server = object.get();
    if let Some(supervisor) = server.master.borrow().as_ref() {
        workers::check_owner(supervisor)?;
    }
    let setup = server.setup()?;
    let supervisor = workers::master(&setup.listen, &setup.settings, workers)?;
    server.note(|| logger::master_started(supervisor.urls(), workers));
    drop(server.master.replace(Some(supervisor)));
    let born = dispatch::supervise(object);
    // No PHP code runs from here on.
    workers::gather_lines(false);
    // In the master, dropping it ends the remaining processes; in a worker, it only closes descriptors.
    let supervisor = server.master.take();
    let failure = supervisor.and_then(|mut supervisor| supervisor.failure());
    match (born?, failure) {
        (Some(given), _) => serve_as(object, Role::new(given, &setup.listen)),
        (None, Some(why)) => Err(errors::worker(&why)),
        (None, None) => Ok(()),
    }
}

/// Serves as a worker, then ends the script: code after `run()` is for the master alone.
fn serve_as(server: &Owned<Server>, role: Role) -> Result<()> {
    workers::gather_lines(server.get().callbacks.has(Hook::Log));
    let signals = role.settle();
    server.get().number.set(Some(role.number()));
    // A process becomes a worker once.
    let _ = server.get().role.set(role);
    dispatch::run(server, signals)?;
    Err(throw_exit(0))
}
