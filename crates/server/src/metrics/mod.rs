//! Counters, times of callbacks, and their text for Prometheus.

pub mod callback_times;
pub mod counters;
pub(crate) mod prometheus;
pub(crate) mod single;
