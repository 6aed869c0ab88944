//! Decodes a message that a broker passes on.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sprocket_server::fuzzing::envelope(data));
