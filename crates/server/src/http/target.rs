//! What a request is addressed to: its target and its host, by their grammar (RFC 9112 section 3,
//! RFC 9113 section 8.3.1).
//!
//! Two kinds of malformed targets do not come here. The http crate, by which hyper and h2 parse targets,
//! cuts a fragment off, which RFC 9112 section 3.2 does not allow; to find it, the request lines of
//! pipelined requests would have to be parsed twice. No component of the URI depends on it. And a target
//! over HTTP/2 that the library cannot parse resets its stream with PROTOCOL_ERROR (RFC 9113
//! section 8.1.1).

use http::header::HOST;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Uri, Version};

use crate::config::authority::{Authority, default_port};

/// Headers of one request. Hyper reserves 64 bytes for each while it parses a head with many; a table of
/// PHP with so many names that are made to collide costs a millisecond.
pub(crate) const MAX_HEADERS: usize = 1024;

/// Checks the host and the target, and brings requests of every form and version into one shape: the
/// URI holds path and query alone, and `Host` names the authority of the target where that has one.
/// The error is a sentence for the response with 400.
///
/// A path may hold all that browsers send unencoded, which is more than RFC 3986 allows.
pub(crate) fn settle(parts: &mut Parts) -> Result<(), &'static str> {
    let host = host(parts)?;
    if parts.method == Method::CONNECT && parts.extensions.get::<h2::ext::Protocol>().is_none() {
        // Refused later: nothing is forwarded to the host that it names.
        return Ok(());
    }
    if let Some(authority) = parts.uri.authority() {
        // A request target such as `example.com:80` is for CONNECT.
        let scheme = parts.uri.scheme_str().ok_or(TARGET)?;
        default_port(scheme).ok_or("The scheme of the request target must be http, https, ws or wss.")?;
        let named = Authority::parse(authority.as_str()).filter(|named| !named.host.is_empty());
        let named = named.ok_or("The host that the request names is malformed.")?;
        // HTTP/1.1 demands that Host is ignored then (RFC 9112 section 3.2.2), HTTP/2 that both
        // agree.
        if parts.version == Version::HTTP_2
            && host.is_some_and(|host| {
                host.host != named.host || host.port_for(scheme) != named.port_for(scheme)
            })
        {
            return Err("The Host header and the :authority of the request differ.");
        }
        let value = HeaderValue::try_from(authority.as_str()).map_err(|_| TARGET)?;
        parts.headers.insert(HOST, value);
    } else if host.is_none() && parts.version >= Version::HTTP_11 {
        return Err("A request has one Host header.");
    }
    let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let is_absolute = parts.uri.scheme().is_some();
    match path {
        _ if path.starts_with('/') && !is_absolute => {}
        "*" if parts.method == Method::OPTIONS => parts.uri = Uri::from_static("*"),
        // An empty path stands for "/" (RFC 9110 section 4.2.3).
        _ if is_absolute && path.starts_with(['/', '?']) => {
            let slash = if path.starts_with('/') { "" } else { "/" };
            parts.uri = Uri::try_from(format!("{slash}{path}")).map_err(|_| TARGET)?;
        }
        _ => return Err(TARGET),
    }
    Ok(())
}

const TARGET: &str = "The request target must be a path or an absolute http URI.";

/// The value of the only `Host` header. It may be empty (RFC 9110 section 7.2).
fn host(parts: &Parts) -> Result<Option<Authority>, &'static str> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => Ok(None),
        (Some(host), None) => match host.to_str().ok().and_then(Authority::parse) {
            Some(host) => Ok(Some(host)),
            None => Err("The Host header is malformed."),
        },
        _ => Err("A request has one Host header."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, target: &str, hosts: &[&str], version: Version) -> Parts {
        let mut builder = http::Request::builder().method(method).uri(target).version(version);
        for host in hosts {
            builder = builder.header(HOST, *host);
        }
        builder.body(()).unwrap().into_parts().0
    }

    fn settled(method: &str, target: &str, hosts: &[&str], version: Version) -> Option<(String, String)> {
        let mut parts = request(method, target, hosts, version);
        settle(&mut parts).ok()?;
        let host = parts.headers.get(HOST).map_or("", |host| host.to_str().unwrap());
        Some((parts.uri.to_string(), host.to_owned()))
    }

    #[test]
    fn all_forms_of_a_target_become_one() {
        for (method, target, uri, host) in [
            ("GET", "/a?b=c", "/a?b=c", "h:8080"),
            ("GET", "//evil/x", "//evil/x", "h:8080"),
            ("GET", "http://other/a?b", "/a?b", "other"),
            ("GET", "HTTPS://other:1", "/", "other:1"),
            ("GET", "http://other?b", "/?b", "other"),
            ("GET", "ws://[::1]:1/x", "/x", "[::1]:1"),
            ("OPTIONS", "*", "*", "h:8080"),
        ] {
            let expected = Some((uri.to_owned(), host.to_owned()));
            assert_eq!(settled(method, target, &["h:8080"], Version::HTTP_11), expected, "{target}");
        }
        for target in ["a:443", "*", "ftp://a/x", "http://u:p@h:1/x", "http://a:99999/", "http://user@a/"] {
            assert_eq!(settled("GET", target, &["h"], Version::HTTP_11), None, "{target}");
        }
    }

    #[test]
    fn the_host_is_there_once_and_well_formed() {
        for (hosts, version, fine) in [
            (&["a"][..], Version::HTTP_11, true),
            (&[""], Version::HTTP_11, true),
            (&[], Version::HTTP_11, false),
            (&[], Version::HTTP_10, true),
            (&["a", "a"], Version::HTTP_11, false),
            (&["a b"], Version::HTTP_11, false),
            (&["a/b"], Version::HTTP_10, false),
            (&["u@a"], Version::HTTP_11, false),
            (&["a:port"], Version::HTTP_11, false),
            (&[], Version::HTTP_2, false),
            (&["a"], Version::HTTP_2, true),
        ] {
            assert_eq!(settled("GET", "/", hosts, version).is_some(), fine, "{hosts:?} {version:?}");
        }
        // Also where the target says it again.
        assert_eq!(settled("GET", "http://a/", &["a b"], Version::HTTP_11), None);
    }

    #[test]
    fn authority_and_host_agree_over_http_2() {
        for (target, host, same) in [
            ("https://a/", "a", true),
            ("https://a/", "A:443", true),
            ("https://a:443/", "a", true),
            ("http://a:80/", "a", true),
            ("https://a/", "a:80", false),
            ("https://a/", "b", false),
            ("https://[::1]/", "[0::1]:443", true),
            ("https://a/", "", false),
        ] {
            assert_eq!(settled("GET", target, &[host], Version::HTTP_2).is_some(), same, "{target} {host}");
        }
        assert_eq!(settled("GET", "https://a/x", &[], Version::HTTP_2), Some(("/x".into(), "a".into())));
    }
}
