//! Peers that close their sending direction and continue to read: by FIN, by `close_notify` of TLS, or
//! by both.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

#[path = "support/secure.rs"]
mod secure;
mod support;

use bytes::Bytes;
use secure::*;
use sprocket_server::{Config, Event, Interest, Response, SendOutcome, Server, Tls};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;
use support::*;

const NEVER: Duration = Duration::from_secs(60);
/// Larger than the kernel's buffers for a peer that does not read, in bytes.
const LARGE: usize = 16 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    /// FIN, without TLS.
    Plain,
    /// `close_notify`; the socket stays open.
    Notify,
    /// FIN without `close_notify`.
    Fin,
    /// FIN after `close_notify`.
    Both,
}

const ALL: [Half; 4] = [Half::Plain, Half::Notify, Half::Fin, Half::Both];

/// A server and the means to connect to it.
struct Site {
    half: Half,
    server: Server,
    address: SocketAddr,
    ca: Authority,
    _folder: Folder,
}

trait Peer: Read + Write + Send {
    fn end(&mut self, half: Half);
}

impl Peer for std::net::TcpStream {
    fn end(&mut self, _: Half) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl Peer for Secure {
    fn end(&mut self, half: Half) {
        if half != Half::Fin {
            self.conn.send_close_notify();
            self.flush().unwrap();
        }
        if half != Half::Notify {
            self.sock.shutdown(Shutdown::Write).unwrap();
        }
    }
}

impl Site {
    fn new(half: Half, name: &str, config: Config) -> Self {
        let (folder, ca) = (Folder::new(&format!("{name}-{half:?}")), Authority::new());
        let config = Config { send_buffer_limit: 3 * LARGE, ..config };
        let (server, address) = match half {
            Half::Plain => start(config),
            _ => serve(Tls::new(ca.identity(&folder, "localhost")), config),
        };
        Self { half, server, address, ca, _folder: folder }
    }

    fn connect(&self) -> Box<dyn Peer> {
        match self.half {
            Half::Plain => Box::new(connect(self.address)),
            _ => Box::new(secure(self.address, self.ca.client(), "localhost")),
        }
    }

    fn open(&self) -> Box<dyn Peer> {
        let mut peer = self.connect();
        peer.write_all(upgrade_head(self.address, "/", "").as_bytes()).unwrap();
        assert!(head_of(&mut peer).starts_with("HTTP/1.1 101 "));
        peer
    }
}

/// Reads up to the end of the stream.
fn rest(peer: &mut Box<dyn Peer>) -> Vec<u8> {
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).unwrap();
    bytes
}

fn message(server: &Server) {
    let Event::Message { .. } = next(server) else { panic!("a message comes next") };
}

fn closed(server: &Server) -> u16 {
    let Event::Close { code, .. } = next(server) else { panic!("the end comes next") };
    code
}

#[test]
fn answers_to_earlier_messages_still_arrive() {
    for half in ALL {
        let site = Site::new(half, "answers", Config { close_timeout: NEVER, ..Config::default() });
        let mut peer = site.open();
        let conn = opened(&site.server);
        peer.write_all(&[frame(0x81, b"one"), frame(0x81, b"two")].concat()).unwrap();
        peer.end(half);
        for _ in 0..2 {
            message(&site.server);
            assert_eq!(site.server.send(&conn, &vec![b'x'; LARGE], true), SendOutcome::Sent, "{half:?}");
        }
        // The host has answered all messages and waits for the next event.
        let reader = std::thread::spawn(move || {
            let (one, two) = (payload(&mut peer).len(), payload(&mut peer).len());
            (one, two, rest(&mut peer).len())
        });
        assert_eq!(closed(&site.server), 1006, "{half:?}");
        assert_eq!(site.server.send(&conn, b"late", false), SendOutcome::Closed);
        assert_eq!(reader.join().unwrap(), (LARGE, LARGE, 0), "{half:?}");
    }
}

#[test]
fn the_host_may_close_in_answer() {
    for half in ALL {
        let site = Site::new(half, "close", Config { close_timeout: NEVER, ..Config::default() });
        let mut peer = site.open();
        let conn = opened(&site.server);
        peer.write_all(&frame(0x81, b"one")).unwrap();
        peer.end(half);
        message(&site.server);
        site.server.send(&conn, &vec![b'x'; LARGE], true);
        site.server.close(&conn, 4000, "done");
        let reader = std::thread::spawn(move || (payload(&mut peer).len(), rest(&mut peer)));
        closed(&site.server);
        let close = [b"\x88\x06\x0f\xa0", &b"done"[..]].concat();
        assert_eq!(reader.join().unwrap(), (LARGE, close), "{half:?}");
    }
}

#[test]
fn a_peer_that_reads_too_slowly_is_closed_as_a_slow_consumer() {
    for half in ALL {
        for closes in [false, true] {
            let site = Site::new(half, "slow", Config { close_timeout: NEVER, ..Config::default() });
            let mut peer = site.open();
            let conn = opened(&site.server);
            // Message and end arrive together, so that the session knows of the end when the host gets
            // the message.
            let close = if closes { close_frame(1000, "") } else { Vec::new() };
            peer.write_all(&[frame(0x81, b"one"), close].concat()).unwrap();
            peer.end(half);
            message(&site.server);
            site.server.send(&conn, &vec![b'x'; LARGE], true);
            while site.server.send(&conn, &vec![b'x'; LARGE], true) != SendOutcome::Overflow {}
            let reader = std::thread::spawn(move || rest(&mut peer));
            assert_eq!(closed(&site.server), 1013, "{half:?}, {closes}");
            let close = [b"\x88\x1b\x03\xf5", &b"the peer reads too slowly"[..]].concat();
            assert!(reader.join().unwrap().ends_with(&close), "{half:?}, {closes}");
        }
    }
}

#[test]
fn messages_before_a_close_frame_and_a_fin_still_arrive() {
    for half in ALL {
        let site = Site::new(half, "before", Config { close_timeout: NEVER, ..Config::default() });
        let mut peer = site.open();
        let conn = opened(&site.server);
        site.server.send(&conn, &vec![b'x'; LARGE], true);
        site.server.flush();
        peer.write_all(&close_frame(1000, "")).unwrap();
        peer.end(half);
        assert_eq!(closed(&site.server), 1000, "{half:?}");
        assert_eq!(payload(&mut peer).len(), LARGE, "{half:?}");
        assert_eq!(rest(&mut peer), b"\x88\x02\x03\xe8", "{half:?}");
    }
}

#[test]
fn without_messages_to_answer_the_connection_ends_at_once() {
    for half in ALL {
        let site = Site::new(half, "gone", Config { close_timeout: NEVER, ..Config::default() });
        let mut peer = site.open();
        opened(&site.server);
        peer.end(half);
        assert_eq!(closed(&site.server), 1006, "{half:?}");
        assert_eq!(rest(&mut peer), b"", "{half:?}");
    }
}

#[test]
fn a_peer_that_reads_nothing_is_cut_after_close_timeout() {
    for half in ALL {
        let config = Config { close_timeout: Duration::from_millis(200), ..Config::default() };
        let site = Site::new(half, "stuck", config);
        let mut peer = site.open();
        let conn = opened(&site.server);
        peer.write_all(&frame(0x81, b"one")).unwrap();
        peer.end(half);
        message(&site.server);
        site.server.send(&conn, &vec![b'x'; LARGE], true);
        assert_eq!(closed(&site.server), 1006, "{half:?}");
        // `Stopped` arrives only after the end of the session.
        site.server.stop(NEVER);
        assert!(matches!(next(&site.server), Event::Stopped), "{half:?}");
    }
}

#[test]
fn a_request_is_answered() {
    for half in ALL {
        let config = Config { interest: Interest::REQUEST, ..Config::default() };
        let site = Site::new(half, "request", config);
        let mut peer = site.connect();
        peer.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody").unwrap();
        peer.end(half);
        let Event::Request { ticket, body, .. } = next(&site.server) else { panic!("{half:?}") };
        assert_eq!(&body[..], b"body");
        let body = Bytes::from(vec![b'x'; LARGE]);
        assert!(site.server.respond(ticket, Response { status: 200, headers: vec![], body }));
        site.server.flush();
        let head = head_of(&mut peer);
        assert!(head.starts_with("HTTP/1.1 200 "), "{half:?}: {head}");
        assert_eq!(rest(&mut peer).len(), LARGE, "{half:?}");
    }
}
