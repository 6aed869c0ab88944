//! Feeds bytes to a connection with compression.
#![no_main]
#[path = "../../crates/protocol/tests/oracle/mod.rs"]
mod oracle;

use sprocket_protocol::deflate::Compressed;

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracle::fuzz(data, |keep| {
    if keep { Compressed::WithContext } else { Compressed::Alone }
}));
