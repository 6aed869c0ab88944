//! Opens sessions. Each has a task, which polls it until it is over.

use sprocket_protocol::decoder::{self, Decoder, Role};
use sprocket_protocol::deflate::{Agreed, Compressed, Compressor};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use super::{Io, Upgraded, with};
use crate::channel::event::Event;
use crate::channel::mailbox::{Item, Stopping};
use crate::connection::handle::Connection;
use crate::connection::shared::Shared;
use crate::id::{ConnId, Target};
use crate::metrics::counters::Counters;
use crate::session::{Early, Session};

impl Io {
    /// Creates the session of an upgraded socket and emits its `Open` event. The caller runs the returned
    /// task. If the server is already stopping, the session is closed with 1001.
    pub(crate) fn open(&mut self, upgraded: Upgraded) -> SessionTask {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.sessions.push(None);
            (self.sessions.len() - 1) as u32
        });
        let id = ConnId(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        // The host cannot compress, so it writes directly only to connections without compression.
        let (stream, socket) = match upgraded.compression {
            None => upgraded.stream.share(),
            Some(_) => (upgraded.stream, None),
        };
        let shared = Arc::new(Shared::new(id, self.context.index, slot, upgraded.remote, socket));
        Counters::one(&self.context.server.counters.opened);
        self.context.emit(Item::plain(Event::Open {
            conn: Connection(shared.clone()),
            ticket: upgraded.ticket,
            request: upgraded.request,
            subprotocol: upgraded.subprotocol,
        }));
        let early = Early::copy(&upgraded.early, &mut self.context);
        let decoder = Decoder::new(decoder::Config {
            role: Role::Server,
            max_message_size: self.context.server.config.max_message_size,
            compressed: upgraded.compression.as_ref().map_or(Compressed::Never, Agreed::client_sends),
        });
        let compressor = upgraded.compression.map(|agreed| Box::new(Compressor::new(agreed)));
        let session =
            Session::new(shared, stream, early, decoder, compressor, upgraded.admission, self.context.tick);
        self.sessions[slot as usize] = Some(Box::new(session));
        self.context.live += 1;
        if self.len() == 1 {
            self.first.notify_one();
        }
        if *self.stop.borrow() {
            let why = if self.context.server.leaving.load(Ordering::Relaxed) {
                Stopping::Leaving
            } else {
                Stopping::ForGood
            };
            self.close(Target { slot, id }, 1001, why.reason());
        }
        SessionTask::new(slot)
    }
}

/// The task of a session, which ends with it.
#[must_use = "a session needs its task"]
pub(crate) struct SessionTask {
    slot: u32,
    is_over: bool,
}

impl SessionTask {
    fn new(slot: u32) -> Self {
        Self { slot, is_over: false }
    }
}

impl Future for SessionTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let poll = poll_session(self.slot, cx);
        self.is_over = poll.is_ready();
        poll
    }
}

impl Drop for SessionTask {
    /// Continues the session in another task. This one may have been aborted, because it displaced the
    /// socket in the very moment in which its handshake succeeded.
    fn drop(&mut self) {
        if !self.is_over && !std::thread::panicking() && with(|_| ()).is_some() {
            tokio::spawn(Self::new(self.slot));
        }
    }
}

/// Polls the session in `slot`. Frees the slot when the session is over.
fn poll_session(slot: u32, cx: &mut Context<'_>) -> Poll<()> {
    with(|io| {
        io.take_pending();
        let Some(Some(session)) = io.sessions.get_mut(slot as usize) else { return Poll::Ready(()) };
        let poll = session.poll(&mut io.context, cx);
        if poll.is_ready() {
            io.sessions[slot as usize] = None;
            io.free.push(slot);
        }
        io.is_idle = false;
        io.context.polled();
        poll
    })
    .unwrap_or(Poll::Ready(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::request::Request;
    use crate::config::Config;
    use crate::net::plain_socket::PlainSocket;
    use crate::state::State;
    use bytes::Bytes;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn a_session_outlives_its_task() {
        let config = Config { ping_interval: None, ..Config::default() };
        let state = Arc::new(State::new(config, None, None, 1, false).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let _signals = Io::install(state.clone(), 0, |_, _| {});
            let (ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
            let request = http::Request::new(()).into_parts().0;
            let upgraded = Upgraded {
                stream: PlainSocket::Unix(ours).into(),
                early: Bytes::new(),
                admission: state.limits.admit(None).unwrap(),
                remote: None,
                request: Arc::new(Request::new(&request, None, None, false)),
                subprotocol: None,
                compression: None,
                ticket: None,
            };
            let task = tokio::spawn(with(|io| io.open(upgraded)).unwrap());
            tokio::task::yield_now().await;
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
            theirs.write_all(b"\x88\x80\0\0\0\0").await.unwrap();
            let mut answer = [0; 2];
            let answered = tokio::time::timeout(PATIENCE, theirs.read_exact(&mut answer)).await;
            answered.expect("the session has no task").unwrap();
            assert_eq!(answer, *b"\x88\0", "the answer to the close frame");
            drop(theirs);
            while with(|io| io.len()) != Some(0) {
                tokio::task::yield_now().await;
            }
        });
        Io::uninstall();
    }
}
