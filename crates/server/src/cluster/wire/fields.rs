//! Encoding and decoding of fields: of frames, and of the messages by which nodes exchange presence.

use bytes::{BufMut, Bytes, BytesMut};

/// Error: the bytes are not a valid frame of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed frame")]
pub(crate) struct Malformed;

/// Builds a frame: a placeholder for the length, the kind, and the fields in order of the calls.
pub(crate) struct Writer(BytesMut);

impl Writer {
    /// Begins a frame. `hint` is the expected number of bytes in its names and payload.
    pub(crate) fn new(kind: u8, hint: usize) -> Self {
        let mut out = BytesMut::with_capacity(hint + 64);
        out.put_u32_le(0);
        out.put_u8(kind);
        Self(out)
    }

    /// Begins a sequence of fields without the length and kind of a frame.
    pub(crate) fn bare() -> Self {
        Self(BytesMut::new())
    }

    pub(crate) fn array<const N: usize>(mut self, bytes: [u8; N]) -> Self {
        self.0.put_slice(&bytes);
        self
    }

    pub(crate) fn number(mut self, n: u64) -> Self {
        self.0.put_u64_le(n);
        self
    }

    pub(crate) fn flag(mut self, on: bool) -> Self {
        self.0.put_u8(on.into());
        self
    }

    /// A string with a 16-bit length, cut at a character boundary to at most 1000 bytes.
    pub(crate) fn name(mut self, name: &str) -> Self {
        let mut end = name.len().min(1000);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        self.0.put_u16_le(end as u16);
        self.0.put_slice(&name.as_bytes()[..end]);
        self
    }

    /// Bytes with a 64-bit length.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        let mut out = self.number(bytes.len() as u64);
        out.0.put_slice(bytes);
        out
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn numbers(self, values: &[u64]) -> Self {
        values.iter().fold(self, |out, n| out.number(*n))
    }

    /// Returns the fields of [`Writer::bare`], followed by those of `rest`.
    pub(crate) fn followed_by(mut self, rest: &Self) -> Bytes {
        self.0.put_slice(&rest.0);
        self.into_bytes()
    }

    /// Returns the fields of [`Writer::bare`].
    pub(crate) fn into_bytes(self) -> Bytes {
        self.0.freeze()
    }

    /// Appends the payload, fills in the frame's length, and returns the frame.
    pub(crate) fn end(self, payload: &[u8]) -> Bytes {
        let mut out = self.0;
        out.put_slice(payload);
        let length = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
        out[..4].copy_from_slice(&length.to_le_bytes());
        out.freeze()
    }
}

/// Reads the fields of a frame in order. Each method removes its field from the front of the bytes.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    pub(crate) fn number(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// A 64-bit number that must fit into the narrower type `T`.
    pub(crate) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Malformed> {
        T::try_from(self.number()?).map_err(|_| Malformed)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.array::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Malformed),
        }
    }

    pub(crate) fn name(&mut self) -> Result<&'a str, Malformed> {
        let length = u16::from_le_bytes(self.array()?);
        std::str::from_utf8(self.take(length.into())?).map_err(|_| Malformed)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.small()?;
        self.take(length)
    }

    /// The rest of the frame as 64-bit numbers.
    pub(crate) fn numbers(&mut self) -> Result<Vec<u64>, Malformed> {
        let values =
            self.rest().chunks(8).map(|n| n.try_into().map(u64::from_le_bytes).map_err(|_| Malformed));
        values.collect()
    }

    /// The rest of the frame as bytes.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Checks that no byte is left.
    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}
