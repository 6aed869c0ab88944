//! Addresses to listen on: parsed from the constructor's argument, and opened for the core.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use ext_php_rs::types::{ZendHashTable, Zval};
use sprocket_server::{Authority, Bind, Listen as Core};

use crate::errors::{self, invalid_option};
use crate::zend::{Result, array_entries, descriptor_of, duplicate, socket_stream};

const ALLOWED: &str = "\"ws://HOST:PORT\", \"wss://HOST:PORT\", \"unix:///PATH\", \"fd://NUMBER\", \
    \"fd://systemd\", a listening stream or Socket, [SOCKET, \"SETTINGS\"], or a list of these";

/// One address to listen on, parsed but not opened.
pub(crate) struct Listen {
    /// As the user wrote it, for error messages.
    text: String,
    place: Place,
    settings: AddressSettings,
}

enum Place {
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
    Number(i32),
    /// All sockets passed by systemd, or those of one name.
    Systemd(Option<String>),
    Owned(OwnedFd),
}

/// The settings behind the question mark of an address.
#[derive(Clone, Copy, Default)]
struct AddressSettings {
    tls: bool,
    proxy_protocol: bool,
    reuse_port: bool,
    only_v6: bool,
    mode: Option<u32>,
    backlog: Option<i32>,
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
            Some(Ok((place, settings))) => {
                Ok(Listen { text: text.as_str().unwrap_or_default().to_owned(), place, settings })
            }
            Some(Err(allowed)) => Err(invalid_option("listen", value, allowed)),
            None => Err(invalid_option("listen", value, ALLOWED)),
        };
    }
    let (socket, query) = match value.array() {
        None => (value, ""),
        Some(table) => with_settings(table).ok_or_else(|| invalid_option("listen", value, ALLOWED))?,
    };
    let stream = socket_stream(socket)?;
    match descriptor_of(stream.as_ref().unwrap_or(socket)) {
        Some(Ok(fd)) => {
            let place = Place::Owned(fd);
            let settings =
                settings(query, &place).map_err(|allowed| invalid_option("listen", value, allowed))?;
            Ok(Listen { text: "the given socket".into(), place, settings })
        }
        Some(Err(error)) => Err(errors::bind("the given socket", &error)),
        None => Err(invalid_option("listen", value, ALLOWED)),
    }
}

/// A socket with settings beside it: `[$socket, 'tls']`.
fn with_settings(table: &ZendHashTable) -> Option<(&Zval, &str)> {
    let mut entries = array_entries(table).map(|(_, value)| value);
    let (socket, query) = (entries.next()?, entries.next()?);
    let query = query.zend_str()?.as_str().ok()?;
    entries.next().is_none().then_some((socket, query))
}

/// The error names the allowed forms.
fn url(text: &str) -> Option<std::result::Result<(Place, AddressSettings), &'static str>> {
    let (scheme, rest) = text.split_once("://")?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let scheme = scheme.to_ascii_lowercase();
    let place = match scheme.as_str() {
        "ws" | "wss" => host_and_port(rest.strip_suffix('/').unwrap_or(rest))?,
        "unix" if rest.starts_with('/') && rest.len() > 1 && !rest.contains('\0') => {
            Place::Unix(PathBuf::from(rest))
        }
        "unix" => return Some(Err("an absolute path after \"unix://\", as in \"unix:///run/app.sock\"")),
        "fd" => match rest.split_once('/').unwrap_or((rest, "")) {
            ("systemd", name) => Place::Systemd((!name.is_empty()).then(|| name.to_owned())),
            (number, "") => Place::Number(number.parse().ok().filter(|n| *n >= 0)?),
            _ => return None,
        },
        _ => return None,
    };
    Some(settings(query, &place).map(|mut settings| {
        settings.tls |= scheme == "wss";
        (place, settings)
    }))
}

/// Parses settings such as `proxyProtocol&mode=0660`; a name without a value stands for 1.
fn settings(query: &str, place: &Place) -> std::result::Result<AddressSettings, &'static str> {
    const ALLOWED: &str = "an address with only these settings, each at most once: \"proxyProtocol\"; with \
        ws:// and wss:// \"reusePort\" and \"ipv6Only\"; with unix:// \"mode=0660\"; with fd:// and with a \
        socket \"tls\"; with all others \"backlog=NUMBER\"";
    let mut settings = AddressSettings::default();
    let mut seen = Vec::new();
    let tcp = matches!(place, Place::Tcp { .. });
    let inherited = matches!(place, Place::Number(_) | Place::Systemd(_) | Place::Owned(_));
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, "1"));
        let flag = || match value {
            "1" => Ok(true),
            "0" => Ok(false),
            _ => Err(ALLOWED),
        };
        match name {
            _ if seen.contains(&name) => return Err(ALLOWED),
            "proxyProtocol" => settings.proxy_protocol = flag()?,
            "tls" if inherited => settings.tls = flag()?,
            "reusePort" if tcp => settings.reuse_port = flag()?,
            "ipv6Only" if tcp => settings.only_v6 = flag()?,
            "mode" if matches!(place, Place::Unix(_)) => {
                settings.mode = Some(
                    u32::from_str_radix(value, 8)
                        .ok()
                        .filter(|m| value.len() > 2 && *m <= 0o777)
                        .ok_or(ALLOWED)?,
                );
            }
            "backlog" if !inherited => {
                settings.backlog =
                    Some(value.parse().ok().filter(|n| (1..=65_535).contains(n)).ok_or(ALLOWED)?);
            }
            _ => return Err(ALLOWED),
        }
        seen.push(name);
    }
    Ok(settings)
}

/// The path of a Unix socket, which must be absolute and fit into `sun_path`.
pub(crate) fn socket_path(path: &str) -> Option<PathBuf> {
    /// Size of `sun_path` on Linux, without the terminating NUL.
    const LONGEST: usize = 107;
    let fits = (2..=LONGEST).contains(&path.len());
    (fits && path.starts_with('/') && !path.contains('\0')).then(|| PathBuf::from(path))
}

fn host_and_port(text: &str) -> Option<Place> {
    let (host, port) = Authority::parse(text)?.socket()?;
    Some(Place::Tcp { host, port: port? })
}

impl Listen {
    pub(crate) fn wants_tls(&self) -> bool {
        self.settings.tls
    }

    /// As the user wrote it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Builds the core's listener from a socket of this address that the master has opened.
    pub(crate) fn adopt(&self, socket: OwnedFd) -> Core {
        let AddressSettings { tls, proxy_protocol, .. } = self.settings;
        Core { name: Some(self.text.clone()), tls, proxy_protocol, ..Bind::Fd(socket).into() }
    }

    /// Builds the core's listeners: resolves names and duplicates descriptors. Throws BindException.
    pub(crate) fn open(&self) -> Result<Vec<Core>> {
        let binds = match &self.place {
            Place::Tcp { host, port } => resolve(host, *port).map(|address| vec![Bind::Tcp(address)]),
            Place::Unix(path) => Ok(vec![Bind::Unix(path.clone())]),
            Place::Number(number) => duplicate(*number).and_then(listening).map(|bind| vec![bind]),
            Place::Systemd(name) => systemd(name.as_deref()).and_then(|numbers| {
                numbers.into_iter().map(|number| duplicate(number).and_then(listening)).collect()
            }),
            Place::Owned(fd) => fd.try_clone().and_then(listening).map(|bind| vec![bind]),
        };
        let binds = binds.map_err(|error| errors::bind(&self.text, &error))?;
        let AddressSettings { tls, proxy_protocol, reuse_port, only_v6, mode, backlog } = self.settings;
        let listen = |bind| {
            // Errors name the address that a host name resolved to.
            let name = (!matches!(bind, Bind::Tcp(_))).then(|| self.text.clone());
            Core { bind, name, tls, proxy_protocol, reuse_port, only_v6, mode, backlog }
        };
        Ok(binds.into_iter().map(listen).collect())
    }
}

/// Numbers of the sockets that systemd has passed to this process (`sd_listen_fds(3)`), all of
/// them or those of one name.
fn systemd(name: Option<&str>) -> io::Result<Vec<i32>> {
    /// `SD_LISTEN_FDS_START`.
    const FIRST: i32 = 3;
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let none = |why: String| Err(io::Error::new(io::ErrorKind::NotFound, why));
    let here = std::process::id();
    match variable("LISTEN_PID").parse::<u32>() {
        Ok(pid) if pid == here => {}
        Ok(pid) => return none(format!("its sockets are for process {pid} (LISTEN_PID), this is {here}")),
        Err(_) => return none("no sockets were passed to this process (LISTEN_PID is not set)".to_owned()),
    }
    let count = variable("LISTEN_FDS").parse::<i32>().unwrap_or(0).clamp(0, 1024);
    let names = variable("LISTEN_FDNAMES");
    let names: Vec<&str> = names.split(':').collect();
    let numbers: Vec<i32> = (0..count)
        .filter(|n| name.is_none() || name == names.get(*n as usize).copied())
        .map(|n| FIRST + n)
        .collect();
    match name {
        _ if !numbers.is_empty() => Ok(numbers),
        Some(name) => none(format!("no socket named \"{name}\" was passed")),
        None => none("no sockets were passed (LISTEN_FDS)".to_owned()),
    }
}

/// Refuses a descriptor that is not a listening socket. The error has the user's name for it.
fn listening(fd: OwnedFd) -> io::Result<Bind> {
    if rustix::net::sockopt::socket_acceptconn(&fd)? {
        Ok(Bind::Fd(fd))
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket is not listening"))
    }
}

/// Resolves a host to its first address, IPv4 before IPv6.
fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    let found: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    let first = found.iter().find(|a| a.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| io::Error::other("the name resolves to no address"))
}

/// RFC 9110 section 5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
