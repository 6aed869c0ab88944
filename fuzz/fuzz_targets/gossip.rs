//! What hubs tell each other about who is present.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sprocket_core::fuzzing::gossip(data));
