//! The address of a broker, as users write it.

use percent_encoding::percent_decode_str;
use sprocket_protocol::authority::Authority;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::error::BrokerUrlError;

/// The allowed forms, for error messages.
const FORMS: &str =
    "\"redis://HOST\", \"rediss://HOST\", \"redis+unix:///PATH\", \"nats://HOST\" or \"tls://HOST\"";

/// The protocol of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerKind {
    /// Redis 6 or later, or a server with the same protocol (Valkey, KeyDB).
    Redis,
    /// NATS 2.2 or later.
    Nats,
}

/// The address of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// User and password, or one of them. `Debug` does not show them.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// A checked address: `SCHEME://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE][?SETTINGS]`.
///
/// `nats://` and `tls://` accept several hosts, separated by commas, and a token instead of user and
/// password. Settings are `timeout` (seconds), and for TLS `ca`, `cert` and `key` (files).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    pub(crate) kind: BrokerKind,
    pub(crate) places: Vec<Place>,
    pub(crate) credentials: Credentials,
    pub(crate) database: u32,
    /// Whether the scheme demands TLS.
    pub(crate) tls: bool,
    /// PEM file of the CA certificates that are trusted instead of the system's.
    pub(crate) ca: Option<PathBuf>,
    /// PEM files of the client certificate and its key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    /// The setting `timeout`.
    pub(crate) timeout: Option<Duration>,
    shown: String,
}

impl BrokerUrl {
    /// Default of the setting `timeout`: how long a broker may be silent, and how long connecting may
    /// take.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// Parses an address.
    ///
    /// # Errors
    /// Some part is missing or not allowed; the error names it and what is allowed.
    pub fn parse(text: &str) -> Result<Self, BrokerUrlError> {
        let shown = redacted(text);
        let bad = |part: &str, allowed: &str| BrokerUrlError {
            value: shown.clone(),
            part: part.to_owned(),
            allowed: allowed.to_owned(),
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("it", FORMS))?;
        let (kind, tls, unix) = match scheme {
            "redis" => (BrokerKind::Redis, false, false),
            "rediss" => (BrokerKind::Redis, true, false),
            "redis+unix" => (BrokerKind::Redis, false, true),
            "nats" => (BrokerKind::Nats, false, false),
            "tls" => (BrokerKind::Nats, true, false),
            _ => return Err(bad("the scheme", FORMS)),
        };
        let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, query)| (rest, query));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (userinfo, hosts) = match authority.rsplit_once('@') {
            Some((userinfo, hosts)) => (Some(userinfo), hosts),
            None => (None, authority),
        };
        let credentials = credentials(userinfo, kind)
            .ok_or_else(|| bad("the user or password", "percent-encoded UTF-8 without control characters"))?;
        let mut url = Self {
            kind,
            places: Vec::new(),
            credentials,
            database: 0,
            tls,
            ca: None,
            identity: None,
            timeout: None,
            shown: shown.clone(),
        };
        if unix {
            let path = decoded(path).filter(|path| path.len() > 1 && path.len() <= 107 && hosts.is_empty());
            let path = path.ok_or_else(|| bad("the path", "an absolute one of at most 107 bytes"))?;
            url.places.push(Place::Unix(path.into()));
        } else {
            url.places = places(hosts, kind).ok_or_else(|| {
                bad(
                    "the host",
                    "HOST, HOST:PORT (1 to 65535) or [IPv6]:PORT; for NATS also several, separated by commas",
                )
            })?;
            match path.strip_prefix('/').unwrap_or(path) {
                "" => {}
                number if kind == BrokerKind::Redis => {
                    url.database = number
                        .parse()
                        .map_err(|_| bad("the path", "the number of a database, as in redis://HOST/2"))?;
                }
                _ => return Err(bad("the path", "empty")),
            }
        }
        url.settings(query, unix, &bad)?;
        Ok(url)
    }

    fn settings(
        &mut self,
        query: &str,
        unix: bool,
        bad: &dyn Fn(&str, &str) -> BrokerUrlError,
    ) -> Result<(), BrokerUrlError> {
        let (mut cert, mut key) = (None, None);
        for setting in query.split('&').filter(|s| !s.is_empty()) {
            let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
            let value = decoded(value).ok_or_else(|| bad(name, "percent-encoded UTF-8"))?;
            let file = || {
                let absolute = value.starts_with('/') && self.tls;
                absolute
                    .then(|| PathBuf::from(&value))
                    .ok_or_else(|| bad(name, "the absolute path of a PEM file, with rediss:// or tls://"))
            };
            match name {
                "timeout" => {
                    let seconds = value.parse::<f64>().ok().filter(|s| (0.1..=300.0).contains(s));
                    let seconds = seconds.ok_or_else(|| bad(name, "0.1 to 300 seconds"))?;
                    self.timeout = Some(Duration::from_secs_f64(seconds));
                }
                "ca" => self.ca = Some(file()?),
                "cert" => cert = Some(file()?),
                "key" => key = Some(file()?),
                "db" if unix => {
                    self.database = value.parse().map_err(|_| bad(name, "the number of a database"))?;
                }
                _ => {
                    return Err(bad(
                        &format!("the setting {name:?}"),
                        "timeout, ca, cert or key; db for redis+unix",
                    ));
                }
            }
        }
        self.identity = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (Some(cert), None) => Some((cert.clone(), cert)),
            (None, Some(_)) => return Err(bad("key", "given together with cert")),
            (None, None) => None,
        };
        Ok(())
    }

    /// The protocol of the broker.
    pub fn kind(&self) -> BrokerKind {
        self.kind
    }

    pub(crate) fn patience(&self) -> Duration {
        self.timeout.unwrap_or(Self::TIMEOUT)
    }
}

impl fmt::Display for BrokerUrl {
    /// Writes the address without its password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Hides everything before the last `@` of the authority: a token stands alone and is secret, too.
fn redacted(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.chars().take(200).collect() };
    let (rest, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
    // The last `@` of all, because an unencoded password may contain a slash.
    let shown = match rest.rsplit_once('@') {
        Some((_, place)) => format!("{scheme}://…@{place}{query}"),
        None => text.to_owned(),
    };
    shown.chars().take(200).collect()
}

fn credentials(userinfo: Option<&str>, kind: BrokerKind) -> Option<Credentials> {
    let Some(userinfo) = userinfo else { return Some(Credentials::default()) };
    let part = |text: &str| {
        let plain = decoded(text).filter(|plain| !plain.chars().any(char::is_control))?;
        Some((!plain.is_empty()).then_some(plain))
    };
    Some(match userinfo.split_once(':') {
        Some((user, password)) => Credentials { user: part(user)?, password: part(password)? },
        // NATS: a single word is a token.
        None if kind == BrokerKind::Nats => Credentials { user: None, password: part(userinfo)? },
        None => Credentials { user: part(userinfo)?, password: None },
    })
}

fn places(hosts: &str, kind: BrokerKind) -> Option<Vec<Place>> {
    let port = if kind == BrokerKind::Redis { 6379 } else { 4222 };
    let places = hosts.split(',').map(|host| place(host, port)).collect::<Option<Vec<_>>>()?;
    (places.len() == 1 || (kind == BrokerKind::Nats && places.len() <= 64)).then_some(places)
}

fn place(text: &str, default: u16) -> Option<Place> {
    let (host, port) = Authority::parse(text)?.socket()?;
    let port = port.unwrap_or(default);
    (port > 0).then_some(Place::Tcp { host, port })
}

/// Decodes percent-encoding (RFC 3986 section 2.1). `None` if it is malformed, contains a NUL, or does
/// not result in UTF-8.
fn decoded(text: &str) -> Option<String> {
    let is_sound =
        |rest: &str| matches!(rest.as_bytes(), [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit());
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    (text.split('%').skip(1).all(is_sound) && !decoded.contains('\0')).then(|| decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> BrokerUrl {
        BrokerUrl::parse(text).unwrap_or_else(|error| panic!("{error}"))
    }

    fn tcp(host: &str, port: u16) -> Place {
        Place::Tcp { host: host.to_owned(), port }
    }

    fn secret(user: Option<&str>, password: Option<&str>) -> Credentials {
        Credentials { user: user.map(str::to_owned), password: password.map(str::to_owned) }
    }

    #[test]
    fn addresses_are_taken_apart() {
        let url = parse("redis://localhost");
        assert_eq!(
            (url.kind, &url.places[..], url.tls),
            (BrokerKind::Redis, &[tcp("localhost", 6379)][..], false)
        );
        assert_eq!(url.patience(), BrokerUrl::TIMEOUT);
        let url = parse("rediss://us%65r:p%40ss:w@[::1]:1/3?timeout=0.5&ca=/ca%20.pem&cert=/c.pem");
        assert_eq!((&url.places[..], url.database, url.tls), (&[tcp("::1", 1)][..], 3, true));
        assert_eq!(url.credentials, secret(Some("user"), Some("p@ss:w")));
        assert_eq!((url.ca.clone(), url.patience()), (Some("/ca .pem".into()), Duration::from_millis(500)));
        assert_eq!(url.identity, Some(("/c.pem".into(), "/c.pem".into())));
        assert_eq!(parse("redis://:pw@h").credentials, secret(None, Some("pw")));
        assert_eq!(parse("redis://user@h/").credentials, secret(Some("user"), None));
        let url = parse("redis+unix://:pw@/run/redis.sock?db=2");
        assert_eq!((&url.places[..], url.database), (&[Place::Unix("/run/redis.sock".into())][..], 2));
        assert_eq!(parse("redis://H:").places, [tcp("h", 6379)]);
        let url = parse("nats://token@a,b:5");
        assert_eq!((url.kind, &url.places[..]), (BrokerKind::Nats, &[tcp("a", 4222), tcp("b", 5)][..]));
        assert_eq!(url.credentials, secret(None, Some("token")));
        assert!(parse("tls://u:p@h").tls);
    }

    #[test]
    fn errors_name_the_invalid_part() {
        for (text, part) in [
            ("localhost:6379", "it"),
            ("http://h", "the scheme"),
            ("redis://", "the host"),
            ("redis://h:0", "the host"),
            ("redis://h:65536", "the host"),
            ("redis://h:+1", "the host"),
            ("redis://h%41", "the host"),
            ("redis://a,b", "the host"),
            ("redis://[h]:1", "the host"),
            ("redis://a b", "the host"),
            ("redis://h/x", "the path"),
            ("nats://h/1", "the path"),
            ("redis+unix://h/p", "the path"),
            ("redis+unix://", "the path"),
            ("redis://u:%zz@h", "the user or password"),
            ("redis://u:%0a@h", "the user or password"),
            ("redis://h?timeout=0", "timeout"),
            ("redis://h?timeout=NaN", "timeout"),
            ("redis://h?ca=/x", "ca"),
            ("rediss://h?ca=x", "ca"),
            ("rediss://h?key=/x", "key"),
            ("redis://h?db=1", "the setting \"db\""),
            ("redis://h?verify=no", "the setting \"verify\""),
        ] {
            let error = BrokerUrl::parse(text).expect_err(text);
            assert_eq!(error.part, part, "{error}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for text in
            ["redis://u:secret@h:x", "nats://secret@h/x", "redis://u:sec/secret@h:1/y", "redis://u:secret@h"]
        {
            let shown = BrokerUrl::parse(text)
                .map_or_else(|e| e.to_string(), |url| format!("{url} {:?}", url.credentials));
            assert!(!shown.contains("secret"), "{shown}");
        }
    }
}
