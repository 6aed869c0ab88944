//! TLS on a socket, by rustls without its own buffers, so that an idle connection holds no buffer.

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

/// Most bytes of one read of ciphertext: several records, so that a busy connection needs fewer system calls.
const READ: usize = 64 << 10;
/// Size of the first read, and the limit if the caller has no room for more plaintext. A read of 64 KiB holds
/// up to 2,978 empty records, which take 1 ms to process; after a read with many records, the next ones are
/// therefore smaller.
const FIRST_READ: usize = 16 << 10;
/// Size of the next read after one with many records.
const LEAST_READ: usize = 4 << 10;
/// More records than this in one read count as many.
const MANY_RECORDS: usize = 256;
/// Reads without plaintext before other tasks get their turn.
const EMPTY_READS: usize = 2;
/// Most bytes of ciphertext that may wait for the rest of their record or handshake message.
const LONGEST_INCOMPLETE: usize = 96 << 10;
/// Most plaintext of one write.
const WRITE: usize = 64 << 10;
/// Most plaintext of one record (RFC 8446 section 5.1).
const RECORD: usize = 16 << 10;
/// Most bytes that encryption adds to a record: header, nonce, content type and tag, rounded up.
const OVERHEAD: usize = 64;

thread_local! {
    /// Buffers for ciphertext read and written, shared by all connections of a thread.
    static SCRATCH: RefCell<(Vec<u8>, Vec<u8>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// The server's side of a TLS connection.
///
/// A write whose ciphertext the kernel has not accepted completely returns `WouldBlock`; its plaintext is
/// *claimed*. The caller repeats the write with the same bytes, and once all of the ciphertext is out, the
/// repeated write returns their number without encrypting them again. So the bytes that the caller counts as
/// unwritten are exactly those not yet accepted by the kernel.
pub(crate) struct TlsStream {
    socket: PlainSocket,
    session: Session,
    /// Ciphertext that the kernel has not accepted yet.
    outgoing: Vec<u8>,
    /// Size of the next read.
    room: usize,
    /// Plaintext bytes of the last incomplete write; the next write must begin with them.
    claimed: usize,
    /// Bytes of ciphertext that the kernel has accepted since the start.
    sent: u64,
    /// Ciphertext of an incomplete record.
    incoming: Vec<u8>,
    /// Decrypted bytes for which the caller had no room.
    plain: Vec<u8>,
    /// Whether `close_notify` or FIN was received.
    eof: bool,
    /// Whether anything was received.
    begun: bool,
    /// Whether `close_notify` was queued, after which nothing may be sent.
    closing: bool,
    /// Whether TLS has failed. The library must not be called again then, because it remembers positions in
    /// its input.
    failed: bool,
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// State of the protocol after all complete input was processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Handshake,
    Open,
    Closed,
}

/// Result of processing a piece of input.
struct Processed {
    /// Bytes of the input that were processed.
    used: usize,
    /// Number of records processed.
    records: usize,
    result: Result<Stage, rustls::Error>,
    /// Whether `close_notify` was received.
    peer_closed: bool,
}

/// The protocol state of rustls, which is given its buffers with each call.
struct Session(UnbufferedServerConnection);

impl Session {
    /// Processes all complete records. Passes plaintext to `sink` and appends data for the peer to
    /// `outgoing`.
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

    /// Appends the alert for the peer to `outgoing` after an error. `input` must be the rest of the input
    /// that caused the error. The library must not be called again.
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

    /// Calls `f` with the part of the session that encrypts. `incoming` is the start of an incomplete record.
    fn write<R>(
        &mut self,
        incoming: &mut [u8],
        outgoing: &mut Vec<u8>,
        f: impl FnOnce(WriteTraffic<'_, rustls::server::ServerConnectionData>, &mut Vec<u8>) -> R,
    ) -> io::Result<R> {
        loop {
            // Nothing is discarded here: complete records were processed when they were read.
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

/// Appends one message of the library to `outgoing`, however large it is.
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
    /// Performs the TLS handshake; the caller sets the time limit. An error returns the socket too, on which
    /// the alert has been written. The kind of the error is `Unsupported` if the peer speaks HTTP without
    /// TLS.
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
                // Sends as much of the alert as the kernel accepts at once.
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

    /// The application protocol that the client has negotiated (RFC 7301).
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        self.session.0.alpn_protocol()
    }

    pub(crate) fn socket(&self) -> &PlainSocket {
        &self.socket
    }

    /// Reads once and processes the complete records. Returns the number of plaintext bytes put into `out`.
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
            // A TLS record never begins with a capital letter, and a standard HTTP method always does.
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

    /// Processes `input`, which begins with the incomplete record kept by the last call, and keeps the
    /// incomplete end.
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
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a TLS record or handshake message is too long",
            ));
        }
        // Even an empty vector would keep its memory.
        self.incoming = if rest.is_empty() { Vec::new() } else { rest.to_vec() };
        Ok((filled, stage))
    }

    /// Reads plaintext. Returns 0 at the end of the stream.
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
                // Sends an alert or the response to a key update. If the socket doesn't accept all of it, the
                // rest goes out with the next write.
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

    /// Writes `bufs` or a part of them. See [`TlsStream`] for writes that return `WouldBlock`.
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

    /// Encrypts up to [`WRITE`] bytes of `bufs` into `out`, and returns how many plaintext bytes those are.
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

    /// Writes unsent ciphertext, as much as the socket accepts.
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

    /// Waits until the socket has accepted all ciphertext.
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

    /// Number of plaintext bytes with which the next write must begin.
    pub(crate) fn claimed(&self) -> usize {
        self.claimed
    }

    /// Declares that the last write will not be repeated. Returns how many of its bytes must be treated as
    /// written.
    pub(crate) fn give_up_claim(&mut self) -> usize {
        std::mem::take(&mut self.claimed)
    }

    /// Sends `close_notify` and FIN; reading goes on. Returns false if the socket has no room, in which case
    /// this must be called again when it has.
    pub(crate) fn shutdown_write(&mut self) -> bool {
        if self.failed {
            self.socket.shutdown_write();
            return true;
        }
        if !std::mem::replace(&mut self.closing, true) {
            let mut outgoing = std::mem::take(&mut self.outgoing);
            // A failed session has no peer to notify.
            let _ = self.session.write(&mut self.incoming, &mut outgoing, |mut traffic, out| {
                let start = out.len();
                out.resize(start + OVERHEAD, 0);
                let n = traffic.queue_close_notify(&mut out[start..]).unwrap_or(0);
                out.truncate(start + n);
            });
            self.outgoing = outgoing;
        }
        // An error means that the connection is lost.
        if self.flush().is_ok() && !self.outgoing.is_empty() {
            return false;
        }
        self.socket.shutdown_write();
        true
    }

    /// Splits off a write half of the TCP socket, used only to query the socket; see [`PlainSocket::share`].
    pub(crate) fn share_below(self: Box<Self>) -> (Box<Self>, Option<OwnedWriteHalf>) {
        let stream = *self;
        let (socket, half) = stream.socket.share();
        (Box::new(Self { socket, ..stream }), half)
    }

    /// Bytes of ciphertext that the kernel has accepted since the start, and bytes that it has not accepted
    /// yet.
    pub(crate) fn sent(&self) -> (u64, usize) {
        (self.sent, self.outgoing.len())
    }
}

/// Converts an encryption error, such as the end of the sequence numbers.
fn exhausted(error: &EncryptError) -> io::Error {
    io::Error::other(error.to_string())
}

/// Writes until the socket accepts no more, and returns the number of bytes written.
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
