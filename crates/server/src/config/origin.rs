//! Origins of web pages: the `Origin` header (RFC 6454), and the patterns by which origins are admitted.

use std::fmt;

use sprocket_protocol::authority::{Authority, Host, default_port};

/// A parsed `Origin` header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `null`: an opaque origin, such as that of a local file or a sandboxed frame.
    Opaque,
    /// An origin with a scheme and an authority. The host is empty in `file://` and similar origins.
    Page { scheme: String, authority: Authority },
}

impl Origin {
    /// Parses a serialized origin (RFC 6454 section 6.2). One trailing slash, which React Native sends, is
    /// ignored. Returns `None` if the text violates the grammar.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "null" {
            return Some(Self::Opaque);
        }
        let (scheme, rest) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme))?;
        let scheme = scheme.to_ascii_lowercase();
        let authority = Authority::parse(rest.strip_suffix('/').unwrap_or(rest))?;
        let is_whole = if authority.host.is_empty() {
            default_port(&scheme).is_none() && authority.port.is_none()
        } else {
            true
        };
        is_whole.then_some(Self::Page { scheme, authority })
    }

    /// Whether the origin has the host and port of the `Host` header. Since a proxy may hide the scheme of
    /// the request, a `Host` with no port, with 80 or with 443 is taken to mean the default port of the
    /// origin's scheme.
    pub(crate) fn is_of(&self, host: &Authority) -> bool {
        let Self::Page { scheme, authority } = self else { return false };
        let Some(default) = default_port(scheme) else { return false };
        let port = authority.port.unwrap_or(default);
        let by_default = port == default && matches!(host.port, None | Some(80 | 443));
        !host.host.is_empty() && authority.host == host.host && (by_default || host.port == Some(port))
    }
}

/// Whether `text` is a scheme (RFC 3986 section 3.1).
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// A pattern of origins that [`Origins::List`](crate::Origins) admits.
#[derive(Clone, PartialEq, Eq)]
pub struct OriginPattern {
    /// The pattern as written, for `Debug`.
    text: Box<str>,
    page: PagePattern,
}

/// A parsed pattern.
#[derive(Clone, PartialEq, Eq)]
enum PagePattern {
    /// Matches `null`.
    Opaque,
    /// Matches origins with a scheme and an authority.
    Of {
        /// `None` matches any scheme.
        scheme: Option<String>,
        /// Without a port, this matches the default port of the scheme, or any port if `scheme` is `None`.
        authority: Authority,
        /// Whether the pattern matches all names below the host instead of the host itself.
        below: bool,
    },
}

impl OriginPattern {
    /// Parses a pattern, which has one of two forms:
    ///
    /// - an origin: `https://example.com`, `https://*.example.com:8443` (the asterisk stands for one or more
    ///   labels), `capacitor://localhost`, `file://`, `null`;
    /// - a host that matches with any scheme and, unless a port is given, with any port: `example.com`,
    ///   `*.example.com`, `example.com:8443`.
    ///
    /// One trailing slash is ignored. Returns `None` if the text is not a valid pattern.
    pub fn parse(text: &str) -> Option<Self> {
        let page = if text == "null" {
            PagePattern::Opaque
        } else {
            let (scheme, rest) = match text.split_once("://") {
                Some((scheme, rest)) => (Some(scheme).filter(|scheme| is_scheme(scheme))?.into(), rest),
                None => (None, text),
            };
            let scheme: Option<String> = scheme.map(str::to_ascii_lowercase);
            let rest = rest.strip_suffix('/').unwrap_or(rest);
            let name = rest.strip_prefix("*.");
            let below = name.is_some();
            let authority = Authority::parse(name.unwrap_or(rest))?;
            match &authority.host {
                Host::Name(host) if host.contains('*') => return None,
                // IP addresses have no names below them, so the last label must not be numeric.
                Host::Name(host) if below => {
                    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
                    if last.is_empty()
                        || host.starts_with(['.', '['])
                        || last.bytes().all(|b| b.is_ascii_digit())
                    {
                        return None;
                    }
                }
                Host::V6(_) if below => return None,
                host if host.is_empty() => {
                    scheme.as_deref().filter(|scheme| default_port(scheme).is_none())?;
                    if authority.port.is_some() {
                        return None;
                    }
                }
                _ => {}
            }
            PagePattern::Of { scheme, authority, below }
        };
        Some(Self { text: text.into(), page })
    }

    /// Whether the pattern matches an origin.
    pub(crate) fn admits(&self, origin: &Origin) -> bool {
        let (ours, theirs) = match (&self.page, origin) {
            (PagePattern::Opaque, Origin::Opaque) => return true,
            (
                PagePattern::Of { scheme, authority, below },
                Origin::Page { scheme: their_scheme, authority: theirs },
            ) => {
                let same_port = match scheme {
                    Some(scheme) if scheme != their_scheme => return false,
                    None if authority.port.is_none() => true,
                    _ => authority.port_for(their_scheme) == theirs.port_for(their_scheme),
                };
                if !same_port {
                    return false;
                }
                if !below {
                    return authority.host == theirs.host;
                }
                (&authority.host, &theirs.host)
            }
            _ => return false,
        };
        match (ours, theirs) {
            (Host::Name(ours), Host::Name(theirs)) => {
                let labels = theirs.strip_suffix(&**ours).and_then(|labels| labels.strip_suffix('.'));
                labels.is_some_and(|labels| !labels.is_empty())
            }
            _ => false,
        }
    }
}

impl fmt::Debug for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_parsed_according_to_the_grammar() {
        for text in [
            "https://example.com",
            "https://example.com/",
            "http://[::1]:8080",
            "null",
            "file://",
            "file:///",
            "capacitor://localhost",
            "chrome-extension://abcdef",
            "app://obsidian.md",
            "HTTPS://EXAMPLE.com",
        ] {
            assert!(Origin::parse(text).is_some(), "{text}");
        }
        for text in [
            "",
            "*",
            "example.com",
            "https://",
            "http:///",
            "https://a/b",
            "https://a//",
            "https://u@a",
            "https://a b",
            "://a",
            "1a://b",
            "a_b://c",
            "https://a:99999",
            "https://a?b",
            "file://:80",
            "NULL",
            "https://caf\u{e9}",
        ] {
            assert_eq!(Origin::parse(text), None, "{text}");
        }
    }

    #[test]
    fn same_host_compares_host_and_port() {
        for (origin, host, same) in [
            ("http://a.example", "a.example", true),
            ("https://a.example", "a.example", true),
            ("https://a.example:443", "a.example", true),
            ("https://a.example", "a.example:443", true),
            ("https://a.example", "A.EXAMPLE:80", true),
            ("http://a.example", "a.example:443", true),
            ("http://a.example:443", "a.example:443", true),
            ("http://a.example:443", "a.example", false),
            ("https://a.example:80", "a.example", false),
            ("http://a.example:8080", "a.example:8080", true),
            ("http://a.example:8080", "a.example", false),
            ("http://a.example", "a.example:8080", false),
            ("http://a.example.", "a.example", false),
            ("http://[::1]:8080", "[0:0:0:0:0:0:0:1]:8080", true),
            ("http://[::1]", "[::2]", false),
            ("capacitor://localhost", "localhost", false),
            ("null", "null", false),
            ("file://", "", false),
        ] {
            let (page, host) = (Origin::parse(origin).unwrap(), Authority::parse(host).unwrap());
            assert_eq!(page.is_of(&host), same, "{origin} {host:?}");
        }
    }

    #[test]
    fn a_pattern_admits_matching_origins_only() {
        for (pattern, origin, admitted) in [
            ("https://a.example", "https://a.example", true),
            ("https://a.example/", "https://A.example/", true),
            ("https://a.example:443", "https://a.example", true),
            ("https://a.example", "https://a.example:443", true),
            ("http://a.example:80", "http://a.example", true),
            ("https://a.example", "http://a.example", false),
            ("https://a.example", "https://a.example:444", false),
            ("https://a.example:444", "https://a.example:444", true),
            ("https://a.example", "https://b.a.example", false),
            ("a.example", "https://a.example:444", true),
            ("a.example", "capacitor://a.example", true),
            ("a.example:443", "https://a.example", true),
            ("a.example:443", "http://a.example", false),
            ("a.example:1", "https://a.example:444", false),
            ("a.example", "https://a.example.evil.example", false),
            ("https://*.a.example", "https://b.a.example", true),
            ("https://*.a.example", "https://c.b.a.example:443", true),
            ("https://*.a.example", "https://a.example", false),
            ("https://*.a.example", "https://.a.example", false),
            ("https://*.a.example", "https://xa.example", false),
            ("https://*.a.example", "https://b.a.example.evil", false),
            ("https://*.a.example", "http://b.a.example", false),
            ("https://*.a.example", "https://b.a.example:444", false),
            ("https://*.a.example:444", "https://b.a.example:444", true),
            ("*.a.example", "http://b.a.example:8080", true),
            ("https://[::1]", "https://[0::1]:443", true),
            ("file://", "file://", true),
            ("file://", "file:///", true),
            ("file://", "http://a.example", false),
            ("capacitor://localhost", "capacitor://localhost", true),
            ("capacitor://localhost", "http://localhost", false),
            ("null", "null", true),
            ("null", "http://null", false),
            ("a.example", "null", false),
        ] {
            let parsed = OriginPattern::parse(pattern).unwrap_or_else(|| panic!("{pattern}"));
            assert_eq!(parsed.admits(&Origin::parse(origin).unwrap()), admitted, "{pattern} {origin}");
        }
    }

    #[test]
    fn an_invalid_pattern_is_rejected() {
        for text in [
            "",
            "/",
            "https://",
            "https:///",
            "https://a/b",
            "https://*",
            "*",
            "*.",
            "https://a.*.example",
            "https://*a.example",
            "https://*.1.2.3",
            "*.[::1]",
            "https://u@a",
            "a b",
            "https://a:99999",
            "://a",
            "*.*.a",
            "*..a",
            "file://:1",
        ] {
            assert!(OriginPattern::parse(text).is_none(), "{text}");
        }
    }
}
