//! Upload: collects the body of a plain HTTP request for the host.

use bytes::Bytes;
use hyper::body::{Body as HttpBody, SizeHint};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use crate::limits::backlog::{Backlog, Charge};

/// Minimum capacity of the buffer for a body, in bytes.
const MIN_CAPACITY: usize = 512;

/// A complete body. It counts towards the [backlog](crate::limits::backlog) until it is dropped or taken.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Bytes,
    /// Charges the capacity of the buffer to the backlog.
    _charge: Charge,
}

impl Body {
    /// Takes the bytes for the host, after which they no longer count.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

/// The reasons for which a body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// The body, or its announced length, exceeds the limit.
    TooLarge,
    /// The framing of the body is malformed, or the body ended early.
    Malformed,
    /// The backlog is full.
    Full,
}

/// Collects a body in one buffer. The pieces in which it arrives are copied, because each would keep the
/// read buffer that it is part of. `announced` is the value of `Content-Length`: it reserves no memory, but
/// a body that announces more than `max` bytes is not read at all. While the body arrives, the `head` bytes
/// of the request's head count towards the backlog as well.
///
/// # Errors
/// The body is too large or malformed, or the backlog is full; see [`BodyError`].
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
            let room = (2 * buffer.capacity()).max(MIN_CAPACITY).min(max).max(length);
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
    fn a_body_in_small_pieces_occupies_one_buffer() {
        let pieces = vec![&b"x"[..]; 9000];
        let (body, waits) = run(&pieces, None, 1 << 20);
        assert_eq!(waits, 10_000, "the buffer doubles, but not beyond the limit");
        assert_eq!(&body.unwrap().into_bytes()[..], &[b'x'; 9000]);
        let (body, waits) = run(&[b"all at once"], Some(11), 1 << 20);
        assert_eq!((&body.unwrap().into_bytes()[..], waits), (&b"all at once"[..], MIN_CAPACITY as u64));
    }

    #[test]
    fn a_body_that_is_too_large_is_refused() {
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
    fn dropping_a_body_releases_its_share_of_the_backlog() {
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
