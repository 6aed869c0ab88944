//! The body of a plain request, collected for the host.

use bytes::Bytes;
use hyper::body::{Body as HttpBody, SizeHint};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use crate::limits::backlog::{Backlog, Charge};

/// Room that a body has at least.
const LEAST: usize = 512;

/// A whole body. It counts towards the [backlog](crate::limits::backlog) until it is dropped.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Bytes,
    /// By capacity.
    _charge: Charge,
}

impl Body {
    /// The host takes it.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// It is, or says that it is, larger than allowed.
    TooLarge,
    /// Its framing is malformed, or it ended early.
    Malformed,
    /// Too much waits for the host already.
    Full,
}

/// Copies a body into one buffer, whatever the pieces it arrives in: a piece would keep the buffer
/// that it was read into. `announced` is the value of `Content-Length`, which reserves nothing; a
/// body that announces more than `max` is not read at all. While the body arrives, the request, of
/// `head` bytes, counts as well.
///
/// # Errors
/// See [`BodyError`].
pub(crate) async fn collect<B>(
    body: B,
    announced: Option<u64>,
    max: usize,
    head: usize,
    backlog: &Arc<Backlog>,
) -> Result<Body, BodyError>
where
    B: HttpBody<Data = Bytes>,
{
    let announced = announced.or_else(|| SizeHint::exact(&body.size_hint()));
    if announced.is_some_and(|length| length > max as u64) {
        return Err(BodyError::TooLarge);
    }
    let mut body = pin!(body);
    let mut charge = Charge::new(backlog);
    let waiting = if body.is_end_stream() { 0 } else { head };
    if waiting > 0 && !charge.raise(waiting) {
        return Err(BodyError::Full);
    }
    let mut buffer = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        // Trailers are ignored.
        let Ok(piece) = frame.map_err(|_| BodyError::Malformed)?.into_data() else { continue };
        let length = buffer.len() + piece.len();
        if length > max {
            return Err(BodyError::TooLarge);
        }
        if length > buffer.capacity() {
            let room = (2 * buffer.capacity()).max(LEAST).min(max).max(length);
            if !charge.raise(waiting + room) {
                return Err(BodyError::Full);
            }
            buffer.reserve_exact(room - buffer.len());
        }
        buffer.extend_from_slice(&piece);
    }
    charge.lower(waiting);
    Ok(Body { bytes: buffer.into(), _charge: charge })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;
    use std::convert::Infallible;

    fn run(pieces: &[&'static [u8]], announced: Option<u64>, limit: usize) -> (Result<Body, BodyError>, u64) {
        let backlog = Backlog::new(limit, 1);
        let frames = pieces.iter().map(|p| Ok::<_, Infallible>(Frame::data(Bytes::from_static(p))));
        let body = StreamBody::new(futures_util::stream::iter(frames.collect::<Vec<_>>()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let collected = runtime.block_on(collect(body, announced, 10_000, 100, &backlog));
        let waits = backlog.bytes();
        (collected, waits)
    }

    #[test]
    fn pieces_take_no_more_than_one_buffer() {
        let pieces = vec![&b"x"[..]; 9000];
        let (body, waits) = run(&pieces, None, 1 << 20);
        assert_eq!(waits, 10_000, "the buffer doubles, but not beyond the limit");
        assert_eq!(&body.unwrap().into_bytes()[..], &[b'x'; 9000]);
        let (body, waits) = run(&[b"all at once"], Some(11), 1 << 20);
        assert_eq!((&body.unwrap().into_bytes()[..], waits), (&b"all at once"[..], LEAST as u64));
    }

    #[test]
    fn a_body_that_is_too_large_is_refused_at_its_head() {
        let error = |pieces: &[&'static [u8]], announced, limit| run(pieces, announced, limit).0.unwrap_err();
        assert_eq!(error(&[], Some(10_001), 1 << 20), BodyError::TooLarge);
        assert_eq!(error(&[&[0; 6000], &[0; 4001]], None, 1 << 20), BodyError::TooLarge);
        let backlog = Backlog::new(1 << 20, 1);
        let body = Full::new(Bytes::from_static(&[0; 11_000]));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let collected = runtime.block_on(collect(body, None, 10_000, 100, &backlog));
        assert_eq!(collected.unwrap_err(), BodyError::TooLarge);
    }

    #[test]
    fn what_a_body_takes_up_is_released_with_it() {
        let backlog = Backlog::new(1 << 20, 1);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let body = Full::new(Bytes::from_static(&[0; 4000]));
        let body = runtime.block_on(collect(body, None, 10_000, 100, &backlog)).unwrap();
        assert_eq!(backlog.bytes(), 4000);
        drop(body);
        assert_eq!(backlog.bytes(), 0);
        backlog.add(1 << 20);
        let body = Full::new(Bytes::from_static(&[0; 4000]));
        let refused = runtime.block_on(collect(body, None, 10_000, 100, &backlog));
        assert_eq!(refused.unwrap_err(), BodyError::Full);
    }
}
