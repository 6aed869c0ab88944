//! The headers of proxies, of a client that lies.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sprocket_core::fuzzing::forwarded(data));
