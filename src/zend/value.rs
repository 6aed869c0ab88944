//! Conversions between PHP values and Rust data.

use std::alloc::Layout;
use std::ffi::c_char;
use std::ptr;

use ext_php_rs::alloc::emalloc;
use ext_php_rs::boxed::ZBox;
use ext_php_rs::types::{ZendHashTable, ZendStr, Zval};

use super::ffi;

/// Creates an interned string, which lives as long as the process.
pub(super) fn interned(bytes: &[u8]) -> *mut ffi::zend_string {
    // SAFETY: the engine sets this function pointer before it starts modules, and copies the bytes.
    unsafe {
        let init = ffi::zend_string_init_interned.expect("the engine has started");
        init(bytes.as_ptr().cast::<c_char>(), bytes.len(), true)
    }
}

/// Creates a PHP string of arbitrary bytes.
pub(crate) fn string(bytes: &[u8]) -> Zval {
    let mut value = Zval::new();
    value.set_zend_string(ZendStr::new(bytes, false));
    value
}

/// Creates a PHP string of UTF-8. It is marked as valid, so that neither sending it nor
/// `preg_match('//u')` validates it again.
pub(crate) fn text(text: &str) -> Zval {
    known_utf8(text.as_bytes())
}

/// Creates the PHP string of a received text message, which the server has already validated (RFC 6455
/// section 8.1).
pub(crate) fn message_text(payload: &[u8]) -> Zval {
    debug_assert!(std::str::from_utf8(payload).is_ok(), "the core delivers valid text");
    known_utf8(payload)
}

fn known_utf8(bytes: &[u8]) -> Zval {
    let mut string = ZendStr::new(bytes, false);
    // SAFETY: the string is valid; the function leaves interned strings alone.
    unsafe { ffi::ext_php_rs_set_known_valid_utf8(string.as_mut_ptr()) };
    let mut value = Zval::new();
    value.set_zend_string(string);
    value
}

/// Whether a string is valid UTF-8. A positive result is stored in the string, as PCRE does.
pub(crate) fn zstr_is_utf8(string: &ZendStr) -> bool {
    // SAFETY: the string is valid.
    if unsafe { ffi::ext_php_rs_is_known_valid_utf8(string.as_ptr()) } {
        return true;
    }
    let valid = std::str::from_utf8(string.as_bytes()).is_ok();
    if valid {
        // SAFETY: any holder of a reference may change the flag word of a string that is not interned.
        // The function checks for interned strings, which other threads may share.
        unsafe { ffi::ext_php_rs_set_known_valid_utf8(string.as_ptr().cast_mut()) };
    }
    valid
}

/// Creates a PHP list of these values.
pub(crate) fn list(values: impl IntoIterator<Item = Zval>) -> Zval {
    let mut table = ZendHashTable::new();
    for value in values {
        // This fails only if the index overflows.
        let _ = table.push(value);
    }
    let mut array = Zval::new();
    array.set_hashtable(table);
    array
}

/// Sets a key as PHP's own `$array[$key] = …` would: decimal strings become integers.
pub(crate) fn map_insert(table: &mut ZBox<ZendHashTable>, key: &[u8], value: Zval) {
    if let Some(index) = decimal(key) {
        let _ = table.insert_at_index(index, value);
        return;
    }
    let mut value = value;
    // SAFETY: the table is valid and owned here. The engine copies key and value, so the table takes
    // over the reference of `value`.
    unsafe {
        ffi::zend_hash_str_update(&raw mut **table, key.as_ptr().cast(), key.len(), &raw mut value);
    }
    std::mem::forget(value);
}

/// Parses an integer in its shortest form (`ZEND_HANDLE_NUMERIC_STR`).
fn decimal(key: &[u8]) -> Option<i64> {
    let digits = key.strip_prefix(b"-").unwrap_or(key);
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    if digits[0] == b'0' && key.len() > 1 {
        return None;
    }
    std::str::from_utf8(key).ok()?.parse().ok().filter(|n| *n != i64::MIN)
}

/// Iterates over keys and values. A numeric key is returned in decimal form.
pub(crate) fn array_entries(table: &ZendHashTable) -> impl Iterator<Item = (Vec<u8>, &Zval)> {
    // Walks the buckets directly, because the iterator of ext-php-rs drops keys that are not UTF-8.
    let mut position: ffi::HashPosition = 0;
    let table: *const ffi::HashTable = table;
    std::iter::from_fn(move || {
        let table = table.cast_mut();
        // SAFETY: the table outlives the iterator, which borrows it; these functions read it only.
        unsafe {
            let value = ffi::zend_hash_get_current_data_ex(table, &raw mut position).as_ref()?;
            let mut key = Zval::new();
            ffi::zend_hash_get_current_key_zval_ex(table, &raw mut key, &raw const position);
            let key = match key.zend_str() {
                Some(s) => s.as_bytes().to_vec(),
                None => key.long().unwrap_or_default().to_string().into_bytes(),
            };
            ffi::zend_hash_move_forward_ex(table, &raw mut position);
            Some((key, value.dereference()))
        }
    })
}

/// Parses a query string into the array that `$_GET` would contain.
pub(crate) fn parse_query(query: &[u8]) -> Zval {
    /// `PARSE_STRING` of `main/php_variables.h`, what `parse_str()` uses.
    const PARSE_STRING: i32 = 3;
    let mut result = Zval::new();
    result.set_hashtable(ZendHashTable::new());
    let Ok(layout) = Layout::array::<u8>(query.len() + 1) else { return result };
    // SAFETY: the engine fills the array and frees the copy of the query. The copy was allocated by the
    // engine's allocator, which ends the request instead of returning null.
    unsafe {
        let copy = emalloc(layout);
        ptr::copy_nonoverlapping(query.as_ptr(), copy, query.len());
        copy.add(query.len()).write(0);
        ffi::php_default_treat_data(PARSE_STRING, copy.cast(), &raw mut result);
    }
    result
}
