//! Topics: the methods of `Server` that publish and of `Connection` that subscribe.

use ext_php_rs::types::{ZendStr, Zval};
use sprocket_server::{Connection as Handle, Server as Core, TopicError};

use crate::connection::Connection;
use crate::convert::topic;
use crate::errors;
use crate::server::Server;
use crate::zend::{Call, Owned, Result, argument_value_error, list, text, zstr_is_utf8};

/// Calls `each` on the core for every argument, as one command. `patterns` names the method for patterns,
/// where this one takes only topics.
fn each_name(
    call: &Call,
    patterns: Option<&str>,
    each: fn(&Core, &Handle, &str) -> std::result::Result<(), TopicError>,
) -> Result<()> {
    call.no_names()?;
    // All arguments are converted before the command, because conversions may run PHP code.
    for index in 0..call.count() {
        call.string(index)?;
    }
    let refused = call.this::<Connection>().command(|core, conn| {
        (0..call.count()).find_map(|index| match call.string(index).ok().flatten()?.as_str() {
            Ok(name) => each(core, conn, name).err().map(|error| (index, Some(error))),
            Err(_) => Some((index, None)),
        })
    })?;
    match refused.flatten() {
        Some((index, Some(error))) => Err(errors::topic_or(index, &error, patterns)),
        Some((index, None)) => Err(argument_value_error(index, "must be valid UTF-8")),
        None => Ok(()),
    }
}

/// `Connection::subscribe()`.
pub(crate) fn subscribe(call: &Call) -> Result<()> {
    each_name(call, Some("subscribePattern"), Core::subscribe)
}

/// `Connection::unsubscribe()`.
pub(crate) fn unsubscribe(call: &Call) -> Result<()> {
    each_name(call, Some("unsubscribePattern"), Core::unsubscribe)
}

/// `Connection::subscribePattern()`.
pub(crate) fn subscribe_pattern(call: &Call) -> Result<()> {
    each_name(call, None, Core::subscribe_pattern)
}

/// `Connection::unsubscribePattern()`.
pub(crate) fn unsubscribe_pattern(call: &Call) -> Result<()> {
    each_name(call, None, Core::unsubscribe_pattern)
}

/// `Connection::topics()`.
pub(crate) fn topics(call: &Call) -> Result<Zval> {
    names(call, Core::topics)
}

/// `Connection::patterns()`.
pub(crate) fn patterns(call: &Call) -> Result<Zval> {
    names(call, Core::patterns)
}

fn names(call: &Call, of: fn(&Core, &Handle) -> Vec<String>) -> Result<Zval> {
    call.arity(0, 0)?;
    let mut names = call.this::<Connection>().ask(of)?.unwrap_or_default();
    names.sort_unstable();
    Ok(list(names.iter().map(|name| text(name))))
}

/// Reads `(string $payload, bool $binary = false, ?Connection $except = null)` from `first` on.
fn outgoing(call: &Call, first: usize) -> Result<(&ZendStr, bool, Option<Owned<Connection>>)> {
    let binary = call.bool(first + 1, false)?;
    let except = call.object_or_null::<Connection>(first + 2)?;
    match call.string(first)? {
        Some(payload) if binary || zstr_is_utf8(payload) => Ok((payload, binary, except)),
        _ => Err(errors::invalid_text()),
    }
}

pub(crate) fn publish(call: &Call) -> Result<()> {
    call.arity(2, 4)?;
    let (payload, binary, except) = outgoing(call, 1)?;
    let topic = topic(call)?;
    let except = except.as_ref().and_then(|c| c.get().handle());
    let link = &call.this::<Server>().link;
    match link.command(|core| core.publish(topic, payload.as_bytes(), binary, except))? {
        Some(Err(error)) => Err(errors::publish_failed(0, &error)),
        Some(Ok(())) | None => Ok(()),
    }
}

pub(crate) fn broadcast(call: &Call) -> Result<()> {
    call.arity(1, 3)?;
    let (payload, binary, except) = outgoing(call, 0)?;
    let except = except.as_ref().and_then(|c| c.get().handle());
    let link = &call.this::<Server>().link;
    match link.command(|core| core.broadcast(payload.as_bytes(), binary, except))? {
        Some(Err(error)) => Err(errors::publish_failed(0, &error)),
        Some(Ok(())) | None => Ok(()),
    }
}

pub(crate) fn subscriber_count(call: &Call) -> Result<i64> {
    call.arity(1, 1)?;
    let topic = topic(call)?;
    let count = call.this::<Server>().link.guarded(|core| core.subscriber_count(topic))?;
    Ok(count.unwrap_or(0) as i64)
}

/// `Connection::resume()`.
pub(crate) fn resume(call: &Call) -> Result<()> {
    call.arity(1, 2)?;
    let topic = topic(call)?;
    // Positions come from clients: one that is not UTF-8 is treated as unknown.
    let position = call.string(1)?.map_or("", |p| p.as_str().unwrap_or("?"));
    let connection = call.this::<Connection>();
    match connection.command(|core, to| core.resume(to, topic, position))? {
        Some(Err(error)) => Err(errors::topic(0, &error)),
        Some(Ok(())) | None => Ok(()),
    }
}
