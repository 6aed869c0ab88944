//! Read buffers of an I/O thread, from which large messages need not be copied.
//!
//! A large message is passed to the host as a slice of the chunk that it was read into. A chunk is reused
//! once the host has released all its slices; until then, the thread reads into other chunks. Their number
//! is bounded: if the host falls behind or keeps slices for long, no chunk is available, and messages are
//! copied into allocations of their own size.

use bytes::BytesMut;
use std::collections::VecDeque;

/// Minimum number of bytes of a message, received in one read, that make it stay in the chunk. A shorter
/// message is copied, because its slice would keep many times its size allocated.
pub(crate) const LARGE: usize = 4 << 10;
/// Size of a chunk in bytes.
const CHUNK: usize = 128 << 10;
/// Minimum free space for a read, in bytes. It exceeds what a socket usually holds, so that one call
/// empties the socket.
const MIN_ROOM: usize = 64 << 10;
/// Maximum number of chunks of a thread.
const MAX_CHUNKS: usize = 64;
/// Number of chunks that are kept although they are not in use.
const SPARE_CHUNKS: usize = 8;

/// The chunks of one thread, held in its [`ThreadContext`](super::ThreadContext).
#[derive(Debug, Default)]
pub(crate) struct ReadBuffers {
    /// The empty chunk, or rest of a chunk, for the next read.
    ready: Option<BytesMut>,
    /// Chunks that were used up, oldest first. Messages may still hold slices of them; the handles kept
    /// here are empty.
    full: VecDeque<BytesMut>,
}

impl ReadBuffers {
    /// Returns an empty chunk with at least [`MIN_ROOM`] bytes of free space, or `None` if all chunks are in
    /// use.
    pub(crate) fn take(&mut self) -> Option<BytesMut> {
        if let Some(ready) = self.ready.take() {
            if ready.capacity() >= MIN_ROOM {
                return Some(ready);
            }
            self.full.push_back(ready);
        }
        if let Some(mut oldest) = self.full.pop_front() {
            if oldest.try_reclaim(CHUNK) {
                if self.full.len() > SPARE_CHUNKS
                    && self.full.front_mut().is_some_and(|next| next.try_reclaim(CHUNK))
                {
                    self.full.pop_front();
                }
                return Some(oldest);
            }
            self.full.push_front(oldest);
        }
        (self.full.len() < MAX_CHUNKS).then(|| BytesMut::with_capacity(CHUNK))
    }

    /// Returns a chunk obtained from [`ReadBuffers::take`], or the part of it that no message keeps.
    pub(crate) fn give_back(&mut self, mut chunk: BytesMut) {
        chunk.clear();
        self.ready = Some(chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// Simulates a read of [`MIN_ROOM`] bytes, and returns the slice that a message keeps.
    fn read(chunks: &mut ReadBuffers) -> Option<Bytes> {
        let mut chunk = chunks.take()?;
        assert!(chunk.is_empty() && chunk.capacity() >= MIN_ROOM);
        chunk.resize(MIN_ROOM, 7);
        let part = chunk.split().freeze();
        chunks.give_back(chunk);
        Some(part)
    }

    #[test]
    fn a_chunk_is_reused_when_all_its_parts_are_dropped() {
        let mut chunks = ReadBuffers::default();
        let first = read(&mut chunks).unwrap();
        let second = read(&mut chunks).unwrap();
        let start = first.as_ptr();
        assert_eq!(second.as_ptr(), start.wrapping_add(MIN_ROOM), "both are parts of one chunk");
        drop(first);
        let third = read(&mut chunks).unwrap();
        assert!(second.iter().all(|byte| *byte == 7));
        drop((second, third));
        let places: Vec<_> = (0..3).map(|_| read(&mut chunks).unwrap().as_ptr()).collect();
        assert!(places.contains(&start));
        assert_eq!(chunks.full.len() + 1, 2);
    }

    #[test]
    fn the_number_of_chunks_is_bounded_and_shrinks_when_parts_are_dropped() {
        let mut chunks = ReadBuffers::default();
        let mut parts = Vec::new();
        while let Some(part) = read(&mut chunks) {
            parts.push(part);
            assert!(parts.len() * MIN_ROOM <= (MAX_CHUNKS + 1) * CHUNK);
        }
        assert_eq!(parts.len() * MIN_ROOM, MAX_CHUNKS * CHUNK);
        assert!(read(&mut chunks).is_none());
        drop(parts);
        (0..4 * MAX_CHUNKS).for_each(|_| drop(read(&mut chunks).unwrap()));
        assert!(chunks.full.len() <= SPARE_CHUNKS + 1, "{}", chunks.full.len());
    }
}
