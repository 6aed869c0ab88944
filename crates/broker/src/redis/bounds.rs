//! Limits the data that a Redis server may send. The client library accepts values of any size, depth and
//! number, and reads as long as data arrives. So the framing of RESP3 is tracked at the socket, below the
//! library.

use futures_util::task::AtomicWaker;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Maximum length of a line in bytes: of an error, or of the head of a longer value.
const LINE: usize = 64 << 10;
/// Maximum depth of nested lists.
const DEPTH: usize = 32;
/// Maximum number of values in an answer that is expected to have few.
const VALUES: usize = 16 << 10;
/// Maximum size of an answer without its payloads, in bytes.
const BESIDE: usize = 1 << 20;
/// Bytes that the library may read before the session takes the messages in them.
const TURN: usize = 64 << 10;

/// Stands for no limit.
const ENDLESS: usize = usize::MAX;

/// The limits of a connection. Its socket, the library's callback and the session share them.
#[derive(Debug)]
pub(super) struct Bounds {
    /// Maximum size of one answer or message, in bytes.
    bytes: AtomicUsize,
    /// Maximum number of values in one answer or message.
    values: AtomicUsize,
    /// Bytes that may still arrive in answer to commands. [`ENDLESS`] for a subscriber, to whom the
    /// server sends other clients' publications.
    left: AtomicUsize,
    /// Number of messages that the library has parsed and the session has not taken yet.
    waiting: AtomicUsize,
    /// Wakes the library when the session has taken all of them.
    reader: AtomicWaker,
}

impl Bounds {
    /// Limits for payloads of this many bytes.
    pub(super) fn new(payload: usize) -> Arc<Self> {
        let bounds = Arc::new(Self {
            bytes: 0.into(),
            values: 0.into(),
            left: 0.into(),
            waiting: 0.into(),
            reader: AtomicWaker::new(),
        });
        bounds.allow(payload, 0);
        // The answers to the handshake have no payloads.
        bounds.left.store(BESIDE, Ordering::Relaxed);
        bounds
    }

    /// Expects one answer, with payloads of this many bytes and this many values in all.
    pub(super) fn allow(&self, payload: usize, values: usize) {
        let bytes = payload.saturating_add(BESIDE);
        self.bytes.store(bytes, Ordering::Relaxed);
        self.values.store(values.saturating_add(VALUES), Ordering::Relaxed);
        self.left.store(bytes, Ordering::Relaxed);
    }

    /// Accepts messages from now on, which the session takes.
    pub(super) fn subscribe(&self) {
        self.left.store(ENDLESS, Ordering::Relaxed);
    }

    pub(super) fn is_subscriber(&self) -> bool {
        self.left.load(Ordering::Relaxed) == ENDLESS
    }

    /// Counts received bytes. Returns false if they are more than were expected.
    fn count(&self, bytes: usize) -> bool {
        let rest = |left| if left == ENDLESS { Some(left) } else { usize::checked_sub(left, bytes) };
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest).is_ok()
    }

    /// Counts a message that the library has parsed.
    pub(super) fn put(&self) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts a message that the session has taken.
    pub(super) fn taken(&self) {
        if self.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.reader.wake();
        }
    }

    /// Waits until the session has taken all messages.
    fn poll_taken(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_taken() {
            return Poll::Ready(());
        }
        self.reader.register(cx.waker());
        if self.is_taken() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn is_taken(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }
}

/// The part of a value that comes next.
#[derive(Debug, Clone, Copy)]
enum State {
    /// The line with the type of the value and, for some types, its length.
    Head { kind: u8, number: Option<u64>, negative: bool, length: usize },
    /// A text, of which this many bytes are left.
    Text(u64),
    /// A type that RESP3 does not have. The library will report it.
    Foreign(usize),
}

const START: State = State::Head { kind: 0, number: None, negative: false, length: 0 };

/// Tracks the framing of a stream of values.
#[derive(Debug)]
struct Scanner {
    bounds: Arc<Bounds>,
    state: State,
    /// For each open list, the number of its values that are still to come.
    open: Vec<u64>,
    /// Size of the current answer so far, in bytes and in values.
    bytes: usize,
    values: u64,
}

impl Scanner {
    fn new(bounds: Arc<Bounds>) -> Self {
        Self { bounds, state: START, open: Vec::new(), bytes: 0, values: 0 }
    }

    /// Reads a part of the stream. An error names the limit that it exceeds.
    fn read(&mut self, mut input: &[u8]) -> Result<(), String> {
        let most = self.bounds.bytes.load(Ordering::Relaxed);
        while !input.is_empty() {
            let used = match &mut self.state {
                State::Text(left) => {
                    let used = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= used as u64;
                    if *left == 0 {
                        self.ended();
                    }
                    used
                }
                State::Foreign(seen) => {
                    *seen += input.len();
                    if *seen > LINE {
                        return Err("it does not speak the protocol of Redis".to_owned());
                    }
                    input.len()
                }
                State::Head { .. } => {
                    let used = input.iter().position(|b| *b == b'\n').map_or(input.len(), |at| at + 1);
                    self.head(&input[..used], most)?;
                    used
                }
            };
            self.bytes = if self.is_between() { 0 } else { self.bytes + used };
            if self.bytes > most {
                return Err(format!("an answer has more than {most} bytes"));
            }
            input = &input[used..];
        }
        Ok(())
    }

    /// Whether the stream is between two answers.
    fn is_between(&self) -> bool {
        self.open.is_empty() && matches!(self.state, State::Head { kind: 0, .. })
    }

    /// Reads a part of a line.
    fn head(&mut self, part: &[u8], most: usize) -> Result<(), String> {
        let State::Head { kind, number, negative, length } = &mut self.state else { return Ok(()) };
        for byte in part {
            *length += 1;
            match byte {
                b'\n' => break,
                _ if *length == 1 => *kind = *byte,
                b'-' if *length == 2 => *negative = true,
                b'0'..=b'9' if number.unwrap_or(0) < 1 << 59 => {
                    *number = Some(number.unwrap_or(0) * 10 + u64::from(byte - b'0'));
                }
                _ => {}
            }
        }
        if *length > LINE {
            return Err(format!("a line has more than {LINE} bytes"));
        }
        if part.last() == Some(&b'\n') {
            let (kind, number) = (*kind, if *negative { None } else { *number });
            self.begun(kind, number, most)?;
        }
        Ok(())
    }

    /// Handles the complete line of a value.
    fn begun(&mut self, kind: u8, number: Option<u64>, most: usize) -> Result<(), String> {
        self.values += 1;
        let values = self.bounds.values.load(Ordering::Relaxed) as u64;
        self.state = START;
        match (kind, number) {
            (b'$' | b'=' | b'!', Some(bytes)) => {
                if bytes > most as u64 {
                    return Err(format!("a value has {bytes} bytes, but the limit is {most}"));
                }
                // The text is followed by the end of its line.
                self.state = State::Text(bytes + 2);
            }
            (b'*' | b'~' | b'>' | b'%' | b'|', Some(count)) => {
                let count = if matches!(kind, b'%' | b'|') { count.saturating_mul(2) } else { count };
                self.values = self.values.saturating_add(count);
                if self.values > values {
                    return Err(format!("an answer has {} values, but the limit is {values}", self.values));
                }
                // The values of a list are checked as it begins, and counted one by one.
                self.values -= count;
                if self.open.len() == DEPTH {
                    return Err(format!("an answer has more than {DEPTH} levels of nested lists"));
                }
                // An attribute precedes the value that it belongs to, and is not that value itself.
                let count = if kind == b'|' { count + 1 } else { count };
                if count == 0 {
                    self.ended();
                } else {
                    self.open.push(count);
                }
            }
            (b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' | b'$' | b'*' | b'~' | b'>' | b'%', _) => {
                self.ended();
            }
            _ => self.state = State::Foreign(0),
        }
        if self.values > values {
            return Err(format!("an answer has more than {values} values"));
        }
        Ok(())
    }

    /// Handles the end of a value, and of the lists whose last value it is.
    fn ended(&mut self) {
        self.state = START;
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return;
            }
            self.open.pop();
        }
        self.values = 0;
    }
}

/// Byte count and diagnostics of a stream that the library owns, shared with the wrapper around the
/// stream.
#[derive(Debug, Default)]
pub(super) struct Received {
    bytes: AtomicU64,
    /// The first bytes, and the limit that was exceeded.
    notes: Mutex<(Vec<u8>, Option<String>)>,
}

impl Received {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn notes(&self) -> MutexGuard<'_, (Vec<u8>, Option<String>)> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first bytes of the stream.
    pub(super) fn start(&self) -> Vec<u8> {
        self.notes().0.clone()
    }

    /// The limit that the server has exceeded, if it has.
    pub(super) fn excess(&self) -> Option<String> {
        self.notes().1.clone()
    }
}

/// A stream that fails when the server exceeds a limit.
#[derive(Debug)]
pub(super) struct Bounded<S> {
    stream: S,
    scanner: Scanner,
    received: Arc<Received>,
    /// Bytes read since the stream was last empty while no message waited for the session.
    turn: usize,
}

impl<S> Bounded<S> {
    pub(super) fn new(stream: S, bounds: Arc<Bounds>, received: Arc<Received>) -> Self {
        Self { stream, scanner: Scanner::new(bounds), received, turn: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.turn >= TURN {
            ready!(self.scanner.bounds.poll_taken(cx));
            self.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let room = buf.remaining().min(TURN);
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut part);
        let new = part.filled();
        if read.is_pending() && self.scanner.bounds.is_taken() {
            self.turn = 0;
        }
        ready!(read)?;
        self.turn += new.len();
        if self.received.bytes.fetch_add(new.len() as u64, Ordering::Relaxed) == 0 {
            self.received.notes().0 = new[..new.len().min(512)].to_vec();
        }
        let read = self.scanner.read(new).and_then(|()| {
            let due = self.scanner.bounds.count(new.len());
            if due { Ok(()) } else { Err("it sent more than was requested".to_owned()) }
        });
        if let Err(why) = read {
            self.received.notes().1 = Some(why.clone());
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        let n = new.len();
        buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use tokio::io::AsyncReadExt;

    fn scanner(payload: usize, values: usize) -> Scanner {
        let bounds = Bounds::new(payload);
        bounds.values.store(values, Ordering::Relaxed);
        bounds.bytes.store(payload, Ordering::Relaxed);
        Scanner::new(bounds)
    }

    #[test]
    fn valid_input_passes_however_it_is_split() {
        let answers = b"%2\r\n+server\r\n+redis\r\n+modules\r\n*1\r\n%1\r\n+name\r\n$2\r\nbf\r\n+OK\r\n\
            >3\r\n$7\r\nmessage\r\n$1\r\nt\r\n$12\r\n*1\r\n$9999\r\nx\r\n$-1\r\n*-1\r\n_\r\n#t\r\n,1.5\r\n(99\r\n:-7\r\n\
            -ERR no\r\n=5\r\ntxt:a\r\n*0\r\n*1\r\n*0\r\n~1\r\n:1\r\n|1\r\n+k\r\n+v\r\n*2\r\n:1\r\n:2\r\n!3\r\nERR\r\n";
        for cut in 0..answers.len() {
            let mut scanner = scanner(200, 20);
            for _ in 0..3 {
                scanner.read(&answers[..cut]).unwrap();
                scanner.read(&answers[cut..]).unwrap();
                assert!(scanner.is_between(), "{scanner:?}");
            }
        }
    }

    #[test]
    fn the_stream_waits_until_the_session_has_taken_the_messages() {
        let input = b"+OK\r\n".repeat(TURN);
        let bounds = Bounds::new(0);
        bounds.subscribe();
        let mut stream = Bounded::new(&input[..], bounds.clone(), Arc::default());
        let mut read = |times| {
            let mut bytes = 0;
            for _ in 0..times {
                let mut part = [0; 8 << 10];
                let mut part = ReadBuf::new(&mut part);
                let mut cx = Context::from_waker(Waker::noop());
                let _ = Pin::new(&mut stream).poll_read(&mut cx, &mut part);
                bytes += part.filled().len();
            }
            bytes
        };
        bounds.put();
        assert_eq!(read(100), TURN);
        bounds.put();
        bounds.taken();
        assert_eq!(read(1), 0);
        bounds.taken();
        // The first call yields to the session.
        assert_eq!(read(2), 8 << 10);
    }

    #[tokio::test]
    async fn the_stream_ends_when_more_comes_than_was_asked_for() {
        let input = b"+OK\r\n".repeat(2 * BESIDE / 5);
        for (payload, taken) in [(0, false), (BESIDE, true)] {
            let bounds = Bounds::new(0);
            bounds.allow(payload, 0);
            let mut stream = Bounded::new(&input[..], bounds, Arc::default());
            assert_eq!(stream.read_to_end(&mut Vec::new()).await.is_ok(), taken);
        }
    }

    #[test]
    fn excess_is_refused_as_early_as_possible() {
        let endless = [b"+".to_vec(), vec![b'x'; LINE]].concat();
        let nested = [b"*2\r\n".to_vec(), b"*1\r\n".repeat(DEPTH)].concat();
        let many = [b"*9\r\n".to_vec(), b"*4\r\n:1\r\n:1\r\n:1\r\n:1\r\n".repeat(9)].concat();
        let long = [b"*9\r\n".to_vec(), b"$30\r\n0123456789012345678901234567\r\n\r\n".repeat(9)].concat();
        for (bytes, why) in [
            (&endless[..], "line"),
            (&nested, "nested lists"),
            (&many, "values"),
            (&long, "more than 200 bytes"),
            (b"$201\r\n", "has 201 bytes"),
            (b"$99999999999999999999999999\r\n", "bytes, but the limit is 200"),
            (b"*99999999999999999999999999\r\n", "values, but the limit is 40"),
            (b"%21\r\n", "values"),
            (b">41\r\n", "values"),
            (&b"HTTP/1.1 400\r\n".repeat(LINE / 14 + 2), "protocol"),
        ] {
            let error = scanner(200, 40).read(bytes).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
