//! Conditional requests for a file (RFC 9110 section 13).

use http::{HeaderMap, HeaderName, header};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Earlier times stand for none: file systems without times, and reproducible archives.
const EARLIEST: Duration = Duration::from_secs(2);
/// A file that was changed so recently may change again without a new time: its tag is weak.
const SETTLED: Duration = Duration::from_secs(2);

/// What identifies the state of a file.
#[derive(Debug)]
pub(crate) struct Validators {
    /// `None` without a time.
    tag: Option<String>,
    /// Seconds since 1970.
    modified: Option<u64>,
}

/// What the preconditions of a request lead to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The file is sent.
    Proceed,
    /// The client has it already (304).
    NotModified,
    /// The client wants another state of it (412).
    Failed,
}

impl Validators {
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

    /// Whether a `Range` of the request counts: without `If-Range`, or where that names this state
    /// of the file (section 13.1.5).
    pub(crate) fn allow_range(&self, request: &HeaderMap) -> bool {
        let Some(value) = request.get(header::IF_RANGE) else { return true };
        let Ok(value) = value.to_str() else { return false };
        self.equals(value, true) || seconds(value).is_some_and(|at| Some(at) == self.modified)
    }

    /// Whether a list of tags contains that of the file; `None` without such a header.
    fn matches(&self, request: &HeaderMap, name: &HeaderName, strong: bool) -> Option<bool> {
        request.get(name)?;
        let values = request.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
        Some(tags.any(|tag| tag == "*" || self.equals(tag, strong)))
    }

    /// Strong and weak comparison (section 8.8.3.2).
    fn equals(&self, theirs: &str, strong: bool) -> bool {
        let Some(ours) = &self.tag else { return false };
        if strong {
            return ours == theirs && !ours.starts_with("W/");
        }
        let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
        opaque(ours) == opaque(theirs)
    }

    /// Whether the file was not changed after a date; `None` without one.
    fn is_older(&self, request: &HeaderMap, name: &HeaderName) -> Option<bool> {
        let date = seconds(request.get(name)?.to_str().ok()?)?;
        Some(self.modified? <= date)
    }
}

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
    fn preconditions_are_evaluated_in_their_order() {
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
    fn without_a_time_there_is_nothing_to_compare() {
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
    fn a_range_goes_with_the_same_state_alone() {
        for (value, allowed) in [(TAG, true), (WEAK, false), (SAME, true), (BEFORE, false), ("\"a\"", false)]
        {
            assert_eq!(validators(10).allow_range(&headers(&[("if-range", value)])), allowed, "{value}");
        }
        assert!(validators(0).allow_range(&HeaderMap::new()));
    }
}
