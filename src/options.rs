//! `Sprocket\Options` and `Sprocket\SlowConsumer`.

use std::cell::OnceCell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use ext_php_rs::types::Zval;
use sprocket_server::broker::{BrokerConfig, BrokerKind, BrokerUrl, check_prefix};
use sprocket_server::{Config, OriginPattern, Origins, PublishSocket, SlowConsumer, TrustedProxies};

use crate::args::{MOST_BYTES, Parameter, Reader};
use crate::compression::compression;
use crate::errors::invalid_option;
use crate::history::history;
use crate::listen::{is_token, socket_path};
use crate::logger::{self, logger};
use crate::settings::Settings;
use crate::tls::Tls;
use crate::zend::{
    Call, Callback, ClassCell, EnumCell, Native, Owned, Result, Type, case_name, list, string, throw_error,
};

static OPTIONS: ClassCell = ClassCell::new();
pub(crate) static SLOW_CONSUMER: EnumCell =
    EnumCell::new(c"Sprocket\\SlowConsumer", &[(c"Close", c"close"), (c"Drop", c"drop")]);

/// The checked values. PHP sees them as declared properties.
#[derive(Default)]
pub(crate) struct Options {
    config: OnceCell<Settings>,
}

impl Options {
    pub(crate) fn settings(&self) -> Settings {
        self.config.get().cloned().unwrap_or_default()
    }
}

impl Native for Options {
    fn class() -> &'static ClassCell {
        &OPTIONS
    }

    fn unconstructed() -> Self {
        Self::default()
    }
}

/// The parameters, in the order in which [`construct`] reads them.
pub(crate) const PARAMETERS: [Parameter; 37] = [
    (c"maxConnections", Type::INT.nullable(), c"null"),
    (c"maxConnectionsPerIp", Type::INT, c"0"),
    (c"maxMessageSize", Type::INT, c"1048576"),
    (c"maxHeaderSize", Type::INT, c"16384"),
    (c"maxBodySize", Type::INT, c"1048576"),
    (c"handshakeTimeout", Type::FLOAT, c"10.0"),
    (c"pingInterval", Type::FLOAT, c"25.0"),
    (c"pingTimeout", Type::FLOAT, c"20.0"),
    (c"closeTimeout", Type::FLOAT, c"3.0"),
    (c"sendBufferLimit", Type::INT, c"1048576"),
    (c"slowConsumer", Type::class(c"Sprocket\\SlowConsumer"), c"\\Sprocket\\SlowConsumer::Close"),
    (c"maxPendingMessages", Type::INT, c"256"),
    (c"maxPendingBytes", Type::INT, c"4194304"),
    (c"origins", Type::ARRAY.nullable(), c"null"),
    (c"subprotocols", Type::ARRAY, c"[]"),
    (c"strictSubprotocols", Type::BOOL, c"false"),
    (c"healthPath", Type::STRING.nullable(), c"null"),
    (c"ioThreads", Type::INT, c"1"),
    (c"backlog", Type::INT, c"4096"),
    (c"trustedProxies", Type::ARRAY, c"[]"),
    (c"metricsPath", Type::STRING.nullable(), c"null"),
    (c"tls", Type::class(c"Sprocket\\Tls").nullable(), c"null"),
    (c"compression", Type::class(c"Sprocket\\Compression").or(Type::BOOL), c"false"),
    (c"publishSocket", Type::STRING.nullable(), c"null"),
    (c"publishSocketMode", Type::INT, c"0600"),
    (c"staticFiles", Type::STRING.nullable(), c"null"),
    (c"history", Type::ARRAY, c"[]"),
    (c"broker", Type::STRING.nullable(), c"null"),
    (c"brokerPrefix", Type::STRING, c"'sprocket:'"),
    (c"brokerQueue", Type::INT, c"16777216"),
    (c"workers", Type::INT, c"1"),
    (c"maxRequests", Type::INT, c"0"),
    (c"maxMemory", Type::INT, c"0"),
    (c"logger", Type::MIXED, c"null"),
    (c"maxPendingTotal", Type::INT, c"67108864"),
    (c"maxHandshakes", Type::INT.nullable(), c"null"),
    (c"maxHandshakesPerIp", Type::INT, c"0"),
];

pub(crate) fn construct(call: &Call) -> Result<()> {
    let this = call.this_object::<Options>();
    if this.get().config.get().is_some() {
        return Err(throw_error("Cannot modify readonly properties of Sprocket\\Options"));
    }
    call.arity(0, PARAMETERS.len())?;
    let mut args = Reader::new(call);
    let settings = read(&mut args)?;
    for (index, value) in args.props.into_iter().enumerate() {
        this.init_prop(index, value);
    }
    let _ = this.get().config.set(settings);
    Ok(())
}

fn read(args: &mut Reader<'_>) -> Result<Settings> {
    let base = Config::default();
    let max_connections = args.count_or_null("maxConnections")?;
    let mut config = Config {
        max_connections_per_ip: args.size("maxConnectionsPerIp", base.max_connections_per_ip, 0, i64::MAX)?,
        max_message_size: args.size("maxMessageSize", base.max_message_size, 1, MOST_BYTES)?,
        max_header_size: args.size("maxHeaderSize", base.max_header_size, 8192, 1 << 20)?,
        max_body_size: args.size("maxBodySize", base.max_body_size, 0, MOST_BYTES)?,
        handshake_timeout: args.seconds("handshakeTimeout", base.handshake_timeout, false)?,
        ping_interval: {
            let default = base.ping_interval.unwrap_or_default();
            Some(args.seconds("pingInterval", default, true)?).filter(|d| !d.is_zero())
        },
        ping_timeout: args.seconds("pingTimeout", base.ping_timeout, false)?,
        close_timeout: args.seconds("closeTimeout", base.close_timeout, false)?,
        send_buffer_limit: args.size("sendBufferLimit", base.send_buffer_limit, 1, MOST_BYTES)?,
        slow_consumer: slow_consumer(args)?,
        max_pending_messages: args.size("maxPendingMessages", base.max_pending_messages, 1, 1_000_000)?,
        max_pending_bytes: args.size("maxPendingBytes", base.max_pending_bytes, 1, MOST_BYTES)?,
        origins: origins(args)?,
        subprotocols: subprotocols(args)?,
        strict_subprotocols: args.bool(false)?,
        health_path: own_path(args, "healthPath")?,
        io_threads: args.size("ioThreads", base.io_threads, 1, 64)?,
        backlog: args.int("backlog", i64::from(base.backlog), 1, 65_535)? as i32,
        trusted_proxies: trusted_proxies(args)?,
        metrics_path: own_path(args, "metricsPath")?,
        tls: tls(args)?,
        compression: compression(args)?,
        publish_socket: publish_socket(args)?,
        static_files: static_files(args)?,
        history: history(args)?,
        broker: broker(args)?,
        ..base
    };
    let workers = Some(args.int("workers", 1, 0, 64)? as u16).filter(|n| *n != 1);
    let max_requests = args.int("maxRequests", 0, 0, i64::MAX)? as u64;
    let max_memory = args.size("maxMemory", 0, 0, i64::MAX)?;
    let logger = logger(args)?;
    config.max_pending_total = args.size("maxPendingTotal", config.max_pending_total, 1 << 20, i64::MAX)?;
    let max_handshakes = args.count_or_null("maxHandshakes")?;
    config.max_handshakes_per_ip = args.size("maxHandshakesPerIp", 0, 0, i64::MAX)?;
    Ok(Settings { config, max_connections, max_handshakes, workers, max_requests, max_memory, logger })
}

fn slow_consumer(args: &mut Reader<'_>) -> Result<SlowConsumer> {
    let case = match args.call.instance(args.next, SLOW_CONSUMER.class())? {
        Some(case) => case.shallow_clone(),
        None => SLOW_CONSUMER.case(c"Close"),
    };
    let drops = case_name(&case) == Some(b"Drop");
    args.take(case);
    Ok(if drops { SlowConsumer::Drop } else { SlowConsumer::Close })
}

fn origins(args: &mut Reader<'_>) -> Result<Origins> {
    let allowed = "null for the same host, [\"*\"] for any, or a list of origins such as \
        \"https://example.com\", \"https://*.example.com\" (all names below), \"capacitor://localhost\", \
        \"file://\" and \"null\", and bare hosts such as \"example.com\"; without a path, a user, or any \
        other *, and with names in ASCII (xn--…)";
    let Some(table) = args.call.array_or_null(args.next)? else {
        args.take(Zval::null());
        return Ok(Origins::SameHost);
    };
    let list = args.strings("origins", table, allowed, |s| s == "*" || OriginPattern::parse(s).is_some())?;
    let any = list.iter().any(|s| s == "*");
    if any && list.len() > 1 {
        return args.refuse("origins", &args.argument(), allowed);
    }
    args.take(args.argument());
    let patterns = || list.iter().filter_map(|s| OriginPattern::parse(s)).collect();
    Ok(if any { Origins::Any } else { Origins::List(patterns()) })
}

fn subprotocols(args: &mut Reader<'_>) -> Result<Vec<String>> {
    let allowed = "a list of tokens (letters, digits and !#$%&'*+-.^_`|~), each once";
    let Some(table) = args.call.array(args.next)? else {
        args.take(list([]));
        return Ok(Vec::new());
    };
    let list = args.strings("subprotocols", table, allowed, is_token)?;
    args.take(args.argument());
    Ok(list)
}

/// Reads a URL path that the core answers by itself.
fn own_path(args: &mut Reader<'_>, name: &str) -> Result<Option<String>> {
    let Some(path) = args.call.string_or_null(args.next)? else {
        args.take(Zval::null());
        return Ok(None);
    };
    let value = string(path.as_bytes());
    match path.as_str() {
        Ok(p) if p.starts_with('/') && p.bytes().all(|b| b.is_ascii_graphic() && !b"?#".contains(&b)) => {
            args.take(value);
            Ok(Some(p.to_owned()))
        }
        _ => args.refuse(
            name,
            &value,
            "null, or a path that begins with a slash and contains neither a query nor whitespace",
        ),
    }
}

fn trusted_proxies(args: &mut Reader<'_>) -> Result<TrustedProxies> {
    let allowed = "a list of addresses (\"10.0.0.1\"), networks (\"10.0.0.0/8\", \"fd00::/8\") \
        and \"unix:\", each once";
    let mut trusted = TrustedProxies::default();
    let Some(table) = args.call.array(args.next)? else {
        args.take(list([]));
        return Ok(trusted);
    };
    let list = args.strings("trustedProxies", table, allowed, |s| TrustedProxies::default().add(s))?;
    for text in &list {
        trusted.add(text);
    }
    args.take(args.argument());
    Ok(trusted)
}

fn tls(args: &mut Reader<'_>) -> Result<Option<sprocket_server::Tls>> {
    let Some(tls) = args.call.object_or_null::<Tls>(args.next)? else {
        args.take(Zval::null());
        return Ok(None);
    };
    args.take(tls.value());
    Ok(tls.get().settings())
}

fn publish_socket(args: &mut Reader<'_>) -> Result<Option<PublishSocket>> {
    let path = match args.call.string_or_null(args.next)? {
        None => {
            args.take(Zval::null());
            None
        }
        Some(text) => {
            let value = string(text.as_bytes());
            let Some(path) =
                text.as_str().ok().and_then(|t| socket_path(t.strip_prefix("unix://").unwrap_or(t)))
            else {
                let allowed = "null, or the absolute path of a socket, at most 107 bytes long";
                return args.refuse("publishSocket", &value, allowed);
            };
            args.take(value);
            Some(path)
        }
    };
    let default = i64::from(PublishSocket::new(PathBuf::new()).mode);
    let mode = args.int("publishSocketMode", default, 0, 0o777)?;
    Ok(path.map(|path| PublishSocket { mode: mode as u32, ..PublishSocket::new(path) }))
}

fn static_files(args: &mut Reader<'_>) -> Result<Option<PathBuf>> {
    let Some(path) = args.call.string_or_null(args.next)? else {
        args.take(Zval::null());
        return Ok(None);
    };
    let value = string(path.as_bytes());
    let found = PathBuf::from(OsStr::from_bytes(path.as_bytes()));
    // Checked here already, so that the error points at the option and not at start().
    if !found.is_absolute() || !found.is_dir() {
        return args.refuse("staticFiles", &value, "null, or the absolute path of a directory");
    }
    args.take(value);
    Ok(Some(found))
}

fn broker(args: &mut Reader<'_>) -> Result<Option<BrokerConfig>> {
    let url = match args.call.string_or_null(args.next)? {
        None => {
            args.take(Zval::null());
            None
        }
        Some(given) => {
            let value = string(given.as_bytes());
            let Ok(url) = given.as_str() else { return args.refuse("broker", &value, "valid UTF-8") };
            let checked = BrokerUrl::parse(url).map_err(|error| {
                let allowed = match error.part.as_str() {
                    "it" | "the scheme" => format!("null, {}", error.allowed),
                    part => format!("an address in which {part} is {}", error.allowed),
                };
                // The message shows only the faulty part: the URL may contain a password.
                invalid_option("broker", &string(error.value.as_bytes()), &allowed)
            })?;
            args.take(value);
            Some((url.to_owned(), checked.kind()))
        }
    };
    let given = args.call.string(args.next)?;
    let value = string(given.map_or(BrokerConfig::PREFIX.as_bytes(), |prefix| prefix.as_bytes()));
    // Without a broker the rules of Redis apply, which are the wider ones.
    let kind = url.as_ref().map_or(BrokerKind::Redis, |(_, kind)| *kind);
    let Ok(prefix) = given.map_or(Ok(BrokerConfig::PREFIX), |prefix| prefix.as_str()) else {
        return args.refuse("brokerPrefix", &value, "valid UTF-8");
    };
    if let Err(error) = check_prefix(kind, prefix) {
        return args.refuse("brokerPrefix", &value, &error.allowed);
    }
    args.take(value);
    let queue = args.size("brokerQueue", BrokerConfig::QUEUE, 65_536, MOST_BYTES)?;
    Ok(url.map(|(url, _)| BrokerConfig { url, prefix: prefix.to_owned(), queue }))
}

/// The settings of an optional `Options` argument.
pub(crate) fn settings(options: Option<&Owned<Options>>) -> Settings {
    options.map_or_else(Settings::default, |o| o.get().settings())
}

/// The callback of the option `logger`.
pub(crate) fn logger_of(options: &Owned<Options>) -> Option<Callback> {
    let number = options.get().config.get()?.logger?;
    logger::resolve(&options.prop(number))
}
