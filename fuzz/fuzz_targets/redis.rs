//! Reads the replies of a Redis server to a node.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sprocket_server::fuzzing::redis(data));
