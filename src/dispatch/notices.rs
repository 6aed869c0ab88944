//! The logger and onRefused.

use ext_php_rs::types::Zval;
use sprocket_server::Refused;
use sprocket_server::notices::Line;

use super::invoke::{pump, settle, tell};
use crate::callbacks::Hook;
use crate::logger;
use crate::request::Request;
use crate::server::Server;
use crate::workers;
use crate::zend::{Result, text};

/// Calls the logger.
pub(super) fn write(server: &Server, line: Line) -> Result<()> {
    let worker = server.setup()?.settings.workers.and(server.number.get());
    let arguments = logger::arguments(&line, worker);
    drop(line);
    tell(server, Hook::Log, arguments)
}

/// Passes the binding's queued lines to the logger. A line that the logger itself causes, for instance by
/// calling `reloadTls()`, waits for the next call: otherwise such a logger would keep this loop running.
pub(super) fn write_waiting(server: &Server) -> Result<()> {
    for _ in 0..server.log.count() + workers::waiting_lines() {
        let Some(line) = server.log.next().or_else(workers::next_line) else { break };
        write(server, line)?;
        settle(server)?;
        server.link.with(|core| core.handled(false));
    }
    Ok(())
}

/// Passes queued lines to the logger from outside the pump. A pump that runs does so by itself.
pub(crate) fn write_lines(server: &Server) -> Result<()> {
    if server.link.is_dispatching() {
        return Ok(());
    }
    pump(server, || write_waiting(server)).unwrap_or_else(|bailout| bailout.resume())
}

/// Calls onRefused.
pub(super) fn refused(server: &Server, refused: Refused) -> Result<()> {
    let Refused { request, status, reason, handshake } = refused;
    let request = Request::refused(request, handshake);
    let mut code = Zval::new();
    code.set_long(i64::from(status));
    let words = text(&reason);
    drop(reason);
    tell(server, Hook::Refused, [request.value(), code, words])
}
