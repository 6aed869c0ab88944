//! TLS on a socket, by rustls without its own buffers, so that an idle connection holds no buffer.

use rustls::ServerConfig;
use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::net::tcp::OwnedWriteHalf;

use crate::net::plain_socket::PlainSocket;
use crate::net::poll_turn;
use crate::net::tls_session::{Stage, TlsSession, broken};

/// Most bytes of one read of ciphertext: several records, so that a busy connection needs fewer system calls.
const READ: usize = 64 << 10;
/// Size of the first read, and the limit if the caller has no room for more plaintext. A read of 64 KiB holds
/// up to 2,849 records of one byte, which take 1 ms to process; after a read with many records, the next ones
/// are therefore smaller.
const FIRST_READ: usize = 16 << 10;
/// Size of the next read after one with many records.
const LEAST_READ: usize = 4 << 10;
/// More records than this in one read count as many.
const MANY_RECORDS: usize = 256;
/// Reads without plaintext before other tasks get their turn.
const EMPTY_READS: usize = 2;
/// Most bytes of ciphertext that may wait during the handshake for the rest of a message, which is the
/// ClientHello or the certificates of the client.
const LONGEST_HANDSHAKE: usize = 32 << 10;
/// Most bytes of ciphertext that may wait after the handshake: an incomplete record, which has up to 18,437
/// bytes (RFC 5246 section 6.2.3), and an incomplete key update before it.
const LONGEST_INCOMPLETE: usize = 20 << 10;

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
    session: TlsSession,
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

impl TlsStream {
    /// Performs the TLS handshake; the caller sets the time limit. An error returns the socket too, on which
    /// the alert has been written. The kind of the error is `Unsupported` if the peer speaks HTTP without
    /// TLS.
    pub(crate) async fn accept(
        socket: PlainSocket,
        config: Arc<ServerConfig>,
    ) -> Result<Box<Self>, (io::Error, PlainSocket)> {
        let session = match TlsSession::new(config) {
            Ok(session) => session,
            Err(error) => return Err((error, socket)),
        };
        let mut stream = Box::new(Self {
            socket,
            session,
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
        self.session.peer_certificate()
    }

    /// The application protocol that the client has negotiated (RFC 7301).
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        self.session.alpn()
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
        let many = count_records(input) > MANY_RECORDS;
        let plain = &mut self.plain;
        let done = self.session.process(input, &mut self.outgoing, |payload| {
            let fits = payload.len().min(out.len() - filled);
            out[filled..filled + fits].copy_from_slice(&payload[..fits]);
            filled += fits;
            plain.extend_from_slice(&payload[fits..]);
        });
        self.room = if many { LEAST_READ } else { (self.room * 2).min(READ) };
        self.eof |= done.peer_closed;
        let stage = done.result.map_err(|error| {
            self.failed = true;
            broken(error)
        })?;
        let rest = if self.eof { &[][..] } else { &input[done.used..] };
        let limit = if stage == Stage::Handshake { LONGEST_HANDSHAKE } else { LONGEST_INCOMPLETE };
        if rest.len() > limit {
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
                // Sends an alert. If the socket doesn't accept all of it, the rest goes out with the next write.
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
        if self.failed || self.closing {
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
        let result = self.session.encrypt(&mut self.incoming, bufs, &mut scratch).and_then(|taken| {
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
            // A failed session has no peer to notify.
            let _ = self.session.close_notify(&mut self.incoming, &mut self.outgoing);
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

/// Number of records in `input`, including one whose header alone is complete. Records without data count too:
/// each key update among them takes the time to derive keys.
fn count_records(mut input: &[u8]) -> usize {
    let mut records = 0;
    while let [_, _, _, high, low, rest @ ..] = input {
        records += 1;
        input = rest.get(usize::from(u16::from_be_bytes([*high, *low]))..).unwrap_or_default();
    }
    records
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_records_are_counted_whatever_they_hold() {
        let empty = [23, 3, 3, 0, 0];
        let full = [&[23, 3, 3, 1, 0][..], &[0; 256]].concat();
        let input = [&empty[..], &full, &empty, &full[..100]].concat();
        assert_eq!(count_records(&input), 4);
        assert_eq!(count_records(&input[..8]), 1);
        assert_eq!(count_records(&[]), 0);
        assert_eq!(count_records(&[0; 100]), 20);
    }
}
