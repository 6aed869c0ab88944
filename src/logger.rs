//! The option `logger`, and the lines that the binding itself logs. `dispatch` calls the logger.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use ext_php_rs::types::{ZendHashTable, Zval};
use sprocket_server::Config;
use sprocket_server::notices::{Level, Line, Value};

use crate::args::Reader;
use crate::errors::invalid_option;
use crate::zend::{Callback, Result, list, map_insert, pending, php_version, string, text};

/// Most lines that wait for the next turn of the pump.
const MOST: usize = 64;

/// Lines of the binding, queued until the pump calls the logger.
#[derive(Default)]
pub(crate) struct Waiting(RefCell<VecDeque<Line>>);

impl Waiting {
    /// Queues a line; drops it if the queue is full because the pump has not run.
    pub(crate) fn add(&self, line: Line) {
        let mut lines = self.0.borrow_mut();
        if lines.len() < MOST {
            lines.push_back(line);
        }
    }

    pub(crate) fn next(&self) -> Option<Line> {
        self.0.borrow_mut().pop_front()
    }

    /// Number of lines that wait.
    pub(crate) fn count(&self) -> usize {
        self.0.borrow().len()
    }
}

/// Reads the option. Returns the number of the property that holds the logger, if there is one.
pub(crate) fn logger(args: &mut Reader<'_>) -> Result<Option<usize>> {
    let value = args.argument();
    if value.is_null() {
        args.take(value);
        return Ok(None);
    }
    match resolve(&value) {
        Some(_) => Ok(Some(args.take(value))),
        None if pending() => Err(crate::zend::Thrown),
        None => {
            let allowed = "null, an object with a public method log($level, $message, array $context), \
                or a callable with these parameters";
            Err(invalid_option("logger", &value, allowed))
        }
    }
}

/// Resolves a logger: the method `log` of a PSR-3 logger, or the callable itself. A `log` provided by
/// `__call` alone comes last, because many objects have `__call`.
pub(crate) fn resolve(value: &Zval) -> Option<Callback> {
    let method =
        value.is_object().then(|| Callback::resolve(&list([value.shallow_clone(), string(b"log")])).ok());
    let method = method.flatten();
    match &method {
        Some(callback) if !callback.is_magic() => method,
        _ => Callback::resolve(value).ok().or(method),
    }
}

/// The arguments of the logger: level, message, context.
pub(crate) fn arguments(line: &Line, worker: Option<u16>) -> [Zval; 3] {
    let mut context = ZendHashTable::new();
    for (name, value) in &line.context {
        map_insert(&mut context, name.as_bytes(), value_of(value));
    }
    if let Some(worker) = worker {
        map_insert(&mut context, b"worker", value_of(&Value::Number(worker.into())));
    }
    let mut array = Zval::new();
    array.set_hashtable(context);
    [text(line.level.name()), text(&line.message), array]
}

fn value_of(value: &Value) -> Zval {
    let mut zval = Zval::new();
    match value {
        Value::Text(value) => return text(value),
        Value::List(values) => return list(values.iter().map(|value| text(value))),
        Value::Number(n) => zval.set_long(i64::try_from(*n).unwrap_or(i64::MAX)),
        Value::Seconds(seconds) => zval.set_double(*seconds),
        Value::Flag(flag) => zval.set_bool(*flag),
    }
    zval
}

/// The server listens: where, which versions, and the limits that apply.
pub(crate) fn started(addresses: Vec<String>, config: &Config) -> Line {
    let seconds = |time: Duration| Value::Seconds(time.as_secs_f64());
    let size = |n: usize| Value::Number(n as u64);
    versions(Line::new(format!("Listening on {}", addresses.join(", "))))
        .about(Level::Info, "server.started")
        .with("addresses", addresses)
        .with("maxConnections", size(config.max_connections))
        .with("maxConnectionsPerIp", size(config.max_connections_per_ip))
        .with("maxHandshakes", size(config.max_handshakes))
        .with("maxHandshakesPerIp", size(config.max_handshakes_per_ip))
        .with("maxMessageSize", size(config.max_message_size))
        .with("sendBufferLimit", size(config.send_buffer_limit))
        .with("handshakeTimeout", seconds(config.handshake_timeout))
        .with("pingInterval", seconds(config.ping_interval.unwrap_or_default()))
        .with("pingTimeout", seconds(config.ping_timeout))
        .with("closeTimeout", seconds(config.close_timeout))
        .with("ioThreads", size(config.io_threads))
}

/// The master of workers has opened the addresses.
pub(crate) fn master_started(addresses: Vec<String>, workers: u16) -> Line {
    let message = format!("Listening on {} with {workers} workers", addresses.join(", "));
    versions(Line::new(message))
        .about(Level::Info, "server.started")
        .with("addresses", addresses)
        .with("workers", u64::from(workers))
}

fn versions(line: Line) -> Line {
    line.with("version", env!("CARGO_PKG_VERSION"))
        .with("php", php_version().as_str())
        .with("process", u64::from(std::process::id()))
}

/// All workers have ended.
pub(crate) fn master_stopped() -> Line {
    Line::new("Stopped: all workers have ended").about(Level::Info, "server.stopped")
}

/// The server begins to stop; `connections` are closed within the grace period.
pub(crate) fn stopping(connections: usize, grace: Duration, hands_over: bool) -> Line {
    let what = if hands_over { "Draining for a successor" } else { "Stopping" };
    let plural = if connections == 1 { "" } else { "s" };
    let message =
        format!("{what}: {connections} connection{plural} to close within {:.1} s", grace.as_secs_f64());
    Line::new(message)
        .about(Level::Info, if hands_over { "worker.draining" } else { "server.stopping" })
        .with("connections", connections as u64)
        .with("grace", Value::Seconds(grace.as_secs_f64()))
}
