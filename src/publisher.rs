//! `Sprocket\Publisher`.

use std::cell::{OnceCell, RefCell};
use std::path::PathBuf;
use std::time::Duration;

use ext_php_rs::types::{ZendStr, Zval};
use sprocket_server::broker::{BrokerConfig, BrokerUrl, check_prefix};
use sprocket_server::{BrokerPublisher, PublishError, Publisher as UnixPublisher, check_topic};

use crate::convert::{duration, topic};
use crate::errors::{self, invalid_option};
use crate::listen::socket_path;
use crate::zend::{Call, ClassCell, Native, Prop, Result, Type, text, throw_error, zstr_is_utf8};

static PUBLISHER: ClassCell = ClassCell::new();

/// Most targets to which one process keeps connections.
const MOST_KEPT: usize = 16;

thread_local! {
    /// Connections outlive publisher objects, which in a web server last for one request.
    static KEPT: RefCell<Vec<Core>> = const { RefCell::new(Vec::new()) };
}

/// A target and the timeout of its exchanges.
#[derive(Default)]
pub(crate) struct Publisher {
    to: OnceCell<(Target, Duration)>,
}

#[derive(Clone, PartialEq)]
enum Target {
    Unix(PathBuf),
    Broker(Box<(BrokerUrl, String)>),
}

/// The publisher of a target, which connects when needed.
struct Core {
    target: Target,
    end: PublisherClient,
}

enum PublisherClient {
    Unix(UnixPublisher),
    Broker(Box<BrokerPublisher>),
}

impl Core {
    fn new(target: Target) -> Self {
        let end = match &target {
            Target::Unix(path) => PublisherClient::Unix(UnixPublisher::new(path.clone())),
            Target::Broker(broker) => {
                PublisherClient::Broker(Box::new(BrokerPublisher::new(broker.0.clone(), broker.1.clone())))
            }
        };
        Self { target, end }
    }

    fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        binary: bool,
        timeout: Duration,
    ) -> std::result::Result<(), PublishError> {
        match &mut self.end {
            PublisherClient::Unix(publisher) => publisher.publish(topic, payload, binary, timeout),
            PublisherClient::Broker(publisher) => publisher.publish(topic, payload, binary, timeout),
        }
    }
}

const ADDRESS: usize = 0;
const TIMEOUT: usize = 1;
const PREFIX: usize = 2;

/// The declared properties, by number.
pub(crate) const PROPS: [Prop; 3] = [
    Prop::readonly(c"address", Type::STRING),
    Prop::readonly(c"timeout", Type::FLOAT),
    Prop::readonly(c"prefix", Type::STRING),
];

impl Native for Publisher {
    fn class() -> &'static ClassCell {
        &PUBLISHER
    }

    fn unconstructed() -> Self {
        Self::default()
    }
}

pub(crate) fn construct(call: &Call) -> Result<()> {
    call.arity(1, 3)?;
    // Converts the first argument in place: it becomes the property.
    let Some(address) = call.string(0)? else { return Ok(()) };
    let seconds = call.float(1, 1.0)?;
    let given = call.string(2)?;
    let prefix = match (given, call.value(2)) {
        (Some(_), Some(value)) => value.shallow_clone(),
        _ => text(BrokerConfig::PREFIX),
    };
    let value = call.value(0).map_or_else(Zval::null, Zval::shallow_clone);
    let target = target(address, &value, given, &prefix)?;
    let mut timeout = Zval::new();
    timeout.set_double(seconds);
    let Some(limit) = duration(seconds).filter(|_| (0.001..=86_400.0).contains(&seconds)) else {
        return Err(invalid_option("timeout", &timeout, "between 0.001 and 86400 seconds"));
    };
    let this = call.this_object::<Publisher>();
    if this.get().to.set((target, limit)).is_err() {
        return Err(throw_error("Cannot modify readonly properties of Sprocket\\Publisher"));
    }
    this.init_prop(ADDRESS, value);
    this.init_prop(TIMEOUT, timeout);
    this.init_prop(PREFIX, prefix);
    Ok(())
}

fn target(address: &ZendStr, value: &Zval, given: Option<&ZendStr>, prefix: &Zval) -> Result<Target> {
    let address = address.as_str().unwrap_or_default();
    if let Some(path) = address.strip_prefix("unix://") {
        let path = socket_path(path);
        let allowed = "\"unix:///PATH\": an absolute path of at most 107 bytes";
        return path.map(Target::Unix).ok_or_else(|| invalid_option("address", value, allowed));
    }
    let url = BrokerUrl::parse(address).map_err(|error| {
        let allowed = match error.part.as_str() {
            "it" | "the scheme" => format!("\"unix:///PATH\", {}", error.allowed),
            part => format!("an address in which {part} is {}", error.allowed),
        };
        // The message shows only the faulty part: the address may contain a password.
        invalid_option("address", &text(&error.value), &allowed)
    })?;
    let name = given.map_or(Ok(BrokerConfig::PREFIX), |given| given.as_str().map_err(drop)).unwrap_or("\0");
    check_prefix(url.kind(), name).map_err(|error| invalid_option("prefix", prefix, &error.allowed))?;
    Ok(Target::Broker(Box::new((url, name.to_owned()))))
}

pub(crate) fn publish(call: &Call) -> Result<()> {
    call.arity(2, 3)?;
    let binary = call.bool(2, false)?;
    let payload = match call.string(1)? {
        Some(payload) if binary || zstr_is_utf8(payload) => payload,
        _ => return Err(errors::invalid_text()),
    };
    let topic = topic(call)?;
    check_topic(topic).map_err(|error| errors::topic(0, &error))?;
    let Some((target, timeout)) = call.this::<Publisher>().to.get() else {
        return Err(throw_error("Sprocket\\Publisher has not been constructed"));
    };
    // No PHP code runs from here on.
    let mut publisher = KEPT.with_borrow_mut(|kept| {
        let known = kept.iter().position(|publisher| publisher.target == *target);
        known.map_or_else(|| Core::new(target.clone()), |at| kept.remove(at))
    });
    let result = publisher.publish(topic, ZendStr::as_bytes(payload), binary, *timeout);
    KEPT.with_borrow_mut(|kept| {
        if kept.len() == MOST_KEPT {
            // Drops the least recently used target.
            kept.remove(0);
        }
        kept.push(publisher);
    });
    result.map_err(|error| errors::publish(&error))
}
