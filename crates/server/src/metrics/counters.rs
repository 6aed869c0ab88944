//! Counters that all threads of a server increment and the host reads, without a request to the threads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::metrics::callback_times::{Handler, HandlerTimes};
use crate::metrics::single::Single;

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// The values of all counters at one moment: totals since the start, unless the field says otherwise.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[doc = $doc])* pub $name: u64,)*
            /// Connections that ended after they were open, by the code that the host received (RFC 6455
            /// section 7.1.5). The sum of these is `closed`.
            pub closes: BTreeMap<u16, u64>,
            /// Durations of the host's callbacks, by kind.
            pub handlers: HandlerTimes,
            /// Time at which the server was started, in seconds since 1970.
            pub started: u64,
        }

        impl Stats {
            /// Returns the name and value of each plain counter, in the order of declaration.
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

            /// Encodes all values as numbers, for transfer to another process.
            pub(crate) fn values(&self) -> Vec<u64> {
                let mut values = vec![$(self.$name,)* self.started];
                values.extend(self.handlers.values());
                values.extend(self.closes.iter().flat_map(|(code, n)| [u64::from(*code), *n]));
                values
            }

            /// Decodes the numbers that [`Stats::values`] of a process with the same [`Stats::layout`]
            /// returned; missing numbers are 0.
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

            /// Adds the counters of another process or thread.
            pub fn add(&mut self, other: &Self) {
                $(self.$name = self.$name.saturating_add(other.$name);)*
                for (code, n) in &other.closes {
                    *self.closes.entry(*code).or_default() += n;
                }
                self.handlers.add(&other.handlers);
                // The earlier start counts; the hub's own is 0.
                self.started = match (self.started, other.started) {
                    (0, started) | (started, 0) => started,
                    (one, other) => one.min(other),
                };
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
    /// Handshakes refused because of `max_connections` (503).
    refused_connections,
    /// Handshakes refused because of `max_connections_per_ip` (429).
    refused_per_ip,
    /// Handshakes refused because of their `Origin` (403).
    refused_origin,
    /// Handshakes rejected by the application.
    rejected,
    /// Requests that were malformed (400, 405, 426, 431 and the like).
    bad_requests,
    /// Handshakes that were not complete within `handshake_timeout`.
    handshake_timeouts,
    /// Most sockets without a WebSocket that may be open at a time.
    max_handshakes,
    /// Sockets without a WebSocket that were closed to make room for a newcomer.
    handshakes_displaced,
    /// Sockets closed at once because of `max_handshakes_per_ip`.
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
    /// Handshakes and plain requests refused because of `max_pending_total` (503).
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
    /// Connections closed with 1013 because the peer read too slowly.
    slow_closed,
    /// Connections closed because of a flood of frames that carry nothing (1008; over HTTP/2
    /// `ENHANCE_YOUR_CALM`), or because of too many requests that the client reset.
    flood_closed,
    /// Messages dropped because the peer read too slowly.
    slow_dropped,
    /// Messages not delivered because the application had closed their connection.
    undelivered,
    /// Payload bytes of messages not delivered.
    undelivered_bytes,
    /// Frames not written when their connection ended.
    unsent,
    /// Connections closed with 1009 because of a message that was too big.
    too_big,
    /// Connections closed with 1002 or 1007 because of a protocol error.
    protocol_errors,
    /// Connections that ended without a close frame.
    abnormal,
    /// Times reading of a socket was paused because its messages waited for the application.
    paused,
    /// Times the application had to wait for an I/O thread that was behind with deliveries, or for the hub.
    host_waits,
    /// Callbacks that ended with an exception.
    callback_errors,
    /// TLS handshakes that failed.
    tls_errors,
    /// Changed certificate files that could not be loaded.
    tls_reload_errors,
    /// Connections cut because of a PROXY header that is malformed or from an untrusted peer.
    proxy_errors,
    /// Log lines omitted because of the rate limit, or because too many waited for PHP.
    log_suppressed,
    /// Refused requests for which onRefused was not called, because too many waited for PHP.
    refused_unreported,
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
    /// Most publications that can have been lost with the connection to the hub: those that the hub had not
    /// confirmed.
    bus_lost,
    /// Workers' connections that the hub cut because the worker did not read.
    bus_cut,
    /// Connections to the hub that were cut because of malformed frames.
    bus_errors,
    /// Publications that were accepted but that the hub or the broker could not pass on.
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
    /// Publications that were accepted but that the broker did not carry out.
    broker_lost,
    /// Publications received from the broker a second time and ignored.
    broker_duplicates,
    /// Connections to the broker made after the first one.
    broker_reconnects,
    /// Topics whose history is kept in memory now.
    history_topics,
    /// Bytes of the histories kept in memory now.
    history_bytes,
}

impl Stats {
    /// Sets to 0 the values that describe a current state, for a server that has ended.
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

/// Key in [`Stats::closes`] for the codes that have no entry of their own.
pub const OTHER_CODES: u16 = 0;

/// Most codes received from peers that get an entry of their own, in addition to those of RFC 6455 section
/// 7.4.1 and its registry and those that the host uses. Entries are never removed, so without a limit peers
/// could fill the memory.
const MOST_CODES: usize = 64;

/// The number of connections that ended with each close code. Shared by all threads of a server.
#[derive(Debug, Default)]
pub(crate) struct Closes(Mutex<Codes>);

#[derive(Debug, Default)]
struct Codes {
    counts: BTreeMap<u16, u64>,
    /// Number of entries added for codes received from peers.
    from_peers: usize,
}

impl Closes {
    /// Counts the end of a connection with `code`.
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

    /// Creates an entry for a code that the host closes with, whatever peers have sent.
    pub(crate) fn expect(&self, code: u16) {
        if code >= 3000 {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).counts.entry(code).or_default();
        }
    }

    pub(crate) fn read(&self) -> BTreeMap<u16, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).counts.clone()
    }
}

/// Totals of the events that the host has taken from its queue. Separate from the shared counters, so that
/// the host and the I/O threads don't write to the same cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Taken {
    /// Messages taken.
    pub(crate) messages: Single,
    /// Payload bytes of these messages.
    pub(crate) bytes: Single,
    /// Connections whose end the host has taken.
    pub(crate) closes: Single,
    /// Messages taken but not delivered, because the host had already closed their connection.
    pub(crate) undelivered: Single,
    /// Payload bytes of the undelivered messages.
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
    fn stats_survive_encoding_and_add_up() {
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
    fn the_number_of_codes_from_peers_is_limited() {
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
