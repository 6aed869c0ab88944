//! The arguments of a constructor whose parameters become readonly properties.

use std::ffi::CStr;
use std::time::Duration;

use ext_php_rs::types::{ZendHashTable, Zval};

use crate::convert::duration;
use crate::errors::invalid_option;
use crate::zend::{Call, Result, Type, array_entries};

/// Name, type and default of a parameter. The property that keeps it has the same name and type.
pub(crate) type Parameter = (&'static CStr, Type, &'static CStr);

/// Largest size in bytes that a parameter takes: 2 GiB - 1, far from what any frame header overflows.
pub(crate) const MOST_BYTES: i64 = i32::MAX as i64;

/// Reads the arguments in order, checks each, and keeps what PHP shows as properties.
pub(crate) struct Reader<'a> {
    pub(crate) call: &'a Call,
    pub(crate) next: usize,
    pub(crate) props: Vec<Zval>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(call: &'a Call) -> Self {
        Self { call, next: 0, props: Vec::new() }
    }

    pub(crate) fn take(&mut self, value: Zval) -> usize {
        self.props.push(value);
        self.next += 1;
        self.next - 1
    }

    pub(crate) fn refuse<T>(&self, name: &str, value: &Zval, allowed: &str) -> Result<T> {
        Err(invalid_option(name, value, allowed))
    }

    /// The present argument, unconverted.
    pub(crate) fn argument(&self) -> Zval {
        self.call.value(self.next).map_or_else(Zval::null, Zval::shallow_clone)
    }

    pub(crate) fn int(&mut self, name: &str, default: i64, least: i64, most: i64) -> Result<i64> {
        let n = self.call.int(self.next, default)?;
        let mut value = Zval::new();
        value.set_long(n);
        if !(least..=most).contains(&n) {
            let allowed = if most == i64::MAX {
                format!("at least {least}")
            } else {
                format!("between {least} and {most}")
            };
            return self.refuse(name, &value, &allowed);
        }
        self.take(value);
        Ok(n)
    }

    /// Reads an int of at least 1, or null.
    pub(crate) fn count_or_null(&mut self, name: &str) -> Result<Option<usize>> {
        if self.call.int_or_null(self.next)?.is_none() {
            self.take(Zval::null());
            return Ok(None);
        }
        self.size(name, 0, 1, i64::MAX).map(Some)
    }

    pub(crate) fn size(&mut self, name: &str, default: usize, least: i64, most: i64) -> Result<usize> {
        self.int(name, default as i64, least, most).map(|n| n as usize)
    }

    pub(crate) fn bool(&mut self, default: bool) -> Result<bool> {
        let given = self.call.bool(self.next, default)?;
        let mut value = Zval::new();
        value.set_bool(given);
        self.take(value);
        Ok(given)
    }

    pub(crate) fn seconds(&mut self, name: &str, default: Duration, zero_is_off: bool) -> Result<Duration> {
        let seconds = self.call.float(self.next, default.as_secs_f64())?;
        let mut value = Zval::new();
        value.set_double(seconds);
        let off = zero_is_off && seconds == 0.0;
        match duration(seconds) {
            Some(time) if off || (0.001..=86_400.0).contains(&seconds) => {
                self.take(value);
                Ok(time)
            }
            _ => {
                let or = if zero_is_off { ", or 0 for never" } else { "" };
                self.refuse(name, &value, &format!("between 0.001 and 86400 seconds{or}"))
            }
        }
    }

    /// Reads a list of distinct strings that satisfy `check`; `allowed` describes them in errors.
    pub(crate) fn strings(
        &self,
        name: &str,
        table: &ZendHashTable,
        allowed: &str,
        check: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>> {
        let mut strings: Vec<String> = Vec::new();
        for (_, value) in array_entries(table) {
            match value.zend_str().and_then(|s| s.as_str().ok()).filter(|s| check(s)) {
                Some(s) if !strings.iter().any(|known| known == s) => strings.push(s.to_owned()),
                _ => return self.refuse(name, &self.argument(), allowed),
            }
        }
        Ok(strings)
    }
}
