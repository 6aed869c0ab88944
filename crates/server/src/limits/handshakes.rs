//! Limits on sockets without a WebSocket: those before and in their handshake, and those that speak plain
//! HTTP, idle ones included. These limits are separate from those of connections.
//!
//! A client that connects and sends no request still occupies a descriptor. When the limit is reached, a
//! newcomer therefore displaces a socket that waits for its peer. Sockets without a complete request head go
//! first; among them those of the address that holds the most sockets; and among these the one that has
//! waited longest. A socket to which the server owes a response is never displaced.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::limits::admission::address_block;

/// A socket that has waited for its peer for less than this is not displaced: the peer may be far away, and
/// its next bytes already on the way.
const PATIENCE: Duration = Duration::from_millis(100);
/// Number of candidates that one search finds, so that not every newcomer has to search.
const FOUND: usize = 16;

/// The event for which a socket waits, in the order in which sockets are displaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PeerWait {
    /// The first complete request head.
    Head = 0,
    /// The peer to take a response, or its next request.
    Response = 1,
    /// The body of a request.
    Body = 2,
}

/// The limits, and the sockets of all I/O threads. Held by the server's state.
#[derive(Debug)]
pub(crate) struct Handshakes {
    /// Most sockets without a WebSocket.
    max: usize,
    /// Most of them for one address; 0 for no limit.
    max_per_ip: usize,
    /// Most sockets in total, those of connections included.
    max_sockets: usize,
    /// Sockets without a WebSocket that are open.
    open: AtomicUsize,
    table: Mutex<Table>,
    /// Notified when one ends.
    freed: Notify,
    /// The moment from which [`stamp`]s count.
    started: Instant,
}

/// All sockets without a WebSocket, by index, and the candidates that the last search found.
#[derive(Debug, Default)]
struct Table {
    sockets: Vec<Option<Arc<Socket>>>,
    /// Unused indices in `sockets`.
    free: Vec<usize>,
    /// Number of sockets for each address.
    by_ip: HashMap<IpAddr, usize>,
    /// Candidates to be displaced, the next one last: index, and the socket's stamp at the time of the
    /// search.
    found: Vec<(usize, u64)>,
}

impl Table {
    fn count(&mut self, ip: Option<IpAddr>) {
        if let Some(ip) = ip {
            *self.by_ip.entry(ip).or_default() += 1;
        }
    }

    fn discount(&mut self, ip: Option<IpAddr>) {
        if let Some(ip) = ip
            && let Some(count) = self.by_ip.get_mut(&ip)
        {
            *count -= 1;
            if *count == 0 {
                self.by_ip.remove(&ip);
            }
        }
    }
}

/// One socket in the table.
#[derive(Debug)]
struct Socket {
    index: usize,
    /// The address for which it counts, if any.
    ip: OnceLock<IpAddr>,
    /// The event for which it waits, and since when; see [`stamp`].
    waits: AtomicU64,
    /// Requests to which the server owes a response. The socket waits for its peer while there are none.
    responses_due: AtomicU32,
    /// WebSockets that it carries (HTTP/2). While there are any, it counts as a connection.
    carried: AtomicU32,
    /// Aborts its task, which closes it.
    task: OnceLock<AbortHandle>,
}

impl Socket {
    /// Whether the socket waits for its peer, and so may be displaced.
    fn waits(&self) -> bool {
        self.responses_due.load(Ordering::Relaxed) == 0 && self.carried.load(Ordering::Relaxed) == 0
    }
}

/// Encodes an event and the time in milliseconds at which the wait for it began. [`DISPLACED`] is higher than
/// any stamp.
fn stamp(wait: PeerWait, millis: u64) -> u64 {
    ((wait as u64) << 56) | millis
}

/// Stands in place of a stamp while a socket is being displaced.
const DISPLACED: u64 = u64::MAX;

impl Handshakes {
    pub(crate) fn new(max: usize, max_per_ip: usize, max_sockets: usize) -> Arc<Self> {
        Arc::new(Self {
            max: max.max(1),
            max_per_ip,
            max_sockets: max_sockets.max(1),
            open: AtomicUsize::new(0),
            table: Mutex::default(),
            freed: Notify::new(),
            started: Instant::now(),
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the start.
    fn millis(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Whether another socket may be accepted while there are `connections` connections.
    pub(crate) fn has_room(&self, connections: usize) -> bool {
        let open = self.open.load(Ordering::Relaxed);
        open < self.max && open.saturating_add(connections) < self.max_sockets
    }

    /// Registers an accepted socket, even if there is no room. Returns `None` if its address has reached its
    /// limit.
    pub(crate) fn enter(self: &Arc<Self>, ip: Option<IpAddr>) -> Option<HandshakePlace> {
        let place = self.enter_unknown();
        place.identify(ip).then_some(place)
    }

    /// Registers a socket whose peer is not known yet, or is not subject to the limit by address.
    pub(crate) fn enter_unknown(self: &Arc<Self>) -> HandshakePlace {
        self.open.fetch_add(1, Ordering::Relaxed);
        let waits = stamp(PeerWait::Head, self.millis()).into();
        let mut table = self.table();
        let index = table.free.pop().unwrap_or(table.sockets.len());
        let socket = Arc::new(Socket {
            index,
            ip: OnceLock::new(),
            waits,
            responses_due: 0.into(),
            carried: 0.into(),
            task: OnceLock::new(),
        });
        if index == table.sockets.len() {
            table.sockets.push(Some(socket.clone()));
        } else {
            table.sockets[index] = Some(socket.clone());
        }
        drop(table);
        HandshakePlace { all: self.clone(), socket }
    }

    /// Displaces a socket and waits until there may be room. If none can be displaced, waits for a shorter
    /// time, after which one may have become eligible. Returns whether one was displaced.
    pub(crate) async fn make_room(&self, connections: usize) -> bool {
        // Data that has already arrived is read first.
        tokio::task::yield_now().await;
        if self.has_room(connections) {
            return false;
        }
        let displaced = self.displace();
        let pause = if displaced { PATIENCE } else { PATIENCE / 4 };
        let _ = tokio::time::timeout(pause, self.freed.notified()).await;
        displaced
    }

    /// Aborts the task of the next candidate. Returns false if there is none.
    fn displace(&self) -> bool {
        let mut table = self.table();
        for searched in [false, true] {
            if searched {
                table.found = self.search(&table);
            }
            while let Some((index, stamp)) = table.found.pop() {
                let Some(Some(socket)) = table.sockets.get(index) else { continue };
                let same = socket.waits.load(Ordering::Relaxed) == stamp && socket.waits();
                if same && let Some(task) = socket.task.get() {
                    socket.waits.store(DISPLACED, Ordering::Relaxed);
                    task.abort();
                    return true;
                }
            }
        }
        false
    }

    /// Finds the next candidates, in reverse: the socket to be displaced first comes last.
    fn search(&self, table: &Table) -> Vec<(usize, u64)> {
        let Some(until) = self.millis().checked_sub(PATIENCE.as_millis() as u64) else { return Vec::new() };
        let since = |stamp: u64| stamp & ((1 << 56) - 1);
        let waiting = table.sockets.iter().flatten().filter(|socket| socket.waits());
        let mut found: Vec<_> = waiting
            .map(|socket| (socket, socket.waits.load(Ordering::Relaxed)))
            .filter(|(_, stamp)| since(*stamp) <= until)
            .map(|(socket, stamp)| {
                let held = socket.ip.get().and_then(|ip| table.by_ip.get(ip)).copied().unwrap_or(1);
                ((stamp >> 56, Reverse(held), since(stamp)), (socket.index, stamp))
            })
            .collect();
        if found.len() > FOUND {
            found.select_nth_unstable(FOUND);
            found.truncate(FOUND);
        }
        found.sort_unstable_by_key(|(order, _)| Reverse(*order));
        found.into_iter().map(|(_, found)| found).collect()
    }
}

/// The registration of one socket, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct HandshakePlace {
    all: Arc<Handshakes>,
    socket: Arc<Socket>,
}

impl HandshakePlace {
    /// Counts the socket for its peer's address. Returns false if the address has reached its limit.
    pub(crate) fn identify(&self, ip: Option<IpAddr>) -> bool {
        let Some(ip) = ip.map(address_block) else { return true };
        let mut table = self.all.table();
        let held = table.by_ip.get(&ip).copied().unwrap_or(0);
        if self.all.max_per_ip > 0 && held >= self.all.max_per_ip {
            return false;
        }
        if self.socket.ip.set(ip).is_ok() {
            table.count(Some(ip));
        }
        true
    }

    /// Returns a function that registers the socket's task, which is aborted when the socket is displaced.
    pub(crate) fn task_registration(&self) -> impl FnOnce(AbortHandle) + use<> {
        let socket = self.socket.clone();
        // Set only once, where the task is spawned.
        move |task| drop(socket.task.set(task))
    }

    /// Records that the server owes a response to a request whose head has arrived, until the returned value
    /// is dropped.
    pub(crate) fn owes(&self) -> Owing<'_> {
        self.socket.responses_due.fetch_add(1, Ordering::Relaxed);
        Owing(self)
    }

    /// Records that the server has done its part and the socket now waits for its peer.
    fn waits_for(&self, wait: PeerWait) {
        self.socket.waits.store(stamp(wait, self.all.millis()), Ordering::Relaxed);
        self.socket.responses_due.fetch_sub(1, Ordering::Relaxed);
    }

    /// Wraps the body of a request while the server [owes](HandshakePlace::owes) a response. Whenever the
    /// server has to wait for more of the body, the socket counts as waiting for its peer.
    pub(crate) fn watch<B>(self: &Arc<Self>, body: B) -> Watched<B> {
        Watched { body, place: self.clone(), waits: false }
    }

    /// Records that the socket carries a WebSocket, which counts as a connection, until the returned value is
    /// dropped.
    pub(crate) fn carry(self: &Arc<Self>) -> Carrying {
        if self.socket.carried.fetch_add(1, Ordering::Relaxed) == 0 {
            self.all.table().discount(self.socket.ip.get().copied());
            self.all.leave();
        }
        Carrying(self.clone())
    }
}

impl Handshakes {
    fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.freed.notify_one();
    }
}

impl Drop for HandshakePlace {
    fn drop(&mut self) {
        let mut table = self.all.table();
        table.discount(self.socket.ip.get().copied());
        table.sockets[self.socket.index] = None;
        table.free.push(self.socket.index);
        drop(table);
        self.all.leave();
    }
}

/// See [`HandshakePlace::owes`].
pub(crate) struct Owing<'a>(&'a HandshakePlace);

impl Drop for Owing<'_> {
    fn drop(&mut self) {
        self.0.waits_for(PeerWait::Response);
    }
}

/// See [`HandshakePlace::carry`].
#[derive(Debug)]
pub(crate) struct Carrying(Arc<HandshakePlace>);

impl Drop for Carrying {
    fn drop(&mut self) {
        let HandshakePlace { all, socket } = &*self.0;
        if socket.carried.load(Ordering::Relaxed) == 1 {
            all.open.fetch_add(1, Ordering::Relaxed);
            all.table().count(socket.ip.get().copied());
            socket.waits.store(stamp(PeerWait::Response, all.millis()), Ordering::Relaxed);
        }
        socket.carried.fetch_sub(1, Ordering::Relaxed);
    }
}

/// See [`HandshakePlace::watch`].
pub(crate) struct Watched<B> {
    body: B,
    place: Arc<HandshakePlace>,
    /// Whether the last poll found no data.
    waits: bool,
}

impl<B> Watched<B> {
    /// Ends a wait for the peer.
    fn end_wait(&mut self) {
        if std::mem::take(&mut self.waits) {
            self.place.socket.responses_due.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<B> Drop for Watched<B> {
    fn drop(&mut self) {
        self.end_wait();
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match &frame {
            Poll::Pending if !self.waits => {
                self.waits = true;
                self.place.waits_for(PeerWait::Body);
            }
            Poll::Pending => {}
            Poll::Ready(_) => self.end_wait(),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// Makes a socket appear to have waited for `millis`.
    fn age(place: &HandshakePlace, wait: PeerWait, millis: u64) {
        place.socket.waits.store(stamp(wait, 10_000 - millis), Ordering::Relaxed);
    }

    fn handshakes(max: usize, max_per_ip: usize) -> Arc<Handshakes> {
        let started = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        let all = Handshakes::new(max, max_per_ip, 100);
        let Handshakes { open, table, freed, .. } = Arc::into_inner(all).unwrap();
        Arc::new(Handshakes { max, max_per_ip, max_sockets: 100, open, table, freed, started })
    }

    /// The indices of the sockets that a search finds, in the order in which they are displaced.
    fn order(all: &Handshakes) -> Vec<usize> {
        let mut found = all.search(&all.table());
        found.reverse();
        found.into_iter().map(|(index, _)| index).collect()
    }

    #[test]
    fn sockets_without_a_request_and_of_the_busiest_address_go_first() {
        let all = handshakes(10, 0);
        let places: Vec<_> = ["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]
            .map(|text| Arc::new(all.enter(ip(text)).unwrap()))
            .into();
        let waits = [
            PeerWait::Head,
            PeerWait::Head,
            PeerWait::Head,
            PeerWait::Body,
            PeerWait::Response,
            PeerWait::Head,
        ];
        for ((place, wait), millis) in places.iter().zip(waits).zip([9000, 200, 300, 9000, 9000, 1]) {
            age(place, wait, millis);
        }
        assert_eq!(order(&all), [2, 1, 0, 4, 3], "the last one has not waited long enough");
        let owing = places[0].owes();
        assert_eq!(order(&all), [2, 1, 4, 3]);
        drop(owing);
        assert_eq!(order(&all), [2, 1, 4, 3], "the first one has just received its response");
    }

    #[test]
    fn addresses_have_a_limit_and_ipv6_counts_by_64_bit_network() {
        let all = handshakes(10, 2);
        let _a = all.enter(ip("2001:db8::1")).unwrap();
        let b = all.enter(ip("2001:db8::ffff:2")).unwrap();
        assert!(all.enter(ip("2001:db8::3")).is_none());
        let _other = all.enter(ip("2001:db8:0:1::3")).unwrap();
        let _local = [all.enter(None), all.enter(None), all.enter(None)];
        drop(b);
        assert!(all.enter(ip("2001:db8::3")).is_some());
        assert_eq!(all.open.load(Ordering::Relaxed), 5);
    }

    #[test]
    fn a_socket_that_carries_websockets_counts_as_a_connection() {
        let all = handshakes(1, 1);
        let place = Arc::new(all.enter(ip("10.0.0.1")).unwrap());
        age(&place, PeerWait::Head, 5000);
        assert!(!all.has_room(0));
        let carried = (place.carry(), place.carry());
        assert!(all.has_room(0) && !all.has_room(100) && order(&all).is_empty());
        assert!(all.enter(ip("10.0.0.1")).is_some());
        drop(carried.0);
        assert!(all.has_room(0));
        drop(carried.1);
        assert!(!all.has_room(0) && all.enter(ip("10.0.0.1")).is_none());
        drop(place);
        assert!(all.has_room(0) && all.table().by_ip.is_empty());
    }

    #[tokio::test]
    async fn a_newcomer_displaces_the_socket_that_has_waited_longest() {
        let all = handshakes(3, 0);
        let mut tasks = Vec::new();
        for millis in [200, 9000, 300] {
            let place = all.enter(None).unwrap();
            age(&place, PeerWait::Head, millis);
            let set_task = place.task_registration();
            let task = tokio::spawn(async move {
                let _place = place;
                std::future::pending::<()>().await;
            });
            set_task(task.abort_handle());
            tasks.push(task);
        }
        tokio::task::yield_now().await;
        assert!(all.make_room(0).await);
        assert!(all.has_room(0));
        let finished: Vec<_> = tasks.iter().map(|task| task.is_finished()).collect();
        assert_eq!(finished, [false, true, false]);
    }
}
