//! Many client connections on one epoll instance.

use crate::options::Options;
use crate::parser::{Parser, Piece};
use crate::tls::{Session, Tls};
use anyhow::{Context, Result, bail};
use bench_common::{Histogram, frame, sys};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

/// A fixed key is sufficient here, and its answer is known.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Epoll key of the timer. Connections use their index.
const TIMER: u64 = u64::MAX;
/// Connections per source address, each of which has about 28,000 ports.
const PER_SOURCE: usize = 10_000;
const STUCK_NS: u64 = 15_000_000_000;

/// Handles the events of all connections for one kind of load.
pub(crate) trait Load {
    /// A read of this connection has returned bytes.
    fn begin_read(&mut self, _now: u64) {}
    /// A part of a message has arrived.
    fn payload(&mut self, _conn: usize, _offset: usize, _data: &[u8]) -> Result<()> {
        Ok(())
    }
    /// A message is complete.
    fn message(&mut self, _conn: usize, _opcode: u8, _len: usize) -> Result<()> {
        bail!("unexpected message")
    }
    /// All bytes of one read of this connection have been handled.
    fn end_read(&mut self, _conn: usize, _sockets: &mut Sockets) -> Result<()> {
        Ok(())
    }
    /// The timer has expired `count` times.
    fn timer(&mut self, _count: u64, _sockets: &mut Sockets) -> Result<()> {
        Ok(())
    }
    /// The server has begun or answered the closing handshake, or closed the socket.
    fn closed(&mut self, conn: usize) -> Result<()> {
        bail!("the server closed connection {conn}")
    }
    /// A connection or its handshake was refused.
    fn refused(&mut self, conn: usize, why: String) -> Result<()> {
        bail!("connection {conn}: {why}")
    }
}

/// A load for phases in which only pings are expected.
pub(crate) struct Quiet;
impl Load for Quiet {}

struct Socket {
    stream: TcpStream,
    /// Present with `wss://`.
    tls: Option<Box<Session>>,
    /// Bytes that the kernel has not taken.
    outbox: Vec<u8>,
}

impl Socket {
    /// Sends bytes as they are, and queues the part that the kernel does not take.
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let done = match self.outbox.is_empty() {
            true => sys::send(self.stream.as_raw_fd(), bytes).context("send")?,
            false => 0,
        };
        self.outbox.extend_from_slice(&bytes[done..]);
        Ok(())
    }
}

/// The sending side of all connections.
#[derive(Default)]
pub(crate) struct Sockets {
    all: Vec<Socket>,
    /// Ciphertext of one call, kept for its memory.
    records: Vec<u8>,
}

impl Sockets {
    /// Sends data, encrypted with `wss://`, and queues the part that the kernel does not take.
    pub(crate) fn send(&mut self, conn: usize, data: &[u8]) -> Result<()> {
        let socket = &mut self.all[conn];
        let Some(tls) = &mut socket.tls else {
            return socket.put(data);
        };
        self.records.clear();
        tls.encrypt(data, &mut self.records)?;
        socket.put(&self.records)
    }

    /// Decrypts what was received with `wss://` and appends it to `plain`.
    fn decrypt(&mut self, conn: usize, input: &[u8], plain: &mut Vec<u8>) -> Result<()> {
        let socket = &mut self.all[conn];
        let tls = socket.tls.as_mut().context("not a TLS connection")?;
        self.records.clear();
        tls.decrypt(input, plain, &mut self.records)?;
        socket.put(&self.records)
    }

    fn flush(&mut self, conn: usize) -> Result<()> {
        let socket = &mut self.all[conn];
        if !socket.outbox.is_empty() {
            let done = sys::send(socket.stream.as_raw_fd(), &socket.outbox).context("send")?;
            socket.outbox.drain(..done);
        }
        Ok(())
    }
}

enum State {
    Connecting,
    /// The request has been sent; holds the part of the answer received so far.
    Handshake(Vec<u8>),
    Open(Parser),
    /// Closed by either side; the slot is not reused.
    Gone,
}

/// All connections.
pub(crate) struct Client {
    poll: sys::Poll,
    target: SocketAddrV4,
    tls: Option<Tls>,
    /// Default request path.
    path: String,
    /// Different paths of connections that have not sent their request yet.
    paths: HashMap<usize, String>,
    pub(crate) sockets: Sockets,
    states: Vec<State>,
    started: Vec<u64>,
    timer: Option<OwnedFd>,
    buffer: Vec<u8>,
    /// Decrypted input of one read.
    plain: Vec<u8>,
    open: usize,
    handshakes: Histogram,
    /// Number of pings from the server; all were answered.
    pub(crate) pings: u64,
}

impl Client {
    pub(crate) fn new(options: &Options) -> Result<Self> {
        Ok(Self {
            poll: sys::Poll::new()?,
            target: options.target,
            tls: options.tls.clone(),
            path: options.path.clone(),
            paths: HashMap::new(),
            sockets: Sockets::default(),
            states: Vec::new(),
            started: Vec::new(),
            timer: None,
            buffer: vec![0; 256 * 1024],
            plain: Vec::new(),
            open: 0,
            handshakes: Histogram::default(),
            pings: 0,
        })
    }

    /// Calls [`Load::timer`] every `ns` nanoseconds.
    pub(crate) fn set_interval(&mut self, ns: u64) -> Result<()> {
        let timer = sys::interval(ns)?;
        self.poll.add(timer.as_raw_fd(), sys::IN, TIMER)?;
        self.timer = Some(timer);
        Ok(())
    }

    /// Opens connections up to `total`, with `concurrency` simultaneous handshakes.
    pub(crate) fn open(&mut self, total: usize, concurrency: usize) -> Result<()> {
        self.open_for(total, concurrency, &mut Quiet)
    }

    /// Like [`Self::open`], with `load` as the handler of events.
    pub(crate) fn open_for(&mut self, total: usize, concurrency: usize, load: &mut impl Load) -> Result<()> {
        let mut progress = (self.open, sys::now_ns());
        while self.open < total {
            while self.states.len() < total && self.states.len() - self.open < concurrency {
                self.start_connection()?;
            }
            self.turn(1000, load)?;
            let now = sys::now_ns();
            if self.open > progress.0 {
                progress = (self.open, now);
            } else if now - progress.1 > STUCK_NS {
                bail!("handshakes stuck at {} of {total}", self.open);
            }
        }
        Ok(())
    }

    /// Starts `count` simultaneous handshakes.
    pub(crate) fn start(&mut self, count: usize) -> Result<()> {
        (0..count).try_for_each(|_| self.start_connection())
    }

    /// Starts one handshake with this path, and returns the connection's number.
    pub(crate) fn start_at(&mut self, path: String) -> Result<usize> {
        let conn = self.states.len();
        self.paths.insert(conn, path);
        self.start_connection()?;
        Ok(conn)
    }

    /// The handshake request of a connection.
    fn request(&mut self, conn: usize) -> Vec<u8> {
        let path = self.paths.remove(&conn);
        let (path, target) = (path.as_deref().unwrap_or(&self.path), self.target);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {target}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        request.into_bytes()
    }

    /// Number of connections that have finished their handshake.
    pub(crate) fn open_count(&self) -> usize {
        self.open
    }

    /// Latencies of handshakes since the last call, in nanoseconds.
    pub(crate) fn take_handshakes(&mut self) -> Histogram {
        std::mem::take(&mut self.handshakes)
    }

    /// Cuts all connections, and removes them.
    pub(crate) fn reset(&mut self) {
        for socket in self.sockets.all.drain(..) {
            // A failure only leaves the port in TIME_WAIT.
            let _ = sys::reset_on_close(&socket.stream);
        }
        self.states.clear();
        self.started.clear();
        self.open = 0;
    }

    fn start_connection(&mut self) -> Result<()> {
        let conn = self.states.len();
        let source = (conn >= PER_SOURCE)
            .then(|| SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, (1 + conn / PER_SOURCE) as u8), 0));
        let stream = sys::connect(source, self.target).context("connect")?;
        self.poll.add(stream.as_raw_fd(), sys::ALL_EDGES, conn as u64)?;
        let tls = self.tls.as_ref().map(Tls::session).transpose()?;
        self.sockets.all.push(Socket { stream, tls, outbox: Vec::new() });
        self.states.push(State::Connecting);
        self.started.push(sys::now_ns());
        Ok(())
    }

    /// Waits up to `ms` milliseconds for events and lets `load` handle them.
    pub(crate) fn turn(&mut self, ms: u64, load: &mut impl Load) -> Result<()> {
        for i in 0..self.poll.wait(ms as i32) {
            let (key, events) = self.poll.event(i);
            if key == TIMER {
                let count = self.timer.as_ref().map_or(0, sys::expirations);
                load.timer(count, &mut self.sockets)?;
                continue;
            }
            let conn = key as usize;
            if events & sys::OUT != 0 {
                self.writable(conn, load)?;
            }
            if events & sys::READABLE != 0 {
                self.readable(conn, load)?;
            }
        }
        Ok(())
    }

    fn writable(&mut self, conn: usize, load: &mut impl Load) -> Result<()> {
        if matches!(self.states[conn], State::Connecting) {
            if let Some(error) = self.sockets.all[conn].stream.take_error()? {
                self.states[conn] = State::Gone;
                return load.refused(conn, format!("connect: {error}"));
            }
            self.states[conn] = State::Handshake(Vec::new());
            let request = self.request(conn);
            return self.sockets.send(conn, &request);
        }
        self.sockets.flush(conn)
    }

    fn readable(&mut self, conn: usize, load: &mut impl Load) -> Result<()> {
        loop {
            if matches!(self.states[conn], State::Gone) {
                return Ok(());
            }
            let fd = self.sockets.all[conn].stream.as_raw_fd();
            let got = sys::receive(fd, &mut self.buffer).unwrap_or(Some(0));
            match got {
                None => return Ok(()),
                Some(0) => {
                    let before = std::mem::replace(&mut self.states[conn], State::Gone);
                    return match before {
                        State::Open(_) => load.closed(conn),
                        _ => load.refused(conn, "closed before the handshake was done".into()),
                    };
                }
                Some(n) => {
                    let buffer = std::mem::take(&mut self.buffer);
                    let received = self.received(conn, &buffer[..n], load);
                    self.buffer = buffer;
                    received?;
                    // A short read has emptied the socket; the next edge signals more data.
                    if n < self.buffer.len() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Handles bytes from the socket.
    fn received(&mut self, conn: usize, bytes: &[u8], load: &mut impl Load) -> Result<()> {
        if self.tls.is_none() {
            return self.received_plain(conn, bytes, load);
        }
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let mut result = self.sockets.decrypt(conn, bytes, &mut plain);
        if result.is_ok() && !plain.is_empty() {
            result = self.received_plain(conn, &plain, load);
        }
        self.plain = plain;
        result
    }

    fn received_plain(&mut self, conn: usize, data: &[u8], load: &mut impl Load) -> Result<()> {
        let now = sys::now_ns();
        match &mut self.states[conn] {
            State::Handshake(head) => {
                head.extend_from_slice(data);
                let Some(end) = head.windows(4).position(|w| w == b"\r\n\r\n") else {
                    return Ok(());
                };
                let accepted = head.starts_with(b"HTTP/1.1 101")
                    && head[..end].windows(ACCEPT.len()).any(|w| w == ACCEPT);
                if !accepted {
                    let why = format!("handshake refused: {}", String::from_utf8_lossy(head));
                    self.states[conn] = State::Gone;
                    return load.refused(conn, why);
                }
                let rest = head.split_off(end + 4);
                self.states[conn] = State::Open(Parser::default());
                self.open += 1;
                self.handshakes.add(now - self.started[conn]);
                if rest.is_empty() { Ok(()) } else { self.feed(conn, &rest, now, load) }
            }
            State::Open(_) => self.feed(conn, data, now, load),
            State::Connecting | State::Gone => bail!("connection {conn}: unexpected bytes"),
        }
    }

    fn feed(&mut self, conn: usize, data: &[u8], now: u64, load: &mut impl Load) -> Result<()> {
        load.begin_read(now);
        let State::Open(parser) = &mut self.states[conn] else {
            return Ok(());
        };
        let (sockets, pings) = (&mut self.sockets, &mut self.pings);
        let mut closed = false;
        parser.feed(data, |piece| match piece {
            Piece::Payload { offset, data } => load.payload(conn, offset, data),
            Piece::Message { opcode, len } => load.message(conn, opcode, len),
            Piece::Control { opcode: frame::PING, payload } => {
                *pings += 1;
                sockets.send(conn, &frame::masked(frame::PONG, &payload, [1, 2, 3, 4]))
            }
            Piece::Control { opcode: frame::CLOSE, payload } => {
                closed = true;
                sockets.send(conn, &frame::masked(frame::CLOSE, &payload, [1, 2, 3, 4]))
            }
            Piece::Control { .. } => Ok(()),
        })?;
        if closed {
            self.states[conn] = State::Gone;
            return load.closed(conn);
        }
        load.end_read(conn, &mut self.sockets)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reset();
    }
}
