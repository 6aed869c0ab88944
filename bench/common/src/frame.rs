//! WebSocket frames (RFC 6455 section 5.2), as far as benchmarks need them.

/// Opcode of a text message.
pub const TEXT: u8 = 1;
/// Opcode of a binary message.
pub const BINARY: u8 = 2;
/// Opcode of a close frame.
pub const CLOSE: u8 = 8;
/// Opcode of a ping.
pub const PING: u8 = 9;
/// Opcode of a pong.
pub const PONG: u8 = 10;

/// Appends an unmasked, unfragmented frame, as servers send them.
pub fn append(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    append_header(out, opcode, payload.len(), 0);
    out.extend_from_slice(payload);
}

/// A masked, unfragmented frame, as clients send them.
pub fn masked(opcode: u8, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    append_header(&mut frame, opcode, payload.len(), 0x80);
    frame.extend_from_slice(&key);
    let start = frame.len();
    frame.extend_from_slice(payload);
    mask(&mut frame[start..], key);
    frame
}

fn append_header(out: &mut Vec<u8>, opcode: u8, len: usize, mask_bit: u8) {
    out.push(0x80 | opcode);
    match len {
        0..126 => out.push(mask_bit | len as u8),
        126..65536 => {
            out.push(mask_bit | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(mask_bit | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

/// Masks or unmasks in place, eight bytes at a time.
pub fn mask(data: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = data.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ word).to_ne_bytes());
    }
    for (i, byte) in chunks.into_remainder().iter_mut().enumerate() {
        *byte ^= key[i & 3];
    }
}

/// Number of extended length bytes that follow this second header byte.
pub fn extended_len(second: u8) -> usize {
    match second & 127 {
        126 => 2,
        127 => 8,
        _ => 0,
    }
}

/// Payload length in a header of at least `2 + extended_len(header[1])` bytes.
pub fn payload_len(header: &[u8]) -> u64 {
    match header[1] & 127 {
        126 => u64::from(u16::from_be_bytes([header[2], header[3]])),
        127 => header[2..10].iter().fold(0, |len, b| len << 8 | u64::from(*b)),
        n => u64::from(n),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_of_rfc_6455_section_5_7() {
        let frame = masked(TEXT, b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(frame, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    #[test]
    fn lengths_survive_the_header() {
        for len in [0, 125, 126, 65535, 65536, 70000] {
            let mut frame = Vec::new();
            append(&mut frame, BINARY, &vec![7; len]);
            assert_eq!(payload_len(&frame), len as u64);
            assert_eq!(frame.len(), 2 + extended_len(frame[1]) + len);
        }
    }

    #[test]
    fn masking_twice_restores_the_data() {
        let plain: Vec<u8> = (0..=99).collect();
        let mut data = plain.clone();
        mask(&mut data, [1, 2, 3, 4]);
        assert_ne!(data, plain);
        mask(&mut data, [1, 2, 3, 4]);
        assert_eq!(data, plain);
    }
}
