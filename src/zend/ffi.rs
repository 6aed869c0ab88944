//! Engine functions that ext-php-rs does not bind, with the prototypes of the PHP headers.

use std::ffi::{c_char, c_int, c_void};

pub(super) use ext_php_rs::ffi::*;

/// `zend_gc.h`.
#[repr(C)]
pub(super) struct GcBuffer {
    pub(super) cur: *mut zval,
    pub(super) end: *mut zval,
    pub(super) start: *mut zval,
}

// `zend_compile.h` and `zend_types.h`; the same from PHP 8.1 to 8.5.
pub(super) const ACC_PUBLIC: u32 = 1;
pub(super) const ACC_PRIVATE: u32 = 1 << 2;
pub(super) const ACC_READONLY: u32 = 1 << 7;

/// `ZEND_CALL_HAS_EXTRA_NAMED_PARAMS` of `zend_compile.h`.
pub(super) const CALL_HAS_EXTRA_NAMED: u32 = 1 << 27;

/// `main/php_streams.h`: a descriptor that `select` can watch.
pub(super) const STREAM_AS_FD_FOR_SELECT: c_int = 3;

unsafe extern "C" {
    pub(super) static spl_ce_InvalidArgumentException: *mut zend_class_entry;
    pub(super) static spl_ce_LogicException: *mut zend_class_entry;
    pub(super) static spl_ce_RuntimeException: *mut zend_class_entry;

    pub(super) fn zend_declare_typed_property(
        ce: *mut zend_class_entry,
        name: *mut zend_string,
        default: *mut zval,
        access: c_int,
        doc_comment: *mut zend_string,
        type_: zend_type,
    ) -> *mut zend_property_info;
    pub(super) fn zend_class_implements(ce: *mut zend_class_entry, count: c_int, ...);
    pub(super) fn zend_parse_parameter(
        flags: c_int,
        number: u32,
        argument: *mut zval,
        spec: *const c_char,
        ...
    ) -> c_int;
    pub(super) fn zend_argument_value_error(number: u32, format: *const c_char, ...);
    pub(super) fn zend_argument_type_error(number: u32, format: *const c_char, ...);
    pub(super) fn zend_update_property(
        scope: *mut zend_class_entry,
        object: *mut zend_object,
        name: *const c_char,
        length: usize,
        value: *mut zval,
    );
    pub(super) fn zend_unexpected_extra_named_error();
    pub(super) fn zend_get_constant_str(name: *const c_char, length: usize) -> *mut zval;
    pub(super) fn zend_clear_exception();
    pub(super) fn zend_is_unwind_exit(exception: *const zend_object) -> bool;
    pub(super) fn zend_is_graceful_exit(exception: *const zend_object) -> bool;
    pub(super) fn zend_exception_error(exception: *mut zend_object, severity: c_int) -> c_int;
    pub(super) fn zend_throw_unwind_exit();
    pub(super) fn zend_memory_usage(real: bool) -> usize;
    pub(super) fn php_output_flush_all();
    pub(super) fn zend_timeout();
    pub(super) fn zend_objects_not_comparable(a: *mut zval, b: *mut zval) -> c_int;
    pub(super) fn zend_get_gc_buffer_create() -> *mut GcBuffer;
    pub(super) fn zend_get_gc_buffer_grow(buffer: *mut GcBuffer);
    pub(super) fn zend_release_fcall_info_cache(fcc: *mut zend_fcall_info_cache);
    pub(super) fn zend_fetch_resource2_ex(
        value: *mut zval,
        name: *const c_char,
        kind: c_int,
        other_kind: c_int,
    ) -> *mut c_void;
    pub(super) fn php_file_le_stream() -> c_int;
    pub(super) fn php_file_le_pstream() -> c_int;
    pub(super) fn php_log_err_with_severity(message: *const c_char, severity: c_int);
    pub(super) fn _php_stream_cast(
        stream: *mut php_stream,
        as_: c_int,
        descriptor: *mut *mut c_void,
        show_errors: c_int,
    ) -> c_int;
}
