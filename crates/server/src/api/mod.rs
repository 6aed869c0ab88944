//! The facade: what a host holds, on one thread of its own.

pub(crate) mod cluster;
mod listeners;
mod sending;
mod start;
mod stop;
mod stopper;
mod streams;
mod topics;

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

use crate::channel::event::{Decision, Event, Interest, Response};
use crate::channel::mailbox::{Answer, Closed, Command, EventBatch, Handshake, Item, NewSocket, Plain};
use crate::channel::wake::Slept;
use crate::connection::direct_write::WriteResult;
use crate::connection::shared::Shared;
use crate::error::{ForkError, TlsError};
use crate::id::Target;
use crate::id::Ticket;
use crate::metrics::callback_times::{Handler, Stopwatch};
use crate::metrics::counters::{Counters, Stats};
use crate::net::listener::Entry;
use crate::net::socket::lift;
use crate::net::tls::TlsState;
use crate::state::State;
use crate::topics::registry::Topics;

pub use listeners::Listeners;
pub use stopper::Stopper;

/// What became of a message given to [`Server::send`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    /// It goes out after all that was sent before.
    Sent,
    /// The connection is closed or closing.
    Closed,
    /// The peer reads too slowly; the message was dropped ([`SlowConsumer::Drop`](crate::SlowConsumer::Drop)).
    Dropped,
    /// The peer reads too slowly; the connection is being closed with 1013.
    Overflow,
}

/// Why [`Server::wait`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Events are waiting.
    Ready,
    /// The time is up.
    TimedOut,
    /// A signal arrived.
    Interrupted,
}

/// A plain request that waits for the host.
#[derive(Debug)]
struct Asked {
    reply: oneshot::Sender<Answer>,
    is_head: bool,
}

/// A running server. Its methods take `&self`, hold no lock and no borrow across a return, and
/// may be called from inside the handling of an event.
///
/// Dropping it cuts all connections and joins the I/O threads.
#[derive(Debug)]
pub struct Server {
    pub(crate) state: Arc<State>,
    threads: ManuallyDrop<Vec<JoinHandle<()>>>,
    addresses: Vec<String>,
    process: u32,
    /// The batch that is being handed out, last event first.
    batch: RefCell<Vec<Item>>,
    /// Its share of the backlog, released with its last event.
    batch_bytes: Cell<u64>,
    /// The threads (one bit each) that have something to take with the next flush.
    posted: Cell<u64>,
    /// Where all that was posted is one message: its connection.
    single: RefCell<Option<Arc<Shared>>>,
    /// Bytes of messages that they have to take.
    outgoing_bytes: Cell<usize>,
    upgrades: RefCell<HashMap<Ticket, oneshot::Sender<Decision>>>,
    requests: RefCell<HashMap<Ticket, Asked>>,
    pub(crate) topics: RefCell<Topics>,
    /// The thread that gets the next socket of [`Server::adopt`].
    adopted: Cell<usize>,
    stopwatch: Stopwatch,
    /// The end of the grace period, once the server was told to stop.
    cut_at: Cell<Option<Instant>>,
}

impl Server {
    /// URLs of the listeners in the order given, the kernel's choice of port filled in:
    /// `ws://127.0.0.1:8080`, `ws://[::1]:8080`, `unix:///run/chat.sock`.
    pub fn addresses(&self) -> Vec<String> {
        self.addresses.clone()
    }

    /// Checks that this is the process that started the server. Every other method may only be
    /// called where this is `Ok`; dropping the server in a fork is harmless.
    ///
    /// # Errors
    /// The calling process is a fork of the one that started the server.
    pub fn check_process(&self) -> Result<(), ForkError> {
        let here = std::process::id();
        if here == self.process { Ok(()) } else { Err(ForkError { started_in: self.process, here }) }
    }

    /// Says which events the host wants. May change at any time.
    pub fn set_interest(&self, interest: Interest, on: bool) {
        if on {
            self.state.interest.fetch_or(interest.0, Ordering::Relaxed);
        } else {
            self.state.interest.fetch_and(!interest.0, Ordering::Relaxed);
        }
    }

    /// The next event, or `None` when none waits now. Returns its share of the connection's credit.
    pub fn next_event(&self) -> Option<Event> {
        loop {
            let mut batch = self.batch.borrow_mut();
            let (item, is_last) = (batch.pop(), batch.is_empty());
            drop(batch);
            if is_last {
                self.release_batch();
            }
            match item {
                // Most items are messages: these pass without a call.
                Some(Item::Message { conn, payload, binary }) if !self.is_cut() => {
                    self.stopwatch.start(|| self.state.nanos(), &self.state.handlers);
                    // Before its credit is given back, see `State::host_answers`.
                    self.state.handling.store(conn.id.0, Ordering::Release);
                    let (taken, bytes) = (&self.state.taken, payload.len() as u64);
                    taken.messages.add(1);
                    taken.bytes.add(bytes);
                    self.taken(&conn, payload.len());
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

    /// Releases what the batch took up, whose last item has been taken.
    fn release_batch(&self) {
        if self.batch_bytes.get() > 0 {
            self.state.backlog.release(self.batch_bytes.take());
        }
    }

    /// Begins to hand out the next batch. False: none waits.
    fn next_batch(&self) -> bool {
        let Ok(EventBatch { mut items, bytes }) = self.state.events.1.try_recv() else {
            self.state.handling.store(0, Ordering::Release);
            return false;
        };
        items.reverse();
        *self.batch.borrow_mut() = items;
        self.batch_bytes.set(bytes);
        true
    }

    /// The event that an item other than a message stands for, or a message after the grace period.
    /// `None`: the host need not know of it.
    #[inline(never)]
    fn take(&self, item: Item) -> Option<Event> {
        let item = if self.is_cut() { self.after_cut(item)? } else { item };
        self.stopwatch.start(|| self.state.nanos(), &self.state.handlers);
        match item {
            // `after_cut` lets none pass.
            Item::Message { .. } => None,
            Item::Pong { conn, payload } => {
                self.taken(&conn, payload.len());
                conn.delivers().then(|| Event::Pong { id: conn.id, payload })
            }
            Item::Ending { conn } => {
                // What is sent from here on would be too late.
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
                self.requests.borrow_mut().insert(ticket, Asked { reply, is_head });
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
                self.tell_changes();
                self.absent(id);
                Some(Event::Close { id, code, reason })
            }
            Item::Plain(event) => {
                match &*event {
                    Event::StreamDrain { stream } if !stream.0.take_drain() => return None,
                    Event::StreamClose { stream, .. } => stream.0.told.store(true, Ordering::Relaxed),
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

    fn taken(&self, conn: &Arc<crate::connection::shared::Shared>, bytes: usize) {
        if conn.sub_pending(bytes, &self.state.credit) {
            self.post(conn.thread, Command::Resume(Target::from(&**conn)));
        }
    }

    /// Hands all that was sent, closed, decided since the last call to the I/O threads. To be
    /// called after a batch of events and before waiting. When the handling of an event takes
    /// long, what was sent before leaves after some milliseconds without it.
    pub fn flush(&self) {
        self.outgoing_bytes.set(0);
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

    /// Writes the message that was posted, if nothing stands in the way. False: the thread must be
    /// told.
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
                mailbox.put_back(Command::Owed(target));
                written
            }
            WriteResult::Written => length,
        };
        conn.sub_buffered(written);
        Counters::one(&self.state.counters.messages_out);
        Counters::add(&self.state.counters.bytes_out, written as u64);
        written == length
    }

    fn has_events(&self) -> bool {
        !self.batch.borrow().is_empty() || !self.state.events.1.is_empty()
    }

    /// Announces that the host is about to sleep until [`Server::fd`] is readable. False: events
    /// wait, don't sleep (the descriptor is readable then, too).
    pub fn prepare_sleep(&self) -> bool {
        let waker = &self.state.waker;
        waker.reset();
        waker.watch();
        if self.has_events() {
            waker.awake();
            waker.signal();
            return false;
        }
        true
    }

    /// Flushes, announces sleep, and blocks until events wait, `timeout` has passed, or a signal
    /// arrives. `None` waits without limit.
    pub fn wait(&self, timeout: Option<Duration>) -> Wait {
        self.flush();
        if self.has_events() {
            return Wait::Ready;
        }
        match self.state.waker.sleep(timeout, || self.has_events()) {
            Slept::Woken => Wait::Ready,
            Slept::TimedOut => Wait::TimedOut,
            Slept::Interrupted => Wait::Interrupted,
        }
    }

    /// Readable while events wait, once [`Server::prepare_sleep`] has been called after the last
    /// [`Server::next_event`]. Never read from it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.state.waker.fd()
    }

    /// Makes [`Server::fd`] readable at `when`, for a host whose timers must wake a foreign loop.
    /// Replaces what was set before; `None` takes it back.
    pub fn notify_at(&self, when: Option<Instant>) {
        self.post(0, Command::NotifyAt(when));
        self.flush();
    }

    /// Serves a connected stream socket, TCP or Unix, that the host has accepted itself, as if a
    /// listener had. With `tls` it begins with a TLS handshake.
    ///
    /// # Errors
    /// It is none, its peer is gone, there are no settings for TLS, or the server stops. The
    /// descriptor is closed.
    pub fn adopt(&self, fd: OwnedFd, tls: bool) -> io::Result<()> {
        let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        if self.state.stopping.load(Ordering::Relaxed) {
            return refuse("the server is stopping");
        }
        if tls && self.state.tls.is_none() {
            return refuse("TLS needs a certificate, and none is set");
        }
        let socket = socket2::Socket::from(fd);
        let peer = socket.peer_addr()?;
        if socket.r#type()? != socket2::Type::STREAM || !(peer.is_unix() || peer.as_socket().is_some()) {
            return refuse("not a stream socket");
        }
        socket.set_nonblocking(true)?;
        let (fd, remote) = (lift(socket.into()), peer.as_socket());
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
        Counters::one(&self.state.counters.accepted);
        let thread = self.adopted.get() % self.state.mailboxes.len();
        self.adopted.set(thread + 1);
        let entry = Entry { tls, proxy_protocol: false };
        // Whoever hands over a socket has made room for it.
        let place = self.state.handshakes.enter_unknown();
        self.post(thread as u16, Command::Adopt(NewSocket { fd, remote, entry, place }));
        self.flush();
        Ok(())
    }

    /// Answers an `Upgrade` event. False: the ticket is void or was answered before.
    pub fn decide(&self, ticket: Ticket, decision: Decision) -> bool {
        let Some(reply) = self.upgrades.borrow_mut().remove(&ticket) else { return false };
        if reply.is_closed() {
            return false;
        }
        self.post(0, Command::Decide(reply, decision));
        true
    }

    /// Answers a `Request` event. False: the ticket is void or was answered before.
    pub fn respond(&self, ticket: Ticket, response: Response) -> bool {
        let Some(Asked { reply, .. }) = self.requests.borrow_mut().remove(&ticket) else { return false };
        if reply.is_closed() {
            return false;
        }
        self.post(0, Command::Respond(reply, Answer::Whole(response)));
        true
    }

    /// Reads certificates and keys again: new connections get what the files hold now, open ones
    /// go on. Does nothing without [`tls`](crate::Config::tls).
    ///
    /// # Errors
    /// A file can't be used; those in force stay in force.
    pub fn reload_tls(&self) -> Result<(), TlsError> {
        self.state.tls.as_ref().map_or(Ok(()), TlsState::reload)
    }

    /// A reading of the counters.
    pub fn stats(&self) -> Stats {
        self.state.stats()
    }

    /// A callback begins. Its times are taken, which costs a quick one about 5 ns.
    pub fn handling(&self, handler: Handler) {
        self.stopwatch.begin(handler, || self.state.nanos(), &self.state.handlers);
    }

    /// A callback has ended, if one began. `late`: a coarse clock of some milliseconds has moved on
    /// since the last call.
    pub fn handled(&self, late: bool) {
        self.stopwatch.end(late, || self.state.nanos(), &self.state.handlers);
    }

    /// The host has nothing to do any more.
    pub fn idle(&self) {
        self.stopwatch.pause(|| self.state.nanos(), &self.state.handlers);
    }

    /// A callback has ended with an exception.
    pub fn handler_failed(&self) {
        Counters::one(&self.state.counters.callback_errors);
    }

    pub(crate) fn post(&self, thread: u16, command: Command) {
        self.single.take();
        let full = self.state.mailboxes[thread as usize].post(command);
        self.posted.set(self.posted.get() | 1 << thread);
        if full {
            self.wait_for_room(thread);
        }
    }

    /// Lets the thread catch up: what the host wants faster than it can be done must not pile up.
    #[cold]
    fn wait_for_room(&self, thread: u16) {
        /// After which to see whether the thread still lives.
        const PATIENCE: Duration = Duration::from_millis(100);
        let mailbox = &self.state.mailboxes[thread as usize];
        mailbox.deliver();
        Counters::one(&self.state.counters.host_waits);
        while self.check_threads().is_ok() && !mailbox.wait_for_room(PATIENCE) {}
        if self.check_threads().is_err() {
            // Nobody takes it any more.
            mailbox.take(&mut Vec::new());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // In a fork there are no threads, and what they had locked stays locked.
        if self.check_process().is_err() {
            return;
        }
        for mailbox in &self.state.mailboxes {
            mailbox.post(Command::Quit);
            mailbox.deliver();
        }
        for thread in std::mem::take(&mut *self.threads) {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}
