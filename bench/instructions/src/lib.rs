//! The fixed work whose instructions are counted, as both sides must know it.
#![forbid(unsafe_code)]

/// One kind of work. All of it is in lock step: a client waits for every answer before it goes on,
/// so that the same happens in every run.
pub struct Work {
    /// Its name in expected.json.
    pub name: &'static str,
    /// What is counted.
    pub title: &'static str,
    /// What the server does: `echo`, `topic`.
    pub mode: &'static str,
    /// Connections.
    pub connections: usize,
    /// Bytes of each payload.
    pub size: usize,
    /// Messages that the first connection sends at once.
    pub burst: usize,
    /// Bursts of the shorter of the two runs; the longer has five times as many.
    pub bursts: usize,
}

impl Work {
    /// Messages that a client receives for a burst.
    pub fn answers(&self) -> usize {
        self.burst * if self.mode == "echo" { 1 } else { self.connections }
    }
}

/// All of it.
pub const WORK: &[Work] = &[
    Work {
        name: "echo-1",
        title: "echoed message of 32 B, one at a time",
        mode: "echo",
        connections: 1,
        size: 32,
        burst: 1,
        bursts: 1000,
    },
    Work {
        name: "echo-16",
        title: "echoed message of 32 B, 16 at a time",
        mode: "echo",
        connections: 1,
        size: 32,
        burst: 16,
        bursts: 300,
    },
    Work {
        name: "echo-16k",
        title: "echoed message of 16 KiB, one at a time",
        mode: "echo",
        connections: 1,
        size: 16 << 10,
        burst: 1,
        bursts: 150,
    },
    Work {
        name: "delivery",
        title: "delivery of 64 B to one of 100 subscribers",
        mode: "topic",
        connections: 100,
        size: 64,
        burst: 1,
        bursts: 150,
    },
    Work {
        name: "delivery-8",
        title: "delivery of 64 B to one of 100 subscribers, 8 messages at a time",
        mode: "topic",
        connections: 100,
        size: 64,
        burst: 8,
        bursts: 50,
    },
];
