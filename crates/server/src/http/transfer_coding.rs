//! Checks the transfer codings of a request (RFC 9112 section 6.1).
//!
//! Hyper decodes `chunked`, and itself refuses a request whose last coding is another one. It passes on
//! a request with further codings before `chunked`, whose body the host would receive still coded.

use http::HeaderMap;
use http::header::TRANSFER_ENCODING;

use crate::http::refusal::{Cause, Refusal};

/// Checks that the only transfer coding of a request is `chunked`, applied once.
///
/// # Errors
/// A refusal with 501 for any other coding (RFC 9112 section 6.1), or with 400 if `chunked` is applied
/// more than once.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut chunked = 0;
    for value in headers.get_all(TRANSFER_ENCODING) {
        // Recipients ignore empty elements of a list (RFC 9110 section 5.6.1.2).
        let codings = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        for coding in codings.filter(|coding| !coding.is_empty()) {
            if !coding.eq_ignore_ascii_case(b"chunked") {
                let body = "The only transfer coding supported here is \"chunked\".";
                return Err(Refusal::new(Cause::Malformed, 501, body));
            }
            chunked += 1;
        }
    }
    if chunked > 1 {
        let body = "The transfer coding \"chunked\" must be applied only once.";
        return Err(Refusal::new(Cause::Malformed, 400, body));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn only_chunked_is_accepted_and_only_once() {
        for (values, refused) in [
            (&[][..], None),
            (&["chunked"], None),
            (&["Chunked"], None),
            (&[", chunked ,"], None),
            (&["gzip, chunked"], Some(501)),
            (&["gzip", "chunked"], Some(501)),
            (&["identity,chunked"], Some(501)),
            (&["chunked;q=1, chunked"], Some(501)),
            (&["\u{e9}, chunked"], Some(501)),
            (&["chunked, chunked"], Some(400)),
            (&["chunked", "chunked"], Some(400)),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(TRANSFER_ENCODING, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            let status = check(&headers).err().map(|refusal| refusal.response.status);
            assert_eq!(status, refused, "{values:?}");
        }
    }
}
