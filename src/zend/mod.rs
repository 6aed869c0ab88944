//! The Zend engine, wrapped: the only folder with unsafe code.
//!
//! What the rest of the binding sees of it is safe: classes declared as data, method handlers
//! that get a [`Call`], PHP values that release themselves.
//!
//! Two rules hold everywhere above this folder, because a fatal error in PHP code jumps (longjmp)
//! over the Rust frames between itself and the engine:
//! - no borrow of a `RefCell` and no lock is held while PHP code may run, and that includes the
//!   release of a value (destructors) and the conversion of an argument (error handlers);
//! - whatever must be released after such a jump is reachable from a PHP object.
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
mod stream;
mod value;

pub(crate) use call::{Call, This};
pub(crate) use callback::Callback;
pub(crate) use class::{
    Class, Method, Prop, Type, register_class, register_enum, register_exception, register_interface,
};
pub(crate) use class_cell::{ClassCell, case_name};
pub(crate) use exception::{
    Builtin, Report, Result, Thrown, argument_type_error, argument_value_error, pending, report,
    take_exception, throw, throw_error, throw_with, type_error,
};
pub(crate) use fork::{
    Fork, SignalsBlocked, close_all_but, detach_input, exec, exit_now, flush_output, fork, ignore_signals,
    is_main_thread, memory_usage, open_descriptors, remove_variable, renew_after_fork, reseed, signal_name,
    take_inherited, throw_exit,
};
pub(crate) use memory::trim_heap;
pub(crate) use object::{Gc, Native, Owned};
pub(crate) use process::{
    catch_bailout, forks, handle_interrupt, ignore_signal, interrupted, php_version, resume_bailout,
    sapi_name, script, set_signal_handler, signal_has_handler, signal_is_default, signal_is_handled_by,
    watch_forks, with_signals_blocked,
};
pub(crate) use stream::{SEND_QUEUE, descriptor_of, duplicate, socket_stream, stream_from_fd};
pub(crate) use value::{array_entries, list, map_insert, parse_query, string, text, zstr_is_utf8};
