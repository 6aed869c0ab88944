//! Dispatches each event of the core to its callback.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use ext_php_rs::types::Zval;
use sprocket_server::{ConnId, Connection as Handle, Decision, Event, Handler, Request as Head, Ticket};

use super::invoke::{failed, flag, invoke, tell};
use super::{notices, streams};
use crate::callbacks::Hook;
use crate::connection::Connection;
use crate::convert::show;
use crate::errors;
use crate::handshake::Handshake;
use crate::link::Answer;
use crate::request::Request;
use crate::response::{self, Response};
use crate::server::Server;
use crate::zend::{Owned, Result, message_text, string, text, type_error};

pub(super) fn dispatch(server: &Server, event: Event) -> Result<()> {
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

/// Rare events have a function of their own, so that `dispatch` is small enough to be inlined.
#[cold]
fn of_node(server: &Server, event: Event) -> Result<()> {
    match event {
        Event::Resumed { id, topic, complete, messages, position } => {
            resumed(server, id, topic, complete, messages, position)
        }
        Event::Presence { topic, member, data, joined } => {
            let arguments = [text(&topic), text(&member), flag(joined), string(&data)];
            drop((topic, member, data));
            tell(server, Hook::Presence, arguments)
        }
        Event::Broker { connected, reason } => {
            let arguments = [flag(connected), text(&reason)];
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

fn find(server: &Server, id: ConnId) -> Option<Owned<Connection>> {
    server.connections.borrow().get(&id.0).cloned()
}

fn message(server: &Server, id: ConnId, payload: Bytes, binary: bool) -> Result<()> {
    server.handled.set(server.handled.get() + 1);
    let Some(connection) = find(server, id) else { return Ok(()) };
    let value = if binary { string(&payload) } else { message_text(&payload) };
    drop(payload);
    invoke(server, Hook::Message, &mut [connection.value(), value, flag(binary)], Some(&connection))?;
    Ok(())
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
    head: Arc<Head>,
    subprotocol: Option<String>,
) -> Result<()> {
    server.handled.set(server.handled.get() + 1);
    let accepted = ticket.and_then(|t| server.link.forget(t, Answer::Given));
    let (given, data) = accepted.map_or_else(|| (Zval::null(), Zval::null()), |a| (a.request, a.data));
    let request = Owned::from_value(&given).unwrap_or_else(|| Request::handshake(head));
    drop(given);
    let id = handle.id();
    let connection =
        Connection::create(handle, Rc::clone(&server.link), &request, subprotocol.as_deref(), data);
    drop((request, subprotocol));
    server.connections.borrow_mut().insert(id.0, connection.clone());
    invoke(server, Hook::Open, &mut [connection.value()], Some(&connection))?;
    Ok(())
}

pub(super) fn close(server: &Server, id: ConnId, code: u16, reason: String) -> Result<()> {
    let connection = server.connections.borrow_mut().remove(&id.0);
    let Some(connection) = connection else { return Ok(()) };
    let mut number = Zval::new();
    number.set_long(i64::from(code));
    let words = text(&reason);
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
    let (name, place) = (text(&topic), text(&position));
    drop((topic, position));
    let mut arguments = [connection.value(), name, flag(complete), count, place];
    invoke(server, Hook::Resume, &mut arguments, Some(&connection))?;
    Ok(())
}

fn upgrade(server: &Server, ticket: Ticket, head: Arc<Head>) -> Result<()> {
    let Some(callback) = server.callbacks.get(Hook::Upgrade) else {
        // The callback was removed after the core had sent the event.
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
    // If the script has not kept the handshake, dropping it here answers the client.
    Ok(())
}

fn answer(server: &Server, ticket: Ticket, head: Arc<Head>, body: Bytes) -> Result<()> {
    server.handled.set(server.handled.get() + 1);
    let request = Request::plain(head, body, ticket, Rc::clone(&server.link));
    let Some(value) = invoke(server, Hook::Request, &mut [request.value()], None)? else {
        request.get().answer(response::failure());
        return Ok(());
    };
    if value.is_null() && (request.get().is_answered() || request.is_shared()) {
        // The script keeps the request to answer it later; dropping it unanswered answers with 500.
        return Ok(());
    }
    let response = Owned::<Response>::from_value(&value);
    if response.is_none() {
        type_error(&format!(
            "Sprocket\\Server::onRequest(): Return value of the callback must be of type Sprocket\\Response, \
             {} returned{}",
            show(&value),
            if value.is_null() { "; keep the request to answer it later" } else { "" }
        ));
        failed(server, None)?;
    }
    request.get().answer(response.as_ref().map_or_else(response::failure, response::answer));
    Ok(())
}
