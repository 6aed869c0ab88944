//! PHP streams and the descriptors that they wrap.

use std::ffi::{c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr;

use ext_php_rs::types::Zval;
use sprocket_server::SendQueue;

use super::exception::{Result, Thrown, pending};
use super::ffi;

/// The signatures of `_php_stream_fopen_from_fd` in the supported versions of PHP.
mod open {
    use super::{c_char, c_int, ffi};

    /// PHP 8.1, release build. PHP 8.2 added the last argument of `Positioned`.
    pub(super) type Plain = unsafe extern "C" fn(c_int, *const c_char, *const c_char) -> *mut ffi::php_stream;
    pub(super) type Positioned =
        unsafe extern "C" fn(c_int, *const c_char, *const c_char, bool) -> *mut ffi::php_stream;
    /// Debug builds add the place of the call: `STREAMS_DC`.
    pub(super) type PlainDebug = unsafe extern "C" fn(
        c_int,
        *const c_char,
        *const c_char,
        c_int,
        *const c_char,
        u32,
        *const c_char,
        u32,
    ) -> *mut ffi::php_stream;
    pub(super) type PositionedDebug = unsafe extern "C" fn(
        c_int,
        *const c_char,
        *const c_char,
        bool,
        c_int,
        *const c_char,
        u32,
        *const c_char,
        u32,
    ) -> *mut ffi::php_stream;

    unsafe extern "C" {
        pub(super) fn _php_stream_fopen_from_fd();
    }
}

/// Returns the number of bytes that the peer of a socket has not acknowledged (tcp(7), unix(7)).
#[cfg(target_os = "linux")]
pub(crate) const SEND_QUEUE: Option<SendQueue> = Some(|socket| {
    let mut bytes: c_int = 0;
    // SAFETY: the descriptor is open while it is borrowed. The request stores one int, in `bytes`.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(bytes.unsigned_abs().into()) }
});
/// Other systems do not report this number.
#[cfg(not(target_os = "linux"))]
pub(crate) const SEND_QUEUE: Option<SendQueue> = None;

/// Creates a readable stream over a descriptor, which the stream owns and closes.
pub(crate) fn stream_from_fd(fd: OwnedFd) -> Option<Zval> {
    const HAS_POSITION: bool = ffi::ZEND_MODULE_API_NO >= 20_220_829;
    const DEBUG: bool = ffi::ZEND_DEBUG != 0;
    let raw = fd.into_raw_fd();
    let (mode, id) = (c"r".as_ptr(), ptr::null());
    let file = concat!(file!(), "\0").as_ptr().cast::<c_char>();
    let function = open::_php_stream_fopen_from_fd as *const ();
    // SAFETY: the version of PHP and the kind of build, both known from the headers, determine the
    // function's signature. The stream owns the descriptor from here on.
    let stream = unsafe {
        use std::mem::transmute;
        match (HAS_POSITION, DEBUG) {
            (true, false) => transmute::<*const (), open::Positioned>(function)(raw, mode, id, false),
            (false, false) => transmute::<*const (), open::Plain>(function)(raw, mode, id),
            (true, true) => transmute::<*const (), open::PositionedDebug>(function)(
                raw,
                mode,
                id,
                false,
                0,
                file,
                line!(),
                ptr::null(),
                0,
            ),
            (false, true) => transmute::<*const (), open::PlainDebug>(function)(
                raw,
                mode,
                id,
                0,
                file,
                line!(),
                ptr::null(),
                0,
            ),
        }
    };
    if stream.is_null() {
        // SAFETY: no stream has taken over the descriptor.
        drop(unsafe { OwnedFd::from_raw_fd(raw) });
        return None;
    }
    let mut value = Zval::new();
    // SAFETY: the same steps as in `php_stream_to_zval`: a new stream has a resource with one
    // reference, which the value takes over; PHP closes exposed streams itself.
    unsafe {
        (*stream).set___exposed(1);
        value.value.res = (*stream).res;
        value.u1.type_info = ffi::IS_RESOURCE_EX;
    }
    Some(value)
}

fn raw_descriptor(stream: &Zval) -> Option<RawFd> {
    // SAFETY: without a name the lookup is silent and returns null for any other resource and for
    // closed streams; a cast for `select` has no effect on the stream.
    unsafe {
        let found = ffi::zend_fetch_resource2_ex(
            ptr::from_ref(stream).cast_mut(),
            ptr::null(),
            ffi::php_file_le_stream(),
            ffi::php_file_le_pstream(),
        );
        if found.is_null() {
            return None;
        }
        let mut descriptor: *mut c_void = ptr::null_mut();
        let cast = ffi::_php_stream_cast(found.cast(), ffi::STREAM_AS_FD_FOR_SELECT, &raw mut descriptor, 0);
        // The engine writes an `int` into the place of the pointer (`php_socket_t`).
        let fd = (&raw const descriptor).cast::<c_int>().read();
        (cast == 0 && fd >= 0).then_some(fd)
    }
}

/// Duplicates the descriptor of a stream; `None` if the value is not an open stream with a descriptor.
pub(crate) fn descriptor_of(stream: &Zval) -> Option<io::Result<OwnedFd>> {
    if !stream.is_resource() {
        return None;
    }
    raw_descriptor(stream).map(duplicate)
}

/// Duplicates a descriptor by its number. The original belongs to other code.
pub(crate) fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the number is not -1, and borrowed for one system call, which fails if it is not open.
    unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()
}

/// Returns the stream of a `\Socket` object of ext/sockets; `None` for any other value.
pub(crate) fn socket_stream(value: &Zval) -> Result<Option<Zval>> {
    let class = value.object().and_then(|o| o.get_class_name().ok());
    if class.as_deref() != Some("Socket") {
        return Ok(None);
    }
    let mut name = super::value::string(b"socket_export_stream");
    let mut argument = value.shallow_clone();
    let mut result = Zval::new();
    // SAFETY: calls a function of ext/sockets, which is loaded if there is an object of its
    // class; all values are valid.
    unsafe {
        ffi::_call_user_function_impl(
            ptr::null_mut(),
            &raw mut name,
            &raw mut result,
            1,
            &raw mut argument,
            ptr::null_mut(),
        );
    }
    if pending() { Err(Thrown) } else { Ok(Some(result)) }
}
