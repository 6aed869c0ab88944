//! PHP objects that carry native state, and counted references to them.

use std::ffi::c_int;
use std::marker::PhantomData;
use std::mem::{self, offset_of};
use std::ptr::{self, NonNull};

use ext_php_rs::types::{ZendObject, Zval};

use super::class_cell::ClassCell;
use super::ffi;

/// The native state of a class. It is changed only through cells, because PHP code called from a method
/// may call methods of the same object.
pub(crate) trait Native: Sized + 'static {
    /// The static that holds the class.
    fn class() -> &'static ClassCell;

    /// Creates the state of an object whose constructor has not run.
    fn unconstructed() -> Self;

    /// Reports every PHP value to which the state holds a reference. Otherwise, cycles through this
    /// object are never collected.
    fn visit(&self, gc: &mut Gc) {
        let _ = gc;
    }
}

/// An object as the engine allocates it: the native state precedes the engine's part.
#[repr(C)]
struct Layout<T> {
    state: T,
    std: ffi::zend_object,
}

const fn offset<T>() -> usize {
    offset_of!(Layout<T>, std)
}

/// # Safety
///
/// `object` must be an object of the class of `T`.
pub(super) unsafe fn state<'a, T: Native>(object: *mut ffi::zend_object) -> &'a T {
    // SAFETY: by the contract the object was allocated by `create::<T>`, which wrote the state there.
    // Only `free` drops the state, when no reference to the object is left.
    unsafe { &*object.byte_sub(offset::<T>()).cast::<T>() }
}

pub(super) fn handlers<T: Native>() -> ffi::zend_object_handlers {
    // SAFETY: the engine's table is constant and made of plain data.
    let mut handlers = unsafe { ptr::read(&raw const ffi::std_object_handlers) };
    handlers.offset = offset::<T>() as c_int;
    handlers.free_obj = Some(free::<T>);
    handlers.get_gc = Some(collect::<T>);
    handlers.clone_obj = None;
    handlers.compare = Some(ffi::zend_objects_not_comparable);
    handlers
}

pub(super) unsafe extern "C" fn create<T: Native>(ce: *mut ffi::zend_class_entry) -> *mut ffi::zend_object {
    const { assert!(mem::align_of::<T>() <= 8, "the engine's allocator aligns to 8 bytes") };
    // SAFETY: the engine allocates memory for the layout and the declared properties of `ce`, and does
    // not return on failure. Every `create_object` handler performs these three steps.
    unsafe {
        let block = ffi::ext_php_rs_zend_object_alloc(size_of::<Layout<T>>(), ce);
        block.cast::<T>().write(T::unconstructed());
        let object = block.byte_add(offset::<T>()).cast::<ffi::zend_object>();
        ffi::zend_object_std_init(object, ce);
        ffi::object_properties_init(object, ce);
        (*object).handlers = T::class().handlers();
        object
    }
}

unsafe extern "C" fn free<T: Native>(object: *mut ffi::zend_object) {
    // SAFETY: the engine calls this handler once, after the last reference is released; it frees the
    // block itself, from `offset` on.
    unsafe {
        ptr::drop_in_place(object.byte_sub(offset::<T>()).cast::<T>());
        ffi::zend_object_std_dtor(object);
    }
}

unsafe extern "C" fn collect<T: Native>(
    object: *mut ffi::zend_object,
    table: *mut *mut ffi::zval,
    count: *mut c_int,
) -> *mut ffi::HashTable {
    // SAFETY: the engine returns its only buffer, which is valid until the next `get_gc`.
    let mut gc = Gc { buffer: unsafe { ffi::zend_get_gc_buffer_create() } };
    // SAFETY: `object` is of this class, and its declared properties follow it in memory.
    unsafe {
        let declared = (*(*object).ce).default_properties_count;
        let slots = (&raw const (*object).properties_table).cast::<Zval>();
        for i in 0..declared as usize {
            gc.add(&*slots.add(i));
        }
        state::<T>(object).visit(&mut gc);
        *table = (*gc.buffer).start;
        *count = (*gc.buffer).cur.offset_from((*gc.buffer).start) as c_int;
    }
    // There are no dynamic properties. A table built for var_dump() refers to the slots reported above.
    ptr::null_mut()
}

/// Collects the values that an object holds, for the cycle collector.
pub(crate) struct Gc {
    buffer: *mut ffi::GcBuffer,
}

impl Gc {
    /// Reports a value that is held once.
    pub(crate) fn add(&mut self, value: &Zval) {
        if !value.is_object() && !value.is_array() && !value.is_reference() {
            return;
        }
        // SAFETY: the buffer is valid while `get_gc` runs, and grows before it is full. The value is
        // copied without a reference of its own, because the collector only reads it.
        unsafe {
            if (*self.buffer).cur == (*self.buffer).end {
                ffi::zend_get_gc_buffer_grow(self.buffer);
            }
            ptr::copy_nonoverlapping(value, (*self.buffer).cur, 1);
            (*self.buffer).cur = (*self.buffer).cur.add(1);
        }
    }

    /// Reports an object that is held once.
    pub(crate) fn add_object<T: Native>(&mut self, object: &Owned<T>) {
        let value = object.borrowed_value();
        self.add(&value);
    }
}

/// A counted reference to an object of the class of `T`. Dropping the last one may run PHP code:
/// destructors of the values in its properties.
pub(crate) struct Owned<T: Native> {
    object: NonNull<ffi::zend_object>,
    class: PhantomData<T>,
}

impl<T: Native> Owned<T> {
    /// Creates an object without calling its constructor.
    pub(crate) fn create() -> Self {
        // SAFETY: the class is registered. `create` returns an object with one reference.
        let object = unsafe { create::<T>(T::class().entry()) };
        Self {
            object: NonNull::new(object).expect("the engine's allocator doesn't return null"),
            class: PhantomData,
        }
    }

    /// Adds a reference to an object that the engine has passed.
    ///
    /// # Safety
    ///
    /// `object` must be valid and of the class of `T`.
    pub(super) unsafe fn from_raw(object: *mut ffi::zend_object) -> Self {
        let object = NonNull::new(object).expect("an object pointer of the engine is not null");
        // SAFETY: by the contract.
        unsafe { (*object.as_ptr()).gc.refcount += 1 };
        Self { object, class: PhantomData }
    }

    /// The object in `value`, if it is one of this class.
    pub(crate) fn from_value(value: &Zval) -> Option<Self> {
        let object: *const ZendObject = value.object()?;
        // SAFETY: the object is valid. Classes with native state are final, so comparing the class
        // entry is sufficient.
        unsafe { ((*object).ce == T::class().entry()).then(|| Self::from_raw(object.cast_mut())) }
    }

    /// The native state.
    pub(crate) fn get(&self) -> &T {
        // SAFETY: the reference that `self` counts keeps the object alive, and the object is of this
        // class.
        unsafe { state(self.object.as_ptr()) }
    }

    /// Whether there are other references to the object.
    pub(crate) fn is_shared(&self) -> bool {
        // SAFETY: the reference that `self` counts keeps the object alive.
        unsafe { self.object.as_ref().gc.refcount > 1 }
    }

    /// A PHP value that refers to the object.
    pub(crate) fn value(&self) -> Zval {
        mem::ManuallyDrop::into_inner(self.clone().into_borrowed())
    }

    /// Like [`Owned::value`], but without a reference of its own.
    fn borrowed_value(&self) -> mem::ManuallyDrop<Zval> {
        let mut value = Zval::new();
        value.value.obj = self.object.as_ptr();
        value.u1.type_info = ffi::IS_OBJECT_EX;
        mem::ManuallyDrop::new(value)
    }

    fn into_borrowed(self) -> mem::ManuallyDrop<Zval> {
        let value = self.borrowed_value();
        mem::forget(self);
        value
    }

    fn slot(&self, index: usize) -> *mut Zval {
        // SAFETY: the declared properties follow the object in memory; the index is checked.
        unsafe {
            let object = self.object.as_ptr();
            assert!(index < (*(*object).ce).default_properties_count as usize, "no such property");
            (&raw mut (*object).properties_table).cast::<Zval>().add(index)
        }
    }

    /// Initialises the declared property number `index`, readonly or not. Returns false if it already
    /// has a value, which stays: a script may call a constructor again.
    pub(crate) fn init_prop(&self, index: usize, value: Zval) -> bool {
        let slot = self.slot(index);
        assert!(self.accepts(index, &value), "a property of another type");
        // SAFETY: the slot is valid. A slot that is UNDEF or null holds no reference, so nothing needs
        // to be released. Setting `u2` to zero clears the mark "never initialised".
        unsafe {
            if !matches!((*slot).u1.type_info & 0xff, ffi::IS_UNDEF | ffi::IS_NULL) {
                return false;
            }
            slot.write(value);
            (*slot).u2.extra = 0;
        }
        true
    }

    /// Whether a value has the declared type of a property. If the type is a class, any object is
    /// accepted.
    fn accepts(&self, index: usize, value: &Zval) -> bool {
        // SAFETY: the object is valid, and `slot` has checked the index: the engine keeps one entry for
        // each declared property.
        let type_ = unsafe { (**(*(*self.object.as_ptr()).ce).properties_info_table.add(index)).type_ };
        // SAFETY: reading the type of a zval.
        let kind = unsafe { value.u1.type_info } & 0xff;
        type_.type_mask & (1 << kind) != 0 || (kind == ffi::IS_OBJECT && !type_.ptr.is_null())
    }

    /// Returns the value of the declared property number `index`.
    pub(crate) fn prop(&self, index: usize) -> Zval {
        // SAFETY: the slot is valid and initialised by the engine.
        unsafe { (*self.slot(index)).dereference().shallow_clone() }
    }
}

impl<T: Native> Clone for Owned<T> {
    fn clone(&self) -> Self {
        // SAFETY: the object is valid and of this class.
        unsafe { Self::from_raw(self.object.as_ptr()) }
    }
}

impl<T: Native> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the call releases the reference that `self` counts.
        unsafe { ffi::ext_php_rs_zend_object_release(self.object.as_ptr()) };
    }
}
