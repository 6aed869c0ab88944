//! Reads proxy headers that a client may have forged.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sprocket_server::fuzzing::forwarded(data));
