//! Servers with workers: several processes that serve the same addresses.
//!
//! ```text
//! master: the script's process, supervises
//!  ├─ hub: connects the workers (sprocket_server::cluster)
//!  ├─ worker 1: PHP with a server of its own
//!  └─ worker 2 …
//! ```
//!
//! Workers of the first generation are forks of the master. Later ones are new PHP processes: each
//! runs the script from its top and becomes a worker when the script calls `run()`.

mod control;
mod deadlines;
mod hub;
mod log;
mod node;
mod reexec;
mod reload;
mod role;
mod runtime_dir;
mod slot;
mod spawn;
mod supervisor;
mod watch;

use sprocket_server::cluster::HubConfig;
use sprocket_server::{ForkError, OpenListener, OpenPublishSocket};

pub(crate) use self::deadlines::GRACE;
pub(crate) use self::log::{gather_lines, next_line, waiting_lines};
pub(crate) use self::node::{Step, Supervisor};
pub(crate) use self::reexec::remember;
pub(crate) use self::role::{Inherited, Order, Role};
use crate::errors;
use crate::listen::Listen;
use crate::settings::Settings;
use crate::zend::{self, Result};

/// Opens the listening sockets and returns the state of a master. Throws if this process cannot fork
/// workers.
pub(crate) fn master(listen: &[Listen], settings: &Settings, workers: u16) -> Result<Supervisor> {
    if !zend::is_main_thread() {
        return Err(errors::state("run() with workers must be called on the main thread, because it forks"));
    }
    if crate::link::running() > 0 {
        return Err(errors::state(
            "run() with workers must be called before another server of this process is started, because it forks",
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
            queue: config.cluster_queue,
            reclaim: Some(zend::trim_heap),
        },
        listen: sockets,
        publish: publish.map_err(|e| errors::start(&e.into()))?,
        script: zend::script(),
    };
    Ok(Supervisor::new(plan))
}

/// Resolves the option `workers`: 0 stands for one process per CPU core, at most 64.
pub(crate) fn count(workers: u16) -> u16 {
    match workers {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get().min(64) as u16),
        n => n,
    }
}

/// Throws if this process is a fork of the server's master, which alone may use the supervisor.
pub(crate) fn check_owner(supervisor: &Supervisor) -> Result<()> {
    let here = std::process::id();
    if supervisor.owner() == here {
        return Ok(());
    }
    Err(errors::fork(&ForkError { started_in: supervisor.owner(), here }))
}
