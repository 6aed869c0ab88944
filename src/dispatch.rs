//! The pump: takes events from the core and timers from the heap, and runs their callbacks. The
//! only file that calls PHP code.
//!
//! A fatal error in a callback jumps over every frame of this file. So nothing here that needs
//! releasing lives across a call but PHP values, which the engine reclaims, and the references
//! they rest on.

mod crash;
mod notices;
mod streams;

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ext_php_rs::types::Zval;
use sprocket_core::{
    ConnId, Connection as Handle, Decision, Event, Handler, Request as Head, Server as Core, Ticket,
};

use crate::callbacks::Hook;
use crate::connection::Connection;
use crate::errors;
use crate::handshake::{Answer, Handshake};
use crate::lifecycle::{self, StopSignals};
use crate::log;
use crate::request::Request;
use crate::response::{self, Response};
use crate::server::Server;
use crate::workers::{self, GRACE, Given, Order, Step, Supervisor};
use crate::zend::{
    Owned, Report, Result, Thrown, catch_bailout, flush_output, handle_interrupt, interrupted, pending,
    report, resume_bailout, string, take_exception, text, throw_exit, type_error,
};

use self::crash::crashed;
pub(crate) use self::notices::write_lines;
use self::notices::write_waiting;

/// Events dispatched before timers, signals and the flush have their turn.
const BATCH: usize = 128;

/// Longest sleep in `run()`: signal handlers and time limits wait no longer.
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
            match signals.news() {
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
                sleep(server, NAP);
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
            // The master starts another one. What follows run() in the script is the master's.
            (Some(_), Some(_)) => Err(throw_exit(1)),
        }
    });
    server.number.set(number);
    match role {
        // A signal to all processes must not cut short what the script does at its end.
        Some(_) => std::mem::forget(signals),
        None => drop(signals),
    }
    result.unwrap_or_else(|| resume_bailout())
}

/// `Server::run()` of a master: returns when all has ended, or, with what it needs, in a worker
/// that was forked here.
pub(crate) fn supervise(object: &Owned<Server>) -> Result<Option<Given>> {
    let server = object.get();
    let result = pump(server, || {
        announce(object, Hook::Start)?;
        let settled = server.master.borrow_mut().as_mut().map_or(Ok(()), Supervisor::settle);
        settled.map_err(|error| errors::worker(&format!("Cannot make a place for the hub: {error}")))?;
        loop {
            let step = server.master.borrow_mut().as_mut().map_or(Step::Over, Supervisor::step);
            write_waiting(server)?;
            match step {
                Step::Over => {
                    server.note(log::master_stopped);
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
    result.unwrap_or_else(|| {
        workers::gather_lines(false);
        drop(server.master.take());
        resume_bailout()
    })
}

/// Calls one of the hooks that have the server and the number of the worker as arguments.
fn announce(object: &Owned<Server>, hook: Hook) -> Result<()> {
    let Some(callback) = object.get().callbacks.get(hook) else { return Ok(()) };
    let mut number = Zval::new();
    number.set_long(object.get().number.get().map_or(0, i64::from));
    let mut arguments = [object.value(), number];
    let given = if hook == Hook::Start { 1 } else { 2 };
    callback.call(&mut arguments[..given]).map(drop)
}

/// `Server::poll()`: returns how much was dispatched.
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
                sleep(server, left.min(NAP));
            }
        }
    });
    if server.link.is_native() {
        server.announce();
    }
    result.unwrap_or_else(|| resume_bailout())
}

/// Waits for events, the next timer or a signal, but not longer than `longest`.
fn sleep(server: &Server, longest: Duration) {
    let nap = server
        .timers
        .next()
        .map_or(longest, |due| due.saturating_duration_since(Instant::now()).min(longest));
    server.link.with(|core| core.wait(Some(nap)));
}

/// Runs `body` as the one pump of this server. `None`: a fatal error has ended the script, but for
/// its shutdown functions; the sockets are closed, and `dispatching` stays set.
fn pump<R>(server: &Server, body: impl FnOnce() -> Result<R>) -> Option<Result<R>> {
    server.link.set_dispatching(true);
    let Some(result) = catch_bailout(body) else {
        drop(server.link.detach());
        return None;
    };
    server.link.set_dispatching(false);
    if server.link.is_native() {
        server.link.with(|core| {
            core.idle();
            core.flush();
        });
    }
    Some(result)
}

/// Dispatches up to `most` events and the timers that are due, then flushes. Ends early when that
/// takes long: then timers, events, signals and orders of the master have a turn each. An error
/// means that the pump must end: `exit()`, or an exception of a signal handler.
fn turn(server: &Server, most: usize) -> Result<usize> {
    write_waiting(server)?;
    let mut done = 0;
    let mut tick = lifecycle::tick();
    while done < most {
        let Some(event) = server.link.with(|core| core.next_event()).flatten() else { break };
        dispatch(server, event)?;
        settle(server)?;
        done += 1;
        // What quick callbacks send leaves together; it must not wait for slow ones, though.
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

/// After a callback: released values may have run destructors that threw, and the callback may
/// have forked and come back in the child, which must not touch the core.
fn settle(server: &Server) -> Result<()> {
    if pending() {
        failed(server, None)?;
    }
    server.link.check_process()
}

fn dispatch(server: &Server, event: Event) -> Result<()> {
    match event {
        Event::Message { id, payload, binary } => message(server, id, payload, binary),
        Event::Open { conn, ticket, request, subprotocol } => {
            open(server, conn, ticket, request, subprotocol)
        }
        Event::Close { id, code, reason } => close(server, id, code, reason),
        Event::Drain { id } => with_connection(server, Hook::Drain, id, None),
        Event::Pong { id, payload } => {
            let value = string(&payload);
            drop(payload);
            with_connection(server, Hook::Pong, id, Some(value))
        }
        Event::Upgrade { ticket, request } => upgrade(server, ticket, request),
        Event::UpgradeGone { ticket } => {
            drop(server.link.forget(ticket, Answer::Gone));
            Ok(())
        }
        Event::Request { ticket, request, body } => answer(server, ticket, request, body),
        event @ (Event::Resumed { .. }
        | Event::Presence { .. }
        | Event::Broker { .. }
        | Event::Unpublished { .. }
        | Event::Log(_)
        | Event::Refused(_)) => of_node(server, event),
        Event::StreamDrain { stream } => streams::drained(server, stream),
        Event::StreamClose { stream, complete } => streams::closed(server, stream, complete),
        Event::Stopped => {
            server.end();
            Ok(())
        }
    }
}

/// What is rare has its own function: the other one is small enough to be part of its caller.
#[cold]
fn of_node(server: &Server, event: Event) -> Result<()> {
    match event {
        Event::Resumed { id, topic, complete, messages, position } => {
            resumed(server, id, topic, complete, messages, position)
        }
        Event::Presence { topic, member, data, joined } => {
            let arguments = [text(topic.as_bytes()), text(member.as_bytes()), flag(joined), string(&data)];
            drop((topic, member, data));
            tell(server, Hook::Presence, arguments)
        }
        Event::Broker { connected, reason } => {
            let arguments = [flag(connected), text(reason.as_bytes())];
            drop(reason);
            tell(server, Hook::Broker, arguments)
        }
        Event::Unpublished { topic, reason, uncertain } => {
            errors::unpublished(&topic, &reason, uncertain);
            failed(server, None)
        }
        Event::Log(line) => notices::write(server, line),
        Event::Refused(refused) => notices::refused(server, refused),
        _ => Ok(()),
    }
}

/// Calls a hook. `Ok(None)`: there is none, or it failed, which has been seen to.
fn invoke(
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

/// A callback threw: onError is told, or PHP warns and the connection is closed. An error means
/// that it was `exit()`.
fn failed(server: &Server, subject: Option<&Owned<Connection>>) -> Result<()> {
    let Some(exception) = take_exception() else { return Err(Thrown) };
    server.link.with(Core::handler_failed);
    let Some(callback) = server.callbacks.get(Hook::Error) else {
        // The code for "the server met a condition it did not expect", RFC 6455 section 7.4.1.
        const INTERNAL_ERROR: u16 = 1011;
        if let Some(handle) = subject.and_then(|s| s.get().handle()) {
            server.link.with(|core| core.close(handle, INTERNAL_ERROR, "internal error"));
        }
        return reported(exception);
    };
    let connection = subject.map_or_else(Zval::null, Owned::value);
    match callback.call(&mut [exception, connection]) {
        Ok(_) => Ok(()),
        Err(Thrown) => take_exception().map_or(Err(Thrown), reported),
    }
}

fn reported(exception: Zval) -> Result<()> {
    match report(exception) {
        Report::Done => Ok(()),
        Report::Exit => Err(Thrown),
    }
}

fn find(server: &Server, id: ConnId) -> Option<Owned<Connection>> {
    server.connections.borrow().get(&id.0).cloned()
}

fn message(server: &Server, id: ConnId, payload: Bytes, binary: bool) -> Result<()> {
    server.handled.set(server.handled.get() + 1);
    let Some(connection) = find(server, id) else { return Ok(()) };
    let value = if binary { string(&payload) } else { text(&payload) };
    drop(payload);
    invoke(server, Hook::Message, &mut [connection.value(), value, flag(binary)], Some(&connection))?;
    Ok(())
}

fn flag(on: bool) -> Zval {
    let mut value = Zval::new();
    value.set_bool(on);
    value
}

/// A hook that is about no connection.
fn tell<const N: usize>(server: &Server, hook: Hook, mut arguments: [Zval; N]) -> Result<()> {
    invoke(server, hook, &mut arguments, None).map(drop)
}

fn with_connection(server: &Server, hook: Hook, id: ConnId, more: Option<Zval>) -> Result<()> {
    let Some(connection) = find(server, id) else { return Ok(()) };
    match more {
        Some(value) => invoke(server, hook, &mut [connection.value(), value], Some(&connection))?,
        None => invoke(server, hook, &mut [connection.value()], Some(&connection))?,
    };
    Ok(())
}

fn open(
    server: &Server,
    handle: Handle,
    ticket: Option<Ticket>,
    head: std::sync::Arc<Head>,
    subprotocol: Option<String>,
) -> Result<()> {
    server.handled.set(server.handled.get() + 1);
    let accepted = ticket.and_then(|t| server.link.forget(t, Answer::Given));
    let (request, data) = match accepted {
        Some(accepted) => (accepted.request, accepted.data),
        None => (Request::handshake(head), Zval::null()),
    };
    let id = handle.id();
    let connection =
        Connection::create(handle, Rc::clone(&server.link), &request, subprotocol.as_deref(), data);
    drop((request, subprotocol));
    server.connections.borrow_mut().insert(id.0, connection.clone());
    invoke(server, Hook::Open, &mut [connection.value()], Some(&connection))?;
    Ok(())
}

fn close(server: &Server, id: ConnId, code: u16, reason: String) -> Result<()> {
    let connection = server.connections.borrow_mut().remove(&id.0);
    let Some(connection) = connection else { return Ok(()) };
    let mut number = Zval::new();
    number.set_long(i64::from(code));
    let words = text(reason.as_bytes());
    drop(reason);
    invoke(server, Hook::Close, &mut [connection.value(), number, words], Some(&connection))?;
    Ok(())
}

fn resumed(
    server: &Server,
    id: ConnId,
    topic: String,
    complete: bool,
    messages: u64,
    position: String,
) -> Result<()> {
    let Some(connection) = find(server, id) else { return Ok(()) };
    let mut count = Zval::new();
    count.set_long(i64::try_from(messages).unwrap_or(i64::MAX));
    let (name, place) = (text(topic.as_bytes()), text(position.as_bytes()));
    drop((topic, position));
    let mut arguments = [connection.value(), name, flag(complete), count, place];
    invoke(server, Hook::Resume, &mut arguments, Some(&connection))?;
    Ok(())
}

fn upgrade(server: &Server, ticket: Ticket, head: std::sync::Arc<Head>) -> Result<()> {
    let Some(callback) = server.callbacks.get(Hook::Upgrade) else {
        // It was removed while the question was under way.
        let accept = Decision::Accept { subprotocol: None, headers: Vec::new() };
        server.link.with(|core| core.decide(ticket, accept));
        return Ok(());
    };
    let request = Request::handshake(head);
    let handshake = Handshake::create(ticket, Rc::clone(&server.link), &request);
    drop(request);
    server.link.with(|core| core.handling(Handler::Upgrade));
    if callback.call(&mut [handshake.value()]).is_err() {
        handshake.get().fail();
        failed(server, None)?;
    }
    // If nobody else has kept the handshake, its end answers the client.
    Ok(())
}

fn answer(server: &Server, ticket: Ticket, head: std::sync::Arc<Head>, body: Bytes) -> Result<()> {
    server.handled.set(server.handled.get() + 1);
    let request = Request::plain(head, body, ticket, Rc::clone(&server.link));
    let Some(value) = invoke(server, Hook::Request, &mut [request.value()], None)? else {
        request.get().answer(response::failure());
        return Ok(());
    };
    if value.is_null() && (request.get().is_answered() || request.is_shared()) {
        // Kept for later. When nobody keeps it any more, its end answers the client.
        return Ok(());
    }
    let response = Owned::<Response>::from_value(&value);
    if response.is_none() {
        type_error(&format!(
            "Sprocket\\Server::onRequest(): Return value of the callback must be of type Sprocket\\Response, \
             {} returned{}",
            crate::convert::show(&value),
            if value.is_null() { "; keep the request to answer it later" } else { "" }
        ));
        failed(server, None)?;
    }
    request.get().answer(response.as_ref().map_or_else(response::failure, response::answer));
    Ok(())
}
