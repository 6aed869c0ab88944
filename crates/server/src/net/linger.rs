//! The end of a connection that has said its last.
//!
//! Closing a socket that has unread input resets it, and a reset destroys what is still on its way
//! to the peer. So input is read and dropped until the peer has ended its side, or has had all that
//! was sent and a moment to notice.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, sleep};

use crate::net::poll_turn;
use crate::net::progress::{Progress, SendQueue};
use crate::net::stream::Stream;

/// How long a peer that takes nothing more may take to end its side.
const PATIENCE: Duration = Duration::from_secs(1);
/// Reads before others get their turn.
const READS_PER_TURN: usize = 16;

/// Bytes of a peer that has broken the rules that are read and dropped. Behind a regular response it is
/// the time alone that bounds them: the rest of a body may come before the client looks for an answer.
pub(crate) const AFTER_ERROR: usize = 256 << 10;

/// Ends our side of the connection and waits for the peer's. Reads `most` bytes.
pub(crate) async fn linger(mut stream: Stream, queue: Option<SendQueue>, mut most: usize) {
    let mut buffer = [0u8; 4096];
    // Nothing more is written: only what is left matters, not how much that was.
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
