//! Incremental validation of UTF-8 (RFC 6455 section 8.1). It fails as soon as no further input can
//! make the text valid.

/// State of the validation between two pieces of a text. Each message being assembled holds one.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Utf8 {
    /// The first bytes of a character whose rest has not arrived.
    tail: [u8; 4],
    len: u8,
}

impl Utf8 {
    /// Whether the text so far ends with a complete character.
    pub(crate) fn is_clean(&self) -> bool {
        self.len == 0
    }

    /// Validates the next piece. Returns false if the text is invalid, whatever follows.
    pub(crate) fn feed(&mut self, mut piece: &[u8]) -> bool {
        while self.len > 0 {
            let Some((first, rest)) = piece.split_first() else { return true };
            self.tail[self.len as usize] = *first;
            self.len += 1;
            piece = rest;
            match std::str::from_utf8(&self.tail[..self.len as usize]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        match std::str::from_utf8(piece) {
            Ok(_) => true,
            Err(error) if error.error_len().is_some() => false,
            Err(error) => {
                let tail = &piece[error.valid_up_to()..];
                self.tail[..tail.len()].copy_from_slice(tail);
                self.len = tail.len() as u8;
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_may_be_split_anywhere() {
        let text = "aé€😀z".as_bytes();
        for step in 1..=text.len() {
            let mut utf8 = Utf8::default();
            assert!(text.chunks(step).all(|piece| utf8.feed(piece)), "step {step}");
            assert_eq!(utf8.len, 0);
        }
    }

    #[test]
    fn an_invalid_prefix_is_rejected_at_once() {
        for bad in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0", b"\xf4\x90", b"a\x80"] {
            let mut utf8 = Utf8::default();
            assert!(!bad.iter().all(|byte| utf8.feed(&[*byte])), "{bad:x?}");
        }
    }

    #[test]
    fn an_invalid_character_is_rejected_across_pieces() {
        let mut utf8 = Utf8::default();
        assert!(utf8.feed(b"ok \xe2\x82"));
        assert!(!utf8.feed(b"A"));
    }
}
