//! `Sprocket\Publisher`.

use std::cell::{OnceCell, RefCell};
use std::path::PathBuf;
use std::time::Duration;

use ext_php_rs::types::{ZendStr, Zval};
use sprocket_core::{Publisher as Core, check_topic};

use crate::convert::duration;
use crate::errors::{self, invalid_option};
use crate::listen::socket_path;
use crate::topics::topic;
use crate::zend::{
    Call, Class, ClassCell, Method, Native, Prop, Result, Type, register_class, throw_error, zstr_is_utf8,
};

static PUBLISHER: ClassCell = ClassCell::new();

/// Servers that one process publishes to, connections kept to each.
const MOST_KEPT: usize = 16;

thread_local! {
    /// Connections outlive the objects, which in a web server end with each request.
    static KEPT: RefCell<Vec<Core>> = const { RefCell::new(Vec::new()) };
}

/// Where to, and how long at most.
#[derive(Default)]
pub(crate) struct Publisher {
    to: OnceCell<(PathBuf, Duration)>,
}

const ADDRESS: usize = 0;
const TIMEOUT: usize = 1;

impl Native for Publisher {
    fn class() -> &'static ClassCell {
        &PUBLISHER
    }

    fn unconstructed() -> Self {
        Self::default()
    }
}

pub(crate) fn register() {
    let methods = vec![
        Method::new(c"__construct", construct).arg(c"address", Type::STRING).opt(
            c"timeout",
            Type::FLOAT,
            c"1.0",
        ),
        Method::new(c"publish", publish)
            .arg(c"topic", Type::STRING)
            .arg(c"payload", Type::STRING)
            .opt(c"binary", Type::BOOL, c"false")
            .returns(Type::VOID),
    ];
    let props = vec![Prop::readonly(c"address", Type::STRING), Prop::readonly(c"timeout", Type::FLOAT)];
    register_class::<Publisher>(Class { name: c"Sprocket\\Publisher", methods, props }, &[]);
}

fn construct(call: &Call) -> Result<()> {
    call.arity(1, 2)?;
    // Converts the first argument in its place.
    let Some(text) = call.string(0)? else { return Ok(()) };
    let seconds = call.float(1, 1.0)?;
    let address = call.value(0).map_or_else(Zval::null, Zval::shallow_clone);
    let path = text.as_str().ok().and_then(|t| t.strip_prefix("unix://")).and_then(socket_path);
    let Some(path) = path else {
        let allowed = "\"unix:///PATH\": an absolute path of at most 107 bytes";
        return Err(invalid_option("address", &address, allowed));
    };
    let mut timeout = Zval::new();
    timeout.set_double(seconds);
    let Some(limit) = duration(seconds).filter(|_| (0.001..=86_400.0).contains(&seconds)) else {
        return Err(invalid_option("timeout", &timeout, "between 0.001 and 86400 seconds"));
    };
    let this = call.this_object::<Publisher>();
    if this.get().to.set((path, limit)).is_err() {
        return Err(throw_error("Cannot modify readonly properties of Sprocket\\Publisher"));
    }
    this.init_prop(ADDRESS, address);
    this.init_prop(TIMEOUT, timeout);
    Ok(())
}

fn publish(call: &Call) -> Result<()> {
    call.arity(2, 3)?;
    let binary = call.bool(2, false)?;
    let payload = match call.string(1)? {
        Some(payload) if binary || zstr_is_utf8(payload) => payload,
        _ => return Err(errors::invalid_text()),
    };
    let topic = topic(call)?;
    check_topic(topic).map_err(|error| errors::topic(0, &error))?;
    let Some((path, timeout)) = call.this::<Publisher>().to.get() else {
        return Err(throw_error("Sprocket\\Publisher has not been constructed"));
    };
    // No PHP code runs from here on.
    let mut publisher = KEPT.with_borrow_mut(|kept| {
        let known = kept.iter().position(|publisher| publisher.path() == path);
        known.map_or_else(|| Core::new(path.clone()), |at| kept.remove(at))
    });
    let result = publisher.publish(topic, ZendStr::as_bytes(payload), binary, *timeout);
    KEPT.with_borrow_mut(|kept| {
        if kept.len() == MOST_KEPT {
            // The one that was not used for the longest time.
            kept.remove(0);
        }
        kept.push(publisher);
    });
    result.map_err(|error| errors::publish(&error))
}
