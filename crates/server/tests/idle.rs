//! Checks that an idle server uses no CPU time. It is the only test of its process, since it measures
//! the CPU time of the whole process.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod support;

use rustix::time::{ClockId, clock_gettime};
use sprocket_server::{Config, Event, SendOutcome, SlowConsumer};
use std::io::Write;
use std::time::{Duration, Instant};
use support::*;

/// Sleeps for `time` and returns the CPU time that the process uses meanwhile.
fn cpu_while(time: Duration) -> Duration {
    let now = || {
        let now = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    };
    let before = now();
    std::thread::sleep(time);
    now() - before
}

#[test]
fn a_peer_that_does_not_read_costs_no_cpu_time_and_delays_no_other() {
    let (server, address) = start(Config { slow_consumer: SlowConsumer::Drop, ..Config::default() });
    let _deaf = open(address);
    let deaf = opened(&server);
    let mut other = open(address);
    let conn = opened(&server);
    let idle = cpu_while(Duration::from_millis(500));
    assert!(idle < Duration::from_millis(50), "idle: {idle:?}");

    let chunk = vec![0; 64 << 10];
    while server.send(&deaf, &chunk, true) == SendOutcome::Sent {
        server.flush();
        std::thread::sleep(Duration::from_micros(200));
    }
    server.flush();
    let begun = Instant::now();
    for _ in 0..20 {
        other.write_all(&frame(0x81, b"hi")).unwrap();
        assert!(matches!(next(&server), Event::Message { .. }));
        server.send(&conn, b"hi", false);
        server.flush();
        assert_eq!(read_frame(&mut other), (0x81, b"hi".to_vec()));
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    let blocked = cpu_while(Duration::from_millis(500));
    assert!(blocked < Duration::from_millis(50), "with a deaf peer: {blocked:?}");
}
