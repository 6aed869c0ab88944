//! Converts topics to NATS subjects and back.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sprocket_server::fuzzing::subjects(data));
