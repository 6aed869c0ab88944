//! TLS on a socket: rustls without its own buffers, so that an idle connection holds none.

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError};
use rustls::{ServerConfig, unbuffered::WriteTraffic};
use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::net::tcp::OwnedWriteHalf;

use crate::net::plain_socket::PlainSocket;
use crate::net::poll_turn;

/// One read of ciphertext: several records, so that a busy connection needs fewer calls.
const READ: usize = 64 << 10;
/// The first one, and the most where the caller would have no room for more plaintext. A read of
/// 64 KiB holds up to 2,978 empty records, which take 1 ms;
/// where many records come in one read, the next ones are smaller.
const FIRST_READ: usize = 16 << 10;
const LEAST_READ: usize = 4 << 10;
/// That many.
const MANY_RECORDS: usize = 256;
/// Reads without plaintext before others get their turn.
const EMPTY_READS: usize = 2;
/// Most ciphertext that can be waiting for the rest of its record or handshake message.
const LONGEST_INCOMPLETE: usize = 96 << 10;
/// Plaintext of one write.
const WRITE: usize = 64 << 10;
/// Plaintext of one record (RFC 8446 section 5.1).
const RECORD: usize = 16 << 10;
/// What encryption adds to a record at most: header, nonce, content type, tag; rounded up.
const OVERHEAD: usize = 64;

thread_local! {
    /// Ciphertext as it is read, and as it is written: shared by the connections of a thread.
    static SCRATCH: RefCell<(Vec<u8>, Vec<u8>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// A TLS connection of the server's side.
///
/// What was encrypted and not yet taken by the kernel is claimed for the next write: a write
/// returns `WouldBlock` until all of its ciphertext is out, and is then repeated by its caller with
/// the same bytes, and told that they are written. So the caller's own account of what waits is exact.
pub(crate) struct TlsStream {
    socket: PlainSocket,
    session: Session,
    /// Ciphertext that the kernel has not taken.
    outgoing: Vec<u8>,
    /// Bytes of the next read.
    room: usize,
    /// Bytes of the caller that are in `outgoing`, or were since.
    claimed: usize,
    /// Ciphertext that the kernel has taken since the start.
    sent: u64,
    /// The start of a record.
    incoming: Vec<u8>,
    /// Plaintext for which the caller had no room.
    plain: Vec<u8>,
    /// `close_notify` or FIN was received.
    eof: bool,
    /// Something was received.
    begun: bool,
    /// `close_notify` was queued: nothing may follow it.
    closing: bool,
    /// The protocol has ended with an error. The library, which keeps account of places in its
    /// input, must not be called again.
    failed: bool,
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// Where the protocol stands after all input was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Handshake,
    Open,
    Closed,
}

/// What a piece of input came to.
struct Processed {
    /// Bytes of the input that are done with.
    used: usize,
    records: usize,
    result: Result<Stage, rustls::Error>,
    peer_closed: bool,
}

struct Session(UnbufferedServerConnection);

impl Session {
    /// Takes all complete records. Plaintext goes to `sink`, what is to be sent to `outgoing`.
    fn process(
        &mut self,
        input: &mut [u8],
        outgoing: &mut Vec<u8>,
        mut sink: impl FnMut(&[u8]),
    ) -> Processed {
        let mut done = Processed { used: 0, records: 0, result: Ok(Stage::Handshake), peer_closed: false };
        loop {
            let status = self.0.process_tls_records(&mut input[done.used..]);
            let mut used = status.discard;
            let end = match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                    match traffic.next_record() {
                        Some(Ok(record)) => {
                            used += record.discard;
                            sink(record.payload);
                        }
                        Some(Err(error)) => break Some(Err(error)),
                        None => break None,
                    }
                },
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, outgoing).err().map(Err),
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    None
                }
                Ok(ConnectionState::PeerClosed) => {
                    done.peer_closed = true;
                    None
                }
                Ok(ConnectionState::BlockedHandshake) => Some(Ok(Stage::Handshake)),
                Ok(ConnectionState::WriteTraffic(_)) => Some(Ok(Stage::Open)),
                Ok(ConnectionState::Closed) => {
                    done.peer_closed = true;
                    Some(Ok(Stage::Closed))
                }
                // Early data is never offered.
                Ok(_) => Some(Err(rustls::Error::HandshakeNotComplete)),
                Err(error) => Some(Err(error)),
            };
            done.used += used;
            done.records += 1;
            if let Some(result) = end {
                if result.is_err() {
                    self.alert(&mut input[done.used..], outgoing);
                }
                done.result = result;
                return done;
            }
        }
    }

    /// After an error: what the peer is to be told. The input must be the rest of what had the
    /// error, and it is the last time that the library sees it.
    fn alert(&mut self, input: &mut [u8], outgoing: &mut Vec<u8>) {
        while self.0.wants_write() {
            match self.0.process_tls_records(input).state {
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    if encode(data, outgoing).is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    }

    /// Calls `f` with what can encrypt. `incoming` is the start of a record.
    fn write<R>(
        &mut self,
        incoming: &mut [u8],
        outgoing: &mut Vec<u8>,
        f: impl FnOnce(WriteTraffic<'_, rustls::server::ServerConnectionData>, &mut Vec<u8>) -> R,
    ) -> io::Result<R> {
        loop {
            // Nothing is discarded here: complete records were taken when they were read.
            match self.0.process_tls_records(incoming).state {
                Ok(ConnectionState::WriteTraffic(traffic)) => return Ok(f(traffic, outgoing)),
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, outgoing).map_err(broken)?,
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => {}
                Ok(_) => return Err(io::ErrorKind::BrokenPipe.into()),
                Err(error) => return Err(broken(error)),
            }
        }
    }
}

fn encode<T>(mut data: EncodeTlsData<'_, T>, outgoing: &mut Vec<u8>) -> Result<(), rustls::Error> {
    let start = outgoing.len();
    let mut room = 1024;
    loop {
        outgoing.resize(start + room, 0);
        match data.encode(&mut outgoing[start..]) {
            Ok(n) => {
                outgoing.truncate(start + n);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size }))
                if required_size > room =>
            {
                room = required_size;
            }
            Err(error) => {
                outgoing.truncate(start);
                return Err(rustls::Error::General(error.to_string()));
            }
        }
    }
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl TlsStream {
    /// Shakes hands. The caller sets the time limit. An error comes with the socket, on which the
    /// alert is written already; its kind is `Unsupported` if the peer speaks HTTP without TLS.
    pub(crate) async fn accept(
        socket: PlainSocket,
        config: Arc<ServerConfig>,
    ) -> Result<Box<Self>, (io::Error, PlainSocket)> {
        let session = match UnbufferedServerConnection::new(config) {
            Ok(session) => session,
            Err(error) => return Err((broken(error), socket)),
        };
        let mut stream = Box::new(Self {
            socket,
            session: Session(session),
            outgoing: Vec::new(),
            room: FIRST_READ,
            claimed: 0,
            sent: 0,
            incoming: Vec::new(),
            plain: Vec::new(),
            eof: false,
            begun: false,
            closing: false,
            failed: false,
        });
        match stream.handshake().await {
            Ok(()) => Ok(stream),
            Err(error) => Err((error, stream.socket)),
        }
    }

    async fn handshake(&mut self) -> io::Result<()> {
        loop {
            let read = poll_fn(|cx| self.poll_records(cx, &mut [])).await;
            if read.is_err() {
                // The alert: as far as the kernel takes it at once.
                let _ = self.flush();
            }
            let (_, stage) = read?;
            poll_fn(|cx| self.poll_flush(cx)).await?;
            match stage {
                Stage::Open => return Ok(()),
                Stage::Handshake if !self.eof => {}
                _ => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// The verified certificate of the client, in DER.
    pub(crate) fn peer_certificate(&self) -> Option<&[u8]> {
        self.session.0.peer_certificates()?.first().map(AsRef::as_ref)
    }

    /// What the client has chosen to speak.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        self.session.0.alpn_protocol()
    }

    pub(crate) fn socket(&self) -> &PlainSocket {
        &self.socket
    }

    /// Reads once and takes the records. Returns the plaintext bytes put into `out`.
    fn poll_records(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<(usize, Stage)>> {
        let mut scratch = SCRATCH.with_borrow_mut(|(read, _)| std::mem::take(read));
        let kept = self.incoming.len();
        if scratch.len() < kept + READ {
            scratch.resize(kept + READ, 0);
        }
        let room = self.room.min(out.len().max(FIRST_READ));
        let poll = self.socket.poll_read(cx, &mut scratch[kept..kept + room]);
        let result = poll.map(|read| {
            let n = read?;
            if n == 0 {
                self.eof = true;
                return Ok((0, Stage::Closed));
            }
            // No TLS record begins with a capital letter, and each HTTP method does.
            if !std::mem::replace(&mut self.begun, true) && scratch[0].is_ascii_uppercase() {
                return Err(io::ErrorKind::Unsupported.into());
            }
            scratch[..kept].copy_from_slice(&self.incoming);
            self.take(&mut scratch[..kept + n], out)
        });
        if scratch.len() > READ * 2 {
            scratch = Vec::new();
        }
        SCRATCH.with_borrow_mut(|(read, _)| *read = scratch);
        result
    }

    fn take(&mut self, input: &mut [u8], out: &mut [u8]) -> io::Result<(usize, Stage)> {
        let mut filled = 0;
        let plain = &mut self.plain;
        let done = self.session.process(input, &mut self.outgoing, |payload| {
            let fits = payload.len().min(out.len() - filled);
            out[filled..filled + fits].copy_from_slice(&payload[..fits]);
            filled += fits;
            plain.extend_from_slice(&payload[fits..]);
        });
        self.room = if done.records > MANY_RECORDS { LEAST_READ } else { (self.room * 2).min(READ) };
        self.eof |= done.peer_closed;
        let rest = &input[done.used..];
        let stage = done.result.map_err(|error| {
            self.failed = true;
            broken(error)
        })?;
        if rest.len() > LONGEST_INCOMPLETE {
            self.failed = true;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a TLS message is too long"));
        }
        // Even when empty a vector would keep its memory.
        self.incoming = if rest.is_empty() { Vec::new() } else { rest.to_vec() };
        Ok((filled, stage))
    }

    /// Plaintext; 0 at the end of the stream.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        if !self.plain.is_empty() && !out.is_empty() {
            let n = out.len().min(self.plain.len());
            out[..n].copy_from_slice(&self.plain[..n]);
            self.plain.drain(..n);
            if self.plain.is_empty() {
                self.plain = Vec::new();
            }
            return Poll::Ready(Ok(n));
        }
        for _ in 0..EMPTY_READS {
            if self.eof || self.failed {
                return Poll::Ready(Ok(0));
            }
            let read = ready!(self.poll_records(cx, out));
            if !self.outgoing.is_empty() {
                // An alert, or an answer to a key update: the rest goes with the next write.
                self.flush()?;
            }
            let (n, _) = read?;
            if n > 0 {
                return Poll::Ready(Ok(n));
            }
        }
        poll_turn::pass(cx);
        Poll::Pending
    }

    /// All of `bufs` or a part; see the type for what happens when the socket takes no more.
    pub(crate) fn try_write(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.failed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !self.outgoing.is_empty() {
            self.flush()?;
            if !self.outgoing.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        if self.claimed > 0 {
            return Ok(std::mem::take(&mut self.claimed));
        }
        let mut scratch = SCRATCH.with_borrow_mut(|(_, write)| std::mem::take(write));
        scratch.clear();
        let result = self.encrypt(bufs, &mut scratch).and_then(|taken| {
            let sent = send(&self.socket, &scratch)?;
            self.sent += sent as u64;
            if sent == scratch.len() {
                return Ok(taken);
            }
            self.outgoing.extend_from_slice(&scratch[sent..]);
            self.claimed = taken;
            Err(io::ErrorKind::WouldBlock.into())
        });
        SCRATCH.with_borrow_mut(|(_, write)| *write = scratch);
        result
    }

    /// Returns the bytes of `bufs` that are in `out` now.
    fn encrypt(&mut self, bufs: &[IoSlice<'_>], out: &mut Vec<u8>) -> io::Result<usize> {
        let mut taken = 0;
        self.session.write(&mut self.incoming, out, |mut traffic, out| {
            for buf in bufs {
                for piece in buf.chunks(RECORD) {
                    let start = out.len();
                    out.resize(start + piece.len() + OVERHEAD, 0);
                    match traffic.encrypt(piece, &mut out[start..]) {
                        Ok(n) => out.truncate(start + n),
                        Err(error) => return Err(exhausted(&error)),
                    }
                    taken += piece.len();
                    if taken >= WRITE {
                        return Ok(taken);
                    }
                }
            }
            Ok(taken)
        })?
    }

    /// Writes ciphertext that waits, as far as the socket takes it.
    fn flush(&mut self) -> io::Result<()> {
        let sent = send(&self.socket, &self.outgoing)?;
        self.sent += sent as u64;
        if sent == self.outgoing.len() {
            self.outgoing = Vec::new();
        } else {
            self.outgoing.drain(..sent);
        }
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.flush()?;
            if self.outgoing.is_empty() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.socket.poll_write_ready(cx))?;
        }
    }

    pub(crate) fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_write_ready(cx)
    }

    /// Bytes with which the next write must begin.
    pub(crate) fn claimed(&self) -> usize {
        self.claimed
    }

    /// The caller will not repeat its last write, but write something else: how much of it is to
    /// be counted as written.
    pub(crate) fn give_up_claim(&mut self) -> usize {
        std::mem::take(&mut self.claimed)
    }

    /// Sends `close_notify` and FIN; reading goes on. False: the socket takes no more, and this must
    /// be called again when it does.
    pub(crate) fn shutdown_write(&mut self) -> bool {
        if self.failed {
            self.socket.shutdown_write();
            return true;
        }
        if !std::mem::replace(&mut self.closing, true) {
            let mut outgoing = std::mem::take(&mut self.outgoing);
            // Where the session has failed there is nobody to tell.
            let _ = self.session.write(&mut self.incoming, &mut outgoing, |mut traffic, out| {
                let start = out.len();
                out.resize(start + OVERHEAD, 0);
                let n = traffic.queue_close_notify(&mut out[start..]).unwrap_or(0);
                out.truncate(start + n);
            });
            self.outgoing = outgoing;
        }
        // An error means that nobody is there any more.
        if self.flush().is_ok() && !self.outgoing.is_empty() {
            return false;
        }
        self.socket.shutdown_write();
        true
    }

    /// The other half of its socket, to look at; see [`PlainSocket::share`].
    pub(crate) fn share_below(self: Box<Self>) -> (Box<Self>, Option<OwnedWriteHalf>) {
        let stream = *self;
        let (socket, half) = stream.socket.share();
        (Box::new(Self { socket, ..stream }), half)
    }

    /// Ciphertext that the kernel has taken since the start, and what waits for it.
    pub(crate) fn sent(&self) -> (u64, usize) {
        (self.sent, self.outgoing.len())
    }
}

fn exhausted(error: &EncryptError) -> io::Error {
    io::Error::other(error.to_string())
}

/// Writes until the socket takes no more; returns how much that was.
fn send(socket: &PlainSocket, mut bytes: &[u8]) -> io::Result<usize> {
    let all = bytes.len();
    while !bytes.is_empty() {
        match socket.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(all - bytes.len())
}
