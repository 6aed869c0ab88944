//! Counters that every thread adds to and the host reads without asking.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// A reading of all counters, totals since start unless said otherwise.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Stats { $($(#[doc = $doc])* pub $name: u64,)* }

        impl Stats {
            /// Name and value of each counter, in declaration order.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }

            /// The values alone, for the way to another process.
            pub(crate) fn values(&self) -> Vec<u64> {
                vec![$(self.$name,)*]
            }

            /// From there. What another version does not know is 0.
            pub(crate) fn from_values(values: &[u64]) -> Self {
                let mut values = values.iter().copied();
                Self { $($name: values.next().unwrap_or(0),)* }
            }

            /// Adds what another one counts.
            pub fn add(&mut self, other: &Self) {
                $(self.$name = self.$name.saturating_add(other.$name);)*
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
                Stats { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Open WebSocket connections now.
    connections,
    /// Sockets accepted.
    accepted,
    /// Failed `accept` calls (descriptors exhausted, mostly).
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
    /// Handshakes refused by the host.
    rejected,
    /// Requests that were malformed (400, 405, 426, 431 and the like).
    bad_requests,
    /// Handshakes not complete within `handshake_timeout`.
    handshake_timeouts,
    /// Plain HTTP requests answered.
    http_requests,
    /// Messages received whole.
    messages_in,
    /// Messages queued for sending; a published one counts once for each subscriber.
    messages_out,
    /// Topics and patterns with at least one subscriber now.
    topics,
    /// Calls of publish and broadcast, and publications of other processes.
    published,
    /// Connections to the publish socket now.
    publishers,
    /// Publications that came by the publish socket.
    socket_published,
    /// Requests and connections that were refused on the publish socket.
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
    /// Messages dropped because the peer reads too slowly.
    slow_dropped,
    /// Connections closed with 1009 for a message that was too big.
    too_big,
    /// Connections closed with 1002 or 1007 for a protocol error.
    protocol_errors,
    /// Connections that ended without a close frame.
    abnormal,
    /// Times a socket was not read because its messages waited for the host.
    paused,
    /// TLS handshakes that failed.
    tls_errors,
    /// Changes of certificate files that could not be taken over.
    tls_reload_errors,
    /// Connections ended for a PROXY header that is malformed or comes from a peer not trusted.
    proxy_errors,
    /// Publications handed to the hub for other workers and nodes.
    bus_sent,
    /// Publications that came from the hub.
    bus_received,
    /// Publications refused because too much waited for the hub.
    bus_refused,
    /// Times the connection to the hub was lost, and what other workers published meanwhile.
    bus_lost_links,
    /// Own publications, at most, that the hub had not dealt with when the connection was lost.
    bus_lost,
    /// Workers whose connection the hub has cut because they did not read.
    bus_cut,
    /// Connections to the hub that were ended for bytes that make no sense.
    bus_errors,
    /// Publications that were accepted, and that the hub or the broker could not pass on.
    unpublished,
    /// Topics whose history is kept in memory now.
    history_topics,
    /// Bytes of these histories now.
    history_bytes,
}

impl Stats {
    /// Without what is a state and not a count: for a server that has ended.
    pub(crate) fn counts_only(self) -> Self {
        Self { connections: 0, topics: 0, publishers: 0, history_topics: 0, history_bytes: 0, ..self }
    }
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn one(counter: &AtomicU64) {
        Self::add(counter, 1);
    }
}
