//! The methods of `Sprocket\Server`, except `run()` and those for topics, presence and counters.

use ext_php_rs::types::{ZendHashTable, Zval};
use sprocket_server::Server as Core;
use sprocket_server::notices::tls_reloaded;

use crate::callbacks::Hook;
use crate::connection::Connection;
use crate::convert::duration_argument;
use crate::listen::{self, Listen};
use crate::options::{self, Options};
use crate::server::{Server, Setup};
use crate::workers::{self, Role, Supervisor};
use crate::zend::{
    Call, Owned, Result, This, Thrown, argument_value_error, descriptor_of, list, socket_stream,
    stream_from_fd, string, throw_error,
};
use crate::{dispatch, errors};

pub(crate) fn construct(call: &Call) -> Result<()> {
    call.arity(1, 2)?;
    let this = call.this_object::<Server>();
    let Some(value) = call.value(0) else { return Ok(()) };
    let listen = listen::parse(value)?;
    let options = call.object_or_null::<Options>(1)?;
    let settings = options::settings(options.as_ref());
    if settings.config.tls.is_none() && listen.iter().any(Listen::wants_tls) {
        let allowed = "a Sprocket\\Tls, because an address begins with \"wss://\" or has the setting \"tls\"";
        return Err(errors::invalid_option("tls", &Zval::null(), allowed));
    }
    if this.get().setup.set(Setup { listen, settings }).is_err() {
        return Err(throw_error("Sprocket\\Server has already been constructed"));
    }
    drop(this.get().callbacks.set(Hook::Log, options.as_ref().and_then(options::logger_of)));
    Ok(())
}

pub(crate) fn set(call: &Call, hook: Hook) -> Result<This> {
    call.arity(1, 1)?;
    let callback = call.callback_or_null(0)?;
    let server = call.this_object::<Server>();
    let server = server.get();
    if let Some(interest) = hook.interest() {
        server.link.guarded(|core| core.set_interest(interest, callback.is_some()))?;
    }
    drop(server.callbacks.set(hook, callback));
    Ok(This)
}

pub(crate) fn start(call: &Call) -> Result<()> {
    call.arity(0, 0)?;
    let server = call.this_object::<Server>();
    let server = server.get();
    server.refuse_workers("start")?;
    server.start()?;
    dispatch::write_lines(server)
}

pub(crate) fn worker(call: &Call) -> Result<Option<i64>> {
    call.arity(0, 0)?;
    Ok(call.this::<Server>().number.get().map(i64::from))
}

pub(crate) fn poll(call: &Call) -> Result<i64> {
    call.arity(0, 2)?;
    let timeout = duration_argument(call, 0, 0.0, 0.0)?;
    let most = usize::try_from(call.int(1, 1024)?)
        .ok()
        .filter(|n| *n > 0)
        .ok_or_else(|| argument_value_error(1, "must be at least 1"))?;
    let server = call.this_object::<Server>();
    server.get().refuse_nesting("poll")?;
    server.get().refuse_workers("poll")?;
    if !server.get().is_started("poll")? {
        return Ok(0);
    }
    dispatch::poll(server.get(), timeout, most)
}

pub(crate) fn stream(call: &Call) -> Result<Zval> {
    call.arity(0, 0)?;
    let server = call.this::<Server>();
    server.refuse_workers("stream")?;
    if !server.is_started("stream")? {
        return Err(errors::state("The server has been stopped: call start() before stream()"));
    }
    if let Some(stream) = server.stream.borrow().as_ref().filter(|s| descriptor_of(s).is_some()) {
        return Ok(stream.shallow_clone());
    }
    let fd = server.link.with(|core| core.fd().try_clone_to_owned());
    let Some(Ok(fd)) = fd else {
        return Err(errors::state("Cannot duplicate the descriptor for the stream"));
    };
    let stream =
        stream_from_fd(fd).ok_or(Thrown).map_err(|_| errors::state("PHP could not open the stream"))?;
    drop(server.stream.replace(Some(stream.shallow_clone())));
    server.announce();
    Ok(stream)
}

pub(crate) fn stop(call: &Call) -> Result<()> {
    call.arity(0, 1)?;
    let grace = duration_argument(call, 0, 5.0, 0.0)?;
    let server = call.this::<Server>();
    if let Some(supervisor) = server.master.borrow_mut().as_mut() {
        workers::check_owner(supervisor)?;
        supervisor.stop(grace);
    }
    if let Some(role) = server.role.get()
        && server.link.is_running()
    {
        server.link.check_process()?;
        role.stop_all(grace);
    }
    server.stop(grace)
}

pub(crate) fn reload_tls(call: &Call) -> Result<()> {
    call.arity(0, 0)?;
    let server = call.this::<Server>();
    server.is_started("reloadTls")?;
    let Some(result) = server.link.with(Core::reload_tls).flatten() else { return Ok(()) };
    server.note(|| tls_reloaded(&result));
    result.map_err(|error| errors::tls(&error))
}

pub(crate) fn adopt(call: &Call) -> Result<()> {
    call.arity(1, 2)?;
    let server = call.this::<Server>();
    server.is_started("adopt")?;
    let tls = call.bool(1, false)?;
    let Some(socket) = call.value(0) else { return Ok(()) };
    let stream = socket_stream(socket)?;
    let Some(fd) = descriptor_of(stream.as_ref().unwrap_or(socket)) else {
        return Err(argument_value_error(0, "must be an open stream or Socket"));
    };
    match fd.and_then(|fd| server.link.with(|core| core.adopt(fd, tls)).unwrap_or(Ok(()))) {
        Ok(()) => Ok(()),
        Err(error) => Err(argument_value_error(0, &format!("must be a connected stream socket: {error}"))),
    }
}

pub(crate) fn is_running(call: &Call) -> Result<bool> {
    call.arity(0, 0)?;
    let server = call.this::<Server>();
    let supervises = server.master.borrow().as_ref().is_some_and(|s| s.owner() == std::process::id());
    Ok(supervises || (server.link.is_running() && server.link.is_native()))
}

pub(crate) fn addresses(call: &Call) -> Result<Zval> {
    call.arity(0, 0)?;
    let server = call.this::<Server>();
    let addresses = server
        .link
        .with(Core::addresses)
        .or_else(|| server.master.borrow().as_ref().map(Supervisor::urls))
        .or_else(|| server.role.get().map(Role::urls))
        .unwrap_or_default();
    Ok(list(addresses.iter().map(|a| string(a.as_bytes()))))
}

pub(crate) fn count(call: &Call) -> Result<i64> {
    call.arity(0, 0)?;
    Ok(call.this::<Server>().connections.borrow().len() as i64)
}

pub(crate) fn connections(call: &Call) -> Result<Zval> {
    call.arity(0, 0)?;
    let server = call.this::<Server>();
    let mut open: Vec<_> = server.connections.borrow().iter().map(|(id, c)| (*id, c.clone())).collect();
    open.sort_unstable_by_key(|(id, _)| *id);
    let mut table = ZendHashTable::with_capacity(open.len() as u32);
    for (id, connection) in open {
        // Fails only when an index overflows.
        let _ = table.insert_at_index(id as i64, connection.value());
    }
    let mut array = Zval::new();
    array.set_hashtable(table);
    Ok(array)
}

pub(crate) fn connection(call: &Call) -> Result<Option<Owned<Connection>>> {
    call.arity(1, 1)?;
    let id = call.int(0, 0)?;
    Ok(call.this::<Server>().connections.borrow().get(&(id as u64)).cloned())
}

pub(crate) fn timer(call: &Call, repeat: bool) -> Result<i64> {
    /// A shorter period would keep the pump busy with this timer alone.
    const SHORTEST: f64 = 0.001;
    call.arity(2, 2)?;
    let delay = duration_argument(call, 0, 0.0, if repeat { SHORTEST } else { 0.0 })?;
    let callback = call.callback(1)?;
    let server = call.this::<Server>();
    let number = server.timers.add(delay, callback, repeat);
    server.timers_changed();
    Ok(number)
}

pub(crate) fn cancel(call: &Call) -> Result<bool> {
    call.arity(1, 1)?;
    let number = call.int(0, 0)?;
    let server = call.this_object::<Server>();
    Ok(server.get().timers.cancel(number).is_some())
}
