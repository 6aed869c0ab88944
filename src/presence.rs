//! Presence: the methods of `Connection` that join and leave, and `Server::presence()`.

use ext_php_rs::types::{ZendHashTable, Zval};
use sprocket_server::{TopicError, check_topic};

use crate::connection::Connection;
use crate::convert::topic;
use crate::errors;
use crate::server::Server;
use crate::zend::{Call, Result, argument_value_error, list, map_insert, string, text};

/// `Connection::join()`.
pub(crate) fn join(call: &Call) -> Result<()> {
    call.arity(2, 3)?;
    // All arguments are converted before the command, because conversions may run PHP code.
    for index in 0..call.count() {
        call.string(index)?;
    }
    let topic = topic(call)?;
    let Some(Ok(member)) = call.string(1)?.map(|s| s.as_str()) else {
        return Err(argument_value_error(1, "must be valid UTF-8"));
    };
    let data = call.string(2)?.map_or(&[][..], |s| s.as_bytes());
    match call.this::<Connection>().command(|core, of| core.join(of, topic, member, data))? {
        Some(Err(error)) => {
            let index = match error {
                TopicError::Member(_) => 1,
                TopicError::Data(_) => 2,
                _ => 0,
            };
            Err(errors::topic(index, &error))
        }
        Some(Ok(())) | None => Ok(()),
    }
}

/// `Connection::leave()`.
pub(crate) fn leave(call: &Call) -> Result<()> {
    call.arity(1, 1)?;
    let topic = checked_topic(call)?;
    call.this::<Connection>().command(|core, of| core.leave(of, topic))?;
    Ok(())
}

/// The first argument, which must be the name of a topic.
fn checked_topic(call: &Call) -> Result<&str> {
    let topic = topic(call)?;
    check_topic(topic).map_err(|error| errors::topic(0, &error))?;
    Ok(topic)
}

/// `Server::presence()`.
pub(crate) fn presence(call: &Call) -> Result<Zval> {
    call.arity(1, 1)?;
    let topic = checked_topic(call)?;
    let members = call.this::<Server>().link.guarded(|core| core.presence(topic))?.unwrap_or_default();
    Ok(list(members.iter().map(|member| {
        let mut entry = ZendHashTable::new();
        let mut connections = Zval::new();
        connections.set_long(i64::from(member.connections));
        map_insert(&mut entry, b"member", text(&member.member));
        map_insert(&mut entry, b"data", string(&member.data));
        map_insert(&mut entry, b"connections", connections);
        let mut value = Zval::new();
        value.set_hashtable(entry);
        value
    })))
}
