//! Negotiates a `Sec-WebSocket-Extensions` header. The negotiated parameters must themselves form an
//! offer that is accepted.
#![no_main]

use sprocket_protocol::deflate::{Compression, negotiate};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let ours = Compression { context_takeover: true, ..Compression::default() };
    let agree = |offer: &[u8]| negotiate(std::iter::once(offer), &ours).ok()?;
    if let Some(params) = agree(data) {
        assert_eq!(agree(params.answer().as_bytes()), Some(params));
    }
});
