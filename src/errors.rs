//! The exception classes, and which of them each error of the core becomes.

use ext_php_rs::types::Zval;
use sprocket_server::{ForkError, PublishError, PublishFailed, StartError, ThreadDied, TlsError, TopicError};

use crate::zend::{
    Builtin, ClassCell, Prop, Startup, Thrown, Type, argument_value_error, register_exception,
    register_interface, text, throw, throw_with,
};

static EXCEPTION: ClassCell = ClassCell::new();
static INVALID_OPTION: ClassCell = ClassCell::new();
static INVALID_PAYLOAD: ClassCell = ClassCell::new();
static BIND_EXCEPTION: ClassCell = ClassCell::new();
static FORK_EXCEPTION: ClassCell = ClassCell::new();
static STATE_EXCEPTION: ClassCell = ClassCell::new();
static THREAD_EXCEPTION: ClassCell = ClassCell::new();
static TLS_EXCEPTION: ClassCell = ClassCell::new();
static WORKER_EXCEPTION: ClassCell = ClassCell::new();
static PUBLISH_EXCEPTION: ClassCell = ClassCell::new();

pub(crate) fn register(startup: &Startup) {
    register_interface(startup, &EXCEPTION, c"Sprocket\\Exception", Builtin::Throwable);
    register_exception(
        startup,
        &INVALID_OPTION,
        c"Sprocket\\InvalidOption",
        Builtin::InvalidArgumentException,
        &EXCEPTION,
        vec![
            Prop::readonly(c"option", Type::STRING),
            Prop::readonly(c"value", Type::MIXED),
            Prop::readonly(c"allowed", Type::STRING),
        ],
    );
    register_exception(
        startup,
        &INVALID_PAYLOAD,
        c"Sprocket\\InvalidPayload",
        Builtin::InvalidArgumentException,
        &EXCEPTION,
        Vec::new(),
    );
    register_exception(
        startup,
        &PUBLISH_EXCEPTION,
        c"Sprocket\\PublishException",
        Builtin::RuntimeException,
        &EXCEPTION,
        vec![Prop::readonly(c"uncertain", Type::BOOL)],
    );
    for (class, name, parent) in [
        (&BIND_EXCEPTION, c"Sprocket\\BindException", Builtin::RuntimeException),
        (&FORK_EXCEPTION, c"Sprocket\\ForkException", Builtin::RuntimeException),
        (&STATE_EXCEPTION, c"Sprocket\\StateException", Builtin::LogicException),
        (&THREAD_EXCEPTION, c"Sprocket\\ThreadException", Builtin::RuntimeException),
        (&TLS_EXCEPTION, c"Sprocket\\TlsException", Builtin::RuntimeException),
        (&WORKER_EXCEPTION, c"Sprocket\\WorkerException", Builtin::RuntimeException),
    ] {
        register_exception(startup, class, name, parent, &EXCEPTION, Vec::new());
    }
}

/// `allowed` completes the sentence "… must be".
pub(crate) fn invalid_option(option: &str, value: &Zval, allowed: &str) -> Thrown {
    let message = format!("Option {option} must be {allowed}; got {}", crate::convert::show(value));
    let mut props = [("option", text(option)), ("value", value.shallow_clone()), ("allowed", text(allowed))];
    throw_with(&INVALID_OPTION, &message, 0, &mut props)
}

pub(crate) fn invalid_text() -> Thrown {
    throw(&INVALID_PAYLOAD, "A text message must be valid UTF-8; send other bytes with binary: true", 0)
}

pub(crate) fn state(message: &str) -> Thrown {
    throw(&STATE_EXCEPTION, message, 0)
}

/// Workers cannot be started, or this process cannot become one.
pub(crate) fn worker(message: &str) -> Thrown {
    throw(&WORKER_EXCEPTION, message, 0)
}

/// An I/O thread has died; the server has ended.
pub(crate) fn thread(error: &ThreadDied) -> Thrown {
    throw(&THREAD_EXCEPTION, &sentence(&error.to_string()), 0)
}

pub(crate) fn fork(error: &ForkError) -> Thrown {
    throw(&FORK_EXCEPTION, &sentence(&error.to_string()), 0)
}

/// A publisher could not deliver a message.
pub(crate) fn publish(error: &PublishError) -> Thrown {
    let code = match error {
        PublishError::Unreachable { source, .. } => source.raw_os_error().unwrap_or(0),
        _ => 0,
    };
    let mut uncertain = Zval::new();
    uncertain.set_bool(error.is_uncertain());
    let message = sentence(&error.to_string());
    throw_with(&PUBLISH_EXCEPTION, &message, i64::from(code), &mut [("uncertain", uncertain)])
}

/// A publication was not accepted. `index` is the argument that names the topic.
pub(crate) fn publish_failed(index: usize, error: &PublishFailed) -> Thrown {
    match error {
        PublishFailed::Topic(error) => topic(index, error),
        PublishFailed::QueueFull { delivered_here, .. } => {
            not_published(&sentence(&error.to_string()), *delivered_here)
        }
    }
}

/// A publication that had been accepted was lost later.
pub(crate) fn unpublished(topic: &str, reason: &str, uncertain: bool) -> Thrown {
    match topic {
        "" => not_published(&sentence(reason), uncertain),
        topic => not_published(&format!("A message to the topic {topic} was lost: {reason}"), uncertain),
    }
}

/// `uncertain`: the publication may have reached some of its recipients.
fn not_published(message: &str, uncertain: bool) -> Thrown {
    let mut value = Zval::new();
    value.set_bool(uncertain);
    throw_with(&PUBLISH_EXCEPTION, message, 0, &mut [("uncertain", value)])
}

/// An invalid topic is an invalid argument.
pub(crate) fn topic(index: usize, error: &TopicError) -> Thrown {
    topic_or(index, error, None)
}

/// Like [`topic`]; `patterns` names the method for patterns, if there is one.
pub(crate) fn topic_or(index: usize, error: &TopicError, patterns: Option<&str>) -> Thrown {
    let must = match error {
        TopicError::Length(bytes) => format!("must be 1 to 255 bytes long, {bytes} given"),
        TopicError::Tokens(tokens) => format!("must have at most 16 tokens, {tokens} given"),
        TopicError::TailInside(_) => "must have the token > only at its end".to_owned(),
        TopicError::Pattern(_) => match patterns {
            Some(method) => format!("must be a topic, not a pattern; {method}() takes patterns"),
            None => "must be a topic, not a pattern".to_owned(),
        },
        TopicError::NoHistory(_) => "must be a topic that keeps a history".to_owned(),
        TopicError::Member(bytes) => format!("must be 1 to 255 bytes long, {bytes} given"),
        TopicError::Data(bytes) => format!("must be at most 65536 bytes long, {bytes} given"),
    };
    argument_value_error(index, &must)
}

/// A listener could not be opened by the binding.
pub(crate) fn bind(address: &str, source: &std::io::Error) -> Thrown {
    let code = source.raw_os_error().unwrap_or(0);
    throw(&BIND_EXCEPTION, &format!("Cannot listen on {address}: {source}"), i64::from(code))
}

pub(crate) fn start(error: &StartError) -> Thrown {
    let source = match error {
        StartError::Tls(error) => return tls(error),
        StartError::Bind(bind) => &bind.source,
        StartError::Files { source, .. } | StartError::Runtime(source) => source,
        StartError::Cluster(_) => return throw(&BIND_EXCEPTION, &sentence(&error.to_string()), 0),
    };
    throw(&BIND_EXCEPTION, &sentence(&error.to_string()), i64::from(source.raw_os_error().unwrap_or(0)))
}

pub(crate) fn tls(error: &TlsError) -> Thrown {
    throw(&TLS_EXCEPTION, &sentence(&error.to_string()), 0)
}

/// Capitalises a message of the core: there they are fragments, in PHP sentences.
fn sentence(fragment: &str) -> String {
    let mut chars = fragment.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
