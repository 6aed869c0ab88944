//! `Sprocket\Tls`.

use std::cell::OnceCell;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use ext_php_rs::types::{ZendHashTable, Zval};
use sprocket_server::{Identity, Passphrase, Tls as Settings};

use crate::convert::duration;
use crate::errors::invalid_option;
use crate::zend::{
    Call, ClassCell, Native, Owned, Prop, Result, Type, array_entries, list, string, throw_error,
};

static TLS: ClassCell = ClassCell::new();

/// The checked settings. The passphrase is kept here alone, not as a property.
#[derive(Default)]
pub(crate) struct Tls {
    inner: OnceCell<Settings>,
}

impl Tls {
    pub(crate) fn settings(&self) -> Option<Settings> {
        self.inner.get().cloned()
    }
}

/// The declared properties, by number.
pub(crate) const PROPS: [Prop; 8] = [
    Prop::readonly(c"certificate", Type::STRING),
    Prop::readonly(c"key", Type::STRING.nullable()),
    Prop::readonly(c"hosts", Type::ARRAY),
    Prop::readonly(c"clientCa", Type::STRING.nullable()),
    Prop::readonly(c"clientRequired", Type::BOOL),
    Prop::readonly(c"minVersion", Type::STRING),
    Prop::readonly(c"reloadInterval", Type::FLOAT),
    Prop::readonly(c"http2", Type::BOOL),
];

impl Native for Tls {
    fn class() -> &'static ClassCell {
        &TLS
    }

    fn unconstructed() -> Self {
        Self::default()
    }
}

pub(crate) fn construct(call: &Call) -> Result<()> {
    call.arity(1, 9)?;
    let this = call.this_object::<Tls>();
    if this.get().inner.get().is_some() {
        return Err(throw_error("Cannot modify readonly properties of Sprocket\\Tls"));
    }
    let certificate = match call.string(0)? {
        Some(given) => path("certificate", given.as_bytes())?,
        None => return Ok(()),
    };
    let key = call.string_or_null(1)?.map(|p| path("key", p.as_bytes())).transpose()?;
    let passphrase = call.string_or_null(2)?.map(|p| Passphrase(p.as_bytes().to_vec()));
    let hosts = call.array(3)?.map_or_else(|| Ok(Vec::new()), hosts)?;
    let client_ca = call.string_or_null(4)?.map(|p| path("clientCa", p.as_bytes())).transpose()?;
    let client_required = call.bool(5, true)?;
    let only_tls13 = match call.string(6)?.map(|v| v.as_bytes()) {
        None | Some(b"1.2") => false,
        Some(b"1.3") => true,
        Some(other) => return Err(invalid_option("minVersion", &string(other), "\"1.2\" or \"1.3\"")),
    };
    let seconds = call.float(7, 0.0)?;
    let mut interval = Zval::new();
    interval.set_double(seconds);
    let watch = match duration(seconds) {
        Some(time) if time.is_zero() => None,
        Some(time) if (0.01..=86_400.0).contains(&seconds) => Some(time),
        _ => {
            let allowed = "between 0.01 and 86400 seconds, or 0 for never";
            return Err(invalid_option("reloadInterval", &interval, allowed));
        }
    };
    let http2 = call.bool(8, true)?;
    let identity =
        Identity { key: key.clone().unwrap_or_else(|| certificate.clone()), certificate, passphrase };
    let settings = Settings { identity, hosts, client_ca, client_required, only_tls13, watch, http2 };
    if this.get().inner.set(settings).is_err() {
        return Ok(());
    }
    let given = |index: usize| call.value(index).map_or_else(Zval::null, Zval::shallow_clone);
    let mut required = Zval::new();
    required.set_bool(client_required);
    this.init_prop(0, given(0));
    this.init_prop(1, given(1));
    this.init_prop(2, call.value(3).map_or_else(|| list([]), Zval::shallow_clone));
    this.init_prop(3, given(4));
    this.init_prop(4, required);
    this.init_prop(5, string(if only_tls13 { b"1.3" } else { b"1.2" }));
    this.init_prop(6, interval);
    let mut spoken = Zval::new();
    spoken.set_bool(http2);
    this.init_prop(7, spoken);
    Ok(())
}

/// A path in the file system, with or without PHP's `file://`.
fn path(name: &str, bytes: &[u8]) -> Result<PathBuf> {
    let bytes = bytes.strip_prefix(b"file://").unwrap_or(bytes);
    if bytes.is_empty() || bytes.contains(&0) {
        return Err(invalid_option(name, &string(bytes), "the path of a PEM file"));
    }
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(bytes)))
}

fn hosts(table: &ZendHashTable) -> Result<Vec<(String, Identity)>> {
    let allowed = "an array that maps host names (\"chat.example.com\", \"*.example.com\") to Sprocket\\Tls \
        objects with nothing but a certificate and its key";
    let refuse = |name: &[u8]| Err(invalid_option("hosts", &string(name), allowed));
    let mut hosts = Vec::new();
    for (name, value) in array_entries(table) {
        let Some(host) = std::str::from_utf8(&name).ok().filter(|host| is_host(host)) else {
            return refuse(&name);
        };
        match Owned::<Tls>::from_value(value).and_then(|tls| tls.get().settings()) {
            // The other settings are the same for all hosts.
            Some(tls) if tls.hosts.is_empty() && tls.client_ca.is_none() => {
                hosts.push((host.to_ascii_lowercase(), tls.identity));
            }
            _ => return refuse(&name),
        }
    }
    Ok(hosts)
}

/// Whether this is a DNS name, whose first label may be a star.
fn is_host(text: &str) -> bool {
    let rest = text.strip_prefix("*.").unwrap_or(text);
    rest.split('.').all(|label| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    })
}
