//! Where to listen: what users write, and what the core is given.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use ext_php_rs::types::Zval;
use sprocket_core::Bind;

use crate::errors::{self, invalid_option};
use crate::zend::{Result, array_entries, descriptor_of, duplicate, socket_stream};

const ALLOWED: &str = "\"ws://HOST:PORT\", \"unix:///PATH\", \"fd://NUMBER\", \
    a listening stream or Socket, or a list of these";

/// One place to listen, its form checked.
pub(crate) struct Listen {
    /// As the user wrote it, for error messages.
    text: String,
    place: Place,
}

enum Place {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
    Number(i32),
    Owned(OwnedFd),
}

/// Reads the first argument of `new Server`.
pub(crate) fn parse(value: &Zval) -> Result<Vec<Listen>> {
    match value.array() {
        None => Ok(vec![one(value)?]),
        Some(table) if table.is_empty() => Err(invalid_option("listen", value, ALLOWED)),
        Some(table) => array_entries(table).map(|(_, value)| one(value)).collect(),
    }
}

fn one(value: &Zval) -> Result<Listen> {
    if let Some(text) = value.zend_str() {
        return match text.as_str().ok().and_then(url) {
            Some(Ok(place)) => Ok(Listen { text: text.as_str().unwrap_or_default().to_owned(), place }),
            Some(Err(allowed)) => Err(invalid_option("listen", value, allowed)),
            None => Err(invalid_option("listen", value, ALLOWED)),
        };
    }
    let stream = socket_stream(value)?;
    match descriptor_of(stream.as_ref().unwrap_or(value)) {
        Some(Ok(fd)) => Ok(Listen { text: "the given socket".into(), place: Place::Owned(fd) }),
        Some(Err(error)) => Err(errors::bind("the given socket", &error)),
        None => Err(invalid_option("listen", value, ALLOWED)),
    }
}

/// The error says what is allowed instead.
fn url(text: &str) -> Option<std::result::Result<Place, &'static str>> {
    let (scheme, rest) = text.split_once("://")?;
    match scheme.to_ascii_lowercase().as_str() {
        "ws" => host_and_port(rest.strip_suffix('/').unwrap_or(rest)).map(Ok),
        "wss" => {
            Some(Err("a \"ws://\" address: TLS is not supported yet, let a proxy in front terminate it"))
        }
        "unix" if rest.starts_with('/') && rest.len() > 1 && !rest.contains('\0') => {
            Some(Ok(Place::Unix(PathBuf::from(rest))))
        }
        "unix" => Some(Err("an absolute path after \"unix://\", as in \"unix:///run/app.sock\"")),
        "fd" => rest.parse().ok().filter(|n| *n >= 0).map(|n| Ok(Place::Number(n))),
        _ => None,
    }
}

fn host_and_port(text: &str) -> Option<Place> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, rest)
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let digits = port.strip_prefix(':').filter(|p| p.bytes().all(|b| b.is_ascii_digit()))?;
    let port = digits.parse().ok()?;
    let named = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
    (!host.is_empty() && named).then(|| Place::Tcp { host: host.to_owned(), port })
}

impl Listen {
    /// What the core binds; a name is looked up, a descriptor duplicated. Throws BindException.
    pub(crate) fn open(&self) -> Result<Bind> {
        let bind = match &self.place {
            Place::Tcp { host, port } => resolve(host, *port).map(Bind::Tcp),
            Place::Unix(path) => Ok(Bind::Unix(path.clone())),
            Place::Number(number) => duplicate(*number).and_then(listening),
            Place::Owned(fd) => fd.try_clone().and_then(listening),
        };
        bind.map_err(|error| errors::bind(&self.text, &error))
    }
}

/// Refuses a descriptor that is not a listening socket, by the name that the user gave it.
fn listening(fd: OwnedFd) -> io::Result<Bind> {
    if rustix::net::sockopt::socket_acceptconn(&fd)? {
        Ok(Bind::Fd(fd))
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket does not listen"))
    }
}

/// The address of a host; of several the first, IPv4 before IPv6.
fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    let found: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    let first = found.iter().find(|a| a.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| io::Error::other("the name has no address"))
}

/// RFC 9110 section 5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
