//! Measurements of a server: counters, the durations of callbacks, and both as text for Prometheus.

pub mod callback_times;
pub mod counters;
pub(crate) mod prometheus;
pub(crate) mod single;
