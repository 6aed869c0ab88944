//! A method call from PHP: its arguments and its result.

use std::any::Any;
use std::ffi::CStr;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ext_php_rs::types::{ZendHashTable, ZendStr, Zval};

use super::callback::Callback;
use super::class_cell::ClassCell;
use super::exception::{Result, Thrown, argument_type_error, argument_value_error, pending, throw_error};
use super::ffi;
use super::object::{self, Native, Owned};

/// `ZEND_CALL_FRAME_SLOT`: size of the frame itself in zvals; the arguments follow it.
const FRAME_SLOTS: usize = size_of::<ffi::zend_execute_data>().div_ceil(size_of::<Zval>());

/// A running call of a method. Arguments are numbered from 0.
pub(crate) struct Call {
    frame: *mut ffi::zend_execute_data,
}

/// The result of a handler that returns `static`: the object whose method is called.
pub(crate) struct This;

/// A type that handlers return to PHP.
pub(crate) trait Return {
    fn into_value(self, call: &Call) -> Zval;
}

impl Return for () {
    fn into_value(self, _: &Call) -> Zval {
        Zval::null()
    }
}

impl Return for This {
    fn into_value(self, call: &Call) -> Zval {
        call.this_value()
    }
}

impl Return for bool {
    fn into_value(self, _: &Call) -> Zval {
        let mut value = Zval::new();
        value.set_bool(self);
        value
    }
}

impl Return for i64 {
    fn into_value(self, _: &Call) -> Zval {
        let mut value = Zval::new();
        value.set_long(self);
        value
    }
}

impl Return for Zval {
    fn into_value(self, _: &Call) -> Zval {
        self
    }
}

impl<T: Native> Return for Owned<T> {
    fn into_value(self, _: &Call) -> Zval {
        self.value()
    }
}

impl<T: Return> Return for Option<T> {
    fn into_value(self, call: &Call) -> Zval {
        self.map_or_else(Zval::null, |v| v.into_value(call))
    }
}

/// The function that the engine calls for the handler `F`. It turns a panic into a PHP `Error`, because
/// unwinding into the engine would end the process.
pub(super) unsafe extern "C" fn trampoline<F, R>(frame: *mut ffi::zend_execute_data, result: *mut ffi::zval)
where
    F: Fn(&Call) -> Result<R> + Copy + 'static,
    R: Return,
{
    const { assert!(size_of::<F>() == 0, "a handler must be a plain function") };
    // SAFETY: `F` is a zero-sized `Copy` type of which `Method::new` has received a value, so a value
    // of zero bytes is valid.
    let handler: F = unsafe { mem::zeroed() };
    let call = Call { frame };
    match catch_unwind(AssertUnwindSafe(|| handler(&call).map(|r| r.into_value(&call)))) {
        // SAFETY: the engine passes a place for the result, which it has set to null.
        Ok(Ok(value)) => unsafe { result.write(value) },
        Ok(Err(Thrown)) => debug_assert!(pending(), "Thrown without an exception"),
        Err(panic) => {
            throw_error(&format!("Sprocket failed: {}. Please report this", panic_message(panic.as_ref())));
        }
    }
}

pub(super) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic")
}

impl Call {
    /// Returns the number of arguments given. It includes the defaults of parameters that named
    /// arguments have skipped.
    pub(crate) fn count(&self) -> usize {
        // SAFETY: the frame is valid during the call; `num_args` is the member in use for `This`.
        unsafe { (*self.frame).This.u2.num_args as usize }
    }

    /// Throws an `ArgumentCountError` unless the number of arguments is in this range.
    pub(crate) fn arity(&self, least: usize, most: usize) -> Result<()> {
        if (least..=most).contains(&self.count()) {
            return Ok(());
        }
        // SAFETY: the function accepts any numbers and throws.
        unsafe { ffi::zend_wrong_parameters_count_error(least as u32, most as u32) };
        Err(Thrown)
    }

    /// Throws if a variadic parameter has collected named arguments.
    pub(crate) fn no_names(&self) -> Result<()> {
        // SAFETY: the frame is valid; the function throws.
        unsafe {
            if (*self.frame).This.u1.type_info & ffi::CALL_HAS_EXTRA_NAMED == 0 {
                return Ok(());
            }
            ffi::zend_unexpected_extra_named_error();
        }
        Err(Thrown)
    }

    /// The state of the object whose method is called. It lives at least as long as the call.
    pub(crate) fn this<T: Native>(&self) -> &T {
        // SAFETY: `receiver` returns an object of the class of `T`.
        unsafe { object::state(self.receiver::<T>()) }
    }

    /// Returns the object whose method is called. Panics, which becomes a PHP `Error`, if the method
    /// was registered for a class other than that of `T`.
    fn receiver<T: Native>(&self) -> *mut ffi::zend_object {
        // SAFETY: the frame is valid during the call. If `This` is an object, it has a class entry.
        unsafe {
            let this = &(*self.frame).This;
            assert!(this.u1.type_info & 0xff == ffi::IS_OBJECT, "a method without an object");
            assert!((*this.value.obj).ce == T::class().entry(), "a method of another class");
            this.value.obj
        }
    }

    /// Returns a counted reference to the object whose method is called.
    pub(crate) fn this_object<T: Native>(&self) -> Owned<T> {
        // SAFETY: as in `this`.
        unsafe { Owned::from_raw(self.receiver::<T>()) }
    }

    fn this_value(&self) -> Zval {
        // SAFETY: `This` of a method call is an object zval.
        let mut value = unsafe { (*self.frame).This.shallow_clone() };
        // The type word of `This` also contains flags of the call.
        value.u1.type_info = ffi::IS_OBJECT_EX;
        value
    }

    fn slot(&self, index: usize) -> Option<*mut Zval> {
        // SAFETY: the arguments follow the frame in memory.
        (index < self.count()).then(|| unsafe { self.frame.cast::<Zval>().add(FRAME_SLOTS + index) })
    }

    /// Returns an argument without conversion; `None` if it was not given.
    pub(crate) fn value(&self, index: usize) -> Option<&Zval> {
        // SAFETY: the slot is initialised and stays so during the call.
        self.slot(index).map(|slot| unsafe { (*slot).dereference() })
    }

    /// Converts an argument to `T` by the rules of PHP (weak or strict, as the calling script
    /// declares), or throws. Returns `None` if it was not given.
    ///
    /// # Safety
    ///
    /// `T` must be the C type that `zend_parse_parameter` writes for `spec`. `spec` must not contain
    /// `!`, which needs a second output.
    unsafe fn parse<T>(&self, index: usize, spec: &CStr, blank: T) -> Result<Option<T>> {
        let Some(slot) = self.slot(index) else { return Ok(None) };
        let mut out = blank;
        // SAFETY: by the contract.
        let parsed =
            unsafe { ffi::zend_parse_parameter(0, index as u32 + 1, slot, spec.as_ptr(), &raw mut out) };
        // The script's error handler may have turned a deprecation into an exception.
        if parsed != 0 || pending() {
            return Err(Thrown);
        }
        Ok(Some(out))
    }

    fn is_null(&self, index: usize) -> bool {
        self.value(index).is_none_or(Zval::is_null)
    }

    pub(crate) fn int(&self, index: usize, default: i64) -> Result<i64> {
        // SAFETY: `l` writes a `zend_long`.
        Ok(unsafe { self.parse(index, c"l", 0_i64) }?.unwrap_or(default))
    }

    pub(crate) fn int_or_null(&self, index: usize) -> Result<Option<i64>> {
        if self.is_null(index) {
            return Ok(None);
        }
        let Some(slot) = self.slot(index) else { return Ok(None) };
        let (mut out, mut null) = (0_i64, false);
        // SAFETY: `l!` writes a `zend_long` and a `bool`.
        let parsed = unsafe {
            ffi::zend_parse_parameter(0, index as u32 + 1, slot, c"l!".as_ptr(), &raw mut out, &raw mut null)
        };
        if parsed != 0 || pending() { Err(Thrown) } else { Ok((!null).then_some(out)) }
    }

    pub(crate) fn float(&self, index: usize, default: f64) -> Result<f64> {
        // SAFETY: `d` writes a `double`.
        Ok(unsafe { self.parse(index, c"d", 0.0_f64) }?.unwrap_or(default))
    }

    /// Returns a float argument; `None` if null was given, and `default` if nothing was given.
    pub(crate) fn float_or_null(&self, index: usize, default: f64) -> Result<Option<f64>> {
        let Some(slot) = self.slot(index) else { return Ok(Some(default)) };
        let (mut out, mut null) = (default, false);
        // SAFETY: `d!` writes a `double` and a `bool`.
        let parsed = unsafe {
            ffi::zend_parse_parameter(0, index as u32 + 1, slot, c"d!".as_ptr(), &raw mut out, &raw mut null)
        };
        if parsed != 0 || pending() { Err(Thrown) } else { Ok((!null).then_some(out)) }
    }

    pub(crate) fn bool(&self, index: usize, default: bool) -> Result<bool> {
        match self.value(index) {
            None => Ok(default),
            Some(v) if v.is_bool() => Ok(v.is_true()),
            // SAFETY: `b` writes a `bool`.
            Some(_) => Ok(unsafe { self.parse(index, c"b", false) }?.unwrap_or(default)),
        }
    }

    /// Returns a string argument; `None` if it was not given.
    pub(crate) fn string(&self, index: usize) -> Result<Option<&ZendStr>> {
        if let Some(string) = self.value(index).and_then(Zval::zend_str) {
            return Ok(Some(string));
        }
        // SAFETY: `S` writes a pointer to a string.
        let parsed = unsafe { self.parse(index, c"S", std::ptr::null_mut::<ffi::zend_string>()) }?;
        // SAFETY: the engine wrote a valid string, which the argument's slot keeps during the call.
        Ok(parsed.map(|string| unsafe { &*string }))
    }

    pub(crate) fn string_or_null(&self, index: usize) -> Result<Option<&ZendStr>> {
        if self.is_null(index) {
            return Ok(None);
        }
        let Some(slot) = self.slot(index) else { return Ok(None) };
        let mut out = std::ptr::null_mut::<ffi::zend_string>();
        // SAFETY: `S!` writes a pointer to a string, or null.
        let parsed =
            unsafe { ffi::zend_parse_parameter(0, index as u32 + 1, slot, c"S!".as_ptr(), &raw mut out) };
        if parsed != 0 || pending() {
            return Err(Thrown);
        }
        // SAFETY: as in `string`.
        Ok(unsafe { out.as_ref() })
    }

    pub(crate) fn array(&self, index: usize) -> Result<Option<&ZendHashTable>> {
        if let Some(array) = self.value(index).and_then(Zval::array) {
            return Ok(Some(array));
        }
        // SAFETY: `a` writes a pointer to a zval.
        unsafe { self.parse(index, c"a", std::ptr::null_mut::<Zval>()) }?;
        Ok(self.value(index).and_then(Zval::array))
    }

    pub(crate) fn array_or_null(&self, index: usize) -> Result<Option<&ZendHashTable>> {
        if self.is_null(index) {
            return Ok(None);
        }
        if let Some(array) = self.value(index).and_then(Zval::array) {
            return Ok(Some(array));
        }
        let Some(slot) = self.slot(index) else { return Ok(None) };
        let mut out = std::ptr::null_mut::<Zval>();
        // SAFETY: `a!` writes a pointer to a zval, or null. An argument that is neither an array
        // nor null makes it throw.
        unsafe { ffi::zend_parse_parameter(0, index as u32 + 1, slot, c"a!".as_ptr(), &raw mut out) };
        Err(Thrown)
    }

    /// Returns an object of a class without native state (an enum).
    pub(crate) fn instance(&self, index: usize, class: &ClassCell) -> Result<Option<&Zval>> {
        let Some(slot) = self.slot(index) else { return Ok(None) };
        let mut out = std::ptr::null_mut::<Zval>();
        // SAFETY: `O` reads a class entry and writes a pointer to a zval.
        let parsed = unsafe {
            ffi::zend_parse_parameter(0, index as u32 + 1, slot, c"O".as_ptr(), &raw mut out, class.entry())
        };
        if parsed == 0 { Ok(self.value(index)) } else { Err(Thrown) }
    }

    /// Returns an object with native state; `None` if it was not given.
    pub(crate) fn object<T: Native>(&self, index: usize) -> Result<Option<Owned<T>>> {
        Ok(self.instance(index, T::class())?.and_then(Owned::from_value))
    }

    /// Returns an object with native state; `None` if null or nothing was given.
    pub(crate) fn object_or_null<T: Native>(&self, index: usize) -> Result<Option<Owned<T>>> {
        if self.is_null(index) {
            return Ok(None);
        }
        let Some(slot) = self.slot(index) else { return Ok(None) };
        let mut out = std::ptr::null_mut::<Zval>();
        // SAFETY: `O!` reads a class entry and writes a pointer to a zval, or null.
        let parsed = unsafe {
            ffi::zend_parse_parameter(
                0,
                index as u32 + 1,
                slot,
                c"O!".as_ptr(),
                &raw mut out,
                T::class().entry(),
            )
        };
        if parsed == 0 { Ok(self.value(index).and_then(Owned::from_value)) } else { Err(Thrown) }
    }

    pub(crate) fn callback(&self, index: usize) -> Result<Callback> {
        self.resolve(index, "a valid callback")
    }

    pub(crate) fn callback_or_null(&self, index: usize) -> Result<Option<Callback>> {
        if self.is_null(index) {
            return Ok(None);
        }
        self.resolve(index, "a valid callback or null").map(Some)
    }

    fn resolve(&self, index: usize, expected: &str) -> Result<Callback> {
        let Some(value) = self.value(index) else { return Err(self.missing(index)) };
        match Callback::resolve(value) {
            Ok(callback) => Ok(callback),
            Err(_) if pending() => Err(Thrown),
            Err(why) => Err(argument_type_error(index, &format!("must be {expected}, {why}"))),
        }
    }

    /// Throws for a missing argument; not reached where `arity` has checked their number.
    fn missing(&self, index: usize) -> Thrown {
        argument_value_error(index, "must be given")
    }
}
