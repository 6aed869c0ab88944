//! Sprocket as a PHP extension: the binding between PHP and the server core.
//!
//! This file registers; `server` and its siblings hold one PHP class each, `dispatch` alone
//! calls PHP code, `zend` alone is unsafe.
#![deny(unsafe_code)]
// The one public function is the module entry, which a macro writes.
#![allow(missing_docs)]

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
mod log;
mod options;
mod presence;
mod publisher;
mod request;
mod response;
mod response_stream;
mod run;
mod server;
mod timers;
mod tls;
mod topics;
mod workers;
mod zend;

use ext_php_rs::prelude::*;

/// The module as PHP loads it.
#[php_module]
pub fn get_module(module: ModuleBuilder<'_>) -> ModuleBuilder<'_> {
    module.name("sprocket").startup_function(startup).info_function(info::print)
}

extern "C" fn startup(_kind: i32, _module: i32) -> i32 {
    errors::register();
    tls::register();
    compression::register();
    history::register();
    options::register();
    request::register();
    response::register();
    response_stream::register();
    connection::register();
    handshake::register();
    server::register();
    publisher::register();
    if lifecycle::unfit_sapi().is_none() {
        workers::remember();
    }
    0
}
