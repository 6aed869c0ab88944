//! PHP callables, which are resolved once and called often.

use std::ffi::CStr;
use std::{mem, ptr};

use ext_php_rs::types::Zval;

use super::exception::pending;
use super::{Thrown, ffi};

/// A callable and the function to which it resolves.
pub(crate) struct Callback {
    value: Zval,
    /// Valid as long as `value`, which keeps the closure, or the object of a method, alive. `None` if
    /// the engine creates a function for each call (`__call`).
    target: Option<ffi::zend_fcall_info_cache>,
}

impl Callback {
    /// Resolves a callable. The error contains the engine's explanation.
    pub(crate) fn resolve(value: &Zval) -> Result<Self, String> {
        let mut value = value.shallow_clone();
        let target = lookup(&mut value)?;
        Ok(Self { value, target })
    }

    /// Whether `__call` or `__callStatic` stands in for a method that does not exist.
    pub(crate) fn is_magic(&self) -> bool {
        self.target.is_none()
    }

    /// Returns another reference to the same callable. A caller holds it during the call, which may
    /// replace or remove the original.
    pub(crate) fn share(&self) -> Self {
        Self { value: self.value.shallow_clone(), target: self.target }
    }

    /// Returns the callable itself, for the cycle collector.
    pub(crate) fn value(&self) -> &Zval {
        &self.value
    }

    /// Calls the function. An error means that an exception is pending; `exit()` counts as one.
    pub(crate) fn call(&self, arguments: &mut [Zval]) -> Result<Zval, Thrown> {
        let mut result = Zval::new();
        let count = arguments.len() as u32;
        match self.target {
            // SAFETY: the function is kept alive by `value`; arguments and result are valid.
            Some(target) => unsafe {
                ffi::zend_call_known_function(
                    target.function_handler,
                    target.object,
                    target.called_scope,
                    &raw mut result,
                    count,
                    arguments.as_mut_ptr(),
                    ptr::null_mut(),
                );
            },
            // SAFETY: as above; the engine looks the callable up itself.
            None => unsafe {
                ffi::_call_user_function_impl(
                    ptr::null_mut(),
                    (&raw const self.value).cast_mut(),
                    &raw mut result,
                    count,
                    arguments.as_mut_ptr(),
                    ptr::null_mut(),
                );
            },
        }
        if pending() { Err(Thrown) } else { Ok(result) }
    }
}

fn lookup(value: &mut Zval) -> Result<Option<ffi::zend_fcall_info_cache>, String> {
    // SAFETY: the engine initialises a cache to zero bytes, too.
    let mut cache: ffi::zend_fcall_info_cache = unsafe { mem::zeroed() };
    let mut error = ptr::null_mut();
    // SAFETY: all pointers are valid; the engine fills the cache and, on failure, the message.
    let callable = unsafe {
        ffi::zend_is_callable_ex(value, ptr::null_mut(), 0, ptr::null_mut(), &raw mut cache, &raw mut error)
    };
    let message = (!error.is_null()).then(|| {
        // SAFETY: the engine allocated the message for the caller, who frees it.
        unsafe {
            let message = CStr::from_ptr(error).to_string_lossy().into_owned();
            ext_php_rs::alloc::efree(error.cast());
            message
        }
    });
    if !callable {
        return Err(message.unwrap_or_else(|| "no array or string given".into()));
    }
    // SAFETY: a successful lookup sets the handler; every kind of function has its flags there.
    let flags = unsafe { (*cache.function_handler).common.fn_flags };
    if flags & ffi::ZEND_ACC_CALL_VIA_TRAMPOLINE == 0 {
        return Ok(Some(cache));
    }
    // SAFETY: the call frees the function that the engine has created for this lookup only.
    unsafe { ffi::zend_release_fcall_info_cache(&raw mut cache) };
    Ok(None)
}
