//! Lingering close: ends a connection without losing the last bytes sent to the peer.
//!
//! Closing a socket that has unread input resets the connection, and a reset destroys data that is still on
//! its way to the peer. Input is therefore read and discarded until the peer has ended its side, or until it
//! has received everything sent and had a moment to react.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, sleep};

use crate::net::poll_turn;
use crate::net::progress::{Progress, SendQueue};
use crate::net::stream::Stream;

/// How long to wait for the peer to end its side once it takes no more data.
const PATIENCE: Duration = Duration::from_secs(1);
/// Reads before other tasks get their turn.
const READS_PER_TURN: usize = 16;

/// Bytes to read and discard after a protocol error of the peer. After a regular response only the time is
/// limited, because the rest of a request body may arrive before the client looks for the response.
pub(crate) const AFTER_ERROR: usize = 256 << 10;

/// Ends the server's side of the connection and waits for the peer to end its own. Gives up after reading
/// `most` bytes, or when the peer takes no more data for [`PATIENCE`].
pub(crate) async fn linger(mut stream: Stream, queue: Option<SendQueue>, mut most: usize) {
    let mut buffer = [0u8; 4096];
    // Nothing more is written, so only the outstanding bytes matter, not the number written.
    let sample = |stream: &mut Stream| stream.sample(queue, u64::MAX, 0);
    let mut progress = Progress::begin(sample(&mut stream));
    let mut timer = pin!(sleep(PATIENCE));
    let (mut ours_ended, mut theirs_ended) = (false, false);
    poll_fn(|cx| {
        while !ours_ended {
            ours_ended = stream.shutdown_write();
            if !ours_ended {
                match stream.poll_write_ready(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => break,
                }
            }
        }
        let mut reads = 0;
        while !theirs_ended {
            match stream.poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(0)) => theirs_ended = true,
                Poll::Ready(Ok(n)) if n > most => return Poll::Ready(()),
                Poll::Ready(Ok(n)) => {
                    most -= n;
                    reads += 1;
                    if reads > READS_PER_TURN {
                        poll_turn::pass(cx);
                        break;
                    }
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        if ours_ended && theirs_ended {
            return Poll::Ready(());
        }
        while timer.as_mut().poll(cx).is_ready() {
            if !progress.has_moved(|| sample(&mut stream)) {
                return Poll::Ready(());
            }
            timer.as_mut().reset(Instant::now() + PATIENCE);
        }
        Poll::Pending
    })
    .await;
}
