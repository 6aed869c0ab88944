//! Formats the counters as text for Prometheus (exposition format 0.0.4).
//!
//! Names follow the conventions of Prometheus: base units, `_total` for counters, and one name with a label
//! for values that can be added up. `docs/metrics.md` explains them to operators.

use std::fmt::{Display, Write};

use crate::metrics::callback_times::BOUNDS;
use crate::metrics::counters::{OTHER_CODES, Stats};

/// Media type of the text.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A metric: one name, and one or several samples.
struct Family {
    /// The name without `sprocket_`. Ends with `_total` if and only if the metric is a counter.
    name: &'static str,
    help: &'static str,
    /// The label that distinguishes the samples; empty if there is only one sample.
    label: &'static str,
    samples: &'static [Sample],
}

/// The value of the label, and a function that returns the value of the sample.
type Sample = (&'static str, fn(&Stats) -> u64);

macro_rules! families {
    ($($name:literal $help:literal { $($label:ident $($value:literal $field:ident),+)? $(= $only:ident)? })*) => {
        /// All metrics that are plain numbers.
        const FAMILIES: &[Family] = &[$(Family {
            name: $name,
            help: $help,
            label: concat!($(stringify!($label))?),
            samples: &[$($(($value, |stats| stats.$field)),+)? $(("", |stats| stats.$only))?],
        },)*];

        /// The fields of [`Stats`] that these metrics show.
        #[cfg(test)]
        const SHOWN: &[&str] = &[$($($(stringify!($field),)+)? $(stringify!($only),)?)*];
    };
}

families! {
    "connections" "Open WebSocket connections." { = connections }
    "connections_max" "Most connections that may be open at a time." { = max_connections }
    "handshakes" "Handshakes in progress that have their place among maxConnections." { = handshakes }
    "handshakes_max" "Most sockets without a WebSocket that may be open at a time." { = max_handshakes }
    "http_sockets" "Sockets in use for HTTP: handshakes, plain requests, and idle ones between requests."
        { = http_sockets }
    "topics" "Topics and patterns with at least one subscriber." { = topics }
    "publishers" "Connections to the publish socket." { = publishers }
    "pending_messages" "Messages received that wait for PHP." { = pending_messages }
    "pending_bytes" "Payload bytes received that wait for PHP." { = pending_bytes }
    "pending_total_bytes" "Bytes of everything that waits for PHP, as maxPendingTotal counts them." { = pending_total }
    "waiting_frames" "Frames that wait to be written to their sockets." { = waiting_frames }
    "waiting_bytes" "Bytes that wait to be written to their sockets, framing included." { = waiting_bytes }
    "sockets_accepted_total" "Sockets accepted." { = accepted }
    "accept_errors_total" "Failed accept() calls, usually because the descriptor limit was reached." { = accept_errors }
    "connections_opened_total" "Handshakes answered with 101." { = opened }
    "handshakes_refused_total" "Well-formed handshakes that were refused." { reason
        "max_connections" refused_connections,
        "max_connections_per_ip" refused_per_ip,
        "origin" refused_origin,
        "callback" rejected
    }
    "overload_refusals_total" "Handshakes and plain requests refused because of maxPendingTotal (503)."
        { = refused_pending }
    "handshake_sockets_closed_total" "Sockets closed before a WebSocket began: to make room for a newcomer, or because \
        their address had too many." { reason
        "displaced" handshakes_displaced,
        "max_handshakes_per_ip" handshakes_refused
    }
    "bad_requests_total" "Malformed requests (400, 405, 426, 431 and the like)." { = bad_requests }
    "http_requests_total" "Plain HTTP requests answered." { = http_requests }
    "streams" "Streamed responses that are open." { = streams }
    "streams_total" "Responses streamed, open ones included." { = streams_begun }
    "streams_failed_total" "Streamed responses that ended early: the client left or took nothing for too long; it \
        read too slowly; or PHP, or the end of the server, cut them." { reason
        "client" streams_lost,
        "slow_consumer" streams_slow,
        "server" streams_cut
    }
    "timeouts_total" "Timeouts: of a request or of the decision of onUpgrade; of the answer to a ping; of the answer \
        to a close frame." { waiting_for
        "handshake" handshake_timeouts,
        "pong" ping_timeouts,
        "close" close_timeouts
    }
    "messages_received_total" "Complete messages received." { = messages_in }
    "messages_sent_total" "Messages queued for sending; a published one counts once for each subscriber."
        { = messages_out }
    "received_bytes_total" "Payload bytes of messages received." { = bytes_in }
    "sent_bytes_total" "Bytes written to sockets after the handshake, framing included." { = bytes_out }
    "messages_dropped_total" "Messages dropped: the receiver reads too slowly, or PHP had closed the connection \
        before the message arrived." { reason
        "slow_consumer" slow_dropped,
        "closed" undelivered
    }
    "dropped_bytes_total" "Payload bytes received and dropped because PHP had closed their connection."
        { = undelivered_bytes }
    "unsent_frames_total" "Frames not written when their connection ended." { = unsent }
    "publications_total" "Calls of publish() and broadcast(), and publications of other processes."
        { = published }
    "socket_publications_total" "Publications received on the publish socket." { = socket_published }
    "socket_refused_total" "Requests and connections refused on the publish socket."
        { = socket_refused }
    "pings_total" "Keep-alive pings sent." { = pings }
    "connections_failed_total" "Connections that the server ended because of the peer's behaviour." { reason
        "slow_consumer" slow_closed,
        "flood" flood_closed,
        "too_big" too_big,
        "protocol_error" protocol_errors
    }
    "connections_lost_total" "Connections that ended without a close frame." { = abnormal }
    "read_pauses_total" "Times reading of a socket was paused because its messages waited for PHP." { = paused }
    "pending_full_total" "Times an I/O thread stopped reading because of maxPendingTotal." { = pending_full }
    "publish_waits_total" "Times PHP had to wait for an I/O thread that was behind with deliveries, or for the hub."
        { = host_waits }
    "tls_errors_total" "TLS handshakes that failed." { = tls_errors }
    "tls_reload_errors_total" "Changed certificate files that could not be loaded." { = tls_reload_errors }
    "proxy_errors_total" "Connections cut because of a PROXY header that is malformed or from an untrusted peer."
        { = proxy_errors }
    "log_suppressed_total" "Log lines omitted because of the rate limit, or because too many waited for PHP."
        { = log_suppressed }
    "refused_unreported_total" "Refused requests for which onRefused was not called, because too many \
     waited for PHP."
        { = refused_unreported }
    "bus_waiting_bytes" "Bytes of publications that wait for the hub." { = bus_waiting_bytes }
    "bus_sent_total" "Publications handed to the hub for other workers and nodes." { = bus_sent }
    "bus_received_total" "Publications received from the hub." { = bus_received }
    "bus_links_lost_total" "Times a worker lost its connection to the hub, and with it what others published meanwhile." { = bus_lost_links }
    "bus_links_cut_total" "Workers' connections that the hub cut because the worker did not read." { = bus_cut }
    "bus_errors_total" "Connections to the hub that were cut because of malformed frames." { = bus_errors }
    "publications_lost_total" "Publications that did not reach other workers or nodes: refused because too much \
        waited for the hub; possibly lost with the connection to it; not passed on by it or by the broker." { reason
        "refused" bus_refused,
        "link" bus_lost,
        "hub" unpublished
    }
    "broker_connected" "1 while the connection to the broker is up." { = broker_connected }
    "broker_waiting_bytes" "Bytes of publications that wait for the broker." { = broker_waiting_bytes }
    "broker_published_total" "Publications that the broker has confirmed." { = broker_published }
    "broker_received_total" "Publications received from the broker." { = broker_received }
    "broker_failed_total" "Publications that did not reach the broker: refused because too much waited, or accepted \
        and not carried out." { reason
        "refused" broker_refused,
        "lost" broker_lost
    }
    "broker_duplicates_total" "Publications received from the broker a second time and ignored." { = broker_duplicates }
    "broker_reconnects_total" "Connections to the broker made after the first one." { = broker_reconnects }
    "history_topics" "Topics whose history is kept in memory." { = history_topics }
    "history_bytes" "Bytes of the histories kept in memory." { = history_bytes }
    "callback_errors_total" "Callbacks that ended with an exception." { = callback_errors }
}

/// Formats all metrics, each with its help text and type. For a node with several workers `stats` is the sum
/// over them, because a scrape reaches any one of them.
pub(crate) fn text(stats: &Stats, workers: usize) -> String {
    let mut page = Page { out: String::with_capacity(16 << 10) };
    page.begin("info", "gauge", "Version of the server.");
    page.sample("info", &[("version", &env!("CARGO_PKG_VERSION"))], 1);
    page.begin("start_time_seconds", "gauge", "When the server was started, in seconds since 1970.");
    page.sample("start_time_seconds", &[], stats.started);
    page.begin("workers", "gauge", "Processes that serve connections.");
    page.sample("workers", &[], workers);
    for family in FAMILIES {
        let counter = family.name.ends_with("_total");
        page.begin(family.name, if counter { "counter" } else { "gauge" }, family.help);
        for (label, value) in family.samples {
            let labels: &[(&str, &dyn Display)] =
                if family.label.is_empty() { &[] } else { &[(family.label, label)] };
            page.sample(family.name, labels, value(stats));
        }
    }
    page.closes(stats);
    page.callbacks(stats);
    page.out
}

/// The text under construction.
struct Page {
    out: String,
}

// Writing to a string cannot fail.
impl Page {
    /// Writes the help text and the type of a metric.
    fn begin(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.out, "# HELP sprocket_{name} {help}\n# TYPE sprocket_{name} {kind}");
    }

    /// Writes one sample. The labels need no escaping, because they contain only names defined here.
    fn sample(&mut self, name: &str, labels: &[(&str, &dyn Display)], value: impl Display) {
        let _ = write!(self.out, "sprocket_{name}");
        let mut before = '{';
        for (label, of) in labels {
            let _ = write!(self.out, "{before}{label}=\"{of}\"");
            before = ',';
        }
        let _ = writeln!(self.out, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// Writes the numbers of closed connections by code.
    fn closes(&mut self, stats: &Stats) {
        const NAME: &str = "closes_total";
        /// Codes that are always shown: `rate()` needs a sample with 0 before the first event.
        const ALWAYS: [u16; 8] = [1000, 1001, 1002, 1005, 1006, 1009, 1011, 1013];
        self.begin(
            NAME,
            "counter",
            "Connections that ended after they were open, by the code that onClose gets.",
        );
        let mut closes = stats.closes.clone();
        for code in ALWAYS {
            closes.entry(code).or_default();
        }
        for (code, n) in closes {
            let code: &dyn Display = if code == OTHER_CODES { &"other" } else { &code };
            self.sample(NAME, &[("code", code)], n);
        }
    }

    /// Writes the durations of callbacks.
    fn callbacks(&mut self, stats: &Stats) {
        const RUNNING: &str = "callback_running_seconds";
        self.begin(RUNNING, "gauge", "How long the callback that runs now has been running.");
        self.sample(RUNNING, &[], stats.handlers.running as f64 / 1e9);
        self.begin("callback_seconds", "histogram", "How long callbacks took, by what they are for.");
        for (handler, time) in stats.handlers.iter() {
            let mut sum = 0;
            let name = handler.name();
            let bounds = BOUNDS.iter().map(|(_, le)| *le).chain(["+Inf"]);
            for (le, n) in bounds.zip(time.buckets) {
                sum += n;
                self.sample("callback_seconds_bucket", &[("callback", &name), ("le", &le)], sum);
            }
            self.sample("callback_seconds_sum", &[("callback", &name)], time.seconds());
            self.sample("callback_seconds_count", &[("callback", &name)], sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_counter_is_shown_once() {
        // `closed` is shown as `closes_total`, by code.
        let shown: BTreeSet<_> = SHOWN.iter().copied().chain(["closed"]).collect();
        assert_eq!(shown.len(), SHOWN.len() + 1);
        assert_eq!(shown, Stats::default().iter().map(|(name, _)| name).collect());
    }
}
