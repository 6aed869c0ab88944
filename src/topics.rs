//! Topics: the methods of `Server` that publish and of `Connection` that subscribe.

use ext_php_rs::types::{ZendStr, Zval};

use crate::connection::Connection;
use crate::errors;
use crate::server::Server;
use crate::zend::{Call, Owned, Result, argument_value_error, list, text, zstr_is_utf8};

/// Gives `each` every argument in turn, with its number.
fn each_topic(call: &Call, mut each: impl FnMut(usize, &str) -> Result<()>) -> Result<()> {
    call.no_names()?;
    // Converted first, all of them: that may run PHP code.
    for index in 0..call.count() {
        call.string(index)?;
    }
    for index in 0..call.count() {
        match call.string(index)?.map(ZendStr::as_str) {
            Some(Ok(topic)) => each(index, topic)?,
            Some(Err(_)) => return Err(argument_value_error(index, "must be valid UTF-8")),
            None => {}
        }
    }
    Ok(())
}

pub(crate) fn subscribe(call: &Call) -> Result<()> {
    let connection = call.this::<Connection>();
    each_topic(call, |index, topic| match connection.command(|core, to| core.subscribe(to, topic))? {
        Some(Err(error)) => Err(errors::topic(index, &error)),
        Some(Ok(())) | None => Ok(()),
    })
}

pub(crate) fn unsubscribe(call: &Call) -> Result<()> {
    let connection = call.this::<Connection>();
    each_topic(call, |_, topic| connection.command(|core, to| core.unsubscribe(to, topic)).map(drop))
}

pub(crate) fn topics(call: &Call) -> Result<Zval> {
    call.arity(0, 0)?;
    let mut topics = call.this::<Connection>().ask(|core, of| core.topics(of))?.unwrap_or_default();
    topics.sort_unstable();
    Ok(list(topics.iter().map(|topic| text(topic.as_bytes()))))
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

/// The first argument.
pub(crate) fn topic(call: &Call) -> Result<&str> {
    match call.string(0)?.map(ZendStr::as_str) {
        Some(Ok(topic)) => Ok(topic),
        _ => Err(argument_value_error(0, "must be valid UTF-8")),
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
