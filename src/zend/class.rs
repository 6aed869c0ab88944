//! Classes, which are declared as data and registered with the engine at module start.

use std::ffi::{CStr, c_int};
use std::mem;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use super::call::{Call, Return, trampoline};
use super::class_cell::{ClassCell, EnumCell};
use super::exception::{Builtin, Result};
use super::ffi;
use super::object::{self, Native};
use super::startup::Startup;
use super::value::interned;

/// The type of a parameter, a property or a result, as Reflection shows it.
#[derive(Clone, Copy)]
pub(crate) struct Type {
    mask: u32,
    class: Option<&'static CStr>,
}

impl Type {
    pub(crate) const BOOL: Type = Type::mask(ffi::MAY_BE_BOOL);
    pub(crate) const INT: Type = Type::mask(1 << ffi::IS_LONG);
    pub(crate) const FLOAT: Type = Type::mask(1 << ffi::IS_DOUBLE);
    pub(crate) const STRING: Type = Type::mask(1 << ffi::IS_STRING);
    pub(crate) const ARRAY: Type = Type::mask(1 << ffi::IS_ARRAY);
    pub(crate) const MIXED: Type = Type::mask(ffi::MAY_BE_ANY);
    pub(crate) const CALLABLE: Type = Type::mask(1 << ffi::IS_CALLABLE);
    pub(crate) const VOID: Type = Type::mask(1 << ffi::IS_VOID);
    /// `IS_STATIC` of `zend_types.h`.
    pub(crate) const STATIC: Type = Type::mask(1 << 15);
    /// No declared type; PHP has no type for resources.
    pub(crate) const NONE: Type = Type::mask(0);

    const fn mask(mask: u32) -> Self {
        Self { mask, class: None }
    }

    pub(crate) const fn class(name: &'static CStr) -> Self {
        Self { mask: 0, class: Some(name) }
    }

    pub(crate) const fn nullable(self) -> Self {
        Self { mask: self.mask | 1 << ffi::IS_NULL, class: self.class }
    }

    /// Returns the union of this type and one that names no class.
    pub(crate) const fn or(self, other: Self) -> Self {
        Self { mask: self.mask | other.mask, class: self.class }
    }

    /// Encodes the type for arginfo, in which a C string names a class; the engine converts it.
    fn for_argument(self) -> ffi::zend_type {
        /// `_ZEND_TYPE_LITERAL_NAME_BIT` since PHP 8.3, `_ZEND_TYPE_NAME_BIT` before.
        const NAME: u32 =
            if ffi::ZEND_MODULE_API_NO >= 20_230_831 { 1 << 23 } else { ffi::_ZEND_TYPE_NAME_BIT };
        match self.class {
            None => ffi::zend_type { ptr: ptr::null_mut(), type_mask: self.mask },
            Some(name) => {
                ffi::zend_type { ptr: name.as_ptr().cast_mut().cast(), type_mask: self.mask | NAME }
            }
        }
    }

    /// Encodes the type for a property, in which an interned string names a class.
    fn for_property(self) -> ffi::zend_type {
        match self.class {
            None => ffi::zend_type { ptr: ptr::null_mut(), type_mask: self.mask },
            Some(name) => ffi::zend_type {
                ptr: interned(name.to_bytes()).cast(),
                type_mask: self.mask | ffi::_ZEND_TYPE_NAME_BIT,
            },
        }
    }
}

struct ParameterInfo {
    name: &'static CStr,
    type_: Type,
    default: Option<&'static CStr>,
}

impl ParameterInfo {
    fn is_required(&self) -> bool {
        self.default.is_none() && self.type_.mask & ffi::_ZEND_IS_VARIADIC_BIT == 0
    }
}

/// The declaration of a method: name, parameters, result, handler.
pub(crate) struct Method {
    name: &'static CStr,
    flags: u32,
    parameters: Vec<ParameterInfo>,
    result: Option<Type>,
    handler: ffi::zif_handler,
}

impl Method {
    /// A public method. The handler must be a function or a closure without captures: the trampoline
    /// recovers it from its type.
    pub(crate) fn new<F, R>(name: &'static CStr, handler: F) -> Self
    where
        F: Fn(&Call) -> Result<R> + Copy + 'static,
        R: Return,
    {
        let _ = handler;
        Self {
            name,
            flags: ffi::ACC_PUBLIC,
            parameters: Vec::new(),
            result: None,
            handler: Some(trampoline::<F, R>),
        }
    }

    /// Declares the constructor of a class that only the extension instantiates.
    pub(crate) fn private_constructor() -> Self {
        let mut constructor = Self::new(c"__construct", |_: &Call| Ok(()));
        constructor.flags = ffi::ACC_PRIVATE;
        constructor
    }

    /// Adds a required parameter.
    pub(crate) fn arg(mut self, name: &'static CStr, type_: Type) -> Self {
        self.parameters.push(ParameterInfo { name, type_, default: None });
        self
    }

    /// Adds a variadic parameter, which must be the last one.
    pub(crate) fn rest(mut self, name: &'static CStr, type_: Type) -> Self {
        let variadic = Type { mask: type_.mask | ffi::_ZEND_IS_VARIADIC_BIT, ..type_ };
        self.parameters.push(ParameterInfo { name, type_: variadic, default: None });
        self
    }

    /// Adds a parameter with a default, written as in PHP source.
    pub(crate) fn opt(mut self, name: &'static CStr, type_: Type, default: &'static CStr) -> Self {
        self.parameters.push(ParameterInfo { name, type_, default: Some(default) });
        self
    }

    pub(crate) fn returns(mut self, type_: Type) -> Self {
        self.result = Some(type_);
        self
    }

    /// Converts the declaration to the engine's form, whose tables live as long as the process.
    #[allow(clippy::needless_update, reason = "since PHP 8.4 an entry has two more fields")]
    fn into_entry(self) -> ffi::zend_function_entry {
        let required = self.parameters.iter().take_while(|p| p.is_required()).count();
        let mut info = Vec::with_capacity(1 + self.parameters.len());
        info.push(ffi::zend_internal_arg_info {
            // The first element describes the function: the number of required parameters
            // stands in the place of a name (`ZEND_BEGIN_ARG_INFO_EX`).
            name: ptr::without_provenance(required),
            type_: self.result.unwrap_or(Type::NONE).for_argument(),
            default_value: ptr::null(),
        });
        info.extend(self.parameters.iter().map(|p| ffi::zend_internal_arg_info {
            name: p.name.as_ptr(),
            type_: p.type_.for_argument(),
            default_value: p.default.map_or(ptr::null(), CStr::as_ptr),
        }));
        ffi::zend_function_entry {
            fname: self.name.as_ptr(),
            handler: self.handler,
            num_args: self.parameters.len() as u32,
            arg_info: keep(info),
            flags: self.flags,
            ..end_of_table()
        }
    }
}

/// Keeps a table for the life of the process. It stays reachable, so that leak checkers do not report
/// it.
fn keep<T>(table: Vec<T>) -> *const T {
    static KEPT: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let table: *const T = Box::leak(table.into_boxed_slice()).as_ptr();
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(table.expose_provenance());
    table
}

fn end_of_table() -> ffi::zend_function_entry {
    // SAFETY: an entry of zero bytes terminates a table of functions in C; every field is a number or a
    // nullable pointer.
    unsafe { mem::zeroed() }
}

fn table(methods: Vec<Method>) -> *const ffi::zend_function_entry {
    let mut entries: Vec<_> = methods.into_iter().map(Method::into_entry).collect();
    entries.push(end_of_table());
    keep(entries)
}

/// A declared public property. Without a default it is uninitialised.
pub(crate) struct Prop {
    name: &'static CStr,
    type_: Type,
    readonly: bool,
}

impl Prop {
    pub(crate) const fn readonly(name: &'static CStr, type_: Type) -> Self {
        Self { name, type_, readonly: true }
    }

    /// A writable property, initially null.
    pub(crate) const fn writable(name: &'static CStr, type_: Type) -> Self {
        Self { name, type_, readonly: false }
    }
}

/// The declaration of a class, apart from its native state.
pub(crate) struct Class {
    pub(crate) name: &'static CStr,
    pub(crate) methods: Vec<Method>,
    pub(crate) props: Vec<Prop>,
}

fn blank(name: &'static CStr, methods: Vec<Method>) -> ffi::zend_class_entry {
    // SAFETY: `INIT_CLASS_ENTRY` zeroes the entry likewise; null and zero are valid for every field.
    let mut ce: ffi::zend_class_entry = unsafe { mem::zeroed() };
    ce.name = interned(name.to_bytes());
    ce.info.internal.builtin_functions = table(methods);
    ce
}

fn declare(ce: *mut ffi::zend_class_entry, props: Vec<Prop>) {
    for prop in props {
        // SAFETY: a zeroed zval is of the type UNDEF: a typed property without a value.
        let mut default: ffi::zval = unsafe { mem::zeroed() };
        if !prop.readonly {
            default.u1.type_info = ffi::IS_NULL;
        }
        let access = ffi::ACC_PUBLIC | if prop.readonly { ffi::ACC_READONLY } else { 0 };
        // SAFETY: `ce` was registered just now; the engine copies the default and keeps the
        // interned name.
        unsafe {
            ffi::zend_declare_typed_property(
                ce,
                interned(prop.name.to_bytes()),
                &raw mut default,
                access as c_int,
                ptr::null_mut(),
                prop.type_.for_property(),
            );
        }
        // The default is plain data (UNDEF or null) and needs no release.
        mem::forget(default);
    }
}

/// Registers a final class whose objects carry a `T`. They cannot be cloned or serialised, accept no
/// dynamic properties, and are equal only to themselves.
pub(crate) fn register_class<T: Native>(_: &Startup, class: Class, interfaces: &[Builtin]) {
    let mut blank = blank(class.name, class.methods);
    // SAFETY: the engine copies the entry, and the data to which it points lives as long as the
    // process.
    let ce = unsafe { ffi::zend_register_internal_class_ex(&raw mut blank, ptr::null_mut()) };
    let cell = T::class();
    cell.set_handlers(object::handlers::<T>());
    cell.set_entry(ce);
    // SAFETY: `ce` is valid and no other code has seen it yet: modules start on one thread.
    unsafe {
        (*ce).ce_flags |=
            ffi::ZEND_ACC_FINAL | ffi::ZEND_ACC_NOT_SERIALIZABLE | ffi::ZEND_ACC_NO_DYNAMIC_PROPERTIES;
        (*ce).__bindgen_anon_2.create_object = Some(object::create::<T>);
    }
    declare(ce, class.props);
    implement(ce, interfaces);
}

fn implement(ce: *mut ffi::zend_class_entry, interfaces: &[Builtin]) {
    for interface in interfaces {
        // SAFETY: both entries are registered classes.
        unsafe { ffi::zend_class_implements(ce, 1, interface.entry()) };
    }
}

/// Registers a final exception class without native state.
pub(crate) fn register_exception(
    _: &Startup,
    cell: &ClassCell,
    name: &'static CStr,
    parent: Builtin,
    interface: &'static ClassCell,
    props: Vec<Prop>,
) {
    let mut blank = blank(name, Vec::new());
    // SAFETY: as in `register_class`; the parent is registered by PHP before any extension.
    let ce = unsafe { ffi::zend_register_internal_class_ex(&raw mut blank, parent.entry()) };
    cell.set_entry(ce);
    // SAFETY: as in `register_class`.
    unsafe { (*ce).ce_flags |= ffi::ZEND_ACC_FINAL };
    declare(ce, props);
    implement(ce, &[Builtin::Ours(interface)]);
}

/// Registers an interface that extends another.
pub(crate) fn register_interface(_: &Startup, cell: &ClassCell, name: &'static CStr, parent: Builtin) {
    let mut blank = blank(name, Vec::new());
    // SAFETY: as in `register_class`.
    let ce = unsafe { ffi::zend_register_internal_interface(&raw mut blank) };
    cell.set_entry(ce);
    implement(ce, &[parent]);
}

/// Registers an enum that is backed by strings.
pub(crate) fn register_enum(_: &Startup, cell: &EnumCell) {
    // SAFETY: the name and the empty table live as long as the process.
    let ce = unsafe {
        ffi::zend_register_internal_enum(cell.name.as_ptr(), ffi::IS_STRING as u8, table(Vec::new()))
    };
    // SAFETY: as in `register_class`. The engine makes enums of PHP code final, but not those of
    // extensions.
    unsafe { (*ce).ce_flags |= ffi::ZEND_ACC_FINAL };
    cell.class.set_entry(ce);
    for (case, value) in cell.cases {
        // SAFETY: a zeroed zval is valid; it becomes an interned string, which is not
        // reference-counted.
        let mut backing: ffi::zval = unsafe { mem::zeroed() };
        backing.value.str_ = interned(value.to_bytes());
        backing.u1.type_info = ffi::IS_INTERNED_STRING_EX;
        // SAFETY: `ce` is an enum backed by strings; the strings are interned.
        unsafe { ffi::zend_enum_add_case(ce, interned(case.to_bytes()), &raw mut backing) };
        mem::forget(backing);
    }
}
