//! `Sprocket\Server`.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ext_php_rs::types::{ZendHashTable, Zval};
use sprocket_core::notices::tls_reloaded;
use sprocket_core::{Interest, Server as Core, Stats};

use crate::by_id::ById;
use crate::callbacks::{Callbacks, Hook};
use crate::connection::Connection;
use crate::convert::duration_argument;
use crate::handshake::Answer;
use crate::lifecycle;
use crate::link::Link;
use crate::listen::{self, Listen};
use crate::options::{self, Options, Settings};
use crate::timers::Timers;
use crate::workers::{self, Role, Supervisor};
use crate::zend::{
    Builtin, Call, Class, ClassCell, Gc, Method, Native, Owned, Result, SEND_QUEUE, This, Thrown, Type,
    argument_value_error, descriptor_of, list, register_class, socket_stream, stream_from_fd, string,
    throw_error, trim_heap, watch_forks, with_signals_blocked,
};
use crate::{counters, dispatch, errors, log, presence, run, topics};

static SERVER: ClassCell = ClassCell::new();

/// The state of a server object.
#[derive(Default)]
pub(crate) struct Server {
    setup: OnceCell<Setup>,
    /// Shared with connections and handshakes.
    pub(crate) link: Rc<Link>,
    pub(crate) callbacks: Callbacks,
    /// Lines for the logger.
    pub(crate) log: log::Waiting,
    pub(crate) timers: Timers,
    /// Those between onOpen and onClose, by number.
    pub(crate) connections: RefCell<ById<Owned<Connection>>>,
    /// What `stream()` gave.
    stream: RefCell<Option<Zval>>,
    /// When the core was told to make the stream readable for a timer.
    alarm: Cell<Option<Instant>>,
    /// The last reading of the counters, once there is no core to ask.
    pub(crate) stats: RefCell<Option<Stats>>,
    started: Cell<bool>,
    pub(crate) stopping: Cell<bool>,
    /// In the master of workers, while `run()` runs.
    pub(crate) master: RefCell<Option<Supervisor>>,
    /// In a worker.
    pub(crate) role: OnceCell<Role>,
    /// Handshakes, messages and requests so far.
    pub(crate) handled: Cell<u64>,
    /// `run()` is running in a process of its own, or as a worker: its number.
    pub(crate) number: Cell<Option<u16>>,
}

/// What the constructor was given.
pub(crate) struct Setup {
    pub(crate) listen: Vec<Listen>,
    pub(crate) settings: Settings,
}

impl Native for Server {
    fn class() -> &'static ClassCell {
        &SERVER
    }

    fn unconstructed() -> Self {
        Self::default()
    }

    fn visit(&self, gc: &mut Gc) {
        self.callbacks.visit(gc);
        self.timers.visit(gc);
        self.link.visit(gc);
        for connection in self.connections.borrow().values() {
            gc.add_object(connection);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A fatal error may have jumped out of a borrow: `get_mut` doesn't ask.
        let kept = std::mem::take(self.connections.get_mut());
        self.connections = RefCell::default();
        self.end();
        drop(kept);
        // Ends the workers, if this is their master.
        drop(self.master.take());
    }
}

pub(crate) fn register() {
    let callback = Type::CALLABLE.nullable();
    let mut methods = vec![
        Method::new(c"__construct", construct).arg(c"listen", Type::MIXED).opt(
            c"options",
            Type::class(c"Sprocket\\Options").nullable(),
            c"null",
        ),
        Method::new(c"onUpgrade", |c: &Call| set(c, Hook::Upgrade)),
        Method::new(c"onOpen", |c: &Call| set(c, Hook::Open)),
        Method::new(c"onMessage", |c: &Call| set(c, Hook::Message)),
        Method::new(c"onClose", |c: &Call| set(c, Hook::Close)),
        Method::new(c"onDrain", |c: &Call| set(c, Hook::Drain)),
        Method::new(c"onPong", |c: &Call| set(c, Hook::Pong)),
        Method::new(c"onRequest", |c: &Call| set(c, Hook::Request)),
        Method::new(c"onError", |c: &Call| set(c, Hook::Error)),
        Method::new(c"onStart", |c: &Call| set(c, Hook::Start)),
        Method::new(c"onWorkerStart", |c: &Call| set(c, Hook::WorkerStart)),
        Method::new(c"onWorkerStop", |c: &Call| set(c, Hook::WorkerStop)),
        Method::new(c"onResume", |c: &Call| set(c, Hook::Resume)),
        Method::new(c"onPresence", |c: &Call| set(c, Hook::Presence)),
        Method::new(c"onBroker", |c: &Call| set(c, Hook::Broker)),
        Method::new(c"onRefused", |c: &Call| set(c, Hook::Refused)),
    ];
    let setters = methods.split_off(1).into_iter();
    methods.extend(setters.map(|m| m.arg(c"callback", callback).returns(Type::STATIC)));
    methods.extend([
        Method::new(c"start", start).returns(Type::VOID),
        Method::new(c"run", run::run).returns(Type::VOID),
        Method::new(c"poll", poll)
            .opt(c"timeout", Type::FLOAT, c"0.0")
            .opt(c"maxEvents", Type::INT, c"1024")
            .returns(Type::INT),
        Method::new(c"stream", stream),
        Method::new(c"stop", stop).opt(c"grace", Type::FLOAT, c"5.0").returns(Type::VOID),
        Method::new(c"reloadTls", reload_tls).returns(Type::VOID),
        Method::new(c"adopt", adopt)
            .arg(c"socket", Type::MIXED)
            .opt(c"tls", Type::BOOL, c"false")
            .returns(Type::VOID),
        Method::new(c"worker", worker).returns(Type::INT.nullable()),
        Method::new(c"isRunning", is_running).returns(Type::BOOL),
        Method::new(c"addresses", addresses).returns(Type::ARRAY),
        Method::new(c"count", count).returns(Type::INT),
        Method::new(c"connections", connections).returns(Type::ARRAY),
        Method::new(c"connection", connection)
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
        Method::new(c"after", |c: &Call| timer(c, false))
            .arg(c"seconds", Type::FLOAT)
            .arg(c"callback", Type::CALLABLE)
            .returns(Type::INT),
        Method::new(c"every", |c: &Call| timer(c, true))
            .arg(c"seconds", Type::FLOAT)
            .arg(c"callback", Type::CALLABLE)
            .returns(Type::INT),
        Method::new(c"cancel", cancel).arg(c"timer", Type::INT).returns(Type::BOOL),
    ]);
    register_class::<Server>(
        Class { name: c"Sprocket\\Server", methods, props: Vec::new() },
        &[Builtin::Countable],
    );
}

fn construct(call: &Call) -> Result<()> {
    call.arity(1, 2)?;
    let this = call.this_object::<Server>();
    let Some(value) = call.value(0) else { return Ok(()) };
    let listen = listen::parse(value)?;
    let options = call.object_or_null::<Options>(1)?;
    let settings = options::settings(options.as_ref());
    if settings.config.tls.is_none() && listen.iter().any(Listen::wants_tls) {
        let allowed = "a Sprocket\\Tls where an address is \"wss://\" or says \"?tls\"";
        return Err(errors::invalid_option("tls", &Zval::null(), allowed));
    }
    if this.get().setup.set(Setup { listen, settings }).is_err() {
        return Err(throw_error("Cannot construct Sprocket\\Server a second time"));
    }
    drop(this.get().callbacks.set(Hook::Log, options.as_ref().and_then(options::logger_of)));
    Ok(())
}

fn set(call: &Call, hook: Hook) -> Result<This> {
    call.arity(1, 1)?;
    let callback = call.callback_or_null(0)?;
    let server = call.this_object::<Server>();
    let server = server.get();
    if let Some(interest) = hook.interest() {
        server.link.guarded(|core| core.set_interest(interest, callback.is_some()))?;
    }
    drop(server.callbacks.set(hook, callback));
    Ok(This)
}

impl Server {
    pub(crate) fn setup(&self) -> Result<&Setup> {
        self.setup.get().ok_or_else(|| throw_error("Sprocket\\Server has not been constructed"))
    }

    /// Throws if the server has workers, which `run()` alone can start.
    fn refuse_workers(&self, method: &str) -> Result<()> {
        match self.setup.get() {
            Some(setup) if setup.settings.workers.is_some() => Err(errors::state(&format!(
                "A server with workers is served by processes of its own, which run() alone starts: \
                 {method}() is for servers with workers: 1. Use onStart() to learn where it listens"
            ))),
            _ => Ok(()),
        }
    }

    pub(crate) fn start(&self) -> Result<()> {
        let setup = self.setup()?;
        if self.link.is_running() {
            self.link.check_process()?;
            return if self.stopping.get() {
                Err(errors::state("The server is still stopping"))
            } else {
                Ok(())
            };
        }
        let mut config = setup.settings.config.clone();
        lifecycle::share_descriptors(&setup.settings, &mut config);
        config.reclaim = Some(trim_heap);
        let mut binds = Vec::with_capacity(setup.listen.len());
        match self.role.get() {
            Some(role) => binds = role.prepare(&setup.listen, &mut config),
            None => {
                for listen in &setup.listen {
                    binds.extend(listen.open()?);
                }
            }
        }
        // Before the first connection: one that waits already must not pass unasked.
        config.interest = Hook::ALL
            .into_iter()
            .filter(|hook| self.callbacks.has(*hook))
            .filter_map(Hook::interest)
            .fold(Interest::NONE, Interest::and);
        config.send_queue = SEND_QUEUE;
        watch_forks();
        // Signals are for the PHP thread: the I/O threads inherit a mask that keeps them out.
        let wants_lines = config.interest.includes(Interest::LOG);
        let describe = wants_lines.then(|| config.clone());
        let core = with_signals_blocked(|| Core::start(config, binds)).map_err(|e| errors::start(&e))?;
        if let Some(config) = describe {
            self.log.add(log::started(core.addresses(), &config));
        }
        self.started.set(true);
        self.stats.replace(None);
        self.link.attach(core);
        self.timers_changed();
        Ok(())
    }

    /// Begins to stop. Nothing happens if it doesn't run.
    pub(crate) fn stop(&self, grace: Duration) -> Result<()> {
        if self.link.command(|core| core.stop(grace))?.is_some() && !self.stopping.replace(true) {
            self.note(|| log::stopping(self.connections.borrow().len(), grace, false));
        }
        Ok(())
    }

    /// A successor goes on with the listening sockets.
    pub(crate) fn hand_over(&self, grace: Duration) {
        if self.link.with(|core| core.give_way(grace)).is_some() && !self.stopping.replace(true) {
            self.note(|| log::stopping(self.connections.borrow().len(), grace, true));
        }
    }

    /// The last event has come, or the object goes: lets the core go, and all that was waiting.
    pub(crate) fn end(&self) {
        let native = self.link.is_native();
        let core = self.link.detach();
        if let Some(core) = core.as_ref().filter(|_| native) {
            self.stats.replace(Some(counters::counted(core)));
        }
        // Cuts what is left and joins the I/O threads; does neither in a fork.
        drop(core);
        self.stopping.set(false);
        self.alarm.set(None);
        for (_, answer) in self.link.waiting.take() {
            answer.set(Answer::Gone);
        }
        // Each of these may run destructors: no borrow is held.
        drop(self.link.accepted.take());
        drop(self.link.streams.take());
        drop(self.connections.take());
        drop(self.stream.take());
    }

    /// Outside of a batch, a foreign loop must learn when the next timer is due.
    fn timers_changed(&self) {
        if !self.link.is_dispatching() && self.link.is_native() {
            self.announce();
        }
    }

    /// Makes the stream, if there is one, readable when events come or a timer is due.
    pub(crate) fn announce(&self) {
        if self.stream.borrow().is_none() {
            return;
        }
        let next = self.timers.next();
        self.link.with(|core| {
            core.prepare_sleep();
            // What made the descriptor readable is forgotten by now: if that was an alarm just
            // gone off, it is set again.
            let over = next.is_some_and(|due| due <= Instant::now());
            if self.alarm.replace(next) != next || over {
                core.notify_at(next);
            }
        });
    }
}

fn start(call: &Call) -> Result<()> {
    call.arity(0, 0)?;
    let server = call.this_object::<Server>();
    let server = server.get();
    server.refuse_workers("start")?;
    server.start()?;
    dispatch::write_lines(server)
}

fn worker(call: &Call) -> Result<Option<i64>> {
    call.arity(0, 0)?;
    Ok(call.this::<Server>().number.get().map(i64::from))
}

fn poll(call: &Call) -> Result<i64> {
    call.arity(0, 2)?;
    let timeout = duration_argument(call, 0, 0.0, 0.0)?;
    let most = usize::try_from(call.int(1, 1024)?)
        .ok()
        .filter(|n| *n > 0)
        .ok_or_else(|| argument_value_error(1, "must be at least 1"))?;
    let server = call.this_object::<Server>();
    server.get().refuse_nesting("poll")?;
    server.get().refuse_workers("poll")?;
    if !server.get().is_started("poll")? {
        return Ok(0);
    }
    dispatch::poll(server.get(), timeout, most)
}

impl Server {
    pub(crate) fn refuse_nesting(&self, method: &str) -> Result<()> {
        if !self.link.is_dispatching() {
            return Ok(());
        }
        Err(errors::state(&format!(
            "Sprocket\\Server::{method}() must not be called while a callback of this server is running, or is \
             suspended with its fiber"
        )))
    }

    /// Whether it runs now; throws if it never did, or runs in the parent process.
    fn is_started(&self, method: &str) -> Result<bool> {
        self.link.check_process()?;
        if !self.started.get() {
            return Err(errors::state(&format!("Call start() before {method}()")));
        }
        Ok(self.link.is_running())
    }
}

fn stream(call: &Call) -> Result<Zval> {
    call.arity(0, 0)?;
    let server = call.this::<Server>();
    server.refuse_workers("stream")?;
    if !server.is_started("stream")? {
        return Err(errors::state("The server has been stopped: call start() before stream()"));
    }
    if let Some(stream) = server.stream.borrow().as_ref().filter(|s| crate::zend::descriptor_of(s).is_some())
    {
        return Ok(stream.shallow_clone());
    }
    let fd = server.link.with(|core| core.fd().try_clone_to_owned());
    let Some(Ok(fd)) = fd else { return Err(errors::state("No descriptor is left for the stream")) };
    let stream =
        stream_from_fd(fd).ok_or(Thrown).map_err(|_| errors::state("PHP could not open the stream"))?;
    drop(server.stream.replace(Some(stream.shallow_clone())));
    server.announce();
    Ok(stream)
}

fn stop(call: &Call) -> Result<()> {
    call.arity(0, 1)?;
    let grace = duration_argument(call, 0, 5.0, 0.0)?;
    let server = call.this::<Server>();
    if let Some(supervisor) = server.master.borrow_mut().as_mut() {
        workers::check_owner(supervisor)?;
        supervisor.stop(grace);
    }
    if let Some(role) = server.role.get()
        && server.link.is_running()
    {
        server.link.check_process()?;
        role.stop_all(grace);
    }
    server.stop(grace)
}

fn reload_tls(call: &Call) -> Result<()> {
    call.arity(0, 0)?;
    let server = call.this::<Server>();
    server.is_started("reloadTls")?;
    let Some(result) = server.link.with(Core::reload_tls) else { return Ok(()) };
    server.note(|| tls_reloaded(&result));
    result.map_err(|error| errors::tls(&error))
}

fn adopt(call: &Call) -> Result<()> {
    call.arity(1, 2)?;
    let server = call.this::<Server>();
    server.is_started("adopt")?;
    let tls = call.bool(1, false)?;
    let Some(socket) = call.value(0) else { return Ok(()) };
    let stream = socket_stream(socket)?;
    let Some(fd) = descriptor_of(stream.as_ref().unwrap_or(socket)) else {
        return Err(argument_value_error(0, "must be an open stream or Socket"));
    };
    match fd.and_then(|fd| server.link.with(|core| core.adopt(fd, tls)).unwrap_or(Ok(()))) {
        Ok(()) => Ok(()),
        Err(error) => Err(argument_value_error(0, &format!("must be a connected stream socket: {error}"))),
    }
}

fn is_running(call: &Call) -> Result<bool> {
    call.arity(0, 0)?;
    let server = call.this::<Server>();
    let supervises = server.master.borrow().as_ref().is_some_and(|s| s.owner() == std::process::id());
    Ok(supervises || (server.link.is_running() && server.link.is_native()))
}

fn addresses(call: &Call) -> Result<Zval> {
    call.arity(0, 0)?;
    let server = call.this::<Server>();
    let addresses = server
        .link
        .with(Core::addresses)
        .or_else(|| server.master.borrow().as_ref().map(Supervisor::urls))
        .or_else(|| server.role.get().map(Role::urls))
        .unwrap_or_default();
    Ok(list(addresses.iter().map(|a| string(a.as_bytes()))))
}

fn count(call: &Call) -> Result<i64> {
    call.arity(0, 0)?;
    Ok(call.this::<Server>().connections.borrow().len() as i64)
}

fn connections(call: &Call) -> Result<Zval> {
    call.arity(0, 0)?;
    let server = call.this::<Server>();
    let mut open: Vec<_> = server.connections.borrow().iter().map(|(id, c)| (*id, c.clone())).collect();
    open.sort_unstable_by_key(|(id, _)| *id);
    let mut table = ZendHashTable::with_capacity(open.len() as u32);
    for (id, connection) in open {
        // Fails only when an index overflows.
        let _ = table.insert_at_index(id as i64, connection.value());
    }
    let mut array = Zval::new();
    array.set_hashtable(table);
    Ok(array)
}

fn connection(call: &Call) -> Result<Option<Owned<Connection>>> {
    call.arity(1, 1)?;
    let id = call.int(0, 0)?;
    Ok(call.this::<Server>().connections.borrow().get(&(id as u64)).cloned())
}

fn timer(call: &Call, repeat: bool) -> Result<i64> {
    /// A shorter period would keep the pump busy with one timer.
    const SHORTEST: f64 = 0.001;
    call.arity(2, 2)?;
    let delay = duration_argument(call, 0, 0.0, if repeat { SHORTEST } else { 0.0 })?;
    let callback = call.callback(1)?;
    let server = call.this::<Server>();
    let number = server.timers.add(delay, callback, repeat);
    server.timers_changed();
    Ok(number)
}

fn cancel(call: &Call) -> Result<bool> {
    call.arity(1, 1)?;
    let number = call.int(0, 0)?;
    let server = call.this_object::<Server>();
    Ok(server.get().timers.cancel(number).is_some())
}
