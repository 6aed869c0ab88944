//! The fixed workloads whose instructions are counted, shared by both programs.
#![forbid(unsafe_code)]

/// The part of a workload that repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The first connection sends a burst, and all that receive the answers wait for them.
    Burst,
    /// Like `Burst`, but the connections send in turn.
    InTurn,
    /// A further connection opens, and stays.
    Open,
    /// A further connection opens, and is cut.
    Visit,
}

/// One workload. It runs in lock step: a client waits for every answer before it continues, so that
/// every run does the same.
pub struct Work {
    /// Key in expected.json.
    pub name: &'static str,
    /// Description of the counted work.
    pub title: &'static str,
    /// Mode of the server: `echo`, `topic` or `open`.
    pub mode: &'static str,
    /// The part that repeats. Both threads of the server sleep before each step, so that a step includes
    /// waking them and the hand-over between them.
    pub step: Step,
    /// Number of connections before the first step.
    pub connections: usize,
    /// Size of each payload in bytes.
    pub size: usize,
    /// Number of messages that a connection sends at once.
    pub burst: usize,
    /// Number of steps in the shorter of the two runs; the longer run has five times as many.
    pub steps: usize,
}

impl Work {
    /// Number of clients that receive the messages of a step.
    pub fn receivers(&self) -> usize {
        if self.mode == "topic" { self.connections } else { 1 }
    }

    /// Number of messages that clients receive per step, or of connections opened.
    pub fn answers(&self) -> usize {
        match self.step {
            Step::Burst | Step::InTurn => self.burst * self.receivers(),
            Step::Open | Step::Visit => 1,
        }
    }
}

/// An echoed message, which the other workloads vary.
const ECHO: Work = Work {
    name: "echo-1",
    title: "echoed message of 32 B, one at a time",
    mode: "echo",
    step: Step::Burst,
    connections: 1,
    size: 32,
    burst: 1,
    steps: 1000,
};

/// All workloads.
pub const WORK: &[Work] = &[
    ECHO,
    Work { name: "echo-16", title: "echoed message of 32 B, 16 at a time", burst: 16, steps: 300, ..ECHO },
    Work {
        name: "echo-16k",
        title: "echoed message of 16 KiB, one at a time",
        size: 16 << 10,
        steps: 150,
        ..ECHO
    },
    Work {
        name: "paced",
        title: "echoed message of 32 B of one of 50 clients in turn, after a rest of both threads",
        step: Step::InTurn,
        connections: 50,
        steps: 500,
        ..ECHO
    },
    Work {
        name: "delivery",
        title: "delivery of 64 B to one of 100 subscribers",
        mode: "topic",
        connections: 100,
        size: 64,
        steps: 150,
        ..ECHO
    },
    Work {
        name: "delivery-8",
        title: "delivery of 64 B to one of 100 subscribers, 8 messages at a time",
        mode: "topic",
        connections: 100,
        size: 64,
        burst: 8,
        steps: 50,
        ..ECHO
    },
    Work {
        name: "handshake",
        title: "handshake of a connection that stays",
        mode: "open",
        step: Step::Open,
        // Five times as many fit the common limit of 1,024 descriptors.
        steps: 150,
        ..ECHO
    },
    Work { name: "visit", title: "connection that is opened and cut", step: Step::Visit, steps: 150, ..ECHO },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (i, work) in WORK.iter().enumerate() {
            assert!(WORK[..i].iter().all(|other| other.name != work.name), "{}", work.name);
        }
    }

    #[test]
    fn answers_count_messages_or_connections() {
        let of = |name: &str| WORK.iter().find(|work| work.name == name).map(Work::answers);
        assert_eq!(of("echo-16"), Some(16));
        assert_eq!(of("paced"), Some(1));
        assert_eq!(of("delivery-8"), Some(800));
        assert_eq!(of("handshake"), Some(1));
    }
}
