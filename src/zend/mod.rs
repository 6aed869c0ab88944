//! Safe wrappers of the Zend engine. This is the only folder with unsafe code.
//!
//! The rest of the binding uses a safe interface: classes declared as data, method handlers that
//! receive a [`Call`], PHP values that release themselves. Functions with requirements on their caller
//! demand a proof: [`Startup`] while the module starts, [`Child`] in a forked process, [`Bailout`]
//! after a fatal error.
//!
//! All of this code runs on the PHP thread, in one of three situations: while the module starts, below
//! a method that PHP has called, or while the engine frees an object or collects cycles. Exceptions are
//! [`exit_now`], [`SignalsBlocked`] and [`trim_heap`], which any thread may use.
//!
//! # Fatal errors
//!
//! A fatal error in PHP code is a bailout: the engine jumps (longjmp) from the error to the innermost
//! place that catches bailouts. [`catch_bailout`] is such a place, around the pump; the engine has
//! another one around the whole script. The jump skips every frame in between:
//!
//! - the handler of the method that PHP has called, and the functions that it has called, if PHP code
//!   runs below it (a callback, `__toString()` of an argument, a destructor, an error handler), or if
//!   an allocation exceeds `memory_limit`;
//! - the pump's own frames (`turn`, `dispatch`, `invoke`), up to `catch_bailout`.
//!
//! A skipped frame runs no destructors, so the values that it owns leak: PHP values until the request
//! ends, which frees them all, and Rust memory for good. The process ends then, except in a web server,
//! where the pump does not run. Nothing is freed twice, because each value has one owner: a frame that
//! has passed a value on no longer owns it, and one that has not is never resumed.
//!
//! Two rules ensure that skipped frames cause nothing worse than leaks:
//!
//! - No borrow of a `RefCell` and no lock is held while PHP code may run or PHP memory is allocated.
//!   This includes the release of a value (destructors) and the conversion of an argument (error
//!   handlers). Otherwise shutdown functions would find the object locked.
//! - Resources that must be released in any case, such as sockets and threads, are reachable from a PHP
//!   object, whose destruction releases them.
#![allow(unsafe_code)]

mod call;
mod callback;
mod class;
mod class_cell;
mod exception;
mod ffi;
mod fork;
mod memory;
mod object;
mod process;
mod signal;
mod startup;
mod stream;
mod value;

pub(crate) use call::{Call, This};
pub(crate) use callback::Callback;
pub(crate) use class::{
    Class, Method, Prop, Type, register_class, register_enum, register_exception, register_interface,
};
pub(crate) use class_cell::{ClassCell, EnumCell, case_name};
pub(crate) use exception::{
    Builtin, Exception, Report, Result, Thrown, argument_type_error, argument_value_error, pending, report,
    take_exception, throw, throw_error, throw_with, type_error,
};
pub(crate) use fork::{
    Child, Fork, Program, detach_input, exit_now, flush_output, fork, is_main_thread, memory_usage,
    open_descriptors, remove_variable, reseed, take_inherited, throw_exit,
};
pub(crate) use memory::trim_heap;
pub(crate) use object::{Gc, Native, Owned};
pub(crate) use process::{
    Bailout, catch_bailout, forks, handle_interrupt, interrupted, php_version, sapi_name, script, watch_forks,
};
pub(crate) use signal::{
    SignalsBlocked, count_signal, deliveries, ignore_signal, reset_signal, signal_has_handler,
    signal_is_counted, signal_is_default, signal_name,
};
pub(crate) use startup::{Module, Startup, startup};
pub(crate) use stream::{SEND_QUEUE, descriptor_of, duplicate, socket_stream, stream_from_fd};
pub(crate) use value::{
    array_entries, list, map_insert, message_text, parse_query, string, text, zstr_is_utf8,
};
