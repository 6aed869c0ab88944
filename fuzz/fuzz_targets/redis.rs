//! What is made of what a Redis server says to a node.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sprocket_core::fuzzing::redis(data));
