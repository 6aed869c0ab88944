//! Checks the target and the host of a request by their grammar (RFC 9112 section 3, RFC 9113 section
//! 8.3.1).
//!
//! Two kinds of malformed targets are not detected here. The http crate, with which hyper and h2
//! parse targets, cuts off a fragment, although RFC 9112 section 3.2 forbids fragments.
//! [`request_line`](crate::http::request_line) detects one in the first request of a connection, which
//! a WebSocket handshake usually is. In later requests it would have to parse the heads of pipelined
//! requests twice, and h2 parses `:path` before this server sees it; no other component of the URI
//! depends on the fragment. Over HTTP/2, h2 itself resets the stream of a target that it cannot parse,
//! with PROTOCOL_ERROR (RFC 9113 section 8.1.1).

use http::header::HOST;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Uri, Version};

use sprocket_protocol::authority::{Authority, default_port};

/// Most headers of a request. Hyper reserves 64 bytes for each while it parses a head with many
/// headers, and a PHP array with this many names that collide costs a millisecond.
pub(crate) const MAX_HEADERS: usize = 1024;

/// Checks the host and the target, and brings requests of every form and version into one shape: the
/// URI holds only path and query, and `Host` holds the authority of the target where the target has
/// one.
///
/// A path may contain all characters that browsers send unencoded, which is more than RFC 3986
/// allows.
///
/// # Errors
/// A sentence for the body of a response with status 400.
pub(crate) fn settle(parts: &mut Parts) -> Result<(), &'static str> {
    let host = host(parts)?;
    if parts.method == Method::CONNECT && parts.extensions.get::<h2::ext::Protocol>().is_none() {
        // `examine` refuses this request: the server forwards nothing to the host that it names.
        return Ok(());
    }
    if let Some(authority) = parts.uri.authority() {
        // Only CONNECT has a target without a scheme, such as `example.com:80`.
        let scheme = parts.uri.scheme_str().ok_or(TARGET)?;
        default_port(scheme).ok_or("The scheme of the request target must be http, https, ws or wss.")?;
        let named = Authority::parse(authority.as_str()).filter(|named| !named.host.is_empty());
        let named = named.ok_or("The host that the request names is malformed.")?;
        // HTTP/1.1 requires that Host is ignored in this case (RFC 9112 section 3.2.2); HTTP/2
        // requires that both agree.
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
        return Err("A request must have exactly one Host header.");
    }
    let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let is_absolute = parts.uri.scheme().is_some();
    match path {
        _ if path.starts_with('/') && !is_absolute => {}
        "*" if parts.method == Method::OPTIONS => parts.uri = Uri::from_static("*"),
        // An empty path is equivalent to "/" (RFC 9110 section 4.2.3).
        _ if is_absolute && path.starts_with(['/', '?']) => {
            let slash = if path.starts_with('/') { "" } else { "/" };
            parts.uri = Uri::try_from(format!("{slash}{path}")).map_err(|_| TARGET)?;
        }
        _ => return Err(TARGET),
    }
    Ok(())
}

const TARGET: &str = "The request target must be a path or an absolute http URI.";

/// Parses the only `Host` header. Its value may be empty (RFC 9110 section 7.2).
fn host(parts: &Parts) -> Result<Option<Authority>, &'static str> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => Ok(None),
        (Some(host), None) => match host.to_str().ok().and_then(Authority::parse) {
            Some(host) => Ok(Some(host)),
            None => Err("The Host header is malformed."),
        },
        _ => Err("A request must have exactly one Host header."),
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
    fn all_forms_of_a_target_become_a_path_with_a_host() {
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
    fn a_request_has_one_well_formed_host() {
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
        // A malformed Host is refused even if the target replaces it.
        assert_eq!(settled("GET", "http://a/", &["a b"], Version::HTTP_11), None);
    }

    #[test]
    fn authority_and_host_must_agree_over_http_2() {
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
