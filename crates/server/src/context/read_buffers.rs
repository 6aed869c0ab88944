//! Where an I/O thread reads into, so that large messages need not be copied out of it.
//!
//! A large message goes to the host as a part of the chunk that it was read into. The chunk is read
//! into again when the host has let go of all its parts; meanwhile there are others. Their number is
//! bounded: where the host is far behind, or parts are kept for long, messages are copied, and what
//! they hold is no more than their own bytes.

use bytes::BytesMut;
use std::collections::VecDeque;

/// A message of which at least so many bytes come at once is not copied. A shorter one would keep
/// many times its size.
pub(crate) const LARGE: usize = 4 << 10;
/// Bytes of a chunk.
const CHUNK: usize = 128 << 10;
/// Bytes that a read has room for, at least. More than what a socket usually holds, so that one call
/// empties it.
const ROOM: usize = 64 << 10;
/// ReadBuffers of a thread.
const MOST: usize = 64;
/// As many are kept when fewer would do.
const KEPT: usize = 8;

/// ReadBuffers of one thread.
#[derive(Debug, Default)]
pub(crate) struct ReadBuffers {
    /// With room for a read, and nothing in it.
    ready: Option<BytesMut>,
    /// Others, in the order in which they were filled, empty as we see them.
    full: VecDeque<BytesMut>,
}

impl ReadBuffers {
    /// A chunk to read into, which has room and nothing in it. `None`: all are in use.
    pub(crate) fn take(&mut self) -> Option<BytesMut> {
        if let Some(ready) = self.ready.take() {
            if ready.capacity() >= ROOM {
                return Some(ready);
            }
            self.full.push_back(ready);
        }
        if let Some(mut oldest) = self.full.pop_front() {
            if oldest.try_reclaim(CHUNK) {
                if self.full.len() > KEPT && self.full.front_mut().is_some_and(|next| next.try_reclaim(CHUNK))
                {
                    self.full.pop_front();
                }
                return Some(oldest);
            }
            self.full.push_front(oldest);
        }
        (self.full.len() < MOST).then(|| BytesMut::with_capacity(CHUNK))
    }

    /// Gives back what [`ReadBuffers::take`] has given, or what is left of it.
    pub(crate) fn give_back(&mut self, mut chunk: BytesMut) {
        chunk.clear();
        self.ready = Some(chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// A read that fills the room that there is at least.
    fn read(chunks: &mut ReadBuffers) -> Option<Bytes> {
        let mut chunk = chunks.take()?;
        assert!(chunk.is_empty() && chunk.capacity() >= ROOM);
        chunk.resize(ROOM, 7);
        let part = chunk.split().freeze();
        chunks.give_back(chunk);
        Some(part)
    }

    #[test]
    fn a_chunk_is_used_again_when_all_its_parts_are_gone() {
        let mut chunks = ReadBuffers::default();
        let first = read(&mut chunks).unwrap();
        let second = read(&mut chunks).unwrap();
        let start = first.as_ptr();
        assert_eq!(second.as_ptr(), start.wrapping_add(ROOM), "both are parts of one");
        drop(first);
        let third = read(&mut chunks).unwrap();
        assert!(second.iter().all(|byte| *byte == 7));
        drop((second, third));
        let places: Vec<_> = (0..3).map(|_| read(&mut chunks).unwrap().as_ptr()).collect();
        assert!(places.contains(&start));
        assert_eq!(chunks.full.len() + 1, 2);
    }

    #[test]
    fn what_is_kept_for_long_is_bounded_and_given_up_when_it_is_over() {
        let mut chunks = ReadBuffers::default();
        let mut parts = Vec::new();
        while let Some(part) = read(&mut chunks) {
            parts.push(part);
            assert!(parts.len() * ROOM <= (MOST + 1) * CHUNK);
        }
        assert_eq!(parts.len() * ROOM, MOST * CHUNK);
        assert!(read(&mut chunks).is_none());
        drop(parts);
        (0..4 * MOST).for_each(|_| drop(read(&mut chunks).unwrap()));
        assert!(chunks.full.len() <= KEPT + 1, "{}", chunks.full.len());
    }
}
