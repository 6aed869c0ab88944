//! `Sprocket\History`, and the option that takes them.

use std::cell::OnceCell;

use ext_php_rs::types::Zval;
use sprocket_server::{History as Settings, check_name};

use crate::args::{MOST_BYTES, Parameter, Reader};
use crate::convert::duration;
use crate::errors::invalid_option;
use crate::zend::{Call, ClassCell, Native, Owned, Result, Type, array_entries, list, string, throw_error};

static HISTORY: ClassCell = ClassCell::new();

/// Publications of one topic; each takes some 100 bytes beside its payload.
const MOST_MESSAGES: i64 = 1_000_000;
/// Seconds: a year.
const LONGEST: f64 = 366.0 * 86_400.0;
/// Most bytes of a stamp: each message is searched for it.
const MOST_STAMP: usize = 64;

/// The checked values. PHP sees them as declared properties.
#[derive(Default)]
pub(crate) struct History {
    settings: OnceCell<Settings>,
}

impl Native for History {
    fn class() -> &'static ClassCell {
        &HISTORY
    }

    fn unconstructed() -> Self {
        Self::default()
    }
}

/// The parameters, in the order in which [`construct`] reads them.
pub(crate) const PARAMETERS: [Parameter; 4] = [
    (c"messages", Type::INT, c"100"),
    (c"seconds", Type::FLOAT.nullable(), c"300.0"),
    (c"bytes", Type::INT, c"1048576"),
    (c"stamp", Type::STRING.nullable(), c"null"),
];

pub(crate) fn construct(call: &Call) -> Result<()> {
    let this = call.this_object::<History>();
    if this.get().settings.get().is_some() {
        return Err(throw_error("Cannot modify readonly properties of Sprocket\\History"));
    }
    call.arity(0, PARAMETERS.len())?;
    let base = Settings::default();
    let mut args = Reader::new(call);
    let settings = Settings {
        messages: args.size("messages", base.messages, 1, MOST_MESSAGES)?,
        seconds: {
            let default = base.seconds.unwrap_or_default().as_secs_f64();
            let seconds = call.float_or_null(args.next, default)?;
            let mut value = Zval::null();
            if let Some(seconds) = seconds {
                value.set_double(seconds);
                if !(0.001..=LONGEST).contains(&seconds) {
                    let allowed = "null, or between 0.001 and 31622400 seconds";
                    return Err(invalid_option("seconds", &value, allowed));
                }
            }
            args.take(value);
            seconds.and_then(duration)
        },
        bytes: args.size("bytes", base.bytes, 1, MOST_BYTES)?,
        stamp: stamp(&mut args)?,
    };
    for (index, value) in args.props.into_iter().enumerate() {
        this.init_prop(index, value);
    }
    let _ = this.get().settings.set(settings);
    Ok(())
}

fn stamp(args: &mut Reader<'_>) -> Result<Option<String>> {
    let Some(stamp) = args.call.string_or_null(args.next)? else {
        args.take(Zval::null());
        return Ok(None);
    };
    let value = string(stamp.as_bytes());
    match stamp.as_str() {
        Ok(text) if (1..=MOST_STAMP).contains(&text.len()) => {
            args.take(value);
            Ok(Some(text.to_owned()))
        }
        _ => Err(invalid_option("stamp", &value, "null, or 1 to 64 bytes of UTF-8")),
    }
}

/// The option `history` of `Options`.
pub(crate) fn history(args: &mut Reader<'_>) -> Result<Vec<(String, Settings)>> {
    let allowed = "an array that maps topics and patterns to Sprocket\\History, such as \
        [\"room.>\" => new Sprocket\\History(messages: 100)]";
    let Some(table) = args.call.array(args.next)? else {
        args.take(list([]));
        return Ok(Vec::new());
    };
    let entries: Vec<_> = array_entries(table).collect();
    // A list has keys 0, 1, …: the topics were forgotten. Topics with these names take another key beside.
    let forgotten = entries.iter().enumerate().all(|(at, (key, _))| *key == at.to_string().as_bytes());
    let mut topics = Vec::with_capacity(entries.len());
    for (key, value) in &entries {
        let name = String::from_utf8(key.clone()).ok().filter(|name| !forgotten && check_name(name).is_ok());
        let history = Owned::<History>::from_value(value);
        match (name, history.as_ref().and_then(|h| h.get().settings.get())) {
            (Some(name), Some(settings)) => topics.push((name, settings.clone())),
            _ => return Err(invalid_option("history", &args.argument(), allowed)),
        }
    }
    args.take(args.argument());
    Ok(topics)
}
