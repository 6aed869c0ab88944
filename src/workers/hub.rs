//! The hub's process.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind};

use sprocket_core::bus::{self, HubConfig};
use sprocket_core::notices::Level;

use super::home::Home;
use super::origin;
use super::say::report;
use crate::zend::{self, SignalsBlocked};

/// Body of the process that was forked for it. No PHP code runs in it, neither now nor at its end:
/// destructors and shutdown functions are the master's.
pub(super) fn serve(
    config: HubConfig,
    home: &Home,
    master: u32,
    quit: OwnedFd,
    blocked: SignalsBlocked,
) -> ! {
    zend::ignore_signals();
    zend::detach_input();
    zend::close_all_but(&[home.listener(), quit.as_raw_fd()]);
    drop(blocked);
    let served = catch_unwind(AssertUnwindSafe(|| {
        let listener = home.share().map(UnixListener::from);
        listener.and_then(|listener| bus::serve_blocking(config, listener, quit))
    }));
    let status = match served {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => {
            report(Level::Error, "hub.ended", format!("the hub cannot serve: {error}"));
            1
        }
        // The panic has said why.
        Err(_) => 101,
    };
    if origin::parent() != master as i32 {
        home.remove();
    }
    zend::exit_now(status)
}
