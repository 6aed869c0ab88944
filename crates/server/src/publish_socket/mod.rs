//! The Unix socket on which other processes of the machine publish. It is served by the first
//! I/O thread, without the host.

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
use crate::cluster::port::Refused;
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

/// Publishers whose connections are not accepted yet.
const BACKLOG: i32 = 1024;
/// Requests that are answered by one write.
const ANSWERS_TOGETHER: usize = 16;
/// One read.
const READ: usize = 16 << 10;

/// The listening socket.
#[derive(Debug)]
pub(crate) struct PublishListener {
    /// Removed at the end, before the socket closes. `None`: the socket is inherited.
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

    /// Begins to accept. Aborting the task closes the listener.
    pub(crate) fn spawn(self, state: Arc<State>) -> io::Result<AbortHandle> {
        let listener = UnixListener::from_std(StdListener::from(OwnedFd::from(self.socket)))?;
        Ok(task::spawn(accept(listener, self.file, self.config, state)).abort_handle())
    }
}

/// A publish socket, opened by a process that starts several servers: each gets a duplicate of its
/// descriptor, and they share it. Its file goes with it.
#[derive(Debug)]
pub struct OpenPublishSocket(pub(crate) PublishListener);

impl OpenPublishSocket {
    /// Opens the socket.
    ///
    /// # Errors
    /// The path can't be listened on.
    pub fn open(config: &PublishSocket) -> Result<Self, BindError> {
        PublishListener::open(config).map(Self)
    }

    /// Takes over an inherited socket. Its file belongs to the process that opened it.
    pub fn inherited(socket: OwnedFd, config: &PublishSocket) -> Self {
        let mut config = config.clone();
        config.request_timeout = clock::bounded(config.request_timeout);
        Self(PublishListener { file: None, socket: socket.into(), config })
    }

    /// Another descriptor of the socket.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.as_fd().try_clone_to_owned()
    }
}

impl AsFd for OpenPublishSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.socket.as_fd()
    }
}

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

/// Leaves the low descriptors to PHP.
fn lifted(stream: UnixStream) -> io::Result<UnixStream> {
    let stream = lift(stream.into_std()?.into());
    UnixStream::from_std(stream.into())
}

/// One connection.
struct Publisher {
    stream: UnixStream,
    /// Bytes of a payload.
    limit: usize,
    budget: Arc<Budget>,
    state: Arc<State>,
}

/// Keeps the count right, however the task ends.
struct Connected<'a>(&'a Counters);

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.publishers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A publication that the hub may refuse yet to pass on.
struct Awaited(u64);

impl Awaited {
    fn outcome(&self) -> Option<Refused> {
        io_thread::with(|io| io.outbound.outcome(self.0)).flatten()
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.outcome();
    }
}

/// What is to be answered, as far as it is known.
type Answer = Result<Option<Awaited>, Refusal>;

/// A request that is being answered: a server that stops waits for it.
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
    async fn turn_away(self, patience: Duration) {
        self.refuse(&Refusal::Busy, patience).await;
    }

    async fn serve(self, patience: Duration, mut stop: watch::Receiver<bool>) {
        let state = self.state.clone();
        let _connected = Connected(&state.counters);
        let mut stopped = pin!(async move { drop(stop.wait_for(|stop| *stop).await) });
        // Others go on with the socket: what this publisher has sent already is carried out.
        let mut leaving = false;
        let mut input = Vec::new();
        // When the request that has begun must be there.
        let mut due: Option<Instant> = None;
        // The room of that request, if it is large.
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
                // A publisher that has asked nothing needs no answer.
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
            let there = input.len();
            let Some(missing) = self.answer(&mut input, patience).await else { return };
            if input.len() < there {
                // What is left belongs to another request, and need not keep the buffer of this one.
                (due, room) = (None, None);
                input.shrink_to(SMALL);
            }
            // Idle publishers keep no buffer.
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

    fn read(&self, input: &mut Vec<u8>) -> io::Result<usize> {
        let mut chunk = [0; READ];
        let n = self.stream.try_read(&mut chunk)?;
        input.extend_from_slice(&chunk[..n]);
        Ok(n)
    }

    /// Carries out the requests that are there and takes them off `input`. Gives back how many bytes
    /// the next one lacks, as far as is known. `None`: the connection is over.
    async fn answer(&self, input: &mut Vec<u8>, patience: Duration) -> Option<usize> {
        let _answering = Answering::begin();
        let mut used = 0;
        let mut answers = Vec::new();
        let missing = loop {
            let answer = match parse(&input[used..], self.limit) {
                Ok(Next::Incomplete(bytes)) => break Some(bytes.saturating_sub(input.len() - used)),
                Ok(Next::Request(request, bytes)) => {
                    self.room().await;
                    caught_up().await;
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
            if answers.len() == ANSWERS_TOGETHER && !self.give(&mut answers, patience).await {
                return None;
            }
        };
        input.drain(..used);
        if self.give(&mut answers, patience).await { missing } else { None }
    }

    /// Answers requests, in order. False: the publisher is gone.
    async fn give(&self, answers: &mut Vec<Answer>, patience: Duration) -> bool {
        if answers.is_empty() {
            return true;
        }
        self.synced(patience).await;
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

    /// With workers or a broker: until the hub has what was published, and has said what it could
    /// not pass on. So what a publisher sends by another
    /// worker afterwards comes after it, and a worker's death takes along nothing that was answered.
    async fn synced(&self, patience: Duration) {
        if let Some(synced) = io_thread::with(io_thread::Io::cluster_synced).flatten() {
            // Without an answer the publications wait for the next hub, which is as before.
            let _ = tokio::time::timeout(patience, synced).await;
        }
    }

    /// Waits while another I/O thread has more to do than it gets done.
    async fn room(&self) {
        /// A thread that is so far behind is not done with it sooner.
        const MOMENT: Duration = Duration::from_millis(1);
        while self.state.is_crowded() {
            tokio::time::sleep(MOMENT).await;
        }
    }

    async fn refuse(&self, refusal: &Refusal, patience: Duration) {
        self.count(refusal);
        self.write(refusal.answer().as_bytes(), patience).await;
    }

    fn count(&self, refusal: &Refusal) {
        Counters::one(&self.state.counters.socket_refused);
        log_publish_refused(refusal);
    }

    /// False: the publisher is gone, or doesn't take its answers.
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

/// Waits until the thread has done what the host had asked for, in turns.
async fn caught_up() {
    let since = io_thread::with(|io| io.batches()).unwrap_or_default();
    while io_thread::with(|io| io.catch_up(since)) == Some(false) {
        tokio::task::yield_now().await;
    }
}

fn publish(request: &Request<'_>) -> Answer {
    let topic = std::str::from_utf8(request.topic).map_err(|_| Refusal::TopicNotUtf8)?;
    if !request.binary && std::str::from_utf8(request.payload).is_err() {
        return Err(Refusal::NotUtf8);
    }
    let published = io_thread::with(|io| {
        if io.is_stopping_for_good() {
            return Err(Refusal::Stopping);
        }
        let published = io.publish_named(topic, request.payload, request.binary);
        published.map(|ticket| ticket.map(Awaited)).map_err(|failed| match failed {
            PublishFailed::Topic(error) => Refusal::Topic(error),
            full @ PublishFailed::QueueFull { .. } => Refusal::Hub(full.to_string()),
        })
    });
    published.unwrap_or(Err(Refusal::Stopping))
}
