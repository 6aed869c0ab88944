//! Ends a server whose I/O thread has died.

use sprocket_server::{ConnId, Server as Core, ThreadDied};

use super::events::close;
use super::invoke::settle;
use crate::server::Server;
use crate::zend::Result;

/// If an I/O thread has died, ends the server: each open connection gets its onClose, and all other
/// events are dropped.
pub(super) fn crashed(server: &Server) -> Result<Option<ThreadDied>> {
    let Some(Err(error)) = server.link.with(Core::check_threads) else { return Ok(None) };
    // The server ends first, so that callbacks see that it does not run.
    let open = server.connections.take();
    let mut ids: Vec<u64> = open.keys().copied().collect();
    ids.sort_unstable();
    server.end();
    drop(server.connections.replace(open));
    for id in ids {
        close(server, ConnId(id), 1006, error.to_string())?;
        settle(server)?;
    }
    Ok(Some(error))
}
