//! The fixed workloads whose instructions are counted, shared by both programs.
#![forbid(unsafe_code)]

/// One workload. It runs in lock step: a client waits for every answer before it continues, so that
/// every run does the same.
pub struct Work {
    /// Key in expected.json.
    pub name: &'static str,
    /// Description of the counted work.
    pub title: &'static str,
    /// Mode of the server: `echo` or `topic`.
    pub mode: &'static str,
    /// Number of connections.
    pub connections: usize,
    /// Size of each payload in bytes.
    pub size: usize,
    /// Number of messages that the first connection sends at once.
    pub burst: usize,
    /// Number of bursts in the shorter of the two runs; the longer run has five times as many.
    pub bursts: usize,
}

impl Work {
    /// Number of messages that a client receives per burst.
    pub fn answers(&self) -> usize {
        self.burst * if self.mode == "echo" { 1 } else { self.connections }
    }
}

/// All workloads.
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
