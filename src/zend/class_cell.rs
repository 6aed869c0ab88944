//! Statics that hold a class or an enum once it is registered.

use std::ffi::CStr;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use ext_php_rs::types::{ZendObject, ZendStr, Zval};

use super::ffi;

/// A static that holds the engine's entry of a class and its object handlers.
pub(crate) struct ClassCell {
    entry: AtomicPtr<ffi::zend_class_entry>,
    handlers: OnceLock<ffi::zend_object_handlers>,
}

impl ClassCell {
    pub(crate) const fn new() -> Self {
        Self { entry: AtomicPtr::new(ptr::null_mut()), handlers: OnceLock::new() }
    }

    pub(super) fn set_entry(&self, entry: *mut ffi::zend_class_entry) {
        self.entry.store(entry, Ordering::Relaxed);
    }

    pub(super) fn set_handlers(&self, handlers: ffi::zend_object_handlers) {
        self.handlers.get_or_init(|| handlers);
    }

    /// Returns the class entry. It is null before the registration, which precedes all PHP code.
    pub(super) fn entry(&self) -> *mut ffi::zend_class_entry {
        self.entry.load(Ordering::Relaxed)
    }

    pub(super) fn handlers(&self) -> &ffi::zend_object_handlers {
        self.handlers.get().expect("classes are registered at module start")
    }
}

/// A static that holds an enum backed by strings: its name, and the name and value of each case.
pub(crate) struct EnumCell {
    pub(super) class: ClassCell,
    pub(super) name: &'static CStr,
    pub(super) cases: &'static [(&'static CStr, &'static CStr)],
}

impl EnumCell {
    pub(crate) const fn new(name: &'static CStr, cases: &'static [(&'static CStr, &'static CStr)]) -> Self {
        Self { class: ClassCell::new(), name, cases }
    }

    pub(crate) fn class(&self) -> &ClassCell {
        &self.class
    }

    /// Returns the case with this name. Panics if there is none.
    pub(crate) fn case(&self, name: &'static CStr) -> Zval {
        assert!(self.cases.iter().any(|(case, _)| *case == name), "no such case");
        let mut value = Zval::new();
        let mut name_string = ZendStr::new(name.to_bytes(), false);
        // SAFETY: the enum was registered with this case, as the assertion shows. Its object is shared,
        // so `set_object` adds a reference for the value.
        unsafe {
            let case = ffi::zend_enum_get_case(self.class.entry(), name_string.as_mut_ptr());
            value.set_object(&mut *case);
        }
        value
    }
}

/// Returns the name of the case that an enum object represents; `None` for any other value.
pub(crate) fn case_name(case: &Zval) -> Option<&[u8]> {
    let object: *const ZendObject = case.object()?;
    // SAFETY: the object is valid; if its class is an enum, the first declared property is the
    // name (`zend_enum_fetch_case_name`).
    unsafe {
        if (*(*object).ce).ce_flags & ffi::ZEND_ACC_ENUM == 0 {
            return None;
        }
        let name: *const Zval = (&raw const (*object).properties_table).cast();
        (*name).zend_str().map(|s| s.as_bytes())
    }
}
