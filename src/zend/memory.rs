//! The heap of the C library, which contains everything but PHP's own values.

/// Returns freed memory to the kernel if there is much of it.
///
/// glibc keeps freed memory below the end of a heap, and the server configures it to keep more than
/// usual, which saves a quarter of the CPU time under steady load. After a peak, that can be most of
/// the process's memory. Does nothing with another C library. Any thread may call it.
pub(crate) fn trim_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::trim();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use std::ffi::{CStr, c_int, c_void};
    use std::mem;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Number of free bytes that justifies a walk over the heap, during which other allocations wait.
    const MUCH: u64 = 8 << 20;

    /// `struct mallinfo2` of malloc.h.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Mallinfo2 {
        arena: usize,
        ordblks: usize,
        smblks: usize,
        hblks: usize,
        hblkhd: usize,
        usmblks: usize,
        fsmblks: usize,
        uordblks: usize,
        fordblks: usize,
        keepcost: usize,
    }

    /// Resident bytes beyond those in use, after the last trim. The C library counts trimmed memory as
    /// free, so its numbers alone would trigger a trim again and again.
    static KEPT: AtomicU64 = AtomicU64::new(0);

    pub(super) fn trim() {
        type Mallinfo = unsafe extern "C" fn() -> Mallinfo2;
        type Trim = unsafe extern "C" fn(usize) -> c_int;
        // `mallinfo2` came with glibc 2.33: linking to it would make that a requirement.
        let (Some(info), Some(trim)) = (symbol(c"mallinfo2"), symbol(c"malloc_trim")) else { return };
        // SAFETY: malloc.h declares the two functions with these types, and both may be called by
        // any thread at any time.
        let (info, trim) = unsafe {
            (mem::transmute::<*mut c_void, Mallinfo>(info), mem::transmute::<*mut c_void, Trim>(trim))
        };
        // SAFETY: as above; the function has no parameters.
        let heap = unsafe { info() };
        let (free, used) = (heap.fordblks as u64, heap.uordblks as u64);
        let in_use = used + heap.hblkhd as u64;
        let kept = resident().saturating_sub(in_use);
        if free <= MUCH.max(used / 2) || kept <= KEPT.load(Ordering::Relaxed) + MUCH {
            return;
        }
        // SAFETY: as above; the argument is the number of free bytes to keep at the end of the heap.
        unsafe { trim(0) };
        KEPT.store(resident().saturating_sub(in_use), Ordering::Relaxed);
    }

    fn symbol(name: &CStr) -> Option<*mut c_void> {
        // SAFETY: the name is a C string; looking it up has no other requirement.
        let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        (!symbol.is_null()).then_some(symbol)
    }

    /// Returns the number of resident bytes of the process; 0 if /proc is not mounted.
    fn resident() -> u64 {
        let pages = std::fs::read_to_string("/proc/self/statm").ok();
        let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
        // SAFETY: sysconf(3) only reads.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        pages.unwrap_or(0) * u64::try_from(page).unwrap_or(0)
    }
}
