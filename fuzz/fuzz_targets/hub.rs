//! Reads frames between a worker and the hub.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sprocket_server::fuzzing::hub(data));
