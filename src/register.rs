//! The classes as PHP sees them: each method with its parameters, defaults, result and handler. A test
//! compares them with `stubs/sprocket.php`, by Reflection.

use sprocket_server::Request as Head;

use crate::args::Parameter;
use crate::callbacks::Hook;
use crate::compression::{self, Compression};
use crate::connection::{self, Connection};
use crate::handshake::{self, Handshake};
use crate::history::{self, History};
use crate::options::{self, Options};
use crate::publisher::{self, Publisher};
use crate::request::{self, Request};
use crate::response::{self, Response};
use crate::response_stream::{self, ResponseStream};
use crate::server::Server;
use crate::tls::{self, Tls};
use crate::zend::{
    Builtin, Call, Class, Method, Native, Prop, Result, Startup, Type, register_class, register_enum,
};
use crate::{counters, errors, presence, run, server_methods, topics};

/// Registers every class. The order does not matter: types name classes by strings.
pub(crate) fn classes(startup: &Startup) {
    errors::register(startup);
    settings(startup);
    request(startup);
    response(startup);
    connection(startup);
    handshake(startup);
    server(startup);
    publisher(startup);
}

/// The classes that hold settings.
fn settings(startup: &Startup) {
    let constructor = Method::new(c"__construct", tls::construct)
        .arg(c"certificate", Type::STRING)
        .opt(c"key", Type::STRING.nullable(), c"null")
        .opt(c"passphrase", Type::STRING.nullable(), c"null")
        .opt(c"hosts", Type::ARRAY, c"[]")
        .opt(c"clientCa", Type::STRING.nullable(), c"null")
        .opt(c"clientRequired", Type::BOOL, c"true")
        .opt(c"minVersion", Type::STRING, c"'1.2'")
        .opt(c"reloadInterval", Type::FLOAT, c"0.0")
        .opt(c"http2", Type::BOOL, c"true");
    register_class::<Tls>(
        startup,
        Class { name: c"Sprocket\\Tls", methods: vec![constructor], props: tls::PROPS.into() },
        &[],
    );
    values::<Compression, _>(
        startup,
        c"Sprocket\\Compression",
        compression::construct,
        &compression::PARAMETERS,
    );
    values::<History, _>(startup, c"Sprocket\\History", history::construct, &history::PARAMETERS);
    register_enum(startup, &options::SLOW_CONSUMER);
    values::<Options, _>(startup, c"Sprocket\\Options", options::construct, &options::PARAMETERS);
}

/// Registers a class whose constructor keeps each parameter as a readonly property.
fn values<T: Native, F>(
    startup: &Startup,
    name: &'static std::ffi::CStr,
    construct: F,
    parameters: &[Parameter],
) where
    F: Fn(&Call) -> Result<()> + Copy + 'static,
{
    let constructor =
        parameters.iter().fold(Method::new(c"__construct", construct), |m, (name, type_, default)| {
            m.opt(name, *type_, default)
        });
    let props = parameters.iter().map(|(name, type_, _)| Prop::readonly(name, *type_)).collect();
    register_class::<T>(startup, Class { name, methods: vec![constructor], props }, &[]);
}

fn request(startup: &Startup) {
    let methods = vec![
        Method::private_constructor(),
        Method::new(c"method", |c: &Call| request::bytes(c, |h| h.method().as_bytes())).returns(Type::STRING),
        Method::new(c"protocolVersion", |c: &Call| request::bytes(c, |h| h.version().as_bytes()))
            .returns(Type::STRING),
        Method::new(c"target", |c: &Call| request::bytes(c, |h| h.target().as_bytes())).returns(Type::STRING),
        Method::new(c"path", |c: &Call| request::bytes(c, |h| h.path().as_bytes())).returns(Type::STRING),
        Method::new(c"query", request::query).returns(Type::ARRAY),
        Method::new(c"queryString", |c: &Call| request::bytes(c, |h| h.query().as_bytes()))
            .returns(Type::STRING),
        Method::new(c"header", request::header).arg(c"name", Type::STRING).returns(Type::STRING.nullable()),
        Method::new(c"headers", request::headers).returns(Type::ARRAY),
        Method::new(c"cookies", request::cookies).returns(Type::ARRAY),
        Method::new(c"remoteAddress", |c: &Call| {
            request::with(c, |h| request::address(h.remote().map(|a| a.ip())))
        })
        .returns(Type::STRING),
        Method::new(c"remotePort", |c: &Call| request::with(c, |h| request::port(h.remote())))
            .returns(Type::INT),
        Method::new(c"localAddress", |c: &Call| {
            request::with(c, |h| request::address(h.local().map(|a| a.ip())))
        })
        .returns(Type::STRING),
        Method::new(c"localPort", |c: &Call| request::with(c, |h| request::port(h.local())))
            .returns(Type::INT),
        Method::new(c"scheme", request::scheme).returns(Type::STRING),
        Method::new(c"isSecure", |c: &Call| request::with(c, Head::is_secure)).returns(Type::BOOL),
        Method::new(c"subprotocols", request::subprotocols).returns(Type::ARRAY),
        Method::new(c"clientCertificate", request::client_certificate).returns(Type::STRING.nullable()),
        Method::new(c"body", request::body).returns(Type::STRING),
        Method::new(c"respond", request::respond)
            .arg(c"response", Type::class(c"Sprocket\\Response"))
            .returns(Type::BOOL),
        Method::new(c"stream", request::stream)
            .opt(c"status", Type::INT, c"200")
            .opt(c"headers", Type::ARRAY, c"[]")
            .returns(Type::class(c"Sprocket\\ResponseStream")),
    ];
    register_class::<Request>(startup, Class { name: c"Sprocket\\Request", methods, props: Vec::new() }, &[]);
}

fn response(startup: &Startup) {
    let constructor = Method::new(c"__construct", response::construct)
        .opt(c"status", Type::INT, c"200")
        .opt(c"body", Type::STRING, c"''")
        .opt(c"headers", Type::ARRAY, c"[]");
    register_class::<Response>(
        startup,
        Class { name: c"Sprocket\\Response", methods: vec![constructor], props: response::PROPS.into() },
        &[],
    );
    let callback = Type::CALLABLE.nullable();
    let methods = vec![
        Method::private_constructor(),
        Method::new(c"write", response_stream::write).arg(c"data", Type::STRING).returns(Type::BOOL),
        Method::new(c"end", response_stream::end).opt(c"data", Type::STRING, c"''").returns(Type::BOOL),
        Method::new(c"terminate", response_stream::terminate).returns(Type::VOID),
        Method::new(c"onDrain", response_stream::on_drain).arg(c"callback", callback).returns(Type::STATIC),
        Method::new(c"onClose", response_stream::on_close).arg(c"callback", callback).returns(Type::STATIC),
        Method::new(c"isOpen", response_stream::is_open).returns(Type::BOOL),
        Method::new(c"bufferedAmount", response_stream::buffered_amount).returns(Type::INT),
    ];
    register_class::<ResponseStream>(
        startup,
        Class { name: c"Sprocket\\ResponseStream", methods, props: response_stream::PROPS.into() },
        &[],
    );
}

fn connection(startup: &Startup) {
    let methods = vec![
        Method::private_constructor(),
        Method::new(c"send", connection::send)
            .arg(c"payload", Type::STRING)
            .opt(c"binary", Type::BOOL, c"false")
            .returns(Type::BOOL),
        Method::new(c"ping", connection::ping).opt(c"payload", Type::STRING, c"''").returns(Type::BOOL),
        Method::new(c"pong", connection::pong).opt(c"payload", Type::STRING, c"''").returns(Type::BOOL),
        Method::new(c"close", connection::close)
            .opt(c"code", Type::INT, c"1000")
            .opt(c"reason", Type::STRING, c"''")
            .returns(Type::VOID),
        Method::new(c"terminate", connection::terminate).returns(Type::VOID),
        Method::new(c"subscribe", topics::subscribe).rest(c"topics", Type::STRING).returns(Type::VOID),
        Method::new(c"unsubscribe", topics::unsubscribe).rest(c"topics", Type::STRING).returns(Type::VOID),
        Method::new(c"subscribePattern", topics::subscribe_pattern)
            .rest(c"patterns", Type::STRING)
            .returns(Type::VOID),
        Method::new(c"unsubscribePattern", topics::unsubscribe_pattern)
            .rest(c"patterns", Type::STRING)
            .returns(Type::VOID),
        Method::new(c"resume", topics::resume)
            .arg(c"topic", Type::STRING)
            .opt(c"position", Type::STRING, c"''")
            .returns(Type::VOID),
        Method::new(c"join", presence::join)
            .arg(c"topic", Type::STRING)
            .arg(c"member", Type::STRING)
            .opt(c"data", Type::STRING, c"''")
            .returns(Type::VOID),
        Method::new(c"leave", presence::leave).arg(c"topic", Type::STRING).returns(Type::VOID),
        Method::new(c"topics", topics::topics).returns(Type::ARRAY),
        Method::new(c"patterns", topics::patterns).returns(Type::ARRAY),
        Method::new(c"isOpen", connection::is_open).returns(Type::BOOL),
        Method::new(c"bufferedAmount", connection::buffered_amount).returns(Type::INT),
    ];
    register_class::<Connection>(
        startup,
        Class { name: c"Sprocket\\Connection", methods, props: connection::PROPS.into() },
        &[],
    );
}

fn handshake(startup: &Startup) {
    let methods = vec![
        Method::private_constructor(),
        Method::new(c"accept", handshake::accept)
            .opt(c"subprotocol", Type::STRING.nullable(), c"null")
            .opt(c"headers", Type::ARRAY, c"[]")
            .opt(c"data", Type::MIXED, c"null")
            .returns(Type::BOOL),
        Method::new(c"reject", handshake::reject)
            .opt(c"status", Type::INT, c"403")
            .opt(c"body", Type::STRING, c"''")
            .opt(c"headers", Type::ARRAY, c"[]")
            .returns(Type::BOOL),
        Method::new(c"isPending", handshake::is_pending).returns(Type::BOOL),
    ];
    register_class::<Handshake>(
        startup,
        Class { name: c"Sprocket\\Handshake", methods, props: handshake::PROPS.into() },
        &[],
    );
}

fn server(startup: &Startup) {
    let callback = Type::CALLABLE.nullable();
    let mut methods = vec![
        Method::new(c"__construct", server_methods::construct).arg(c"listen", Type::MIXED).opt(
            c"options",
            Type::class(c"Sprocket\\Options").nullable(),
            c"null",
        ),
        Method::new(c"onUpgrade", |c: &Call| server_methods::set(c, Hook::Upgrade)),
        Method::new(c"onOpen", |c: &Call| server_methods::set(c, Hook::Open)),
        Method::new(c"onMessage", |c: &Call| server_methods::set(c, Hook::Message)),
        Method::new(c"onClose", |c: &Call| server_methods::set(c, Hook::Close)),
        Method::new(c"onDrain", |c: &Call| server_methods::set(c, Hook::Drain)),
        Method::new(c"onPong", |c: &Call| server_methods::set(c, Hook::Pong)),
        Method::new(c"onRequest", |c: &Call| server_methods::set(c, Hook::Request)),
        Method::new(c"onError", |c: &Call| server_methods::set(c, Hook::Error)),
        Method::new(c"onStart", |c: &Call| server_methods::set(c, Hook::Start)),
        Method::new(c"onWorkerStart", |c: &Call| server_methods::set(c, Hook::WorkerStart)),
        Method::new(c"onWorkerStop", |c: &Call| server_methods::set(c, Hook::WorkerStop)),
        Method::new(c"onResume", |c: &Call| server_methods::set(c, Hook::Resume)),
        Method::new(c"onPresence", |c: &Call| server_methods::set(c, Hook::Presence)),
        Method::new(c"onBroker", |c: &Call| server_methods::set(c, Hook::Broker)),
        Method::new(c"onRefused", |c: &Call| server_methods::set(c, Hook::Refused)),
    ];
    let setters = methods.split_off(1).into_iter();
    methods.extend(setters.map(|m| m.arg(c"callback", callback).returns(Type::STATIC)));
    methods.extend([
        Method::new(c"start", server_methods::start).returns(Type::VOID),
        Method::new(c"run", run::run).returns(Type::VOID),
        Method::new(c"poll", server_methods::poll)
            .opt(c"timeout", Type::FLOAT, c"0.0")
            .opt(c"maxEvents", Type::INT, c"1024")
            .returns(Type::INT),
        Method::new(c"stream", server_methods::stream),
        Method::new(c"stop", server_methods::stop).opt(c"grace", Type::FLOAT, c"5.0").returns(Type::VOID),
        Method::new(c"reloadTls", server_methods::reload_tls).returns(Type::VOID),
        Method::new(c"adopt", server_methods::adopt)
            .arg(c"socket", Type::MIXED)
            .opt(c"tls", Type::BOOL, c"false")
            .returns(Type::VOID),
        Method::new(c"worker", server_methods::worker).returns(Type::INT.nullable()),
        Method::new(c"isRunning", server_methods::is_running).returns(Type::BOOL),
        Method::new(c"addresses", server_methods::addresses).returns(Type::ARRAY),
        Method::new(c"count", server_methods::count).returns(Type::INT),
        Method::new(c"connections", server_methods::connections).returns(Type::ARRAY),
        Method::new(c"connection", server_methods::connection)
            .arg(c"id", Type::INT)
            .returns(Type::class(c"Sprocket\\Connection").nullable()),
        Method::new(c"publish", topics::publish)
            .arg(c"topic", Type::STRING)
            .arg(c"payload", Type::STRING)
            .opt(c"binary", Type::BOOL, c"false")
            .opt(c"except", Type::class(c"Sprocket\\Connection").nullable(), c"null")
            .returns(Type::VOID),
        Method::new(c"broadcast", topics::broadcast)
            .arg(c"payload", Type::STRING)
            .opt(c"binary", Type::BOOL, c"false")
            .opt(c"except", Type::class(c"Sprocket\\Connection").nullable(), c"null")
            .returns(Type::VOID),
        Method::new(c"subscriberCount", topics::subscriber_count)
            .arg(c"topic", Type::STRING)
            .returns(Type::INT),
        Method::new(c"presence", presence::presence).arg(c"topic", Type::STRING).returns(Type::ARRAY),
        Method::new(c"stats", counters::stats).returns(Type::ARRAY),
        Method::new(c"after", |c: &Call| server_methods::timer(c, false))
            .arg(c"seconds", Type::FLOAT)
            .arg(c"callback", Type::CALLABLE)
            .returns(Type::INT),
        Method::new(c"every", |c: &Call| server_methods::timer(c, true))
            .arg(c"seconds", Type::FLOAT)
            .arg(c"callback", Type::CALLABLE)
            .returns(Type::INT),
        Method::new(c"cancel", server_methods::cancel).arg(c"timer", Type::INT).returns(Type::BOOL),
    ]);
    register_class::<Server>(
        startup,
        Class { name: c"Sprocket\\Server", methods, props: Vec::new() },
        &[Builtin::Countable],
    );
}

fn publisher(startup: &Startup) {
    let methods = vec![
        Method::new(c"__construct", publisher::construct)
            .arg(c"address", Type::STRING)
            .opt(c"timeout", Type::FLOAT, c"1.0")
            .opt(c"prefix", Type::STRING, c"'sprocket:'"),
        Method::new(c"publish", publisher::publish)
            .arg(c"topic", Type::STRING)
            .arg(c"payload", Type::STRING)
            .opt(c"binary", Type::BOOL, c"false")
            .returns(Type::VOID),
    ];
    register_class::<Publisher>(
        startup,
        Class { name: c"Sprocket\\Publisher", methods, props: publisher::PROPS.into() },
        &[],
    );
}
