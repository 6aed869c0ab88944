//! A message as a broker passes it on.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sprocket_core::fuzzing::envelope(data));
