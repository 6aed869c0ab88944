//! PHP exceptions: throwing, detecting, taking and reporting them.

use std::ffi::CString;

use ext_php_rs::types::Zval;

use super::class_cell::ClassCell;
use super::ffi;

/// Marker that a PHP exception is pending. A function that receives this error returns to PHP without
/// running PHP code.
#[derive(Debug)]
pub(crate) struct Thrown;

/// The result of a method handler, or of any function that may run PHP code.
pub(crate) type Result<T> = std::result::Result<T, Thrown>;

/// A class or interface to inherit from: one of PHP's own, or one of the extension's.
#[derive(Clone, Copy)]
pub(crate) enum Builtin {
    Countable,
    InvalidArgumentException,
    LogicException,
    RuntimeException,
    Throwable,
    Ours(&'static ClassCell),
}

impl Builtin {
    pub(super) fn entry(self) -> *mut ffi::zend_class_entry {
        // SAFETY: PHP registers its own classes before any extension starts, and never changes
        // these pointers.
        unsafe {
            match self {
                Self::Countable => ffi::zend_ce_countable,
                Self::InvalidArgumentException => ffi::spl_ce_InvalidArgumentException,
                Self::LogicException => ffi::spl_ce_LogicException,
                Self::RuntimeException => ffi::spl_ce_RuntimeException,
                Self::Throwable => ffi::zend_ce_throwable,
                Self::Ours(class) => class.entry(),
            }
        }
    }
}

/// Converts a text to a C string in which NUL bytes are escaped.
fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\\0")).unwrap_or_default()
}

/// Throws an exception of one of the extension's classes.
pub(crate) fn throw(class: &ClassCell, message: &str, code: i64) -> Thrown {
    throw_with(class, message, code, &mut [])
}

/// Like [`throw`], with values for declared properties.
pub(crate) fn throw_with(class: &ClassCell, message: &str, code: i64, props: &mut [(&str, Zval)]) -> Thrown {
    let message = c_string(message);
    // SAFETY: the class is registered; the engine copies the message. The properties are written in the
    // scope of the class, which alone may initialise readonly properties.
    unsafe {
        let object = ffi::zend_throw_exception(class.entry(), message.as_ptr(), code);
        for (name, value) in props {
            ffi::zend_update_property(class.entry(), object, name.as_ptr().cast(), name.len(), value);
        }
    }
    Thrown
}

/// Throws an `\Error`.
pub(crate) fn throw_error(message: &str) -> Thrown {
    let message = c_string(message);
    // SAFETY: the format has one C string as its argument.
    unsafe { ffi::zend_throw_error(std::ptr::null_mut(), c"%s".as_ptr(), message.as_ptr()) };
    Thrown
}

/// Throws a `\TypeError`.
pub(crate) fn type_error(message: &str) -> Thrown {
    let message = c_string(message);
    // SAFETY: the format has one C string as its argument; the class is PHP's own.
    unsafe { ffi::zend_throw_error(ffi::zend_ce_type_error, c"%s".as_ptr(), message.as_ptr()) };
    Thrown
}

/// Throws a `\ValueError` that names the running method and the argument, counted from 0.
pub(crate) fn argument_value_error(index: usize, message: &str) -> Thrown {
    let message = c_string(message);
    assert_method();
    // SAFETY: a method is running, as `assert_method` has checked; the format has one C string as its
    // argument.
    unsafe { ffi::zend_argument_value_error(index as u32 + 1, c"%s".as_ptr(), message.as_ptr()) };
    Thrown
}

/// Throws a `\TypeError` that names the running method and the argument, counted from 0.
pub(crate) fn argument_type_error(index: usize, message: &str) -> Thrown {
    let message = c_string(message);
    assert_method();
    // SAFETY: as in `argument_value_error`.
    unsafe { ffi::zend_argument_type_error(index as u32 + 1, c"%s".as_ptr(), message.as_ptr()) };
    Thrown
}

/// Panics unless a method is running, whose name the engine needs for errors about arguments.
fn assert_method() {
    // SAFETY: the globals of this thread are valid while PHP runs.
    let frame = unsafe { (*ffi::ext_php_rs_executor_globals()).current_execute_data };
    assert!(!frame.is_null(), "no method is running");
}

/// Whether an exception is pending.
pub(crate) fn pending() -> bool {
    // SAFETY: the globals of this thread are valid while PHP runs.
    unsafe { !(*ffi::ext_php_rs_executor_globals()).exception.is_null() }
}

/// A `\Throwable` object that was pending and has been taken.
pub(crate) struct Exception(Zval);

impl Exception {
    pub(crate) fn into_value(self) -> Zval {
        self.0
    }
}

/// Takes the pending exception. Returns `None` if there is none, or if it is one by which the engine
/// unwinds after `exit()` or in a destroyed fiber; that one must stay pending.
pub(crate) fn take_exception() -> Option<Exception> {
    // SAFETY: the globals are valid; the exception is an object. The value adds its own reference
    // before the engine releases the engine's.
    unsafe {
        let exception = (*ffi::ext_php_rs_executor_globals()).exception;
        if exception.is_null() || ffi::zend_is_unwind_exit(exception) || ffi::zend_is_graceful_exit(exception)
        {
            return None;
        }
        let mut value = Zval::new();
        value.set_object(&mut *exception);
        ffi::zend_clear_exception();
        Some(Exception(value))
    }
}

/// The outcome of [`report`].
pub(crate) enum Report {
    /// The report was displayed, logged, or handled by the user's error handler.
    Done,
    /// The error handler ended the script.
    Exit,
}

/// Reports an exception as a warning, in the form of an uncaught exception.
pub(crate) fn report(Exception(exception): Exception) -> Report {
    let summary = exception.object().and_then(|o| o.get_class_name().ok()).unwrap_or_default();
    // SAFETY: the value is an exception object. The engine releases the reference that it receives, so
    // `exception` must not release it again.
    unsafe {
        let exception = std::mem::ManuallyDrop::new(exception);
        ffi::zend_exception_error(exception.value.obj, ffi::E_WARNING as i32);
    }
    if !pending() {
        return Report::Done;
    }
    // An error handler that throws for each warning must neither hide the report nor end the server.
    match take_exception() {
        None => Report::Exit,
        Some(_) => {
            let line = c_string(&format!(
                "PHP Warning:  Uncaught {summary} in a callback of Sprocket\\Server; \
                the error handler threw when it was reported"
            ));
            /// `LOG_WARNING`.
            const SEVERITY: i32 = 4;
            // SAFETY: the message is a C string.
            unsafe { ffi::php_log_err_with_severity(line.as_ptr(), SEVERITY) };
            Report::Done
        }
    }
}
