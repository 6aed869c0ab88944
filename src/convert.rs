//! Plain conversions between PHP values and Rust data, without any class.

use std::time::Duration;

use ext_php_rs::types::{ZendHashTable, ZendStr, Zval};
use sprocket_server::Response;

use crate::zend::{Call, Thrown, argument_value_error, array_entries};

/// Formats a value for an error message: short, on one line, without the content of objects.
pub(crate) fn show(value: &Zval) -> String {
    /// Longer strings are cut.
    const LONGEST: usize = 80;
    if let Some(n) = value.long() {
        return n.to_string();
    }
    if let Some(x) = value.double() {
        return if x.is_nan() { "NAN".into() } else { format!("{x:?}") };
    }
    if let Some(s) = value.zend_str() {
        let text = String::from_utf8_lossy(s.as_bytes());
        let short: String = text.chars().take(LONGEST).collect();
        let dots = if short.len() < text.len() { "…" } else { "" };
        return format!("\"{}{dots}\"", short.escape_debug());
    }
    if value.is_null() {
        return "null".into();
    }
    if let Some(b) = value.bool() {
        return b.to_string();
    }
    if let Some(table) = value.array() {
        return show_array(table);
    }
    match value.object().and_then(|o| o.get_class_name().ok()) {
        Some(class) => format!("an object of {class}"),
        None => "a resource".into(),
    }
}

fn show_array(table: &ZendHashTable) -> String {
    /// Further elements are left out.
    const MOST: usize = 5;
    let mut parts: Vec<String> = array_entries(table)
        .take(MOST)
        .map(|(_, value)| if value.is_array() { "an array".into() } else { show(value) })
        .collect();
    if table.len() > MOST {
        parts.push("…".into());
    }
    format!("[{}]", parts.join(", "))
}

/// Longest duration that an argument may have, in seconds: about 31 years, well within the range of clocks.
pub(crate) const LONGEST: f64 = 1e9;

/// Converts seconds. `None` if they are negative, not a number, or more than [`LONGEST`].
pub(crate) fn duration(seconds: f64) -> Option<Duration> {
    (0.0..=LONGEST).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

/// An argument in seconds that is at least `least`.
pub(crate) fn duration_argument(
    call: &Call,
    index: usize,
    default: f64,
    least: f64,
) -> Result<Duration, Thrown> {
    let seconds = call.float(index, default)?;
    duration(seconds).filter(|_| seconds >= least).ok_or_else(|| {
        let mut given = Zval::new();
        given.set_double(seconds);
        let must = format!("must be {least} to {LONGEST} seconds, {} given", show(&given));
        argument_value_error(index, &must)
    })
}

/// Names and values of headers, in order.
pub(crate) type Headers = Vec<(String, String)>;

/// `[name => value or list of values]`, checked header by header.
pub(crate) fn headers(index: usize, table: Option<&ZendHashTable>) -> Result<Headers, Thrown> {
    let mut headers = Vec::new();
    let Some(table) = table else { return Ok(headers) };
    for (name, value) in array_entries(table) {
        if name.iter().all(u8::is_ascii_digit) {
            // A list instead of a map: `['X-Name: value']`.
            return Err(argument_value_error(index, "must have header names as keys, a number given"));
        }
        let name = String::from_utf8_lossy(&name).into_owned();
        match value.array() {
            Some(values) => {
                for (_, value) in array_entries(values) {
                    headers.push(header(index, &name, value)?);
                }
            }
            None => headers.push(header(index, &name, value)?),
        }
    }
    Ok(headers)
}

fn header(index: usize, name: &str, value: &Zval) -> Result<(String, String), Thrown> {
    let text = match (value.zend_str(), value.long()) {
        (Some(s), _) => match s.as_str() {
            Ok(s) => s.to_owned(),
            Err(_) => {
                return Err(argument_value_error(
                    index,
                    &format!("must have valid headers: the value of header {name} is not valid UTF-8"),
                ));
            }
        },
        (None, Some(n)) => n.to_string(),
        (None, None) => {
            return Err(argument_value_error(
                index,
                &format!(
                    "must have valid headers: the value of header {name} must be a string or a list of strings, {} given",
                    show(value)
                ),
            ));
        }
    };
    match Response::check_header(name, &text) {
        Ok(()) => Ok((name.to_owned(), text)),
        Err(why) => Err(argument_value_error(index, &format!("must have valid headers: {why}"))),
    }
}

/// The first argument, the name of a topic.
pub(crate) fn topic(call: &Call) -> Result<&str, Thrown> {
    match call.string(0)?.map(ZendStr::as_str) {
        Some(Ok(topic)) => Ok(topic),
        _ => Err(argument_value_error(0, "must be valid UTF-8")),
    }
}
