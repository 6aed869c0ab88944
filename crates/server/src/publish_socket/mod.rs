//! The Unix socket on which other processes of the same machine publish. The first I/O thread serves
//! it without involving the host.
//!
//! The format of requests and answers is in [`sprocket_protocol::publish`]; `budget` limits what all
//! publishers may cost together.

pub(crate) mod budget;

use socket2::Socket;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener as StdListener;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use crate::clock;
use crate::cluster::port::FailedForward;
use crate::config::PublishSocket;
use crate::error::{BindError, PublishFailed};
use crate::metrics::counters::Counters;
use crate::net::socket::{BACK_OFF, lift};
use crate::net::unix_socket::{self, UnixFile};
use crate::publish_socket::budget::{Budget, SMALL, make_room};
use crate::state::State;
use crate::thread as io_thread;
use crate::thread::report::log_publish_refused;
use crate::thread::task;
use sprocket_protocol::publish::{MAX_BESIDE_PAYLOAD, Next, OK, Refusal, Request, parse};

/// Most connections of publishers in the queue of listen(2).
const BACKLOG: i32 = 1024;
/// Most answers that are sent by one write.
const ANSWERS_TOGETHER: usize = 16;
/// Most bytes that are read at once.
const READ: usize = 16 << 10;

/// The listening socket, until its task takes it over.
#[derive(Debug)]
pub(crate) struct PublishListener {
    /// The socket's file, removed before the socket closes. `None`: the socket is inherited, and its
    /// file belongs to another process.
    file: Option<UnixFile>,
    socket: Socket,
    config: PublishSocket,
}

impl PublishListener {
    pub(crate) fn open(config: &PublishSocket) -> Result<Self, BindError> {
        let opened = unix_socket::listen(config.path.clone(), BACKLOG, Some(config.mode)).and_then(
            |(socket, file)| {
                socket.set_nonblocking(true)?;
                Ok(Self { socket, file: Some(file), config: config.clone() })
            },
        );
        opened.map_err(|source| {
            let address = format!("the publish socket unix://{}", config.path.display());
            BindError { address, source }
        })
    }

    /// Starts the task that accepts publishers. Aborting it closes the listener.
    pub(crate) fn spawn(self, state: Arc<State>) -> io::Result<AbortHandle> {
        let listener = UnixListener::from_std(StdListener::from(OwnedFd::from(self.socket)))?;
        Ok(task::spawn(accept(listener, self.file, self.config, state)).abort_handle())
    }
}

/// A publish socket that was opened by a process which starts several servers. Each server receives a
/// duplicate of its descriptor, and all of them accept on it. Dropping this value in the process that
/// opened the socket removes its file.
#[derive(Debug)]
pub struct OpenPublishSocket(pub(crate) PublishListener);

impl OpenPublishSocket {
    /// Opens the socket and its file.
    ///
    /// # Errors
    /// The server can't listen on the path.
    pub fn open(config: &PublishSocket) -> Result<Self, BindError> {
        PublishListener::open(config).map(Self)
    }

    /// Takes over an inherited socket. Its file belongs to the process that opened it.
    pub fn inherited(socket: OwnedFd, config: &PublishSocket) -> Self {
        let mut config = config.clone();
        config.request_timeout = clock::bounded(config.request_timeout);
        Self(PublishListener { file: None, socket: socket.into(), config })
    }

    /// Duplicates the descriptor of the socket.
    ///
    /// # Errors
    /// The process or the system has no free descriptor.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.as_fd().try_clone_to_owned()
    }
}

impl AsFd for OpenPublishSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.socket.as_fd()
    }
}

/// Accepts publishers until the server stops. Those above `maxPublishers` are refused.
async fn accept(listener: UnixListener, file: Option<UnixFile>, config: PublishSocket, state: Arc<State>) {
    let _vital = io_thread::Vital;
    let _file = file;
    let limit = state.config.send_buffer_limit;
    let budget = Budget::new(limit + MAX_BESIDE_PAYLOAD);
    loop {
        match listener.accept().await.and_then(|(stream, _)| lifted(stream)) {
            Ok(stream) => {
                let Some(stop) = io_thread::with(|io| io.stopping()) else { return };
                let publisher = Publisher { stream, limit, budget: budget.clone(), state: state.clone() };
                let counters = &state.counters;
                if counters.publishers.load(Ordering::Relaxed) >= config.max_publishers as u64 {
                    task::spawn(publisher.turn_away(config.request_timeout));
                } else {
                    Counters::one(&counters.publishers);
                    task::spawn(publisher.serve(config.request_timeout, stop));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => {
                Counters::one(&state.counters.accept_errors);
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// Moves the socket to a high descriptor: PHP's select() works only with low ones.
fn lifted(stream: UnixStream) -> io::Result<UnixStream> {
    let stream = lift(stream.into_std()?.into());
    UnixStream::from_std(stream.into())
}

/// The connection of one publisher.
struct Publisher {
    stream: UnixStream,
    /// Most bytes of a payload.
    limit: usize,
    budget: Arc<Budget>,
    state: Arc<State>,
}

/// Decrements the number of publishers when the task ends, for whatever reason.
struct PublisherCount<'a>(&'a Counters);

impl Drop for PublisherCount<'_> {
    fn drop(&mut self) {
        self.0.publishers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A publication that the hub has received and may still refuse; holds its ticket. Dropping it
/// discards the hub's refusal.
struct PendingPublication(u64);

impl PendingPublication {
    /// Takes the hub's refusal, if there is one.
    fn outcome(&self) -> Option<FailedForward> {
        io_thread::with(|io| io.outbound.outcome(self.0)).flatten()
    }
}

impl Drop for PendingPublication {
    fn drop(&mut self) {
        self.outcome();
    }
}

/// The answer to a request as far as it is known: a refusal, or success unless the hub refuses the
/// publication.
type PublishAnswer = Result<Option<PendingPublication>, Refusal>;

/// Marks requests as being answered while it lives. A stopping server waits for them.
struct Answering;

impl Answering {
    fn begin() -> Self {
        io_thread::with(io_thread::Io::answering_began);
        Self
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        io_thread::with(io_thread::Io::answering_ended);
    }
}

impl Publisher {
    /// Refuses a publisher above the limit.
    async fn turn_away(self, patience: Duration) {
        self.refuse(&Refusal::Busy, patience).await;
    }

    /// Reads and answers requests until the publisher disconnects, violates the format, or takes
    /// longer than `patience` for a request or for reading an answer.
    async fn serve(self, patience: Duration, mut stop: watch::Receiver<bool>) {
        let state = self.state.clone();
        let _connected = PublisherCount(&state.counters);
        let mut stopped = pin!(async move { drop(stop.wait_for(|stop| *stop).await) });
        // Another process continues to serve the socket. This publisher's requests are still answered
        // until it is idle.
        let mut leaving = false;
        let mut input = Vec::new();
        // Deadline of the request that has arrived in part.
        let mut due: Option<Instant> = None;
        // Permit for the memory of that request, if it is large.
        let mut room = None;
        loop {
            let deadline = due.unwrap_or_else(|| Instant::now() + Duration::from_secs(365 * 86_400));
            let mut readable = pin!(timeout_at(deadline, self.stream.readable()));
            let idle = input.is_empty();
            let ready = poll_fn(|cx| {
                if !leaving && stopped.as_mut().poll(cx).is_ready() {
                    if !state.leaving.load(Ordering::Relaxed) {
                        return Poll::Ready(Err(Refusal::Stopping));
                    }
                    leaving = true;
                }
                if leaving && idle {
                    return Poll::Ready(Ok(()));
                }
                readable.as_mut().poll(cx).map(|r| r.map(drop).map_err(|_| Refusal::Timeout))
            });
            if let Err(refusal) = ready.await {
                // A publisher without an open request expects no answer.
                if !input.is_empty() {
                    self.refuse(&refusal, patience).await;
                }
                return;
            }
            match self.read(&mut input) {
                Ok(0) => return,
                Ok(n) => self.budget.work().await.done(1 + n / 1024).await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !(leaving && idle) => continue,
                Err(_) => return,
            }
            let received = input.len();
            let Some(missing) = self.answer(&mut input, patience).await else { return };
            if input.len() < received {
                // The rest belongs to the next request, and must not keep the buffer of a larger one.
                (due, room) = (None, None);
                input.shrink_to(SMALL);
            }
            // Idle publishers have no buffer.
            if input.is_empty() {
                input = Vec::new();
                due = None;
                continue;
            }
            if room.is_none() && input.len() + missing > SMALL {
                room = self.budget.room(input.len() + missing, patience).await;
                if room.is_none() {
                    return self.refuse(&Refusal::Busy, patience).await;
                }
                due = None;
            }
            due.get_or_insert_with(|| Instant::now() + patience);
            make_room(&mut input, missing);
        }
    }

    /// Appends the available bytes to `input`.
    fn read(&self, input: &mut Vec<u8>) -> io::Result<usize> {
        let mut chunk = [0; READ];
        let n = self.stream.try_read(&mut chunk)?;
        input.extend_from_slice(&chunk[..n]);
        Ok(n)
    }

    /// Carries out all complete requests in `input` and removes them from it. Returns how many bytes
    /// the next request lacks, as far as is known, or `None` if the connection is over.
    async fn answer(&self, input: &mut Vec<u8>, patience: Duration) -> Option<usize> {
        let _answering = Answering::begin();
        let mut used = 0;
        let mut answers = Vec::new();
        let missing = loop {
            let answer = match parse(&input[used..], self.limit) {
                Ok(Next::Incomplete(bytes)) => break Some(bytes.saturating_sub(input.len() - used)),
                Ok(Next::Request(request, bytes)) => {
                    self.room().await;
                    catch_up().await;
                    used += bytes;
                    let working = self.budget.work().await;
                    let sent = io_thread::with(|io| io.messages_out()).unwrap_or_default();
                    let answer = publish(&request);
                    let sent =
                        io_thread::with(|io| io.messages_out()).unwrap_or_default().saturating_sub(sent);
                    working.done(1 + sent as usize).await;
                    answer
                }
                Err(refusal) => Err(refusal),
            };
            let is_final = answer.as_ref().is_err_and(Refusal::is_final);
            answers.push(answer);
            if is_final {
                break None;
            }
            if answers.len() == ANSWERS_TOGETHER && !self.send_answers(&mut answers, patience).await {
                return None;
            }
        };
        input.drain(..used);
        if self.send_answers(&mut answers, patience).await { missing } else { None }
    }

    /// Sends answers, in the order of the requests. Returns `false` if the publisher is gone.
    async fn send_answers(&self, answers: &mut Vec<PublishAnswer>, patience: Duration) -> bool {
        if answers.is_empty() {
            return true;
        }
        self.wait_for_hub(patience).await;
        let mut text = String::new();
        for answer in answers.drain(..) {
            let refusal = match answer {
                Ok(awaited) => awaited.and_then(|awaited| awaited.outcome()).map(|refused| {
                    let kind = if refused.uncertain { Refusal::Partly } else { Refusal::Broker };
                    kind(refused.why)
                }),
                Err(refusal) => Some(refusal),
            };
            match refusal {
                None => {
                    Counters::one(&self.state.counters.socket_published);
                    text.push_str(OK);
                }
                Some(refusal) => {
                    self.count(&refusal);
                    text.push_str(&refusal.answer());
                }
            }
        }
        self.write(text.as_bytes(), patience).await
    }

    /// Waits, where there is a hub, until it has received all publications and reported those that it
    /// could not pass on. So what this publisher sends through another worker afterwards comes later,
    /// and the death of this worker loses nothing that was confirmed.
    async fn wait_for_hub(&self, patience: Duration) {
        if let Some(wait_for_hub) = io_thread::with(io_thread::Io::cluster_synced).flatten() {
            // Without an answer the publications stay queued for the next hub, so nothing is lost.
            let _ = tokio::time::timeout(patience, wait_for_hub).await;
        }
    }

    /// Waits while another I/O thread has more deliveries queued than it can carry out.
    async fn room(&self) {
        /// Interval between two checks; a thread this far behind does not catch up sooner.
        const MOMENT: Duration = Duration::from_millis(1);
        while self.state.is_crowded() {
            tokio::time::sleep(MOMENT).await;
        }
    }

    /// Counts a refusal and sends it.
    async fn refuse(&self, refusal: &Refusal, patience: Duration) {
        self.count(refusal);
        self.write(refusal.answer().as_bytes(), patience).await;
    }

    fn count(&self, refusal: &Refusal) {
        Counters::one(&self.state.counters.socket_refused);
        log_publish_refused(refusal);
    }

    /// Writes an answer. Returns `false` if the publisher is gone or does not read within `patience`.
    async fn write(&self, mut bytes: &[u8], patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while !bytes.is_empty() {
            match self.stream.try_write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !matches!(timeout_at(deadline, self.stream.writable()).await, Ok(Ok(()))) {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
        true
    }
}

/// Waits until the thread has carried out what the host had posted before, so that a publication
/// cannot overtake an earlier subscription. Yields after each turn.
async fn catch_up() {
    let since = io_thread::with(|io| io.batches()).unwrap_or_default();
    while io_thread::with(|io| io.catch_up(since)) == Some(false) {
        tokio::task::yield_now().await;
    }
}

/// Checks a request and publishes its payload.
fn publish(request: &Request<'_>) -> PublishAnswer {
    let topic = std::str::from_utf8(request.topic).map_err(|_| Refusal::TopicNotUtf8)?;
    if !request.binary && std::str::from_utf8(request.payload).is_err() {
        return Err(Refusal::NotUtf8);
    }
    let published = io_thread::with(|io| {
        if io.is_stopping_for_good() {
            return Err(Refusal::Stopping);
        }
        let published = io.publish_named(topic, request.payload, request.binary);
        published.map(|ticket| ticket.map(PendingPublication)).map_err(|failed| match failed {
            PublishFailed::Topic(error) => Refusal::Topic(error),
            full @ PublishFailed::QueueFull { .. } => Refusal::Hub(full.to_string()),
        })
    });
    published.unwrap_or(Err(Refusal::Stopping))
}
