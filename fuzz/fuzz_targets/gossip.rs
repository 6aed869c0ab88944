//! Reads the messages about presence that hubs exchange.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sprocket_server::fuzzing::gossip(data));
