//! Sprocket as a PHP extension: the binding between PHP and the server core.
//!
//! The core runs the sockets on threads of its own. All of this crate runs on the PHP thread, which
//! alone owns PHP values: it turns method calls into commands for the core, and the core's events
//! into calls of PHP callbacks.
//!
//! From the roof down, where each file imports from floors below its own; a check holds the code
//! to this picture:
//!
//! ```text
//! register.rs                     the classes, with every method that PHP can call
//! run.rs  server_methods.rs       the methods of a Server
//! dispatch/                       the pump: the only code that calls a user's callbacks
//! topics.rs  presence.rs  counters.rs
//! server.rs                       the state of a Server, its start and its end
//! workers/                        master, hub and workers as processes
//! connection.rs  handshake.rs  publisher.rs
//! request.rs
//! response.rs  response_stream.rs
//! link.rs                         the one reference to the running core
//! options.rs  lifecycle.rs        all settings; signals and limits of the process
//! compression.rs  history.rs  tls.rs  listen.rs  logger.rs  settings.rs
//! args.rs                         reads the arguments of classes that hold settings
//! errors.rs                       the exceptions, and which error of the core becomes which
//! convert.rs  callbacks.rs  timers.rs  by_id.rs  info.rs
//! zend/                           the Zend engine, wrapped: the only unsafe code
//! ```
#![deny(unsafe_code)]
// The one public function is the module entry, which a macro writes.
#![allow(missing_docs)]

mod args;
mod by_id;
mod callbacks;
mod compression;
mod connection;
mod convert;
mod counters;
mod dispatch;
mod errors;
mod handshake;
mod history;
mod info;
mod lifecycle;
mod link;
mod listen;
mod logger;
mod options;
mod presence;
mod publisher;
mod register;
mod request;
mod response;
mod response_stream;
mod run;
mod server;
mod server_methods;
mod settings;
mod timers;
mod tls;
mod topics;
mod workers;
mod zend;

use ext_php_rs::prelude::*;

/// The module as PHP loads it.
#[php_module]
pub fn get_module(module: ModuleBuilder<'_>) -> ModuleBuilder<'_> {
    module.name("sprocket").startup_function(zend::startup::<Sprocket>).info_function(info::print)
}

/// The module, whose start registers the classes.
struct Sprocket;

impl zend::Module for Sprocket {
    fn start(startup: &zend::Startup) {
        register::classes(startup);
        if lifecycle::unfit_sapi().is_none() {
            workers::remember(startup);
        }
    }
}
