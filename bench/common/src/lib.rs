//! Code shared by the load generator, the reference servers and the suite.
#![deny(unsafe_code)]

pub mod frame;
pub mod histogram;
pub mod procfs;
pub mod report;
pub mod sys;

pub use histogram::Histogram;
