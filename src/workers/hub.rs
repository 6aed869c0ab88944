//! The process of the hub, which connects the workers of a node.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind};

use sprocket_server::cluster::{self, HubConfig};
use sprocket_server::notices::Level;

use super::log::report;
use super::reexec;
use super::runtime_dir::RuntimeDir;
use crate::zend::Child;

/// Runs the hub in the process that was forked for it, until `quit` is closed by the master. No PHP
/// code runs here, not even at the end: destructors and shutdown functions belong to the master.
pub(super) fn serve(
    child: Child,
    config: HubConfig,
    runtime_dir: &RuntimeDir,
    master: u32,
    quit: OwnedFd,
) -> ! {
    child.leave_php(&[runtime_dir.listener(), quit.as_raw_fd()], || {
        let served = catch_unwind(AssertUnwindSafe(|| {
            let listener = runtime_dir.share().map(UnixListener::from);
            listener.and_then(|listener| cluster::serve_blocking(config, listener, quit))
        }));
        let status = match served {
            Ok(Ok(())) => 0,
            Ok(Err(error)) => {
                report(Level::Error, "hub.ended", format!("the hub cannot serve: {error}"));
                1
            }
            // The panic handler has printed the reason.
            Err(_) => 101,
        };
        if reexec::parent() != master as i32 {
            runtime_dir.remove();
        }
        status
    })
}
