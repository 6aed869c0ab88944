//! Evaluates the preconditions of requests for a file (RFC 9110 section 13).

use http::{HeaderMap, HeaderName, header};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Modification times before this one are regarded as missing; they come from file systems without
/// times and from reproducible archives.
const EARLIEST: Duration = Duration::from_secs(2);
/// Age from which a file has a strong tag. A younger one may change again without a new modification
/// time, so its tag is weak.
const SETTLED: Duration = Duration::from_secs(2);

/// The validators of a file: what identifies its current state (RFC 9110 section 8.8).
#[derive(Debug)]
pub(crate) struct Validators {
    /// The entity tag; `None` without a modification time.
    tag: Option<String>,
    /// Modification time, in seconds since 1970.
    modified: Option<u64>,
}

/// The result of the preconditions of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The server sends the file.
    Proceed,
    /// The client already has the current state (304).
    NotModified,
    /// The client requires another state of the file (412).
    Failed,
}

impl Validators {
    /// Computes the validators of a file. `now`: the current time, against which the age of the file
    /// is measured.
    pub(crate) fn new(size: u64, modified: Option<SystemTime>, now: SystemTime) -> Self {
        let since = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).filter(|at| *at >= EARLIEST);
        let settled = modified.and_then(|at| now.duration_since(at).ok()).is_some_and(|age| age >= SETTLED);
        let weak = if settled { "" } else { "W/" };
        let tag = since.map(|at| format!("{weak}\"{size:x}-{:x}.{:x}\"", at.as_secs(), at.subsec_nanos()));
        Self { tag, modified: since.map(|at| at.as_secs()) }
    }

    /// The value of the `ETag` header.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Evaluates the preconditions of a GET or HEAD request in the order of RFC 9110 section 13.2.2.
    /// Dates that cannot be parsed are ignored.
    pub(crate) fn check(&self, request: &HeaderMap) -> Verdict {
        let matches = self.matches(request, &header::IF_MATCH, true);
        if !matches.unwrap_or_else(|| self.is_older(request, &header::IF_UNMODIFIED_SINCE).unwrap_or(true)) {
            return Verdict::Failed;
        }
        let known = self.matches(request, &header::IF_NONE_MATCH, false);
        if known.unwrap_or_else(|| self.is_older(request, &header::IF_MODIFIED_SINCE).unwrap_or(false)) {
            return Verdict::NotModified;
        }
        Verdict::Proceed
    }

    /// Whether the `Range` header of the request is honoured: if it has no `If-Range` header, or one
    /// that names the current state of the file (section 13.1.5).
    pub(crate) fn allow_range(&self, request: &HeaderMap) -> bool {
        let Some(value) = request.get(header::IF_RANGE) else { return true };
        let Ok(value) = value.to_str() else { return false };
        self.equals(value, true) || seconds(value).is_some_and(|at| Some(at) == self.modified)
    }

    /// Whether a header with a list of tags contains the file's. `None` if the request has no such
    /// header.
    fn matches(&self, request: &HeaderMap, name: &HeaderName, strong: bool) -> Option<bool> {
        request.get(name)?;
        let values = request.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
        Some(tags.any(|tag| tag == "*" || self.equals(tag, strong)))
    }

    /// Compares tags by strong or weak comparison (section 8.8.3.2).
    fn equals(&self, theirs: &str, strong: bool) -> bool {
        let Some(ours) = &self.tag else { return false };
        if strong {
            return ours == theirs && !ours.starts_with("W/");
        }
        let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
        opaque(ours) == opaque(theirs)
    }

    /// Whether the file was last modified no later than the date in a header. `None` without a valid
    /// date or a modification time.
    fn is_older(&self, request: &HeaderMap, name: &HeaderName) -> Option<bool> {
        let date = seconds(request.get(name)?.to_str().ok()?)?;
        Some(self.modified? <= date)
    }
}

/// Parses an HTTP date into seconds since 1970.
fn seconds(date: &str) -> Option<u64> {
    let date = httpdate::parse_http_date(date).ok()?;
    Some(date.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 1_000_000_000;

    fn validators(age: u64) -> Validators {
        let modified = UNIX_EPOCH + Duration::from_secs(AT);
        Validators::new(255, Some(modified), modified + Duration::from_secs(age))
    }

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    const BEFORE: &str = "Sun, 09 Sep 2001 01:46:39 GMT";
    const SAME: &str = "Sun, 09 Sep 2001 01:46:40 GMT";
    const TAG: &str = "\"ff-3b9aca00.0\"";
    const WEAK: &str = "W/\"ff-3b9aca00.0\"";

    #[test]
    fn preconditions_are_evaluated_in_the_order_of_the_rfc() {
        use Verdict::{Failed, NotModified, Proceed};
        for (request, expected) in [
            (&[][..], Proceed),
            (&[("if-match", TAG)], Proceed),
            (&[("if-match", "*")], Proceed),
            (&[("if-match", "\"a\""), ("if-match", TAG)], Proceed),
            (&[("if-match", "\"a\", \"b\"")], Failed),
            (&[("if-match", WEAK)], Failed),
            (&[("if-unmodified-since", SAME)], Proceed),
            (&[("if-unmodified-since", BEFORE)], Failed),
            (&[("if-unmodified-since", "yesterday")], Proceed),
            (&[("if-match", TAG), ("if-unmodified-since", BEFORE)], Proceed),
            (&[("if-none-match", TAG)], NotModified),
            (&[("if-none-match", WEAK)], NotModified),
            (&[("if-none-match", "*")], NotModified),
            (&[("if-none-match", "\"a\"")], Proceed),
            (&[("if-modified-since", SAME)], NotModified),
            (&[("if-modified-since", BEFORE)], Proceed),
            (&[("if-none-match", "\"a\""), ("if-modified-since", SAME)], Proceed),
            (&[("if-match", TAG), ("if-none-match", TAG)], NotModified),
            (&[("if-match", "\"a\""), ("if-none-match", TAG)], Failed),
        ] {
            assert_eq!(validators(10).check(&headers(request)), expected, "{request:?}");
        }
    }

    #[test]
    fn a_file_that_was_just_written_has_a_weak_tag() {
        let fresh = validators(0);
        assert_eq!((fresh.tag(), validators(10).tag()), (Some(WEAK), Some(TAG)));
        assert_eq!(fresh.check(&headers(&[("if-match", WEAK)])), Verdict::Failed);
        assert_eq!(fresh.check(&headers(&[("if-none-match", WEAK)])), Verdict::NotModified);
    }

    #[test]
    fn a_file_without_a_time_has_no_validators() {
        let none = Validators::new(255, Some(UNIX_EPOCH), SystemTime::now());
        assert_eq!(none.tag(), None);
        for (name, value) in
            [("if-modified-since", SAME), ("if-unmodified-since", BEFORE), ("if-none-match", TAG)]
        {
            assert_eq!(none.check(&headers(&[(name, value)])), Verdict::Proceed);
        }
        assert_eq!(none.check(&headers(&[("if-match", TAG)])), Verdict::Failed);
    }

    #[test]
    fn a_range_is_sent_only_if_the_state_is_the_same() {
        for (value, allowed) in [(TAG, true), (WEAK, false), (SAME, true), (BEFORE, false), ("\"a\"", false)]
        {
            assert_eq!(validators(10).allow_range(&headers(&[("if-range", value)])), allowed, "{value}");
        }
        assert!(validators(0).allow_range(&HeaderMap::new()));
    }
}
