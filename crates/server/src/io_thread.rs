//! The body of an I/O thread: a tokio runtime of the kind `current_thread`, the tasks of the thread,
//! and the points at which it exchanges batches with the host.

use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::accept;
use crate::channel::mailbox::Mailbox;
use crate::http::http1;
use crate::hub_link;
use crate::net::listener::Listener;
use crate::publish_socket::PublishListener;
use crate::state::State;
use crate::thread::reactor::Reactor;
use crate::thread::{Io, Vital, with};
use crate::{reclaim, tls_watch};

/// Number of polls of ready tasks after which the runtime looks at its sockets. Under a flood there is always
/// a ready task, and each poll may also deliver the publications that wait. During a flood of publications
/// by eight connections, tokio's default of 61 makes the p99 of other clients 7 to 35 ms, and this number 9
/// to 12 ms. At 8 it is 7 to 8 ms, but full load with 16 messages in flight costs half as much CPU time again.
const POLLS_PER_LOOK: u32 = 16;

/// Runs I/O thread `index` until the server ends. `ready` is called once, when the thread accepts
/// sockets, or with the error that prevents it.
pub(crate) fn run(
    state: Arc<State>,
    index: u16,
    reactor: Option<Arc<Reactor>>,
    listeners: Vec<Listener>,
    publish: Option<PublishListener>,
    joined: Option<hub_link::HubConnection>,
    ready: impl FnOnce(io::Result<()>),
) {
    let _vital = Vital;
    let (park, unpark) = (state.clone(), state.clone());
    let (parked, unparked) = (reactor.clone(), reactor.clone());
    let block = state.config.block_signals;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(POLLS_PER_LOOK)
        // Blocking threads read files: certificates that are watched, and static files.
        .max_blocking_threads(8)
        // Also for threads that libraries spawn, perhaps while the host drives: signals reach the host alone.
        .on_thread_start(move || {
            if let Some(block) = block {
                std::mem::forget(block());
            }
        })
        .on_thread_park(move || {
            before_park(&park.mailboxes[index as usize]);
            with(|io| {
                io.park();
                if let Some(reactor) = &parked {
                    reactor.park(io);
                }
            });
        })
        .on_thread_unpark(move || {
            let mailbox = &unpark.mailboxes[index as usize];
            mailbox.unparked();
            with(|io| {
                io.unpark();
                if let Some(reactor) = &unparked {
                    reactor.unpark(&unpark.waker, io);
                }
            });
            if mailbox.is_pending() {
                with(Io::take_commands);
            }
        })
        .build();
    let runtime = match runtime {
        Ok(runtime) => Arc::new(runtime),
        Err(error) => return ready(Err(error)),
    };
    let signals = Io::install(state.clone(), index, http1::serve_socket);
    let quit = signals.quit.clone();
    let reactor = reactor.unwrap_or_default();
    let _shared = reactor.share(&runtime);
    let started = runtime.block_on(async {
        let accepting = listeners.into_iter().map(|l| accept::spawn(l, state.clone()));
        let accepting = accepting.chain(publish.map(|p| p.spawn(state.clone())));
        match accepting.collect::<io::Result<Vec<_>>>() {
            Ok(accepting) => with(|io| io.accepts(accepting)),
            Err(error) => {
                ready(Err(error));
                return false;
            }
        };
        ready(Ok(()));
        tokio::spawn(collect(state.clone(), index));
        tokio::spawn(keep_alive(state.clone(), signals.first));
        tokio::spawn(watch(signals.closing, Io::check_closing));
        tokio::spawn(watch(signals.suppressed, Io::report_suppressed));
        tokio::spawn(attend(signals.attend));
        tokio::spawn(read_again(state.clone(), index));
        if index == 0 {
            tokio::spawn(tls_watch::watch(state.clone()));
            let watched = state.clone();
            tokio::spawn(reclaim::watch(state.config.reclaim, move || watched.events()));
        }
        if let Some(joined) = joined {
            let hub_link = hub_link::run(joined, state.clone());
            tokio::spawn(async move {
                let _vital = Vital;
                hub_link.await;
            });
        }
        true
    });
    if started {
        while runtime.block_on(is_followed(&quit, &reactor)) {
            reactor.follow(&state.mailboxes[index as usize], &state.waker);
        }
        if index == 0 && state.cluster.is_some() {
            runtime.block_on(flush_to_hub());
        }
    }
    // Sockets must be dropped while their runtime exists.
    Io::uninstall();
}

/// Drives the thread. Returns true when the host drives it from now on, and false when it must end.
async fn is_followed(quit: &Notify, reactor: &Reactor) -> bool {
    tokio::select! {
        biased;
        () = quit.notified() => false,
        () = reactor.leaving() => true,
    }
}

/// Waits up to a second until the hub has received everything queued for it. If the hub runs in this
/// process, also waits until it has passed everything on to the broker, for as long as the hub
/// allows.
async fn flush_to_hub() {
    if let Some(synced) = with(|io| io.outbound.sync()) {
        // On a timeout or an error the hub does not answer any more.
        let _ = tokio::time::timeout(Duration::from_secs(1), synced).await;
    }
    if let Some((quit, hub)) = with(|io| io.local_hub.take()).flatten() {
        drop(quit);
        // The hub limits the duration of its own end. A panic of it was reported when it happened.
        let _ = hub.await;
    }
}

/// Runs when the runtime is about to park the thread: hands the current event batch to the host and
/// carries out posted commands, until there are no more. The number of rounds is limited, so that a
/// host that posts faster than the thread can work does not keep it from its sockets.
fn before_park(mailbox: &Mailbox) {
    const ROUNDS: usize = 4;
    for _ in 0..ROUNDS {
        let more = with(|io| {
            io.hand_over();
            io.has_rest()
        });
        // The rest of a batch is carried out by a task that is ready. The mailbox must then not be
        // marked as parked.
        if more == Some(true) || mailbox.may_park() {
            return;
        }
        with(Io::take_commands);
    }
    // Makes a task ready, so that the thread does not park.
    with(Io::must_not_park);
    mailbox.notify.notify_one();
}

/// Keeps the runtime awake when the mailbox has commands; they are carried out when the thread
/// unparks.
async fn collect(state: Arc<State>, index: u16) {
    let _vital = Vital;
    loop {
        state.mailboxes[index as usize].notify.notified().await;
        let overdue = with(Io::collect);
        // Yielding makes the runtime poll its sockets, which continuing the loop would not.
        if overdue == Some(true) {
            tokio::task::yield_now().await;
        }
    }
}

/// Fetches posted commands every few milliseconds while the host is awake. The host flushes at the
/// end of each batch, but when one of its callbacks takes long, what was sent before must not wait
/// for it.
async fn attend(awake: Arc<Notify>) {
    let _vital = Vital;
    const PATIENCE: Duration = Duration::from_millis(10);
    // Number of rounds that continue after the host has gone to sleep. Starting anew for each message
    // of a quiet server would cost more than the message itself.
    const ROUNDS: u32 = 10;
    loop {
        awake.notified().await;
        let mut left = ROUNDS;
        loop {
            tokio::time::sleep(PATIENCE).await;
            if with(|io| io.attend(&mut left, ROUNDS)) != Some(true) {
                break;
            }
        }
    }
}

/// Serves a list of deadlines of the thread. `check` handles those that have passed and returns the
/// next one; `began` wakes the task when an entry is added to an empty list.
async fn watch(began: Arc<Notify>, check: fn(&mut Io) -> Option<Instant>) {
    let _vital = Vital;
    loop {
        match with(check).flatten() {
            Some(next) => tokio::time::sleep_until(next).await,
            None => began.notified().await,
        }
    }
}

/// Wakes sessions that wait for room in the backlog, whenever there is some.
async fn read_again(state: Arc<State>, index: u16) {
    loop {
        state.backlog.room(index).await;
        with(Io::read_again);
    }
}

/// Scans the sessions in ticks, as long as there are any: pings those that are silent, and closes
/// those that do not answer in time.
async fn keep_alive(state: Arc<State>, first: Arc<Notify>) {
    let _vital = Vital;
    let Some(interval) = state.config.ping_interval else { return };
    let timeout = state.config.ping_timeout;
    let tick = (interval.min(timeout) / 10).clamp(Duration::from_millis(5), Duration::from_secs(1));
    let ticks =
        |time: Duration| u32::try_from(time.as_nanos() / tick.as_nanos()).unwrap_or(u32::MAX / 2).max(1);
    let (interval, timeout) = (ticks(interval), ticks(timeout));
    loop {
        if with(|io| io.len() == 0).unwrap_or(true) {
            first.notified().await;
        }
        tokio::time::sleep(tick).await;
        with(|io| io.keep_alive(interval, timeout));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_host_that_never_stops_posting_does_not_hold_the_thread() {
        let (done, returned) = mpsc::channel();
        std::thread::spawn(move || {
            let mailbox = Mailbox::default();
            // Nothing on this thread takes commands, as if the host always posted more.
            mailbox.deliver();
            before_park(&mailbox);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let woken = runtime.block_on(async {
                tokio::time::timeout(Duration::from_secs(5), mailbox.notify.notified()).await.is_ok()
            });
            done.send(woken).unwrap();
        });
        let woken = returned.recv_timeout(Duration::from_secs(10));
        assert_eq!(woken, Ok(true), "before_park must return and leave the mailbox to a task");
    }
}
