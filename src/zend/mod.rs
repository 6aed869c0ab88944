//! The Zend engine, wrapped: the only folder with unsafe code.
//!
//! The rest of the binding sees a safe interface: classes declared as data, method handlers that get
//! a [`Call`], PHP values that release themselves. Where a function relies on its caller, the caller
//! passes a proof: [`Startup`] while the module starts, [`Child`] in a forked process, [`Bailout`]
//! after a fatal error.
//!
//! All of it runs on the PHP thread, in one of three situations: while the module starts, below a
//! method that PHP has called, or while the engine frees an object or collects cycles. The exceptions
//! are [`exit_now`], [`SignalsBlocked`] and [`trim_heap`], which any thread may use.
//!
//! # Fatal errors
//!
//! A fatal error in PHP code is a bailout: the engine jumps (longjmp) from where the error occurred
//! to the last point at which somebody caught bailouts. [`catch_bailout`] is such a point, around the
//! pump; the engine has one around the whole script. The jump skips every frame in between:
//!
//! - the handler of the method that PHP has called, and what it has called, if PHP code runs below it
//!   (a callback, `__toString()` of an argument, a destructor, an error handler), or if an allocation
//!   exceeds `memory_limit`;
//! - the pump's own frames (`turn`, `dispatch`, `invoke`), up to `catch_bailout`.
//!
//! A skipped frame runs no destructors. What it owns is leaked: PHP values until the request ends,
//! which frees them all, and Rust memory for good, but the process ends then, except in a web server,
//! where the pump does not run. Nothing is freed twice, because each value has one owner: a frame that
//! has passed a value on does not own it any more, and one that has not is never resumed.
//!
//! Two rules keep the skipped frames from leaving more than leaks behind:
//!
//! - No borrow of a `RefCell` and no lock is held while PHP code may run or PHP memory is allocated.
//!   That includes the release of a value (destructors) and the conversion of an argument (error
//!   handlers). Otherwise shutdown functions would find the object locked.
//! - What must be released in any case, such as sockets and threads, is reachable from a PHP object,
//!   whose end releases it.
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
