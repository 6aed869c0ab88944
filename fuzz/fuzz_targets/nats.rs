//! What a NATS server says to a node, and topics as its subjects.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sprocket_core::fuzzing::nats(data));
