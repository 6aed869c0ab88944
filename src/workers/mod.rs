//! Several processes that serve the same addresses: the tree of master, hub and workers.
//!
//! ```text
//! master: the script's process, supervises
//!  ├─ hub: connects the workers (sprocket_core::bus)
//!  ├─ worker 1: PHP with a server of its own
//!  └─ worker 2 …
//! ```
//!
//! Workers of the first generation are forks of the master; those of later ones are new PHP
//! processes that run the script from its top, and become workers when it calls `run()`.

mod control;
mod deadlines;
mod home;
mod hub;
mod node;
mod origin;
mod reload;
mod role;
mod say;
mod slot;
mod spawn;
mod supervisor;
mod watch;

use sprocket_core::bus::HubConfig;
use sprocket_core::{ForkError, OpenListener, OpenPublishSocket};

pub(crate) use self::deadlines::GRACE;
pub(crate) use self::node::{Step, Supervisor};
pub(crate) use self::origin::remember;
pub(crate) use self::role::{Given, Order, Role};
pub(crate) use self::say::{gather_lines, next_line};
use crate::errors;
use crate::listen::Listen;
use crate::settings::Settings;
use crate::zend::{self, Result};

/// Opens the sockets and prepares all that a master needs. Throws if that can't be done here.
pub(crate) fn master(listen: &[Listen], settings: &Settings, workers: u16) -> Result<Supervisor> {
    if !zend::is_main_thread() {
        return Err(errors::state("run() with workers forks, which only the main thread of PHP may do"));
    }
    if crate::link::running() > 0 {
        return Err(errors::state(
            "run() with workers forks, which must come before another server of this process is started",
        ));
    }
    let config = &settings.config;
    let mut sockets = Vec::with_capacity(listen.len());
    for address in listen {
        let open = |one| OpenListener::open(one, config.backlog, usize::from(workers));
        let open = address.open()?.into_iter().map(open).collect::<std::result::Result<Vec<_>, _>>();
        sockets.push((address.text().to_owned(), open.map_err(|e| errors::start(&e.into()))?));
    }
    let publish = config.publish_socket.as_ref().map(OpenPublishSocket::open).transpose();
    let plan = node::Plan {
        workers,
        hub: HubConfig {
            history: config.history.clone(),
            broker: config.broker.clone(),
            queue: config.bus_queue,
        },
        listen: sockets,
        publish: publish.map_err(|e| errors::start(&e.into()))?,
        script: zend::script(),
    };
    Ok(Supervisor::new(plan))
}

/// How many processes `workers` stands for.
pub(crate) fn count(workers: u16) -> u16 {
    match workers {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get().min(64) as u16),
        n => n,
    }
}

/// Throws where the server's master is the parent of this process.
pub(crate) fn check_owner(supervisor: &Supervisor) -> Result<()> {
    let here = std::process::id();
    if supervisor.owner() == here {
        return Ok(());
    }
    Err(errors::fork(&ForkError { started_in: supervisor.owner(), here }))
}
