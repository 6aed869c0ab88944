//! Counters that every thread adds to and the host reads without asking.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::metrics::callback_times::{Handler, HandlerTimes};
use crate::metrics::single::Single;

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// A reading of all counters, totals since start unless said otherwise.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[doc = $doc])* pub $name: u64,)*
            /// Connections that ended after they were open, by the code that the host was told
            /// (RFC 6455 section 7.1.5). Their sum is `closed`.
            pub closes: BTreeMap<u16, u64>,
            /// What the host's callbacks took, by their kind.
            pub handlers: HandlerTimes,
            /// When the server was started, in seconds since 1970.
            pub started: u64,
        }

        impl Stats {
            /// Name and value of each counter that is one number, in declaration order.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }

            /// A hash of the names behind the numbers that workers and their hub exchange, in order: two
            /// processes whose hashes differ would misread each other's counters.
            pub fn layout() -> u64 {
                let handlers = Handler::ALL.into_iter().map(Handler::name);
                let names = [$(stringify!($name),)* "started"].into_iter().chain(handlers);
                // FNV-1a; a NUL ends each name.
                names.flat_map(|name| name.bytes().chain([0])).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
                })
            }

            /// All of it as numbers, for the way to another process.
            pub(crate) fn values(&self) -> Vec<u64> {
                let mut values = vec![$(self.$name,)* self.started];
                values.extend(self.handlers.values());
                values.extend(self.closes.iter().flat_map(|(code, n)| [u64::from(*code), *n]));
                values
            }

            /// Reads what [`Stats::values`] of the same [`Stats::layout`] wrote; missing numbers are 0.
            pub(crate) fn from_values(values: &[u64]) -> Self {
                let mut from = values.iter().copied();
                let mut next = || from.next().unwrap_or(0);
                let mut stats = Self { $($name: next(),)* started: next(), ..Self::default() };
                stats.handlers = HandlerTimes::from_values(&mut next);
                while let (Some(code), Some(n)) = (from.next(), from.next()) {
                    stats.closes.insert(u16::try_from(code).unwrap_or(OTHER_CODES), n);
                }
                stats
            }

            /// Adds what another one counts.
            pub fn add(&mut self, other: &Self) {
                $(self.$name = self.$name.saturating_add(other.$name);)*
                for (code, n) in &other.closes {
                    *self.closes.entry(*code).or_default() += n;
                }
                self.handlers.add(&other.handlers);
                // The earlier one; the hub has none.
                self.started = match (self.started, other.started) {
                    (0, started) | (started, 0) => started,
                    (one, other) => one.min(other),
                };
            }

            /// What the counter of this name counts, in one sentence.
            pub fn describe(name: &str) -> &'static str {
                match name {
                    $(stringify!($name) => concat!($($doc,)*).trim_start(),)*
                    _ => "",
                }
            }
        }

        /// The live counters behind [`Stats`].
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub(crate) $name: AtomicU64,)* }

        impl Counters {
            pub(crate) fn read(&self) -> Stats {
                Stats { $($name: self.$name.load(Ordering::Relaxed),)* ..Stats::default() }
            }
        }
    };
}

counters! {
    /// Open WebSocket connections now.
    connections,
    /// Most connections that may be open at a time.
    max_connections,
    /// Handshakes in progress that have their place among `max_connections`; most wait for the application.
    handshakes,
    /// Sockets now in use for HTTP: handshakes, plain requests, and idle ones between requests.
    http_sockets,
    /// Sockets accepted.
    accepted,
    /// Failed accept() calls, usually because the descriptor limit was reached.
    accept_errors,
    /// Handshakes answered with 101.
    opened,
    /// Connections that ended after they were open.
    closed,
    /// Handshakes refused for `max_connections` (503).
    refused_connections,
    /// Handshakes refused for `max_connections_per_ip` (429).
    refused_per_ip,
    /// Handshakes refused for their `Origin` (403).
    refused_origin,
    /// Handshakes rejected by the application.
    rejected,
    /// Requests that were malformed (400, 405, 426, 431 and the like).
    bad_requests,
    /// Handshakes not complete within `handshake_timeout`.
    handshake_timeouts,
    /// Most sockets without a WebSocket that may be open at a time.
    max_handshakes,
    /// Sockets without a WebSocket that were closed to make room for a newcomer.
    handshakes_displaced,
    /// Sockets closed at once for `max_handshakes_per_ip`.
    handshakes_refused,
    /// Plain HTTP requests answered.
    http_requests,
    /// Streamed responses that are open now.
    streams,
    /// Responses streamed, open ones included.
    streams_begun,
    /// Streamed responses that ended early because the client left or took nothing for too long.
    streams_lost,
    /// Streamed responses cut because the client reads too slowly.
    streams_slow,
    /// Streamed responses cut by the application, or by the end of the server.
    streams_cut,
    /// Complete messages received.
    messages_in,
    /// Messages queued for sending; a published one counts once for each subscriber.
    messages_out,
    /// Messages received that now wait for the application.
    pending_messages,
    /// Payload bytes of the messages that wait for the application.
    pending_bytes,
    /// Bytes of everything that now waits for the application, as `max_pending_total` counts them: payloads,
    /// request heads, bodies, input held back, and a fixed cost for each event.
    pending_total,
    /// Times an I/O thread stopped reading because of `max_pending_total`.
    pending_full,
    /// Handshakes and plain requests refused for `max_pending_total` (503).
    refused_pending,
    /// Frames that now wait to be written to their sockets.
    waiting_frames,
    /// Bytes of waiting frames, and of other data sent to the same connections and to streamed responses.
    waiting_bytes,
    /// Topics and patterns with at least one subscriber now.
    topics,
    /// Calls of publish() and broadcast(), and publications of other processes.
    published,
    /// Connections to the publish socket now.
    publishers,
    /// Publications received on the publish socket.
    socket_published,
    /// Requests and connections refused on the publish socket.
    socket_refused,
    /// Payload bytes of messages received.
    bytes_in,
    /// Bytes written to sockets after the handshake, framing included.
    bytes_out,
    /// Keep-alive pings sent.
    pings,
    /// Connections ended because a ping was not answered in time.
    ping_timeouts,
    /// Connections cut because a close frame was not answered in time.
    close_timeouts,
    /// Connections closed with 1013 for reading too slowly.
    slow_closed,
    /// Connections closed for a flood of frames that carry nothing (1008; over HTTP/2
    /// `ENHANCE_YOUR_CALM`), or for too many requests that the client reset.
    flood_closed,
    /// Messages dropped because the peer reads too slowly.
    slow_dropped,
    /// Messages not delivered, because the application had closed their connection.
    undelivered,
    /// Payload bytes of messages not delivered.
    undelivered_bytes,
    /// Frames not written when their connection ended.
    unsent,
    /// Connections closed with 1009 for a message that was too big.
    too_big,
    /// Connections closed with 1002 or 1007 for a protocol error.
    protocol_errors,
    /// Connections that ended without a close frame.
    abnormal,
    /// Times reading of a socket was paused because its messages waited for the application.
    paused,
    /// Times the application had to wait for an I/O thread that was behind with deliveries.
    host_waits,
    /// Callbacks that ended with an exception.
    callback_errors,
    /// TLS handshakes that failed.
    tls_errors,
    /// Changed certificate files that could not be loaded.
    tls_reload_errors,
    /// Connections cut for a PROXY header that is malformed or from an untrusted peer.
    proxy_errors,
    /// Log lines omitted because of the rate limit, or because too many waited for PHP.
    log_suppressed,
    /// Refused requests for which onRefused was not called, because too many waited for PHP.
    refused_untold,
    /// Bytes of publications that now wait for the hub.
    bus_waiting_bytes,
    /// Publications handed to the hub for other workers and nodes.
    bus_sent,
    /// Publications received from the hub.
    bus_received,
    /// Publications refused because too much waited for the hub.
    bus_refused,
    /// Times the connection to the hub was lost, and with it what other workers published meanwhile.
    bus_lost_links,
    /// Upper bound of own publications that the hub had not handled when the connection was lost.
    bus_lost,
    /// Connections of workers that the hub has cut because the worker did not read.
    bus_cut,
    /// Connections to the hub that were cut for malformed frames.
    bus_errors,
    /// Accepted publications that the hub or the broker could not pass on.
    unpublished,
    /// 1 while the connection to the broker is up, 0 while it is down or without a broker.
    broker_connected,
    /// Bytes of publications that now wait for the broker.
    broker_waiting_bytes,
    /// Publications that the broker has confirmed.
    broker_published,
    /// Publications received from the broker.
    broker_received,
    /// Publications refused because too much waited for the broker.
    broker_refused,
    /// Accepted publications that the broker did not carry out.
    broker_lost,
    /// Publications received from the broker a second time and ignored.
    broker_duplicates,
    /// Connections to the broker made after the first one.
    broker_reconnects,
    /// Topics whose history is kept in memory now.
    history_topics,
    /// Bytes of these histories now.
    history_bytes,
}

impl Stats {
    /// Without what is a state and not a count: for a server that has ended.
    pub(crate) fn counts_only(self) -> Self {
        let mut handlers = self.handlers;
        handlers.running = 0;
        Self {
            connections: 0,
            max_connections: 0,
            handshakes: 0,
            http_sockets: 0,
            streams: 0,
            pending_messages: 0,
            pending_bytes: 0,
            pending_total: 0,
            waiting_frames: 0,
            waiting_bytes: 0,
            topics: 0,
            publishers: 0,
            history_topics: 0,
            history_bytes: 0,
            bus_waiting_bytes: 0,
            started: 0,
            handlers,
            ..self
        }
    }
}

/// Stands in [`Stats::closes`] for the codes that are not counted by themselves.
pub const OTHER_CODES: u16 = 0;

/// Codes of peers that are counted by themselves, beside those that RFC 6455 section 7.4.1 and
/// its registry name and those that the host uses. Each one is kept for good, and what a peer
/// sends must not fill the memory.
const MOST_CODES: usize = 64;

/// How often connections ended with which code.
#[derive(Debug, Default)]
pub(crate) struct Closes(Mutex<Codes>);

#[derive(Debug, Default)]
struct Codes {
    counts: BTreeMap<u16, u64>,
    /// How many of these were added for what a peer has sent.
    from_peers: usize,
}

impl Closes {
    /// A connection has ended with this code.
    pub(crate) fn count(&self, code: u16) {
        let mut codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Codes { counts, from_peers } = &mut *codes;
        let mut code = code;
        if !matches!(code, 1000..=1015) && !counts.contains_key(&code) {
            if *from_peers < MOST_CODES {
                *from_peers += 1;
            } else {
                code = OTHER_CODES;
            }
        }
        *counts.entry(code).or_default() += 1;
    }

    /// The host closes with this code: it is counted by itself, whatever peers have sent.
    pub(crate) fn expect(&self, code: u16) {
        if code >= 3000 {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).counts.entry(code).or_default();
        }
    }

    pub(crate) fn read(&self) -> BTreeMap<u16, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).counts.clone()
    }
}

/// What the host has taken of that which was received. Beside the shared counters, so that the
/// host and the I/O threads don't fight for the same piece of cache.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Taken {
    pub(crate) messages: Single,
    pub(crate) bytes: Single,
    /// Ends of connections.
    pub(crate) closes: Single,
    /// Messages taken that were not delivered, because the host had closed their connection.
    pub(crate) undelivered: Single,
    pub(crate) undelivered_bytes: Single,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn one(counter: &AtomicU64) {
        Self::add(counter, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_travel_as_numbers_and_add_up() {
        let closes = BTreeMap::from([(1000, 3), (4001, 1)]);
        let one = Stats { opened: 5, pending_bytes: 7, started: 99, closes, ..Stats::default() };
        assert_eq!(Stats::from_values(&one.values()), one);
        assert_eq!(Stats::from_values(&[]), Stats::default());
        let mut sum = Stats { started: 98, closes: BTreeMap::from([(1000, 1)]), ..Stats::default() };
        sum.add(&one);
        sum.add(&one);
        assert_eq!((sum.opened, sum.started, sum.closes[&1000], sum.closes[&4001]), (10, 98, 7, 2));
    }

    #[test]
    fn peers_can_not_add_codes_without_end() {
        let closes = Closes::default();
        closes.expect(4900);
        (3000..5000).for_each(|code| closes.count(code));
        closes.count(1000);
        let counts = closes.read();
        assert_eq!(counts.values().sum::<u64>(), 2001);
        assert_eq!(counts.len(), MOST_CODES + 3);
        assert_eq!(counts[&OTHER_CODES], 2000 - 1 - MOST_CODES as u64);
        assert_eq!((counts[&1000], counts[&4900]), (1, 1));
    }
}
