//! `Sprocket\Compression`, and the option that takes one.

use std::cell::OnceCell;

use ext_php_rs::types::Zval;
use sprocket_server::Compression as Settings;

use crate::args::{MOST_BYTES, Parameter, Reader};
use crate::zend::{Call, ClassCell, Native, Owned, Result, Type, argument_type_error, throw_error};

static COMPRESSION: ClassCell = ClassCell::new();

/// The checked values. PHP sees them as declared properties.
#[derive(Default)]
pub(crate) struct Compression {
    settings: OnceCell<Settings>,
}

impl Native for Compression {
    fn class() -> &'static ClassCell {
        &COMPRESSION
    }

    fn unconstructed() -> Self {
        Self::default()
    }
}

/// The parameters, in the order in which [`construct`] reads them.
pub(crate) const PARAMETERS: [Parameter; 6] = [
    (c"threshold", Type::INT, c"1024"),
    (c"level", Type::INT, c"1"),
    (c"serverMaxWindowBits", Type::INT, c"15"),
    (c"clientMaxWindowBits", Type::INT, c"15"),
    (c"contextTakeover", Type::BOOL, c"false"),
    (c"maxContextMemory", Type::INT, c"67108864"),
];

pub(crate) fn construct(call: &Call) -> Result<()> {
    let this = call.this_object::<Compression>();
    if this.get().settings.get().is_some() {
        return Err(throw_error("Cannot modify readonly properties of Sprocket\\Compression"));
    }
    call.arity(0, PARAMETERS.len())?;
    let base = Settings::default();
    let mut args = Reader::new(call);
    let settings = Settings {
        threshold: args.size("threshold", base.threshold, 0, MOST_BYTES)?,
        level: args.size("level", base.level.into(), 1, 9)? as u8,
        server_max_window_bits: args.size("serverMaxWindowBits", base.server_max_window_bits.into(), 9, 15)?
            as u8,
        client_max_window_bits: args.size("clientMaxWindowBits", base.client_max_window_bits.into(), 9, 15)?
            as u8,
        context_takeover: args.bool(base.context_takeover)?,
        max_context_memory: args.size("maxContextMemory", base.max_context_memory, 0, i64::MAX)?,
    };
    for (index, value) in args.props.into_iter().enumerate() {
        this.init_prop(index, value);
    }
    let _ = this.get().settings.set(settings);
    Ok(())
}

/// The option `compression` of `Options`: `true` stands for the defaults.
pub(crate) fn compression(args: &mut Reader<'_>) -> Result<Option<Settings>> {
    let given = args.call.value(args.next);
    if let Some(object) = given.and_then(Owned::<Compression>::from_value) {
        args.take(object.value());
        return Ok(Some(object.get().settings.get().cloned().unwrap_or_default()));
    }
    // A value that PHP does not convert to bool gets a message that names both types.
    if let Some(other) = given.filter(|v| v.is_object() || v.is_array() || v.is_null()) {
        let got = type_name(other);
        let message = format!("must be of type Sprocket\\Compression|bool, {got} given");
        return Err(argument_type_error(args.next, &message));
    }
    Ok(args.bool(false)?.then(Settings::default))
}

fn type_name(value: &Zval) -> String {
    match value.object() {
        Some(object) => object.get_class_name().unwrap_or_else(|_| "object".to_owned()),
        None if value.is_array() => "array".to_owned(),
        None => "null".to_owned(),
    }
}
