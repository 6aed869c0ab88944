//! Accepts connections on one listening socket. Runs as a task on the first I/O thread, and passes
//! the accepted sockets to all threads in turn.

use socket2::Socket;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;

use crate::channel::mailbox::{Command, NewSocket};
use crate::channel::notices::SocketFailure;
use crate::http::http1;
use crate::limits::handshakes::HandshakePlace;
use crate::metrics::counters::Counters;
use crate::net::listener::{Listener, Preamble};
use crate::net::socket::{BACK_OFF, accept_one, has_pending_connection};
use crate::net::unix_socket::UnixFile;
use crate::state::State;
use crate::thread::Vital;
use crate::thread::report::log_socket_failure;
use crate::thread::task;

/// Most sockets that are accepted before the loop yields to other tasks.
const ACCEPTS_PER_TURN: usize = 64;

/// Starts the task that accepts. Aborting it closes the listener.
pub(crate) fn spawn(listener: Listener, state: Arc<State>) -> io::Result<AbortHandle> {
    let (socket, preamble, file) = listener.into_parts();
    #[expect(
        deprecated,
        reason = "its objection is to owners whose descriptor may change; that of a Socket does not"
    )]
    let socket = AsyncFd::with_interest(socket, Interest::READABLE)?;
    Ok(task::spawn(accept(socket, file, preamble, state)).abort_handle())
}

/// Accepts until the server stops. When too many sockets have no WebSocket yet, it displaces one that
/// waits for its peer.
async fn accept(listener: AsyncFd<Socket>, file: Option<UnixFile>, preamble: Preamble, state: Arc<State>) {
    let _vital = Vital;
    let _file = file;
    let mut turn = 0usize;
    loop {
        let Ok(mut ready) = listener.readable().await else { return };
        for _ in 0..ACCEPTS_PER_TURN {
            let connections = state.limits.open();
            if !state.handshakes.has_room(connections) {
                if !has_pending_connection(listener.get_ref()) {
                    ready.clear_ready();
                    break;
                }
                if state.handshakes.make_room(connections).await {
                    Counters::one(&state.counters.handshakes_displaced);
                    log_socket_failure(None, &SocketFailure::Displaced);
                }
                if state.stopping.load(Ordering::Relaxed) {
                    return;
                }
                continue;
            }
            match accept_one(listener.get_ref()) {
                Ok((fd, remote)) => {
                    Counters::one(&state.counters.accepted);
                    let Some(place) = place(&state, remote, preamble) else { continue };
                    // All listeners belong to thread 0, which distributes the sockets.
                    let thread = turn % state.mailboxes.len();
                    turn = turn.wrapping_add(1);
                    let socket = NewSocket { fd, remote, preamble, place };
                    if thread == 0 {
                        http1::serve_socket(&state, socket);
                    } else {
                        state.mailboxes[thread].pass(Command::Adopt(socket));
                        state.mailboxes[thread].deliver();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready.clear_ready();
                    break;
                }
                // The peer closed the connection while it was in the queue.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    Counters::one(&state.counters.accept_errors);
                    log_socket_failure(None, &SocketFailure::Accept(&error));
                    tokio::time::sleep(BACK_OFF).await;
                    break;
                }
            }
        }
        if state.stopping.load(Ordering::Relaxed) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Reserves a place among the sockets without a WebSocket. Returns `None` if the client's address has
/// as many as `maxHandshakesPerIp` allows; the socket is then closed.
fn place(state: &State, remote: Option<SocketAddr>, preamble: Preamble) -> Option<HandshakePlace> {
    let ip = remote.map(|address| address.ip());
    // A proxy connects on behalf of many clients.
    if preamble.proxy_protocol || state.config.trusted_proxies.contains(ip) {
        return Some(state.handshakes.enter_unknown());
    }
    let place = state.handshakes.enter(ip);
    if place.is_none() {
        Counters::one(&state.counters.handshakes_refused);
        log_socket_failure(remote, &SocketFailure::Address);
    }
    place
}
