//! Calls PHP code, and handles callbacks that throw or end the script.

use ext_php_rs::types::Zval;
use sprocket_server::Server as Core;

use crate::callbacks::Hook;
use crate::connection::Connection;
use crate::server::Server;
use crate::zend::{
    Bailout, Exception, Owned, Report, Result, Thrown, catch_bailout, pending, report, take_exception,
};

/// Runs `body` as the one pump of this server. An error means that a fatal error has ended the
/// script, except for its shutdown functions; the sockets are closed, and `dispatching` stays set.
pub(super) fn pump<R>(
    server: &Server,
    body: impl FnOnce() -> Result<R>,
) -> std::result::Result<Result<R>, Bailout> {
    server.link.set_dispatching(true);
    let result = match catch_bailout(body) {
        Ok(result) => result,
        Err(bailout) => {
            drop(server.link.detach());
            return Err(bailout);
        }
    };
    server.link.set_dispatching(false);
    if server.link.is_native() {
        server.link.with(|core| {
            core.idle();
            core.flush();
        });
    }
    Ok(result)
}

/// Completes a callback: reports an exception thrown by the destructor of a released value, and throws
/// in the child if the callback has forked, because a child must not use the core.
pub(super) fn settle(server: &Server) -> Result<()> {
    if pending() {
        failed(server, None)?;
    }
    server.link.check_process()
}

/// Calls a hook. `Ok(None)` if it has no callback, or if the callback threw, which is handled here.
pub(super) fn invoke(
    server: &Server,
    hook: Hook,
    arguments: &mut [Zval],
    subject: Option<&Owned<Connection>>,
) -> Result<Option<Zval>> {
    let Some(callback) = server.callbacks.get(hook) else { return Ok(None) };
    if let Some(handler) = hook.handler() {
        server.link.with(|core| core.handling(handler));
    }
    match callback.call(arguments) {
        Ok(result) => Ok(Some(result)),
        Err(Thrown) => failed(server, subject).map(|()| None),
    }
}

/// Handles a callback that threw: onError gets the exception, or PHP warns and the connection is closed.
/// An error means that the callback called `exit()`.
pub(super) fn failed(server: &Server, subject: Option<&Owned<Connection>>) -> Result<()> {
    let Some(exception) = take_exception() else { return Err(Thrown) };
    server.link.with(Core::handler_failed);
    let Some(callback) = server.callbacks.get(Hook::Error) else {
        // Unexpected condition: RFC 6455 section 7.4.1.
        const INTERNAL_ERROR: u16 = 1011;
        if let Some(handle) = subject.and_then(|s| s.get().handle()) {
            server.link.with(|core| core.close(handle, INTERNAL_ERROR, "internal error"));
        }
        return reported(exception);
    };
    let connection = subject.map_or_else(Zval::null, Owned::value);
    match callback.call(&mut [exception.into_value(), connection]) {
        Ok(_) => Ok(()),
        Err(Thrown) => take_exception().map_or(Err(Thrown), reported),
    }
}

fn reported(exception: Exception) -> Result<()> {
    match report(exception) {
        Report::Done => Ok(()),
        Report::Exit => Err(Thrown),
    }
}

pub(super) fn flag(on: bool) -> Zval {
    let mut value = Zval::new();
    value.set_bool(on);
    value
}

/// Calls a hook that concerns no connection.
pub(super) fn tell<const N: usize>(server: &Server, hook: Hook, mut arguments: [Zval; N]) -> Result<()> {
    invoke(server, hook, &mut arguments, None).map(drop)
}
