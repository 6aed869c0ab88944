//! What the load generator, the reference servers and the suite share.
#![deny(unsafe_code)]

pub mod frame;
pub mod histogram;
pub mod procfs;
pub mod report;
pub mod sys;

pub use histogram::Histogram;
