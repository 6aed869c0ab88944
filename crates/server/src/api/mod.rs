//! [`Server`], through which a host starts, uses and stops a server, on one thread of its own.
//!
//! The files `cluster`, `streams` and `topics` are named after the modules whose functions they offer to
//! the host.

pub(crate) mod cluster;
mod listeners;
mod sending;
mod start;
mod stop;
mod stopper;
mod streams;
mod topics;
mod waiting;

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

use crate::channel::event::{Decision, Event, Interest, Response};
use crate::channel::lanes::{EventBatch, Lanes};
use crate::channel::mailbox::{Answer, Closed, Command, Handshake, Item, NewSocket, Plain};
use crate::channel::wake::Slept;
use crate::connection::direct_write::WriteResult;
use crate::connection::shared::Shared;
use crate::error::{ForkError, TlsError};
use crate::id::{ConnId, Target, Ticket};
use crate::metrics::callback_times::{Handler, Stopwatch};
use crate::metrics::counters::{Counters, Stats};
use crate::net::listener::Preamble;
use crate::net::socket::lift;
use crate::net::tls::TlsState;
use crate::state::State;
use crate::thread::reactor::Reactor;
use crate::topics::registry::Topics;

pub use listeners::Listeners;
pub use stopper::Stopper;

/// The outcome of [`Server::send`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    /// The message is queued behind everything sent before.
    Sent,
    /// The connection is closed or closing.
    Closed,
    /// The peer reads too slowly, and the message was dropped
    /// ([`SlowConsumer::Drop`](crate::SlowConsumer::Drop)).
    Dropped,
    /// The peer reads too slowly, and the connection is being closed with code 1013.
    Overflow,
}

/// Why [`Server::wait`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Events are waiting, or may be.
    Ready,
    /// The timeout has passed.
    TimedOut,
    /// A signal arrived.
    Interrupted,
}

impl From<Slept> for Wait {
    fn from(slept: Slept) -> Self {
        match slept {
            Slept::Woken => Self::Ready,
            Slept::TimedOut => Self::TimedOut,
            Slept::Interrupted => Self::Interrupted,
        }
    }
}

/// A plain HTTP request that the host has received and not answered yet.
#[derive(Debug)]
struct UnansweredRequest {
    reply: oneshot::Sender<Answer>,
    /// The method is HEAD, so that the response has no body.
    is_head: bool,
}

/// A running server. Its methods take `&self` and hold neither a lock nor a borrow when they return,
/// so that the host may call them while it handles an event.
///
/// Dropping a server cuts all connections and joins the I/O threads.
#[derive(Debug)]
pub struct Server {
    pub(crate) state: Arc<State>,
    /// The reactor of the first I/O thread.
    reactor: Arc<Reactor>,
    threads: ManuallyDrop<Vec<JoinHandle<()>>>,
    /// URLs of the listeners, see [`Server::addresses`].
    addresses: Vec<String>,
    /// Id of the process that started the server, see [`Server::check_process`].
    process: u32,
    /// The event batch that is being handed out, in reverse, so that the next item is the last one.
    batch: RefCell<Vec<Item>>,
    /// Bytes of the backlog that this batch accounts for; released with its last item.
    batch_bytes: Cell<u64>,
    /// Chooses the batch that follows it.
    lanes: RefCell<Lanes>,
    /// Threads, one bit each, whose mailboxes hold commands that were posted since the last flush.
    posted: Cell<u64>,
    /// The recipient, if a single message is all that was posted: [`Server::flush`] then tries to
    /// write it to the socket on the host's own thread.
    single: RefCell<Option<Arc<Shared>>>,
    /// The recipient of the last command that was posted, if that sends a message.
    last_sent: Cell<Option<ConnId>>,
    /// Bytes of messages posted since the last flush.
    outgoing_bytes: Cell<usize>,
    /// Handshakes that the host has received and not decided about.
    upgrades: RefCell<HashMap<Ticket, oneshot::Sender<Decision>>>,
    /// Plain requests that the host has received and not answered.
    requests: RefCell<HashMap<Ticket, UnansweredRequest>>,
    /// Topics and patterns with their subscribers, of all I/O threads.
    pub(crate) topics: RefCell<Topics>,
    /// Number of sockets passed to [`Server::adopt`]; they are spread over the threads in turn.
    adopted: Cell<usize>,
    /// Measures the host's callbacks.
    stopwatch: Stopwatch,
    /// End of the grace period, once the server is stopping.
    cut_at: Cell<Option<Instant>>,
}

impl Server {
    /// URLs of the listeners in the order given, with the actual port where the kernel chose one:
    /// `ws://127.0.0.1:8080`, `ws://[::1]:8080`, `unix:///run/chat.sock`.
    pub fn addresses(&self) -> Vec<String> {
        self.addresses.clone()
    }

    /// Checks that the calling process is the one that started the server. In a fork of it, no other
    /// method may be called; dropping the server there is harmless.
    ///
    /// # Errors
    /// [`ForkError`] if the calling process is a fork of the one that started the server.
    pub fn check_process(&self) -> Result<(), ForkError> {
        let here = std::process::id();
        if here == self.process { Ok(()) } else { Err(ForkError { started_in: self.process, here }) }
    }

    /// Switches the events of `interest` on or off. A host may change its interest at any time.
    pub fn set_interest(&self, interest: Interest, on: bool) {
        if on {
            self.state.interest.fetch_or(interest.0, Ordering::Relaxed);
        } else {
            self.state.interest.fetch_and(!interest.0, Ordering::Relaxed);
        }
    }

    /// Returns the next event, or `None` if none is waiting. The bytes of a message no longer count
    /// towards the limits of its connection once it has been returned.
    pub fn next_event(&self) -> Option<Event> {
        loop {
            let mut batch = self.batch.borrow_mut();
            let (item, is_last) = (batch.pop(), batch.is_empty());
            drop(batch);
            if is_last {
                self.release_batch();
            }
            match item {
                // Most items are messages, so that this arm is inlined.
                Some(Item::Message { conn, payload, binary }) if !self.is_cut() => {
                    self.stopwatch.start(|| self.state.nanos(), &self.state.handlers);
                    // This store must precede `return_credit`, which lets the connection send further
                    // messages; see `State::host_answers`.
                    self.state.handling.store(conn.id.0, Ordering::Release);
                    let (taken, bytes) = (&self.state.taken, payload.len() as u64);
                    taken.messages.add(1);
                    taken.bytes.add(bytes);
                    self.return_credit(&conn, payload.len());
                    if conn.delivers() {
                        return Some(Event::Message { id: conn.id, payload, binary });
                    }
                    taken.undelivered.add(1);
                    taken.undelivered_bytes.add(bytes);
                }
                Some(item) => {
                    self.state.handling.store(0, Ordering::Release);
                    if let Some(event) = self.take(item) {
                        return Some(event);
                    }
                }
                None => {
                    if !self.next_batch() {
                        return None;
                    }
                }
            }
        }
    }

    /// Releases the batch's share of the backlog. Called with its last item.
    fn release_batch(&self) {
        if self.batch_bytes.get() > 0 {
            self.state.backlog.release(self.batch_bytes.take());
        }
    }

    /// Makes the next batch the current one. Returns `false` if none is waiting.
    fn next_batch(&self) -> bool {
        let Some(EventBatch { mut items, bytes, .. }) = self.lanes.borrow_mut().next(&self.state.events.1)
        else {
            self.state.handling.store(0, Ordering::Release);
            return false;
        };
        items.reverse();
        *self.batch.borrow_mut() = items;
        self.batch_bytes.set(bytes);
        true
    }

    /// Returns the event for an item other than a message, or for any item after the grace period.
    /// `None` if the host needs no event for it.
    #[inline(never)]
    fn take(&self, item: Item) -> Option<Event> {
        let item = if self.is_cut() { self.after_cut(item)? } else { item };
        self.stopwatch.start(|| self.state.nanos(), &self.state.handlers);
        match item {
            // `after_cut` drops messages.
            Item::Message { .. } => None,
            Item::Pong { conn, payload } => {
                self.return_credit(&conn, payload.len());
                conn.delivers().then(|| Event::Pong { id: conn.id, payload })
            }
            Item::Ending { conn } => {
                // Messages that the host sends from here on would come after the close frame.
                conn.end();
                self.post(conn.thread, Command::Answered(Target::from(&*conn)));
                None
            }
            Item::Upgrade { ticket, question } => {
                let Handshake { request, reply } = question.take()?;
                self.upgrades.borrow_mut().insert(ticket, reply);
                Some(Event::Upgrade { ticket, request })
            }
            Item::Request { ticket, question } => {
                let Plain { request, body, reply } = question.take()?;
                let is_head = request.method() == "HEAD";
                self.requests.borrow_mut().insert(ticket, UnansweredRequest { reply, is_head });
                Some(Event::Request { ticket, request, body: body.into_bytes() })
            }
            Item::RequestGone { ticket } => {
                self.requests.borrow_mut().remove(&ticket);
                None
            }
            Item::Presence => {
                let (event, more) = self.state.presence().take();
                if more {
                    self.batch.borrow_mut().push(Item::Presence);
                }
                event.filter(|_| self.state.wants(Interest::PRESENCE))
            }
            Item::Notice(notice) => {
                let (_place, event) = *notice;
                Some(event)
            }
            Item::Closed(closed) => {
                let Closed { id, code, reason, admission } = *closed;
                drop(admission);
                self.state.taken.closes.add(1);
                self.topics.borrow_mut().forget(id);
                self.post_topic_changes();
                self.leave_all(id);
                Some(Event::Close { id, code, reason })
            }
            Item::Plain(event) => {
                match &*event {
                    Event::StreamDrain { stream } if !stream.0.take_drain() => return None,
                    Event::StreamClose { stream, .. } => {
                        stream.0.close_delivered.store(true, Ordering::Relaxed)
                    }
                    Event::UpgradeGone { ticket } => drop(self.upgrades.borrow_mut().remove(ticket)),
                    Event::Unpublished { .. } => {
                        if let Some(port) = &self.state.cluster {
                            port.loss_reported();
                        }
                    }
                    _ => {}
                }
                Some(*event)
            }
        }
    }

    /// Subtracts `bytes` from what waits for the host of this connection, and has its thread resume
    /// reading if the connection had reached its limits.
    fn return_credit(&self, conn: &Arc<Shared>, bytes: usize) {
        if conn.sub_pending(bytes, &self.state.credit) {
            self.post(conn.thread, Command::Resume(Target::from(&**conn)));
        }
    }

    /// Delivers all commands posted since the last call to the I/O threads. A host calls it after
    /// each batch of events and before it waits. While the handling of one event takes long, the
    /// threads fetch what was posted before by themselves, after some milliseconds.
    pub fn flush(&self) {
        self.outgoing_bytes.set(0);
        // The thread has most likely taken the command before the next message is sent.
        self.last_sent.set(None);
        let mut posted = self.posted.take();
        if let Some(conn) = self.single.take()
            && self.write(&conn)
        {
            return;
        }
        while posted != 0 {
            self.state.mailboxes[posted.trailing_zeros() as usize].deliver();
            posted &= posted - 1;
        }
    }

    /// Takes the single posted message back from the mailbox and writes it to the socket. Returns
    /// `false` if the thread must be woken: the socket is busy, or only a part was written.
    fn write(&self, conn: &Shared) -> bool {
        let mailbox = &self.state.mailboxes[conn.thread as usize];
        let Some((target, frame)) = mailbox.take_back() else { return false };
        let length = frame.len();
        let written = match conn.write(frame) {
            WriteResult::Refused(frame) => {
                mailbox.put_back(Command::Send(target, frame));
                return false;
            }
            WriteResult::InPart(written) => {
                mailbox.put_back(Command::Unwritten(target));
                written
            }
            WriteResult::Written => length,
        };
        conn.sub_buffered(written);
        Counters::one(&self.state.counters.messages_out);
        Counters::add(&self.state.counters.bytes_out, written as u64);
        written == length
    }

    /// Serves a connected stream socket, TCP or Unix, that the host has accepted itself, as though a
    /// listener had accepted it. With `tls` the connection begins with a TLS handshake.
    ///
    /// # Errors
    /// The descriptor is not a connected stream socket, the server has no TLS settings and `tls` is
    /// set, or the server is stopping. The descriptor is closed in each case.
    pub fn adopt(&self, fd: OwnedFd, tls: bool) -> io::Result<()> {
        let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        if self.state.stopping.load(Ordering::Relaxed) {
            return refuse("the server is stopping");
        }
        if tls && self.state.tls.is_none() {
            return refuse("TLS needs a certificate, but none is set");
        }
        let socket = socket2::Socket::from(fd);
        let peer = socket.peer_addr()?;
        if socket.r#type()? != socket2::Type::STREAM || !(peer.is_unix() || peer.as_socket().is_some()) {
            return refuse("not a stream socket");
        }
        socket.set_nonblocking(true)?;
        let remote = peer.as_socket();
        if remote.is_some() {
            socket.set_tcp_nodelay(true)?;
        }
        let fd = lift(socket.into());
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
        Counters::one(&self.state.counters.accepted);
        let thread = self.adopted.get() % self.state.mailboxes.len();
        self.adopted.set(thread + 1);
        let preamble = Preamble { tls, proxy_protocol: false };
        // Limits on handshakes do not apply: the caller has already accepted the socket.
        let place = self.state.handshakes.enter_unknown();
        self.post(thread as u16, Command::Adopt(NewSocket { fd, remote, preamble, place }));
        self.flush();
        Ok(())
    }

    /// Answers an `Upgrade` event. Returns `false` if the ticket is no longer valid or was answered
    /// before.
    pub fn decide(&self, ticket: Ticket, decision: Decision) -> bool {
        let Some(reply) = self.upgrades.borrow_mut().remove(&ticket) else { return false };
        if reply.is_closed() {
            return false;
        }
        self.post(0, Command::Decide(reply, decision));
        true
    }

    /// Answers a `Request` event. Returns `false` if the ticket is no longer valid or was answered
    /// before.
    pub fn respond(&self, ticket: Ticket, response: Response) -> bool {
        let Some(UnansweredRequest { reply, .. }) = self.requests.borrow_mut().remove(&ticket) else {
            return false;
        };
        if reply.is_closed() {
            return false;
        }
        self.post(0, Command::Respond(reply, Answer::Whole(response)));
        true
    }

    /// Reads certificates and keys again. New connections use the new ones; open connections continue
    /// with the old ones. Without [`tls`](crate::Config::tls) nothing is read, and the result is `None`.
    ///
    /// # Errors
    /// A file can't be read, or its contents can't be used; the current certificates stay in use.
    pub fn reload_tls(&self) -> Option<Result<(), TlsError>> {
        self.state.tls.as_ref().map(TlsState::reload)
    }

    /// The current values of the counters of this server.
    pub fn stats(&self) -> Stats {
        self.state.stats()
    }

    /// Starts to measure a callback of the host. For a short callback this costs about 5 ns.
    pub fn handling(&self, handler: Handler) {
        self.stopwatch.begin(handler, || self.state.nanos(), &self.state.handlers);
    }

    /// Ends the measurement of a callback, if one has begun. `late`: the host's coarse clock, which
    /// advances every few milliseconds, has advanced since the last call.
    pub fn handled(&self, late: bool) {
        self.stopwatch.end(late, || self.state.nanos(), &self.state.handlers);
    }

    /// Stops the clock of the host's callbacks: it has handled all events.
    pub fn idle(&self) {
        self.stopwatch.pause(|| self.state.nanos(), &self.state.handlers);
    }

    /// Counts a callback that has ended with an exception.
    pub fn handler_failed(&self) {
        Counters::one(&self.state.counters.callback_errors);
    }

    /// Posts a command to the mailbox of a thread, which receives it with the next flush. Blocks
    /// while the mailbox is full.
    pub(crate) fn post(&self, thread: u16, command: Command) {
        self.single.take();
        self.last_sent.set(None);
        let full = self.state.mailboxes[thread as usize].post(command);
        self.posted.set(self.posted.get() | 1 << thread);
        if full {
            self.wait_for_room(thread);
        }
    }

    /// Blocks until the thread has caught up, so that commands cannot pile up without bound when the
    /// host posts them faster than the thread can carry them out.
    #[cold]
    fn wait_for_room(&self, thread: u16) {
        /// Interval between two checks of whether the thread is still alive.
        const PATIENCE: Duration = Duration::from_millis(100);
        let mailbox = &self.state.mailboxes[thread as usize];
        mailbox.deliver();
        self.reactor.recall();
        Counters::one(&self.state.counters.host_waits);
        while self.check_threads().is_ok() && !mailbox.wait_for_room(PATIENCE) {}
        if self.check_threads().is_err() {
            // The thread is dead: discard the commands.
            mailbox.take(&mut Vec::new());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A fork has no I/O threads, and locks that they held at the time of the fork stay locked.
        if self.check_process().is_err() {
            return;
        }
        for mailbox in &self.state.mailboxes {
            mailbox.post(Command::Quit);
            mailbox.deliver();
        }
        self.reactor.recall();
        for thread in std::mem::take(&mut *self.threads) {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
        self.state.waker.end_driving();
    }
}
