//! Topics as subjects of NATS, and the other way.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sprocket_core::fuzzing::subjects(data));
