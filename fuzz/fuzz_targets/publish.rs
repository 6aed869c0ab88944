//! Reads requests on a publish socket.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sprocket_server::fuzzing::publish(data));
